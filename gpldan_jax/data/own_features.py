"""Features of any sizes in one file of our own keys, or in a folder of `.npy` files.

Letters: `n` pairs of the whole dataset; `C` classes.
"""

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax.data.descriptions import KEYS
from gpldan_jax.data.feature_arrays import take_rows
from gpldan_jax.data.files.checks import DataError, first_few, name_rows, parse_key
from gpldan_jax.data.files.npy import expected_files
from gpldan_jax.data.labels import normalize_groups, normalize_labels
from gpldan_jax.data.paired import Pairs
from gpldan_jax.data.splits import SPLIT_NAMES, apportion, grouped_split, stratified_split
from gpldan_jax.data.stored import (
    FileContents,
    Layout,
    Shape,
    Stored,
    check_count,
    check_equal_counts,
    cut_pairs,
    map_stored,
    read_stored,
    stored_features,
    stored_labels,
)
from gpldan_jax.models.column_statistics import Share

SPLIT_SEED = 0
"""Seed of the splits that this package draws: not the training seed, or seeds would be compared on other test pairs."""
OWN_SHARES = (0.8, 0.1, 0.1)
"""Train, validation and test of features that come without a split."""

_MEANT = {"images": "image", "texts": "text", "labels": "label", "class": "label", "classes": "label", "y": "label"}
_MEANT |= {"splits": "split", "groups": "group"}  # what people call the keys of our own files


def _stored_split(stored: Stored, count: int) -> list[np.ndarray]:
    values = stored_labels(stored, count)
    if values.dtype.kind == "U":
        names = [SPLIT_NAMES.get(name.strip().lower(), -1) for name in values.tolist()]
        if -1 in names:
            values = values[names.index(-1)]
            raise DataError(f"{stored.where}: expected train, validation or test, found {str(values)!r}")
        values = np.array(names)
    wrong = ~np.isin(values, (0, 1, 2)) if values.dtype.kind == "i" else np.ones(count, bool)
    if wrong.any():
        raise DataError(
            f"{stored.where}: expected 0 (train), 1 (validation) or 2 (test), found "
            f"{values[np.argmax(wrong)]} in {name_rows(wrong)}"
        )
    return [np.flatnonzero(values == part) for part in range(3)]


def _read_manifest(arrays: dict[str, Stored]) -> dict[str, Any] | None:
    """What the JSON of `manifest` says under `image` and `text`; `None` for a manifest of another kind."""
    try:
        manifest = json.loads(str(arrays["manifest"].values))
        features = {modality: dict(manifest[modality]) for modality in ("image", "text")}
    except (KeyError, TypeError, ValueError):
        return None
    return features if all("extractor" in described for described in features.values()) else None


