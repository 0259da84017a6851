"""Builds collections: of the pairs of a finished run, or of features of a user's own."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gpldan_jax import _checksums, _console, _files, _locks, models
from gpldan_jax.data import DataError, Descriptions, PairedDataset, describe, label_titles
from gpldan_jax.data.feature_arrays import join_features, take_rows
from gpldan_jax.data.files.npy import read_features
from gpldan_jax.data.paired import SPLITS, different_rows
from gpldan_jax.index import Index
from gpldan_jax.index.gallery import MODALITIES
from gpldan_jax.models import TrainedModel
from gpldan_jax.runs import run_data
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.serving.indexes import MADE_OF
from gpldan_jax.serving.thumbnail_file import build_thumbnails

COLLECTION = "collection"
"""The default folder of a collection in the workdir of its run."""


def build_from_run(
    workdir: Path,
    out: Path,
    splits: Sequence[str] = SPLITS,
    *,
    candidates: bool = False,
    path: Path | None = None,
    images: Path | None = None,
) -> None:
    """Builds the indexes of the images and the texts of a run's dataset, with the model of the run.

    Captions and image files that the feature file names go into the indexes, and the images into thumbnails.

    Args:
        workdir: of a finished run.
        out: the folder of the collection; the indexes are in `out/image` and `out/text`.
        splits: which pairs of the dataset.
        candidates: whether to add vector indexes, for searches in two stages.
        path: the file or folder where the data of the run lie now; `None` looks where they were.
        images: the folder where the image files lie now; `None` takes the one that the feature file names.

    Raises:
        ValueError: the run is not finished, or its data are not there, are other data now, or have no such pairs; or
            `images` is given and no image file is known.
        OSError: another process builds there, or the folder cannot be written to.
    """
    if not (workdir / workdirs.MODEL).is_file():
        raise ValueError(f"{workdir} holds no {workdirs.MODEL}: it is not the workdir of a finished run")
    model = models.load_model(workdir / workdirs.MODEL)
    found = run_data.find(workdir, path)
    dataset = found.unscaled
    trained_on = model.metadata.get("dataset")
    if trained_on != (expected := workdirs.read_json(workdir / workdirs.CONFIG).get("dataset", dataset.title)):
        raise ValueError(f"{workdir}: the model is of {trained_on!r}, the config of {expected!r}")
    made_of = _made_of(workdir, splits)
    splits = [name for name in SPLITS if name in splits and len(getattr(dataset, name))]
    if not splits:
        raise ValueError(f"{dataset.title} has no pairs in these splits")
    described, fields = describe_pairs(dataset, found.path, splits)
    out.mkdir(parents=True, exist_ok=True)
    with _locks.locked(out):
        (out / MADE_OF).unlink(missing_ok=True)
        for modality in MODALITIES:
            features = join_features([getattr(getattr(dataset, name), f"{modality}s") for name in splits])
            items = _different_items(dataset, splits, modality)
            rows = [own[0] for own in items]
            fields_of = {name: [values[row] for row in rows] for name, values in fields.items()}
            if described.captions:
                fields_of["text"] = ["\n".join(dict.fromkeys(described.captions[row] for row in own)) for own in items]
            if modality == "image":
                fields_of |= _pictures_of(described, rows, out, images)
            ids_of = [described.ids[row] for row in rows]
            _build(model, take_rows(features, np.array(rows)), ids_of, modality, out, fields_of, candidates=candidates)
        _checksums.write_record(out / MADE_OF, made_of)


def is_built(out: Path, workdir: Path) -> bool:
    """Returns whether a collection was built, of all pairs of a run, by the model that the run has now.

    Args:
        out: the folder of the collection.
        workdir: of the run.

    Returns:
        Whether `build_from_run` would make the same again.
    """
    try:
        return _checksums.read_record(out / MADE_OF) == _made_of(workdir, SPLITS)
    except (OSError, ValueError):
        return False


def _made_of(workdir, splits):
    return {"model": _files.sha256_of(workdir / workdirs.MODEL), "splits": [name for name in SPLITS if name in splits]}


def build_from_features(
    model: Path,
    features: Path,
    modality: str,
    out: Path,
    *,
    ids: Path | None = None,
    texts: Path | None = None,
    candidates: bool = False,
) -> None:
    """Builds one index of features, which may be larger than memory.

    Args:
        model: a file of a trained model.
        features: a `.npy` file, `[n, d]`, not scaled.
        modality: `"image"` or `"text"`.
        out: the folder of the collection; the index is in `out/image` or `out/text`.
        ids: a text file with one id in each line; by default the ids are numbers from 0.
        texts: a text file with a text to show for each item in each line.
        candidates: whether to add a vector index, for searches in two stages.

    Raises:
        ValueError: a file that cannot be read, or does not fit the others.
    """
    array = read_features(features)
    names = range(len(array)) if ids is None else _read_lines(ids)
    fields = {} if texts is None else {"text": _read_lines(texts)}
    _build(models.load_model(model), array, names, modality, out, fields, candidates=candidates)


def _different_items(dataset: PairedDataset, splits: Sequence[str], modality: str) -> list[list[int]]:
    """The pairs of some splits by their image, or by their text: a list of rows for each different one."""
    items: list[list[int]] = []
    start = 0
    for split in (getattr(dataset, name) for name in splits):
        if split.groups is None:
            items += [[row] for row in range(start, start + len(split))]
        else:
            _, item_of = different_rows(split.images if modality == "image" else split.texts, split.groups)
            of_split: list[list[int]] = [[] for _ in range(item_of.max(initial=-1) + 1)]
            for row, item in enumerate(item_of.tolist(), start):
                of_split[item].append(row)
            items += of_split
        start += len(split)
    return items


def describe_pairs(
    dataset: PairedDataset, path: str | Path | None, splits: Sequence[str]
) -> tuple[Descriptions, dict[str, list[str]]]:
    """Returns the descriptions of the pairs of some splits, and the fields that all items have.

    Args:
        dataset: the dataset.
        path: where it was read from; `None` for data without files.
        splits: names of splits, in the order of the pairs.

    Returns:
        What `describe` returns; and the fields of each pair: its "split", and its class ("group") where there are
        labels.
    """
    fields: dict[str, list[str]] = {"split": []}
    for name in splits:
        split = getattr(dataset, name)
        fields["split"] += [name] * len(split)
        if split.labels is not None:
            fields.setdefault("group", []).extend(label_titles(dataset, split.labels))
    return describe(dataset, path, splits), fields


def _pictures_of(described: Descriptions, rows: Sequence[int], out: Path, folder: Path | None) -> dict[str, list[str]]:
    """Makes thumbnails of the images of some pairs; returns the fields "picture" and "file", where there are images."""
    console = _console.make_console()
    if folder and described.files is None:
        raise ValueError(f"the data name no image files, so images={folder} cannot be used; extract them again")
    fields = {} if described.files is None else {"file": [described.files[row] for row in rows]}
    try:
        pictures = described.pictures(rows, folder)
    except (FileNotFoundError, ImportError) as error:
        console.print(f"no thumbnails: {error}")
        return fields
    if not pictures:
        return fields
    with _console.progress(console, "thumbnails", len(pictures)) as on_items:
        names = build_thumbnails(out, pictures, threads=os.cpu_count() or 1, on_items=on_items)
    if lost := [file for file, name in zip(fields.get("file", []), names, strict=False) if not name]:
        console.print(f"{len(lost):,} of {len(names):,} images cannot be read and have no thumbnail, such as {lost[0]}")
    return {**fields, "picture": names}


def _read_lines(path):
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be UTF-8: {error.reason} at byte {error.start}") from error


def _build(
    model: TrainedModel,
    features: np.ndarray,
    ids: Sequence,
    modality: str,
    out: Path,
    fields: Mapping[str, Sequence[str]],
    *,
    candidates: bool,
) -> None:
    console, started, folder = _console.make_console(), time.perf_counter(), out / modality
    with _console.progress(console, f"{modality}s", len(features)) as on_items:
        index = Index.build(model, features, ids, modality, fields=fields, folder=folder, on_items=on_items)
    if candidates:
        index = index.with_candidates()
        index.save(folder)
    seconds = time.perf_counter() - started
    console.print(f"{folder}: {len(index):,} {modality}s, H = {model.projector.width}, {seconds:.1f} s")
