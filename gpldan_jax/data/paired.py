"""Image-text pairs in three splits: what they must be, how raw arrays become them, and how they are scaled.

Letters: `n` pairs of a split; `d_i`, `d_t` widths of the image and the text features; `C` classes.

An array is checked once, when it comes in: by the constructor of `PairedSplit`, by `paired_dataset`, or by a reader of
`gpldan_jax.data.layouts`. `split_from_checked` and `dataset_from_checked` take arrays that were checked there.
"""

import dataclasses
import hashlib
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data.files.checks import DataError, first_few, name_rows
from gpldan_jax.data.labels import encode_labels, normalize_groups, normalize_labels
from gpldan_jax.models.trained import Standardization

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
        return Pairs(self.images[rows], self.texts[rows], labels, groups)


def as_features(array: ArrayLike, *, where: str) -> np.ndarray:
    """Checks a feature matrix of real numbers or bools, `[n, d]`, and converts it to float32; `where` is for messages.

    Returns:
        `[n, d]` float32, C-contiguous, finite. An array that is already so is returned as it is.

    Raises:
        DataError: objects, strings or complex numbers, another number of axes, NaN, Inf or values outside the float32
            range; the message names the first rows.
    """
    values = np.asarray(array)
    if values.dtype.kind not in "biuf":
        raise DataError(f"{where}: expected real numbers, found {values.dtype}")
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"{where}: expected shape [rows, features], found {list(values.shape)}")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise DataError(f"{where}: expected finite float32 values, found NaN, Inf or overflow in {name_rows(~finite)}")
    return values


