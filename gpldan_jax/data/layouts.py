"""What the catalogue says of a dataset: sizes, forms on disk, and where files come from.

The forms in which the datasets lie on disk, and how to read each of them.

Shapes: `n` pairs of the whole dataset, `d_i` and `d_t` image and text features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax.data.files.checks import DataError, bad_rows
from gpldan_jax.data.files.reading import read_arrays, read_list
from gpldan_jax.data.labels import normalize_labels
from gpldan_jax.data.paired import as_features
from gpldan_jax.data.splits import apportion, stratified_split

# Images, texts, and labels or None.
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Shape:
    """The sizes of one dataset variant.

    Attributes:
        splits: pairs in train, validation, test.
        image, text: feature dimensions d_i, d_t.
        classes: number of classes.
    """

    splits: tuple[int, int, int]
    image: int
    text: int
    classes: int

    @property
    def pairs(self) -> int:
        """All pairs."""
        return sum(self.splits)

    @property
    def held_out(self) -> int:
        """The pairs of validation and test, which circulate together as one test part."""
        return self.splits[1] + self.splits[2]


@dataclass(frozen=True)
class Layout:
    """One form on disk.

    Attributes:
        files: file names, all of which are needed.
        holds: what the files must hold; `{shape.image}` and the like stand for the sizes.
        read: takes the paths of `files` and the shape (None: any), returns the pairs of train,
            validation and test.
    """

    files: tuple[str, ...]
    holds: str
    read: Callable[[Sequence[Path], Shape | None], tuple[Pairs, ...]]


@dataclass(frozen=True)
class Variant:
    """One dataset with one kind of features.

    Attributes:
        name, variant: what `load_dataset` takes.
        shape: the sizes; None where the arrays themselves say them.
        layouts: the forms on disk, in the order they are tried.
        circulates: where such files are found, in words.
        nonnegative_images: whether the image features are ReLU outputs or counts.
    """

    name: str
    variant: str
    shape: Shape | None
    layouts: tuple[Layout, ...]
    circulates: str
    nonnegative_images: bool = False


# A draw of our own must not move with the training seed, or seeds would be compared on other tests.
SPLIT_SEED = 0
# Train, validation, test of features that come without a split.
OWN_SHARES = (0.8, 0.1, 0.1)


def read_generic(paths: Sequence[Path], shape: Shape | None) -> tuple[Pairs, ...]:
    """One file with `image` [n, d_i], `text` [n, d_t], `label` and, if any, `split` [n] of 0, 1, 2.

    With a shape, `label` is needed, sizes must agree, and without `split` the rows are train,
    validation and test in this order. Without one, missing splits are drawn, 80/10/10.
    """
    path = paths[0]
    needed, optional = ["image", "text"], ["label", "split"]
    if shape is not None:
        needed, optional = [*needed, "label"], ["split"]
    arrays = read_arrays(path, needed, optional=optional)
    images = _features(path, arrays, "image", shape and shape.image)
    texts = _features(path, arrays, "text", shape and shape.text)
    labels = None
    _same_count(path, "image", images, "text", texts)
    if "label" in arrays:
        labels = normalize_labels(arrays["label"], len(images), where=f"{path}[label]")
    if "split" in arrays:
        rows = _stored_split(path, arrays["split"], len(images))
        found = tuple(map(len, rows))
        if shape is not None and found != shape.splits:
            raise DataError(f"{path}[split]: expected {shape.splits} rows, found {found}")
    elif shape is not None:
        _count(f"{path}[image]", images, shape.pairs)
        rows = _consecutive(shape.splits)
    else:
        sizes = apportion(len(images), OWN_SHARES)
        rows = stratified_split(labels, sizes, seed=SPLIT_SEED)
    return _cut(images, texts, labels, rows)


def read_extractors(path: Path) -> dict[str, Any] | None:
    """What made the features of a file of `experiments/extract.py`, as `PairedDataset.features` has it, or None.

    It is under `image` and `text` of the JSON that the array `manifest` holds. A `manifest` of another kind is none.
    """
    text = read_arrays(path, [], optional=["manifest"]).get("manifest")
    try:
        manifest = json.loads(str(text))
        made = {modality: dict(manifest[modality]) for modality in ("image", "text")}
    except (KeyError, TypeError, ValueError):
        return None
    return made if all("extractor" in described for described in made.values()) else None


def read_wikipedia_cnn(paths: Sequence[Path], shape: Shape) -> tuple[Pairs, ...]:
    """`data.X1` [d_i, n], `data.X2` [d_t, n], one-hot `data.Y` [classes, n]: samples are columns.

    Its own `split` is not the official one; the columns are in the order of the official lists.
    """
    path = paths[0]
    arrays = read_arrays(path, ["data.X1", "data.X2", "data.Y"])
    images = _features(path, arrays, "data.X1", shape.image, columns=True)
    texts = _features(path, arrays, "data.X2", shape.text, columns=True)
    _same_count(path, "data.X1", images, "data.X2", texts)
    _count(f"{path}[data.X1]", images, shape.pairs)
    labels = normalize_labels(arrays["data.Y"], shape.pairs, where=f"{path}[data.Y]")
    return _cut(images, texts, labels, _consecutive(shape.splits))


def read_wikipedia_raw(paths: Sequence[Path], shape: Shape) -> tuple[Pairs, ...]:
    """`I_tr`, `I_te`, `T_tr`, `T_te` in a file, and the classes in the train and the test list."""
    path, train_list, test_list = paths
    labels = []
    for list_path, size in ((train_list, shape.splits[0]), (test_list, shape.held_out)):
        rows = read_list(list_path)
        if len(rows) != size:
            raise DataError(f"{list_path}: expected {size} lines, found {len(rows)}")
        labels.append(np.array([row[2] for row in rows], np.int64))
    arrays = read_arrays(path, ["I_tr", "I_te", "T_tr", "T_te"])
    train = _part(path, arrays, ("I_tr", "T_tr"), shape, shape.splits[0])
    held_out = _part(path, arrays, ("I_te", "T_te"), shape, shape.held_out)
    return _train_and_held_out(shape, train, held_out, labels)


def read_xmedia(paths: Sequence[Path], shape: Shape) -> tuple[Pairs, ...]:
    """The PKU release: image, text and a class of each, for train and test.

    The official test part has 1000 pairs. The paper says 300 for validation and 700 for test, not
    which: the first 300 are our reading, as for Wikipedia.
    """
    path = paths[0]
    keys = {"tr": ("I_tr_CNN", "T_tr_BOW"), "te": ("I_te_CNN", "T_te_BOW")}
    counts = {"tr": shape.splits[0], "te": shape.held_out}
    classes = {part: (f"{part}ImgCat", f"{part}TxtCat") for part in keys}
    arrays = read_arrays(path, [*sum(keys.values(), ()), *sum(classes.values(), ())])
    parts, labels = [], []
    for part, pair in keys.items():
        images, texts = _part(path, arrays, pair, shape, counts[part])
        of_image, of_text = (
            normalize_labels(arrays[key], len(images), where=f"{path}[{key}]") for key in classes[part]
        )
        if (of_image != of_text).any():
            image_key, text_key = classes[part]
            raise DataError(
                f"{path}[{image_key}]: expected the class of {text_key} for every pair, found "
                f"another in {bad_rows(of_image != of_text)}"
            )
        parts.append((images, texts))
        labels.append(of_image)
    return _train_and_held_out(shape, *parts, labels)


def read_six_files(paths: Sequence[Path], shape: Shape) -> tuple[Pairs, ...]:
    """Six `.mat` files of one variable each, called as the file; the form of the DSCMR code.

    Validation and test are the first and the last rows of its test part.
    """
    arrays = {path.stem: read_arrays(path, [path.stem])[path.stem] for path in paths}
    by_name = {path.stem: path for path in paths}
    parts, labels = [], []
    for part, count in (("train", shape.splits[0]), ("test", shape.held_out)):
        image_key, text_key, label_key = (f"{part}_{kind}" for kind in ("img", "txt", "img_lab"))
        images = _features(by_name[image_key], arrays, image_key, shape.image)
        texts = _features(by_name[text_key], arrays, text_key, shape.text)
        _count(f"{by_name[image_key]}[{image_key}]", images, count)
        _same_count(by_name[text_key], image_key, images, text_key, texts)
        where = f"{by_name[label_key]}[{label_key}]"
        parts.append((images, texts))
        labels.append(normalize_labels(arrays[label_key], len(images), where=where))
    return _train_and_held_out(shape, *parts, labels)


def read_cub(paths: Sequence[Path], shape: Shape) -> tuple[Pairs, ...]:
    """`X{1}` [n, d_i], `X{2}` [n, d_t] and `Y`; no split exists, so one is drawn, with seed 0."""
    path = paths[0]
    arrays = read_arrays(path, ["X{1}", "X{2}", "Y"])
    images, texts = _part(path, arrays, ("X{1}", "X{2}"), shape, shape.pairs)
    labels = normalize_labels(arrays["Y"], shape.pairs, where=f"{path}[Y]")
    return _cut(images, texts, labels, stratified_split(labels, shape.splits, seed=SPLIT_SEED))


def _features(
    path: Path,
    arrays: dict[str, np.ndarray],
    key: str,
    width: int | None,
    *,
    columns: bool = False,
) -> np.ndarray:
    """The features under `key` as [rows, width] float32; with `columns` stored transposed."""
    where = f"{path}[{key}]"
    features = as_features(arrays[key].T if columns else arrays[key], where=where)
    if width is not None and features.shape[1] != width:
        hint = " (transposed?)" if len(features) == width else ""
        raise DataError(
            f"{where}: expected {width} features, found {features.shape[1]} in shape {list(arrays[key].shape)}{hint}"
        )
    return features


def _part(
    path: Path, arrays: dict[str, np.ndarray], keys: tuple[str, str], shape: Shape, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images and texts of `count` pairs under the two `keys`."""
    images = _features(path, arrays, keys[0], shape.image)
    _count(f"{path}[{keys[0]}]", images, count)
    texts = _features(path, arrays, keys[1], shape.text)
    _same_count(path, keys[0], images, keys[1], texts)
    return images, texts


