"""Image-text pairs in three splits: what they must be, how raw arrays become them, and how they are scaled.

Letters: `n` pairs of a split; `d_i`, `d_t` widths of the image and the text features; `C` classes.

An array is checked once, when it comes in: by the constructor of `PairedSplit`, by `paired_dataset`, or by a reader of
`gpldan_jax.data.layouts`. `split_from_checked` and `dataset_from_checked` take arrays that were checked there.
"""

import hashlib
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data.feature_arrays import as_features, take_rows
from gpldan_jax.data.files.checks import DataError, first_few
from gpldan_jax.data.information import NOTHING_COUNTED, WithoutInformation
from gpldan_jax.data.labels import encode_labels, is_labelled, normalize_groups, normalize_labels
from gpldan_jax.models.column_statistics import row_blocks

SPLITS = ("train", "validation", "test")


class Pairs(NamedTuple):
    """Checked arrays of `n` pairs, as `as_features`, `normalize_labels` and `normalize_groups` return them."""

    images: np.ndarray
    texts: np.ndarray
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None

    def take(self, rows: np.ndarray | slice) -> "Pairs":
        """Returns some of the pairs."""
        labels, groups = (None if array is None else array[rows] for array in (self.labels, self.groups))
        return Pairs(take_rows(self.images, rows), take_rows(self.texts, rows), labels, groups)


@dataclass(frozen=True, eq=False)
class PairedSplit:
    """The pairs of one split; row i of each array is pair i.

    Attributes:
        images: `[n, d_i]` float32, an array or `FeaturesOnDisk`; float64 where float32 has too few digits and they are
            not scaled yet.
        texts: `[n, d_t]`, the same.
        labels: `[n]` int32 class indices, -1 for a pair without a class; or `[n, C]` bool, a column for each class,
            where pairs have several; or `None`.
        groups: `[n]`, whole numbers or strings, the same for pairs that belong together, such as five texts of one
            image; or `None`, where each pair stands alone.

    Raises:
        DataError: what `as_features` refuses, unequal counts, or labels that are neither whole numbers nor bools.

    Example:
        >>> split = PairedSplit(np.ones((3, 5)), np.eye(3), groups=["cat", "cat", "dog"])
        >>> len(split), split.image_rows().tolist(), split.text_rows().tolist()
        (3, [0, 2], [0, 1, 2])
    """

    images: np.ndarray
    texts: np.ndarray
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __post_init__(self):
        images = as_features(self.images, where="images")
        texts = as_features(self.texts, where="texts")
        if len(images) != len(texts):
            raise DataError(f"expected as many texts as images, found {_counts(images, texts)}")
        labels = self.labels
        if labels is not None:
            labels = np.asarray(labels)
            if (labels.ndim, labels.dtype.kind) not in {(1, "i"), (1, "u"), (2, "b")}:
                raise DataError(
                    f"labels: expected class indices [n], or [n, C] bool, found {labels.dtype} {list(labels.shape)}"
                )
            if len(labels) != len(images):
                raise DataError(f"labels: expected one per pair, found {len(labels)} for {len(images)} pairs")
            labels = np.ascontiguousarray(labels, dtype=np.int32 if labels.ndim == 1 else np.bool_)
        groups = None if self.groups is None else normalize_groups(self.groups, len(images), where="groups")
        _set_arrays(self, Pairs(images, texts, labels, groups))

    def __len__(self) -> int:
        return len(self.images)

    def image_rows(self) -> np.ndarray:
        """Returns the rows of the different images: all without groups, else the first of each image of a group."""
        return np.arange(len(self)) if self.groups is None else different_rows(self.images, self.groups)[0]

    def text_rows(self) -> np.ndarray:
        """Returns the rows of the different texts: all without groups, else the first of each text of a group."""
        return np.arange(len(self)) if self.groups is None else different_rows(self.texts, self.groups)[0]