@dataclass(frozen=True, eq=False)
class PairedSplit:
    """The pairs of one split; row i of each array is pair i.

    Attributes:
        images: `[n, d_i]` float32.
        texts: `[n, d_t]` float32.
        labels: `[n]` int32 class indices, or `None`.
        groups: `[n]`, whole numbers or strings, the same for pairs that belong together, such as five texts of one
            image; or `None`, where each pair stands alone.

    Raises:
        DataError: what `as_features` refuses, unequal counts, or labels that are no whole numbers.

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
            if labels.dtype.kind not in "iu" or labels.ndim != 1:
                raise DataError(f"labels: expected class indices [n], found {labels.dtype} {list(labels.shape)}")
            if len(labels) != len(images):
                raise DataError(f"labels: expected one per pair, found {len(labels)} for {len(images)} pairs")
            labels = np.ascontiguousarray(labels, dtype=np.int32)
        groups = None if self.groups is None else normalize_groups(self.groups, len(images), where="groups")
        _set_arrays(self, Pairs(images, texts, labels, groups))

    def __len__(self) -> int:
        return len(self.images)

    def image_rows(self) -> np.ndarray:
        """Returns the rows of the different images: all without groups, else the first of each image of a group."""
        return _different_rows(self.images, self.groups)

    def text_rows(self) -> np.ndarray:
        """Returns the rows of the different texts: all without groups, else the first of each text of a group."""
        return _different_rows(self.texts, self.groups)


def _different_rows(features: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    if groups is None:
        return np.arange(len(features))
    seen: dict[tuple, int] = {}
    for row, (group, values) in enumerate(zip(groups.tolist(), features, strict=True)):
        seen.setdefault((group, values.tobytes()), row)
    return np.array(list(seen.values()), np.int64)


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
            if labels is None or self.class_names is None or not len(labels):
                continue
            if labels.min() < 0 or labels.max() >= len(self.class_names):
                raise DataError(
                    f"{self.name} {name}: expected labels in 0..{len(self.class_names) - 1}, found "
                    f"{labels.min()}..{labels.max()}"
                )

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
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                digest.update(f"{little.dtype.str}{little.shape};".encode())
                digest.update(little)
        return digest.hexdigest()


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

    Class values are mapped jointly to 0..C-1. A class of validation or test that train lacks gives a `UserWarning`.

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
        images = as_features(raw_images, where=f"{where} images")
        texts = as_features(raw_texts, where=f"{where} texts")
        if len(images) != len(texts):
            raise DataError(f"{where}: expected as many texts as images, found {_counts(images, texts)}")
        labels = None if raw_labels is None else normalize_labels(raw_labels, len(images), where=f"{where} labels")
        checked.append(Pairs(images, texts, labels))
    return dataset_from_checked(name, checked, synthetic=synthetic, features=features)


def dataset_from_checked(
    name: str, splits: Sequence[Pairs], *, synthetic: bool = False, features: Mapping[str, Any] | None = None
) -> PairedDataset:
    """Makes a dataset of arrays that were checked before, without looking at their features again.

    A group that is in two splits is a `DataError`: the model would be tested on what it was trained on.
    """
    labelled = {split: pairs.labels for split, pairs in zip(SPLITS, splits, strict=True) if pairs.labels is not None}
    if labelled and len(labelled) < len(SPLITS):
        found = first_few(labelled, limit=3)
        raise DataError(f"{name}: expected labels in all splits or in none, found them only in {found}")
    encoded: tuple[Any, ...] = (None,) * len(SPLITS)
    class_names = None
    if labelled:
        encoded, class_names = encode_labels(*labelled.values())
    train, validation, test = (
        split_from_checked(pairs._replace(labels=labels, groups=groups))
        for pairs, labels, groups in zip(splits, encoded, _encode_groups(name, splits), strict=True)
    )
    dataset = PairedDataset(name, train, validation, test, class_names, synthetic, features)
    if class_names:
        for split, labels in zip(SPLITS[1:], encoded[1:], strict=True):
            unseen = [class_names[index] for index in np.setdiff1d(labels, encoded[0])]
            if unseen:
                classes = first_few(unseen, limit=10)
                warnings.warn(f"{name} {split}: train has no pair of class {classes}", stacklevel=3)
    return dataset


def _encode_groups(name: str, splits: Sequence[Pairs]) -> list[np.ndarray | None]:
    """Returns the groups of each split as int32, numbered jointly; `DataError` where two splits share one."""
    found = [pairs.groups for pairs in splits if pairs.groups is not None]
    if not found:
        return [None] * len(splits)
    if len(found) < len(splits):
        raise DataError(f"{name}: expected groups in all splits or in none")
    values, numbers = np.unique(np.concatenate(found), return_inverse=True)
    parts = np.split(numbers.astype(np.int32), np.cumsum([len(groups) for groups in found])[:-1])
    for first, second in itertools.combinations(range(len(SPLITS)), 2):
        if len(shared := np.intersect1d(parts[first], parts[second])):
            raise DataError(
                f"{name}: {SPLITS[first]} and {SPLITS[second]} share {len(shared)} groups, such as "
                f"{first_few(values[shared], limit=3)}; pairs of one group must be in one split"
            )
    return [*parts]


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


def standardize(dataset: PairedDataset, *, image: bool, text: bool) -> tuple[PairedDataset, Standardization]:
    """Scales the features of all splits to zero mean and unit variance on the training split.

    The statistics are taken in float64 and stored in float32; a column that is constant in the training split gets the
    standard deviation 1.

    Args:
        dataset: any dataset.
        image: whether to scale the images.
        text: whether to scale the texts.

    Returns:
        The scaled dataset and the statistics. Arrays that are not scaled are those of `dataset`, not copies.

    Raises:
        DataError: a scaled value is outside the float32 range; the message names the first rows.

    Example:
        >>> rows = (np.array([[1.0, 5.0], [3.0, 5.0]]), np.ones((2, 1)), None)
        >>> raw = paired_dataset("mine", train=rows, validation=rows, test=rows)
        >>> data, stats = standardize(raw, image=True, text=False)
        >>> data.test.images
        array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
        >>> stats.image_std
        array([1., 1.], dtype=float32)
    """
    statistics = Standardization(*_mean_and_std(dataset.train.images, image), *_mean_and_std(dataset.train.texts, text))
    splits: dict[str, Any] = {}
    for name in SPLITS:
        split, where = getattr(dataset, name), f"{dataset.name} {name}"
        images = _scale(statistics.images, split.images, f"{where} images") if image else split.images
        texts = _scale(statistics.texts, split.texts, f"{where} texts") if text else split.texts
        splits[name] = split_from_checked(Pairs(images, texts, split.labels, split.groups))
    return dataclasses.replace(dataset, **splits), statistics


def _scale(scale: Callable[[np.ndarray], np.ndarray], features: np.ndarray, where: str) -> np.ndarray:
    # Finite features become infinite only by an overflow. The processor reports it, so nobody has to search for it.
    try:
        with np.errstate(over="raise"):
            return scale(features)
    except FloatingPointError:
        with np.errstate(over="ignore"):
            return as_features(scale(features), where=f"{where}, standardized")


def _mean_and_std(features: np.ndarray, apply: bool) -> tuple[np.ndarray, np.ndarray]:
    width = features.shape[1]
    if not apply:
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    std = features.std(axis=0, dtype=np.float64).astype(np.float32)
    # Rounding gives constant columns a tiny std, so they are recognised by their range. A std below the smallest normal
    # float32 would make the quotient overflow.
    constant = (features.max(axis=0) == features.min(axis=0)) | (std < np.finfo(np.float32).tiny)
    mean = np.where(constant, features[0], mean)
    return mean, np.where(constant, np.float32(1), std)


def _set_arrays(split: PairedSplit, pairs: Pairs) -> None:
    for name, value in pairs._asdict().items():
        object.__setattr__(split, name, value)  # the dataclass is frozen


def _counts(images: np.ndarray, texts: np.ndarray) -> str:
    return f"{len(images)} images and {len(texts)} texts"