def consecutive_rows(sizes: Sequence[int]) -> list[slice]:
    """Returns the rows of parts that lie one after the other."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _name_others(path: Path, others: dict[str, str], found: Iterable[str]) -> None:
    """Names what a file of ours holds and is not used; `DataError` for what was meant to be used."""
    # In a folder others are whole names of files.
    names = {key if path.is_dir() else parse_key(key)[0]: kind for key, kind in reversed(others.items())}
    # Descriptions are for pages; HDF5 files of MATLAB have parts of their own, such as `#refs#`.
    unused = {str(name): names[name] for name in reversed(names) if name not in KEYS and not str(name).startswith("#")}
    for name in unused:
        stem = Path(name).stem.lower() if path.is_dir() else name.lower()
        meant = _MEANT.get(stem, stem)
        if meant in _MEANT.values() and meant not in found:
            what = f"{name!r} is not read" if path.is_dir() else f"no key is called {name!r}"
            file = f"{meant}.npy" if path.is_dir() else meant
            raise DataError(f"{path}: {what}: did you mean {file!r}? Rename it, or leave it out")
    if unused:
        listed = [f"{name} ({kind})" if kind else name for name, kind in unused.items()]
        warnings.warn(f"{path}: not used: {first_few(listed, limit=10)}", stacklevel=2)


def read_on_disk(paths: Sequence[Path], shape: Shape | None, *, share: Share | None = None) -> FileContents:
    """Reads a folder of `.npy` files, but for the features, which stay on disk; see `FeaturesOnDisk`."""
    return _read_generic(paths, shape, on_disk=True, share=share)


def _read_generic(
    paths: Sequence[Path], shape: Shape | None, *, on_disk: bool = False, share: Share | None = None
) -> FileContents:
    """With a shape, labels are needed and rows without a split are train, validation, test; else a split is drawn."""
    required, optional = ["image", "text"], ["split", "group", "class_names", "image_of", "text_of", "manifest"]
    (optional if shape is None else required).append("label")
    others: dict[str, str] = {}
    mapped = map_stored(paths[0], required[:2], share) if on_disk else {}
    arrays = mapped | read_stored(paths[0], [key for key in required if key not in mapped], optional, others.update)
    _name_others(paths[0], {key: kind for key, kind in others.items() if key not in mapped}, arrays)
    images, texts = _items(arrays, shape)
    labels = groups = None
    if "label" in arrays:
        per_item = "any" if shape is None or shape.several_classes else "one"
        labels = normalize_labels(arrays["label"].values, len(images), where=arrays["label"].where, per_item=per_item)
    if "group" in arrays:
        groups = normalize_groups(arrays["group"].values, len(images), where=arrays["group"].where)
    rows: Sequence[np.ndarray | slice]
    if "split" in arrays:
        rows = _stored_split(arrays["split"], len(images))
        found = tuple(map(len, rows))
        if shape is not None and found != shape.splits:
            raise DataError(f"{arrays['split'].where}: expected {shape.splits} rows, found {found}")
    elif shape is not None:
        check_count(arrays["image"], images, shape.pairs)
        rows = consecutive_rows(shape.splits)
    elif groups is not None:
        rows = grouped_split(groups, labels, OWN_SHARES, seed=SPLIT_SEED)
    else:
        rows = stratified_split(labels, apportion(len(images), OWN_SHARES), seed=SPLIT_SEED)
    names = _class_names(arrays["class_names"]) if "class_names" in arrays else None
    pairs = Pairs(images, texts, labels, groups)
    of_splits = tuple(np.arange(len(images))[part] for part in rows)
    return FileContents(cut_pairs(pairs, rows), _read_manifest(arrays), names, of_splits)


def _items(arrays: dict[str, Stored], shape: Shape | None) -> tuple[np.ndarray, np.ndarray]:
    """The images and texts of the pairs; a file may hold an image once and say which pairs have it, in `image_of`."""
    sides = []
    for modality, width in (("image", shape.image if shape else None), ("text", shape.text if shape else None)):
        features, rows = stored_features(arrays[modality], width, False), arrays.get(f"{modality}_of")
        if rows is not None:
            if rows.values.ndim != 1 or rows.values.dtype.kind not in "iu":
                raise DataError(f"{rows.where}: expected whole numbers [rows], found {rows.values.dtype}")
            outside = (rows.values < 0) | (rows.values >= len(features))
            if outside.any():
                raise DataError(
                    f"{rows.where}: expected rows of {modality}, 0 to {len(features) - 1}, found "
                    f"{rows.values[np.argmax(outside)]} in {name_rows(outside)}"
                )
            features = take_rows(features, rows.values)
        sides.append(features)
    check_equal_counts(arrays["image"], arrays["text"], *sides)
    return sides[0], sides[1]


def _class_names(stored: Stored) -> list[str]:
    values = np.ravel(stored.values)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        values = values.astype(str)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind != "U" or len(set(values.tolist())) < len(values):
        raise DataError(f"{stored.where}: expected different strings, one for each class, found {values.dtype}")
    return values.tolist()


_GENERIC = (
    "image [{shape.pairs}, {shape.image}], text [{shape.pairs}, {shape.text}], label [{shape.pairs}], and optionally "
    "split [{shape.pairs}] of 0, 1, 2; without split the rows are {shape.splits[0]} train, {shape.splits[1]} "
    "validation, {shape.splits[2]} test"
)


def own_layouts(stem: str) -> tuple[Layout, ...]:
    """Returns the forms of a dataset in one file of this package's own keys."""
    return tuple(Layout((stem + suffix,), _GENERIC, _read_generic) for suffix in (".npz", ".h5", ".mat"))


OWN_FEATURES = Layout(
    ("FILE.npz",),
    "image [rows, features], text [rows, features], and optionally label [rows] or [rows, classes] of 0 and 1 (with "
    "class_names [classes]), group [rows] (the same for pairs that belong together) and split [rows] of 0, 1, 2 or "
    "names; where pairs share an image it may be there once, and image_of [rows] say which row of image each pair has; "
    "id [rows], caption [rows] and image_file [rows] (the path of the image) are shown by searches; "
    ".h5 and .mat will do as well",
    _read_generic,
)
"""Features of any sizes."""


NPY_FOLDER = Layout(
    ("FOLDER of .npy files",),
    f"one file for each key ({expected_files()}; .txt with an item in each line)",
    _read_generic,
)
"""Features as CLIP tools write them."""
