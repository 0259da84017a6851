"""`search.py query` and `recall`: what is asked, and the answer as a table or as JSON."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rich.box
import rich.console
import rich.table

from gpldan_jax import features, training
from gpldan_jax.index import Index
from gpldan_jax.index.gallery import EncodedBatch
from gpldan_jax.index.index import MODALITIES
from gpldan_jax.index.storage import MANIFEST, DamagedIndexError
from gpldan_jax.serving.building import read_features

_ANSWERS = {"text": "text", "picture": "image"}  # modality of a kind of query


def indexes(collection: Path, *, verify: bool = True) -> dict[str, Index]:
    """The indexes of a collection by modality: those in its folders, or the folder as an index itself."""
    folders = [collection / modality for modality in MODALITIES if (collection / modality / MANIFEST).exists()]
    if (collection / MANIFEST).exists():
        folders = [collection]
    if not folders:
        raise DamagedIndexError(f"{collection} is no collection: there is no image/{MANIFEST} and no text/{MANIFEST}")
    found = [Index.load(folder, verify=verify) for folder in folders]
    return {index.modality: index for index in found}


def query(collection: Path, kind: str, asked: str | Path, options: argparse.Namespace) -> None:
    """Prints what a collection answers; `asked` is of this kind: text, picture, item or features."""
    found = indexes(collection, verify=not options.no_verify)
    if kind == "item":
        modality, query = _item(found, asked, options.gallery)
    elif kind == "features":
        modality, query = options.modality, read_features(asked)
        if not modality:
            gallery = options.gallery or next(iter(found))
            modality = _other(gallery)
    else:
        modality = _ANSWERS[kind]
        source = {"text": options.text_path, "image": options.image_weights}[modality]
        query = _extracted(next(iter(found.values())).model.metadata, kind, asked, source)
    index = _gallery(found, options.gallery or _other(modality), collection)
    distances, ids = index.search(
        query, options.k, modality=modality, candidates=options.candidates, mesh=training.data_mesh()
    )
    for number, (row, names) in enumerate(zip(distances.tolist(), ids.tolist(), strict=True)):
        asked_by = f"{asked}, row {number}" if len(ids) > 1 else str(asked)
        entries = [index.entry(name) for name in names]
        if options.json:
            results = [
                {"id": entry.id, "distance": distance, **entry.fields}
                for entry, distance in zip(entries, row, strict=True)
            ]
            print(json.dumps({"query": asked_by, "gallery": index.modality, "results": results}, ensure_ascii=False))
        else:
            _show(f"{asked_by}: nearest of {len(index):,} {index.modality}s", entries, row)


def recall(collection: Path, options: argparse.Namespace) -> None:
    """Measures a search in two stages, stores the figures in the index and prints them."""
    found = indexes(collection, verify=not options.no_verify)
    index = _gallery(found, options.gallery or next(iter(found)), collection)
    if options.features:
        queries, of = index.represent(read_features(options.features)[: options.queries], options.modality), "features"
    elif _other(index.modality) in found:
        gallery = found[_other(index.modality)].gallery
        rows = np.random.default_rng(0).permutation(len(gallery))[: options.queries]
        queries, of = gallery.take(np.sort(rows)), f"{_other(index.modality)}s of the collection"
    else:
        raise ValueError(f"{collection} has no {_other(index.modality)}s to ask by; give --features")
    index = index.with_recall(queries, options.k, options.candidates)
    for measured in index.candidates.recalls[-len(options.candidates) :]:
        if options.json:
            print(json.dumps({"gallery": index.modality, **dataclasses.asdict(measured)}))
        else:
            print(
                f"{measured.candidates:,} candidates of {len(index):,} {index.modality}s: recall@{measured.k} "
                f"{measured.recall:.4f} ({measured.queries} queries, {of})"
            )
    index.save(collection if (collection / MANIFEST).exists() else collection / index.modality)


def _item(found: Mapping[str, Index], asked: str, gallery: str | None) -> tuple[str, EncodedBatch]:
    """The modality and the item that an id names; where both have it, the one that is not searched."""
    first = _other(gallery) if gallery else "text"
    for modality in (first, _other(first)):
        if modality in found:
            index = found[modality]
            id = int(asked) if index.ids.dtype.kind == "i" and asked.lstrip("-").isdecimal() else asked
            try:
                return modality, index.entry(id).items
            except KeyError:
                continue
    raise ValueError(f"no item {asked!r}; the first is {next(iter(found.values())).ids[0].item()!r}")


def _extracted(metadata, kind, asked, source):
    if kind == "picture":
        return _with_flag(metadata, "image", source)([features.read_image(asked)])
    row = _with_flag(metadata, "text", source)([asked])
    if not row.any():
        raise ValueError(f"the vocabulary has no word of {asked!r}")
    if unknown := features.unknown_words(metadata, asked):
        print(f"not in the vocabulary: {', '.join(unknown)}", file=sys.stderr)
    return row


def _with_flag(metadata, modality, source):
    try:
        return features.extractor(metadata, modality, source)
    except features.FunctionNeededError:
        raise
    except features.SourceNeededError as error:
        raise ValueError(f"{error} with {'--text_path' if modality == 'text' else '--image_weights'}") from None


def _gallery(found, modality, collection):
    if modality not in found:
        raise ValueError(f"{collection} has no {modality}s, only {next(iter(found))}s; see --gallery")
    return found[modality]


def _other(modality):
    return MODALITIES[1 - MODALITIES.index(modality)]


def _show(title, entries, distances):
    table = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, title_justify="left")
    table.add_column("", justify="right")
    table.add_column("id")
    table.add_column("distance", justify="right")
    names = [name for name in entries[0].fields if name != "sprite"]
    for name in names:
        table.add_column(name)
    for rank, (entry, distance) in enumerate(zip(entries, distances, strict=True), start=1):
        cells = [entry.fields[name] for name in names]
        table.add_row(str(rank), str(entry.id), f"{distance:.4f}", *cells)
    rich.console.Console(highlight=False, markup=False, emoji=False).print(table)
