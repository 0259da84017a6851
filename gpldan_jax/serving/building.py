"""Builds collections: of the pairs of a finished run, or of features of a user's own."""

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gpldan_jax import models
from gpldan_jax.data import DataError, PairedDataset, label_titles, read_arrays
from gpldan_jax.data.files.npy import is_npy_folder
from gpldan_jax.data.paired import SPLITS
from gpldan_jax.index import Index
from gpldan_jax.index.gallery import MODALITIES, check_ids
from gpldan_jax.models import TrainedModel
from gpldan_jax.runs import run_data, session
from gpldan_jax.runs import workdir as workdirs

COLLECTION = "collection"
"""The default folder of a collection in the workdir of its run."""


def build_from_run(
    workdir: Path,
    out: Path,
    splits: Sequence[str] = SPLITS,
    *,
    candidates: bool = False,
    path: Path | None = None,
) -> None:
    """Builds the indexes of the images and the texts of a run's dataset, with the model of the run.

    Args:
        workdir: of a finished run.
        out: the folder of the collection; the indexes are in `out/image` and `out/text`.
        splits: which pairs of the dataset.
        candidates: whether to add vector indexes, for searches in two stages.
        path: the file or folder where the data of the run lie now; `None` looks where they were.

    Raises:
        ValueError: the run is not finished, or its data are not there, are other data now, or have no such pairs.
    """
    if not (workdir / workdirs.MODEL).is_file():
        raise ValueError(f"{workdir} holds no {workdirs.MODEL}: it is not the workdir of a finished run")
    model = models.load_model(workdir / workdirs.MODEL)
    found = run_data.find(workdir, path)
    dataset = found.unscaled
    trained_on = model.metadata.get("dataset")
    if trained_on != dataset.title:
        raise ValueError(f"{workdir}: the model is of {trained_on!r}, the config of {dataset.title!r}")
    splits = [name for name in SPLITS if name in splits and len(getattr(dataset, name))]
    if not splits:
        raise ValueError(f"{dataset.title} has no pairs in these splits")
    ids, fields = describe_pairs(dataset, splits)
    ids = _read_ids(found.path, dataset, splits) or ids
    for modality in MODALITIES:
        features = np.concatenate([getattr(getattr(dataset, name), f"{modality}s") for name in splits])
        rows = _different_rows(dataset, splits, modality)
        ids_of = [ids[row] for row in rows]
        fields_of = {name: [values[row] for row in rows] for name, values in fields.items()}
        _build(model, features[rows], ids_of, modality, out, fields_of, candidates=candidates)


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


def read_features(path: Path) -> np.ndarray:
    """Maps features from a `.npy` file.

    Args:
        path: of the file.

    Returns:
        `[n, d]`, real numbers.

    Raises:
        DataError: it is not such a file.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: expected real numbers [rows, features], found an archive of several arrays")
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(f"{path}: expected real numbers [rows, features], found {array.dtype} {list(array.shape)}")
    return array


def _different_rows(dataset: PairedDataset, splits: Sequence[str], modality: str) -> list[int]:
    """The pairs of some splits whose image, or whose text, is not that of an earlier pair of their group."""
    rows: list[int] = []
    start = 0
    for split in (getattr(dataset, name) for name in splits):
        rows += (start + (split.image_rows() if modality == "image" else split.text_rows())).tolist()
        start += len(split)
    return rows


def describe_pairs(dataset: PairedDataset, splits: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Returns ids and fields for the pairs of some splits.

    Args:
        dataset: the dataset.
        splits: names of splits, in the order of the pairs.

    Returns:
        The id of each pair, and its fields: its "split", its class ("group"), and of an emoji the row of its picture
        ("sprite").
    """
    ids: list[str] = []
    fields: dict[str, list[str]] = {"split": []}
    for name in splits:
        split = getattr(dataset, name)
        fields["split"] += [name] * len(split)
        ids += [f"{name} {row}" for row in range(len(split))]
        if split.labels is not None:
            fields.setdefault("group", []).extend(label_titles(dataset, split.labels))
    if dataset.name == "emoji" and not dataset.synthetic:
        from gpldan_jax.data.emoji import load_emoji_arrays

        emoji = load_emoji_arrays()
        rows = np.concatenate([np.flatnonzero(emoji.split == SPLITS.index(name)) for name in splits]).tolist()
        ids = [emoji.names[row] for row in rows]
        fields["sprite"] = [str(row) for row in rows]
    return ids, fields


def _read_ids(path, dataset, splits):
    """The ids beside the features of a file of our own keys; `None` where there are none, or not the split of each."""
    path = Path(path or "")
    if not (path.is_file() or is_npy_folder(path)) or dataset.synthetic:
        return None
    arrays = read_arrays(path, [], optional=["id", "split"])
    if "id" not in arrays:
        return None
    if "split" not in arrays:
        return _cannot_use_ids(path, "there is no split, so a drawn one decides the order of the pairs")
    rows = np.concatenate([np.flatnonzero(arrays["split"].ravel() == SPLITS.index(name)) for name in splits])
    try:
        ids = check_ids(arrays["id"].ravel(), arrays["split"].size)
    except ValueError as error:
        return _cannot_use_ids(path, str(error))
    return ids[rows].tolist() if len(rows) == sum(len(getattr(dataset, name)) for name in splits) else None


def _cannot_use_ids(path, reason):
    warnings.warn(f"{path}: id is not used ({reason}); pairs are called by split and row", stacklevel=3)


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
    console, started, folder = session.make_console(), time.perf_counter(), out / modality
    with session.progress_bar(console, f"{modality}s") as bar:
        task = bar.add_task("build", total=len(features))

        def on_items(done):
            bar.update(task, completed=done)

        index = Index.build(model, features, ids, modality, fields=fields, folder=folder, on_items=on_items)
    if candidates:
        index = index.with_candidates()
        index.save(folder)
    seconds = time.perf_counter() - started
    console.print(f"{folder}: {len(index):,} {modality}s, H = {model.projector.width}, {seconds:.1f} s")