def _same_count(path: Path, image_key: str, images: np.ndarray, text_key: str, texts: np.ndarray) -> None:
    if len(images) != len(texts):
        raise DataError(
            f"{path}[{text_key}]: expected as many rows as {image_key} has, {len(images)}, found {len(texts)}"
        )


def _count(where: str, features: np.ndarray, expected: int) -> None:
    if len(features) != expected:
        raise DataError(f"{where}: expected {expected} pairs, found {len(features)}")


def _stored_split(path: Path, raw: np.ndarray, count: int) -> list[np.ndarray]:
    values = normalize_labels(raw, count, where=f"{path}[split]")
    numeric = values.dtype.kind == "i"
    wrong = ~np.isin(values, (0, 1, 2)) if numeric else np.ones(count, bool)
    if wrong.any():
        raise DataError(
            f"{path}[split]: expected 0 (train), 1 (validation) or 2 (test), found "
            f"{values[np.argmax(wrong)]} in {bad_rows(wrong)}"
        )
    return [np.flatnonzero(values == part) for part in range(3)]


def _consecutive(sizes: Sequence[int]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _cut(images, texts, labels, rows) -> tuple[Pairs, ...]:
    return tuple((images[part], texts[part], None if labels is None else labels[part]) for part in rows)


def _train_and_held_out(shape: Shape, train, held_out, labels) -> tuple[Pairs, ...]:
    """Train as it is; the official test part is validation first, then test."""
    return (*train, labels[0]), *_cut(*held_out, labels[1], _consecutive(shape.splits[1:]))