def different_rows(features: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different items of one modality: equal features in one group are one item.

    Args:
        features: `[n, d]`.
        groups: `[n]`.

    Returns:
        The first row of each item, `[u]` int64, ascending; and the place among them of each row's item, `[n]` int32.

    Example:
        >>> different_rows(np.array([[1.0], [1.0], [2.0], [1.0]]), np.array([0, 0, 0, 1]))
        (array([0, 2, 3]), array([0, 0, 1, 2], dtype=int32))
    """
    places: dict[tuple, int] = {}
    item_of = np.empty(len(features), np.int32)
    rows: list[int] = []
    for row, (group, values) in enumerate(zip(groups.tolist(), features, strict=True)):
        place = places.setdefault((group, values.tobytes()), len(places))
        if place == len(rows):
            rows.append(row)
        item_of[row] = place
    return np.array(rows, np.int64), item_of


def split_from_checked(pairs: Pairs) -> PairedSplit:
    """Makes a split of arrays that were checked, or of their rows, without looking at their values again."""
    split = object.__new__(PairedSplit)
    _set_arrays(split, pairs)
    return split


@dataclass(frozen=True, eq=False)
class PairedDataset:
    """Three splits of image-text pairs with common feature widths and classes.

    Attributes:
        name: what the dataset is called in reports.
        train: the training split, the only one that must have pairs.
        validation: the validation split.
        test: the test split.
        class_names: the C class names, or `None`.
        synthetic: whether the features were generated instead of read.
        features: how the features were computed, for `gpldan_jax.features.extractor`, JSON values: `{"image":
            {"extractor": name, ...}, "text": ...}`; `None` where that is not known. Not part of the fingerprint.
        file_rows: for each split the rows of its pairs in their file, for `gpldan_jax.data.describe`; `None` where that
            is not known. Not part of the fingerprint.
        empty: what of the features carries no information, counted by `standardize`.

    Raises:
        DataError: an empty training split, widths that differ between splits, labels in some splits only, or labels
            outside 0..C-1.

    Example:
        >>> split = PairedSplit(np.ones((3, 5)), np.ones((3, 2)))
        >>> PairedDataset("mine", split, split, split).image_dim
        5
    """

    name: str
    train: PairedSplit
    validation: PairedSplit
    test: PairedSplit
    class_names: tuple[str, ...] | None = None
    synthetic: bool = False
    features: Mapping[str, Any] | None = None
    file_rows: tuple[np.ndarray, ...] | None = None
    empty: WithoutInformation = NOTHING_COUNTED

    def __post_init__(self):
        if not len(self.train):
            raise DataError(f"{self.name}: expected training pairs, found 0")
        for name in SPLITS:
            split = getattr(self, name)
            found = (split.images.shape[1], split.texts.shape[1])
            if found != (self.image_dim, self.text_dim):
                raise DataError(
                    f"{self.name} {name}: expected {self.image_dim} image and {self.text_dim} text "
                    f"features as in train, found {found[0]} and {found[1]}"
                )
            labels = split.labels
            if (labels is None) != (self.train.labels is None):
                raise DataError(f"{self.name}: expected labels in all splits or in none")
            if labels is not None and self.class_names is not None:
                _check_classes(labels, len(self.class_names), f"{self.name} {name}")

    @property
    def image_dim(self) -> int:
        """The number of image features, `d_i`."""
        return self.train.images.shape[1]

    @property
    def text_dim(self) -> int:
        """The number of text features, `d_t`."""
        return self.train.texts.shape[1]

    @property
    def title(self) -> str:
        """The name, marked where the features are generated."""
        return f"{self.name} (synthetic)" if self.synthetic else self.name

    def fingerprint(self) -> str:
        """Returns the SHA-256 (hex) of all arrays: types, shapes and bytes, not the names."""
        digest = hashlib.sha256()
        for split in (getattr(self, name) for name in SPLITS):
            # Groups came later: a dataset without them has the fingerprint that it always had.
            arrays = [split.images, split.texts, split.labels, *([] if split.groups is None else [split.groups])]
            for array in arrays:
                if array is None:
                    digest.update(b"none;")
                    continue
                digest.update(f"{array.dtype.newbyteorder('<').str}{array.shape};".encode())
                for block in row_blocks(array) if array.ndim == 2 else [array]:
                    digest.update(np.ascontiguousarray(block, block.dtype.newbyteorder("<")).data)
        return digest.hexdigest()


def _check_classes(labels: np.ndarray, count: int, where: str) -> None:
    if labels.ndim == 2:
        if labels.shape[1] != count:
            raise DataError(f"{where}: expected labels [n, {count}], found {list(labels.shape)}")
    elif len(labels) and (labels.min() < -1 or labels.max() >= count):
        raise DataError(
            f"{where}: expected labels in 0..{count - 1}, or -1 for none, found {labels.min()}..{labels.max()}"
        )


def paired_dataset(
    name: str,
    *,
    train: tuple[ArrayLike, ArrayLike, ArrayLike | None],
    validation: tuple[ArrayLike, ArrayLike, ArrayLike | None],
    test: tuple[ArrayLike, ArrayLike, ArrayLike | None],
    synthetic: bool = False,
    features: Mapping[str, Any] | None = None,
) -> PairedDataset:
    """Checks raw arrays of three splits and makes a dataset of them.

    Class values are mapped jointly to 0..C-1; -1, NaN, "" and a row of zeros stand for no class. Pairs without a class,
    and a class of validation or test that train lacks, give a `UserWarning`.

    Args:
        name: what the dataset is called in reports and messages.
        train: the images `[n, d_i]`, the texts `[n, d_t]`, and the labels in any form that `normalize_labels` takes,
            or `None`.
        validation: the same for the validation split.
        test: the same for the test split.
        synthetic: whether the features are generated.
        features: how the features were computed, see `PairedDataset`.

    Returns:
        The dataset.

    Raises:
        DataError: unequal counts, inconsistent widths, non-finite values, labels in some splits only, an empty
            training split.

    Example:
        >>> images, texts = np.eye(4), np.ones((4, 2))
        >>> data = paired_dataset(
        ...     "mine",
        ...     train=(images, texts, ["cat", "dog", "cat", "dog"]),
        ...     validation=(images[:1], texts[:1], ["dog"]),
        ...     test=(images[:2], texts[:2], ["cat", "dog"]),
        ... )
        >>> data.class_names, data.test.labels
        (('cat', 'dog'), array([0, 1], dtype=int32))
    """
    checked: list[Pairs] = []
    for split, (raw_images, raw_texts, raw_labels) in zip(SPLITS, (train, validation, test), strict=True):
        where = f"{name} {split}"
        kept = (checked[0].images.dtype, checked[0].texts.dtype) if checked else (None, None)
        images = as_features(raw_images, where=f"{where} images", dtype=kept[0])
        texts = as_features(raw_texts, where=f"{where} texts", dtype=kept[1])
        if len(images) != len(texts):
            raise DataError(f"{where}: expected as many texts as images, found {_counts(images, texts)}")
        labels = raw_labels
        if labels is not None:
            labels = normalize_labels(labels, len(images), where=f"{where} labels", per_item="any")
        checked.append(Pairs(images, texts, labels))
    return dataset_from_checked(name, checked, synthetic=synthetic, features=features)


def dataset_from_checked(
    name: str,
    splits: Sequence[Pairs],
    *,
    synthetic: bool = False,
    features: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    cut_groups: bool = False,
    file_rows: tuple[np.ndarray, ...] | None = None,
) -> PairedDataset:
    """Makes a dataset of arrays that were checked before, without looking at their features again.

    `class_names` are those of the columns of labels `[n, C]`. A group that is in two splits is a `DataError`, unless
    `cut_groups` allows it: the model would be tested on what it was trained on.
    """
    labelled = {split: pairs.labels for split, pairs in zip(SPLITS, splits, strict=True) if pairs.labels is not None}
    if labelled and len(labelled) < len(SPLITS):
        found = first_few(labelled, limit=3)
        raise DataError(f"{name}: expected labels in all splits or in none, found them only in {found}")
    encoded: tuple[Any, ...] = (None,) * len(SPLITS)
    names = None
    if labelled:
        encoded, names = encode_labels(*labelled.values(), names=class_names)
        _count_unlabelled(name, encoded)
    train, validation, test = (
        split_from_checked(pairs._replace(labels=labels, groups=groups))
        for pairs, labels, groups in zip(splits, encoded, _encode_groups(name, splits, cut_groups), strict=True)
    )
    dataset = PairedDataset(name, train, validation, test, names, synthetic, features, file_rows)
    if names:
        seen = _present(train.labels)
        for split, labels in zip(SPLITS[1:], encoded[1:], strict=True):
            if len(unseen := np.setdiff1d(_present(labels), seen)) and len(seen):
                classes = first_few([names[index] for index in unseen], limit=10)
                warnings.warn(f"{name} {split}: train has no pair of class {classes}", stacklevel=3)
    return dataset


def _present(labels: np.ndarray | None) -> np.ndarray:
    """The classes that some pair has."""
    if labels is None:
        return np.empty(0, np.int64)
    return np.flatnonzero(labels.any(axis=0)) if labels.ndim == 2 else np.setdiff1d(labels, [-1])


def _count_unlabelled(name: str, encoded: Sequence[np.ndarray]) -> None:
    counts = {}
    for split, labels in zip(SPLITS, encoded, strict=True):
        if missing := int((~is_labelled(labels)).sum()):
            counts[split] = f"{missing:,} of {len(labels):,} in {split}"
            if missing == len(labels) and split != "train":
                raise DataError(f"{name} {split}: no pair has a label; give some a label, or leave all labels out")
    if counts:
        warnings.warn(
            f"{name}: pairs without a label (-1, empty or NaN): {', '.join(counts.values())}; figures by labels leave "
            "them out",
            stacklevel=4,
        )


def _encode_groups(name: str, splits: Sequence[Pairs], cut_groups: bool) -> list[np.ndarray | None]:
    """Returns the groups of each split as int32, numbered jointly; `DataError` where two splits share one."""
    found = [pairs.groups for pairs in splits if pairs.groups is not None]
    if not found:
        return [None] * len(splits)
    if len(found) < len(splits):
        raise DataError(f"{name}: expected groups in all splits or in none")
    values, numbers = np.unique(np.concatenate(found), return_inverse=True)
    parts = np.split(numbers.astype(np.int32), np.cumsum([len(groups) for groups in found])[:-1])
    for first, second in itertools.combinations(range(len(SPLITS)), 2) if not cut_groups else ():
        if len(shared := np.intersect1d(parts[first], parts[second])):
            raise DataError(
                f"{name}: {SPLITS[first]} and {SPLITS[second]} share {len(shared)} groups, such as "
                f"{first_few(values[shared], limit=3)}; pairs of one group must be in one split; cut_groups=True, the "
                "setting dataset.cut_groups, allows others"
            )
    return [*parts]


def label_titles(dataset: PairedDataset, labels: np.ndarray) -> list[str]:
    """Returns the titles of the classes of some pairs: several titles with commas, "" for no class.

    Args:
        dataset: the dataset of the pairs.
        labels: `[n]` or `[n, C]`, as in `PairedSplit`.

    Returns:
        n strings.

    Example:
        >>> split = PairedSplit(np.ones((2, 5)), np.ones((2, 2)), np.array([1, -1]))
        >>> label_titles(PairedDataset("mine", split, split, split, class_names=("3", "cat")), split.labels)
        ['cat', '']
    """
    titles = class_titles(dataset)
    if labels.ndim == 2:
        return [", ".join(titles[index] for index in np.flatnonzero(row)) for row in labels]
    return [titles[label] if label >= 0 else "" for label in labels]


def class_titles(dataset: PairedDataset) -> tuple[str, ...]:
    """Returns what pages call the classes: their names, and "class 3" where the name is a bare number.

    Args:
        dataset: any dataset.

    Returns:
        C titles, none where the dataset has no class names.

    Example:
        >>> split = PairedSplit(np.ones((2, 5)), np.ones((2, 2)), np.array([0, 1]))
        >>> class_titles(PairedDataset("mine", split, split, split, class_names=("3", "cat")))
        ('class 3', 'cat')
    """
    return tuple(f"class {name}" if name.lstrip("-").isdecimal() else name for name in dataset.class_names or ())


def _set_arrays(split: PairedSplit, pairs: Pairs) -> None:
    for name, value in pairs._asdict().items():
        object.__setattr__(split, name, value)  # the dataclass is frozen


def _counts(images: np.ndarray, texts: np.ndarray) -> str:
    return f"{len(images)} images and {len(texts)} texts"
