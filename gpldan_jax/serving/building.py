"""`search.py build`: the index of a dataset's pairs, or of features of one's own."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich.console

from gpldan_jax import models
from gpldan_jax.data import DataError, PairedDataset, read_arrays
from gpldan_jax.data.paired import SPLITS
from gpldan_jax.index import Index
from gpldan_jax.index.index import MODALITIES
from gpldan_jax.reports.examples import class_titles
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs

COLLECTION = "collection"  # in a workdir


def of_workdir(workdir: Path, out: Path, splits: Sequence[str], *, candidates: bool) -> None:
    """The images and the texts of a finished run's dataset, under its model, in `out/image` and `out/text`."""
    if not (workdir / workdirs.MODEL).is_file():
        raise ValueError(f"{workdir} holds no {workdirs.MODEL}: it is not the workdir of a finished run")
    model = models.load_model(workdir / workdirs.MODEL)
    config = workdirs.read_json(workdir / workdirs.CONFIG)["config"]["dataset"]
    dataset = session.unscaled(config)
    if model.metadata.get("dataset") != dataset.title:
        raise ValueError(
            f"{workdir}: the model is of {model.metadata.get('dataset')!r}, the config of {dataset.title!r}"
        )
    splits = [name for name in SPLITS if name in splits and len(getattr(dataset, name))]
    if not splits:
        raise ValueError(f"{dataset.title} has no pairs in these splits")
    ids, fields = described(dataset, splits)
    ids = _stored_ids(config["path"], dataset, splits) or ids
    for modality in MODALITIES:
        features = np.concatenate([getattr(getattr(dataset, name), f"{modality}s") for name in splits])
        _build(model, features, ids, modality, out, fields, candidates)


def of_features(
    model: Path, features: Path, modality: str, out: Path, *, ids: Path | None, texts: Path | None, candidates: bool
) -> None:
    """Features of one's own, which are read as they are needed; ids and texts to show are lines of text files."""
    array = read_features(features)
    names = range(len(array)) if ids is None else _lines(ids)
    fields = {} if texts is None else {"text": _lines(texts)}
    _build(models.load_model(model), array, names, modality, out, fields, candidates)


def read_features(path: Path) -> np.ndarray:
    """`[n, d]` from a `.npy` file, where it lies; `DataError` where it is none."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "biuf":
        found = (
            f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive of several arrays"
        )
        raise DataError(f"{path}: expected real numbers [rows, features], found {found}")
    return array


def described(dataset: PairedDataset, splits: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The ids of the pairs of some splits, and fields that say what is known of each."""
    titles, ids, fields = class_titles(dataset), [], {"split": []}
    for name in splits:
        split = getattr(dataset, name)
        fields["split"] += [name] * len(split)
        ids += [f"{name} {row}" for row in range(len(split))]
        if split.labels is not None:
            fields.setdefault("group", []).extend(titles[label] for label in split.labels)
    if dataset.name == "emoji" and not dataset.synthetic:
        from gpldan_jax.data.emoji import load_emoji_arrays

        emoji = load_emoji_arrays()
        rows = np.concatenate([np.flatnonzero(emoji.split == SPLITS.index(name)) for name in splits]).tolist()
        ids = [emoji.names[row] for row in rows]
        fields["sprite"] = [str(row) for row in rows]
    return ids, fields


def _stored_ids(path, dataset, splits):
    """The ids that a file of `extract.py` has of these pairs; None where there are none."""
    if not (path and Path(path).is_file() and dataset.features):
        return None
    arrays = read_arrays(path, [], optional=["id", "split"])
    if len(arrays) < 2 or arrays["id"].dtype.kind != "U":
        return None
    rows = [np.flatnonzero(arrays["split"] == SPLITS.index(name)) for name in splits]
    return arrays["id"][np.concatenate(rows)].tolist()


def _lines(path):
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be UTF-8: {error.reason} at byte {error.start}") from error


def _build(model, features, ids, modality, out, fields, candidates):
    console, started = rich.console.Console(highlight=False, markup=False, soft_wrap=True), time.perf_counter()
    with session.progress_bar(console, f"{modality}s") as bar:
        task = bar.add_task("build", total=len(features))
        index = Index.build(
            model,
            features,
            ids,
            modality,
            fields=fields,
            folder=out / modality,
            on_items=lambda items: bar.update(task, completed=items),
        )
    if candidates:
        index = index.with_candidates()
        index.save(out / modality)
    seconds = time.perf_counter() - started
    console.print(f"{out / modality}: {len(index):,} {modality}s, H = {model.projector.width}, {seconds:.1f} s")
