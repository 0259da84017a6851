"""Datasets as files store them: sizes, forms on disk, and arrays that are read and checked.

Letters: `n` pairs of the whole dataset; `d_i`, `d_t` widths of the image and the text features; `C` classes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpldan_jax.data.feature_arrays import FeaturesOnDisk, as_features
from gpldan_jax.data.files.checks import DataError
from gpldan_jax.data.files.reading import map_arrays, read_arrays
from gpldan_jax.data.labels import normalize_labels
from gpldan_jax.data.paired import Pairs
from gpldan_jax.models.column_statistics import Share


@dataclass(frozen=True)
class Shape:
    """The sizes of one dataset variant.

    Attributes:
        splits: pairs in train, validation, test.
        image: `d_i`.
        text: `d_t`.
        classes: C.
        several_classes: whether a pair may have several classes, or none.

    Example:
        >>> Shape((80, 10, 20), image=5, text=3, classes=2).held_out
        30
    """

    splits: tuple[int, int, int]
    image: int
    text: int
    classes: int
    several_classes: bool = False

    @property
    def pairs(self) -> int:
        """The number of all pairs, n."""
        return sum(self.splits)

    @property
    def held_out(self) -> int:
        """The pairs of validation and test, which circulate together as one test part."""
        return self.splits[1] + self.splits[2]


class FileContents(NamedTuple):
    """What the files of a layout hold."""

    splits: tuple[Pairs, ...]  # the checked pairs of train, validation and test
    features: dict[str, Any] | None = None  # how the features were computed, as `PairedDataset.features`
    class_names: Sequence[str] | None = None  # of the columns of labels `[n, C]`
    rows: tuple[np.ndarray, ...] | None = None  # the rows in the file of the pairs of each split


@dataclass(frozen=True)
class Layout:
    """One form on disk.

    Attributes:
        files: file names, all of which are needed.
        holds: what the files must hold; `{shape.image}` and the like stand for the sizes.
        read: takes the paths of `files` and the shape (`None`: any) and returns the contents; `DataError` where the
            files do not hold them.

    Example:
        >>> from gpldan_jax.data.layouts import CUB
        >>> CUB.files
        ('cub_googlenet_doc2vec_c10.mat',)
    """

    files: tuple[str, ...]
    holds: str
    read: Callable[[Sequence[Path], Any], FileContents]


@dataclass(frozen=True)
class Variant:
    """One dataset with one kind of features.

    Attributes:
        name: of the dataset, as `load_dataset` takes it.
        variant: of the features, as `load_dataset` takes it.
        shape: the sizes; `None` where the arrays themselves decide them.
        layouts: the forms on disk, in the order they are tried.
        circulates: where such files are found, in words.
        nonnegative_images: whether the image features are ReLU outputs or counts.
        title: what reports call it; `None` for the name, with the variant where there are several.

    Example:
        >>> from gpldan_jax.data.own_features import own_layouts
        >>> Variant("mine", "own", None, own_layouts("mine"), "my own files").layouts[0].files
        ('mine.npz',)
    """

    name: str
    variant: str
    shape: Shape | None
    layouts: tuple[Layout, ...]
    circulates: str
    nonnegative_images: bool = False
    title: str | None = None


class Stored(NamedTuple):
    """An array as a file stores it; `where` is the file and the key, for messages."""

    key: str
    where: str
    values: Any  # an array, or `FeaturesOnDisk`


def read_stored(
    path: Path,
    keys: Iterable[str],
    optional: Iterable[str] = (),
    others: Callable[[dict[str, str]], object] | None = None,
) -> dict[str, Stored]:
    """Reads arrays of a file; see `gpldan_jax.data.files.reading.read_arrays`."""
    arrays = read_arrays(path, keys, optional=optional, others=others)
    return {key: Stored(key, f"{path}[{key}]", values) for key, values in arrays.items()}


def map_stored(path: Path, keys: Iterable[str], share: Share | None = None) -> dict[str, Stored]:
    """Returns features of a folder of `.npy` files that stay there, `FeaturesOnDisk`."""
    is_first = share is None or share.index == 0  # one process reads everything, for all
    mapped = map_arrays(path, keys, check=is_first)
    for key, files in mapped.items():
        if files[0].values.ndim != 2:
            raise DataError(f"{path}[{key}]: expected shape [rows, features], found {list(files[0].values.shape)}")
    return {key: Stored(key, f"{path}[{key}]", FeaturesOnDisk(files, share=share)) for key, files in mapped.items()}


def stored_pairs(
    image: Stored,
    text: Stored,
    shape: Shape | None,
    count: int | None = None,
    *,
    columns: bool = False,
    like: Sequence[Pairs] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the checked images and texts of `count` pairs (`None`: any number), stored as rows or as columns.

    The first of `like` are the training pairs that these are scaled with, where another array holds them.
    """
    kept = (like[0].images.dtype, like[0].texts.dtype) if like else (None, None)
    image_width, text_width = (shape.image, shape.text) if shape else (None, None)
    images = stored_features(image, image_width, columns, kept[0])
    if count is not None:
        check_count(image, images, count)
    texts = stored_features(text, text_width, columns, kept[1])
    check_equal_counts(image, text, images, texts)
    return images, texts


def check_equal_counts(image: Stored, text: Stored, images: np.ndarray, texts: np.ndarray) -> None:
    """Checks that there are as many texts as images."""
    if len(images) != len(texts):
        raise DataError(f"{text.where}: expected as many rows as {image.key} has, {len(images)}, found {len(texts)}")


def stored_features(stored: Stored, width: int | None, columns: bool, dtype: np.dtype | None = None) -> np.ndarray:
    """Returns checked features, stored as rows or as columns; `width` is their expected number, `None` for any."""
    features = as_features(stored.values.T if columns else stored.values, where=stored.where, dtype=dtype)
    if width is not None and features.shape[1] != width:
        hint = " (transposed?)" if len(features) == width else ""
        raise DataError(
            f"{stored.where}: expected {width} features, found {features.shape[1]} in shape "
            f"{list(stored.values.shape)}{hint}"
        )
    return features


def stored_labels(stored: Stored, count: int) -> np.ndarray:
    """Returns one class for each of `count` pairs."""
    return normalize_labels(stored.values, count, where=stored.where)


def check_count(stored: Stored, features: np.ndarray, expected: int) -> None:
    """Checks the number of pairs."""
    if len(features) != expected:
        raise DataError(f"{stored.where}: expected {expected} pairs, found {len(features)}")


def cut_pairs(pairs: Pairs, rows: Iterable[np.ndarray | slice]) -> tuple[Pairs, ...]:
    """Returns the pairs of each part."""
    return tuple(pairs.take(part) for part in rows)
