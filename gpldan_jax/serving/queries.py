"""Asks a collection outside the page: any kind of query, and the recall of a search in two stages."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpldan_jax import features as feature_tools
from gpldan_jax.data.files.npy import read_features
from gpldan_jax.index import EncodedBatch, Entry, Index, Recall
from gpldan_jax.index.gallery import other_modality
from gpldan_jax.index.storage import MANIFEST
from gpldan_jax.serving.indexes import load_indexes

KINDS = ("text", "picture", "item", "features")
"""The kinds of queries."""


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """The nearest items of one query, the nearest first.

    Attributes:
        query: what was asked, for the user.
        unknown: words of the query that the model does not know; they were left out.
        gallery: the modality of the items.
        total: the number of items that were searched; an item does not find itself.
        entries: the items.
        distances: of the items, in [0, 2].
    """

    query: str
    unknown: tuple[str, ...]
    gallery: str
    total: int
    entries: tuple[Entry, ...]
    distances: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class RecallReport:
    """Measurements of a search in two stages.

    Attributes:
        gallery: the modality of the items.
        total: the number of items.
        recalls: a measurement for each number of candidates.
        queries: where the queries come from, for the user.
    """

    gallery: str
    total: int
    recalls: tuple[Recall, ...]
    queries: str


def ask(
    collection: Path,
    kind: str,
    asked: str | Path,
    *,
    gallery: str | None = None,
    modality: str | None = None,
    k: int = 10,
    candidates: int | None = None,
    source: Path | None = None,
    verify: bool = True,
) -> list[Answer]:
    """Asks a collection.

    Args:
        collection: its folder.
        kind: one of `KINDS`.
        asked: words; the file of a picture; the id of an item; or a `.npy` file of features `[q, d]`, not scaled.
        gallery: what to search; by default the other modality than that of the query.
        modality: of features; by default the other one than that of the gallery.
        k: how many items to find.
        candidates: search in two stages with so many candidates, see `Index.search`.
        source: the file of the extractor of words or pictures, where the model needs one.
        verify: whether to compare the checksums of all files.

    Returns:
        An answer for each query: for each row of features, else one.

    Raises:
        SourceNeededError: `source` is missing.
        ValueError: an argument or the collection does not fit.
    """
    if kind in ("text", "picture"):  # the other index is not asked, and may be large
        gallery = gallery or other_modality("image" if kind == "picture" else "text")
    indexes = load_indexes(collection, verify=verify, modality=None if kind == "item" else gallery)
    unknown: tuple[str, ...] = ()
    itself = None
    queries: EncodedBatch | np.ndarray
    if kind == "item":
        modality, entry = _find_item(indexes, str(asked), gallery)
        queries, itself = entry.encoded, entry.id
    elif kind == "features":
        queries = read_features(Path(asked))
        modality = modality or other_modality(gallery or next(iter(indexes)))
    else:
        modality = "image" if kind == "picture" else "text"
        queries, unknown = _extract(next(iter(indexes.values())).model.metadata, kind, asked, source)
    index = _choose_index(indexes, gallery or other_modality(modality), collection)
    exclude = [itself] if itself is not None and modality == index.modality else None
    options = {"candidates": candidates, "exclude": exclude, "mesh": _mesh()}
    result = index.search(queries, k, modality=modality, **options)
    answers = []
    for row, (distances, ids) in enumerate(zip(result.distances.tolist(), result.ids.tolist(), strict=True)):
        query = f"{asked}, row {row}" if len(result.ids) > 1 else str(asked)
        entries = tuple(index.entry(id) for id in ids)
        total = len(index) - bool(exclude)
        answers.append(Answer(query, unknown, index.modality, total, entries, tuple(distances)))
    return answers


def measure_recall(
    collection: Path,
    candidates: Sequence[int],
    *,
    gallery: str | None = None,
    features: Path | None = None,
    modality: str | None = None,
    k: int = 10,
    queries: int = 200,
    verify: bool = True,
) -> RecallReport:
    """Measures what share of the exact k nearest items a search in two stages finds, and stores it in the index.

    Args:
        collection: its folder.
        candidates: numbers of candidates to measure.
        gallery: what to search; by default the first of images and texts that there is.
        features: a `.npy` file of queries `[q, d]`, not scaled; by default the items of the other modality are asked.
        modality: of the features; by default the other one than that of the gallery.
        k: the number of nearest items.
        queries: how many queries to use at most.
        verify: whether to compare the checksums of all files.

    Returns:
        The measurements.

    Raises:
        ValueError: an argument or the collection does not fit.
    """
    indexes = load_indexes(collection, verify=verify)
    index = _choose_index(indexes, gallery or next(iter(indexes)), collection)
    other = other_modality(index.modality)
    if features:
        encoded, origin = index.encode(read_features(features)[:queries], modality), "features"
    elif other in indexes:
        items = indexes[other].gallery
        rows = np.random.default_rng(0).permutation(len(items))[:queries]
        encoded, origin = items.take(np.sort(rows)), f"{other}s of the collection"
    else:
        raise ValueError(f"{collection} has no {other}s to ask by; give features")
    index = index.with_recall(encoded, k, candidates)
    index.save(collection if (collection / MANIFEST).exists() else collection / index.modality)
    return RecallReport(index.modality, len(index), index.candidates.recalls[-len(candidates) :], origin)


def _mesh():
    """All devices; `None` for a single one, for which the modules of training are not loaded."""
    if len(jax.devices()) == 1:
        return None
    from gpldan_jax import training

    return training.data_mesh()


def _find_item(indexes: dict[str, Index], asked: str, gallery: str | None) -> tuple[str, Entry]:
    """Returns the modality and the entry of an id; where both modalities have it, that which is not searched."""
    first = other_modality(gallery) if gallery else "text"
    for modality in (first, other_modality(first)):
        if modality in indexes:
            index = indexes[modality]
            id = int(asked) if index.ids.dtype.kind in "iu" and asked.lstrip("-").isdecimal() else asked
            try:
                return modality, index.entry(id)
            except KeyError:
                continue
    raise ValueError(f"no item {asked!r}; the first is {next(iter(indexes.values())).ids[0].item()!r}")


def _extract(metadata: Mapping[str, Any], kind: str, asked: Any, source: Path | None) -> tuple[np.ndarray, tuple]:
    """Returns the features of a picture or of words, and the words that the model does not know."""
    if kind == "picture":
        return feature_tools.extractor(metadata, "image", source)([feature_tools.read_image(asked)]), ()
    row = feature_tools.extractor(metadata, "text", source)([asked])
    if not row.any():
        raise ValueError(f"the vocabulary has no word of {asked!r}")
    return row, feature_tools.unknown_words(metadata, asked)


def _choose_index(indexes, modality, collection):
    if modality not in indexes:
        raise ValueError(f"{collection} has no {modality}s, only {next(iter(indexes))}s; choose another gallery")
    return indexes[modality]
