"""Image-text pairs in three splits, checked once for every way they come in.

Shapes: `n` pairs of a split, `d_i` and `d_t` image and text features, `C` classes.

Zero mean and unit variance per feature, measured on the training split.

Shapes: `n` items, `d_i` and `d_t` image and text features.
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpldan_jax.data.files.checks import DataError, bad_rows, shown
from gpldan_jax.data.labels import encode_labels, normalize_labels
from gpldan_jax.models.trained import Standardization

SPLITS = ("train", "validation", "test")


def as_features(array, *, where: str) -> np.ndarray:
    """Checks a feature matrix and brings it to float32.

    Args:
        array: [n, d] array_like of real numbers or bools, d at least 1.
        where: the file and key, for messages.

    Returns:
        [n, d] float32, C-contiguous, finite. An array that is already so is returned as it is.

    Raises:
        DataError: objects, strings or complex numbers, another number of axes, NaN, Inf or values
            past the float32 range (the first rows are named).

    Example:
        >>> as_features([[1, 2], [3, 4]], where="a.npz[image]").dtype
        dtype('float32')
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
        raise DataError(f"{where}: expected finite float32 values, found NaN, Inf or overflow in {bad_rows(~finite)}")
    return values


@dataclass(frozen=True, eq=False)
class PairedSplit:
    """The pairs of one split; row i of each array is pair i.

    Attributes:
        images: [n, d_i] float32.
        texts: [n, d_t] float32.
        labels: [n] int32 class indices, or None.

    Raises:
        DataError: what `as_features` refuses, or unequal counts.

    Example:
        >>> len(PairedSplit(np.ones((3, 5)), np.ones((3, 2)), None))
        3
    """

    images: np.ndarray
    texts: np.ndarray
    labels: np.ndarray | None = None

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
        for name, value in (("images", images), ("texts", texts), ("labels", labels)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class PairedDataset:
    """Three splits of image-text pairs with common feature dimensions and classes.

    Attributes:
        name: what the dataset is called in reports.
        train, validation, test: the splits; only `train` must have pairs.
        class_names: the C class names, or None.
        synthetic: whether the features were generated instead of read.
        features: what made them, for `gpldan_jax.features.extractor`, JSON values: `{"image": {"extractor": name, ...},
            "text": ...}`; None where that is not known. It is not part of the fingerprint.

    Raises:
        DataError: an empty training split, dimensions that differ between splits, labels in some
            splits only, or labels outside 0..C-1.
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
        for name in SPLITS[1:]:
            split = getattr(self, name)
            found = (split.images.shape[1], split.texts.shape[1])
            if found != (self.image_dim, self.text_dim):
                raise DataError(
                    f"{self.name} {name}: expected {self.image_dim} image and {self.text_dim} text "
                    f"features as in train, found {found[0]} and {found[1]}"
                )
            if (split.labels is None) != (self.train.labels is None):
                raise DataError(f"{self.name}: expected labels in all splits or in none")
        for name in SPLITS:
            labels = getattr(self, name).labels
            if labels is None or self.class_names is None or not len(labels):
                continue
            if labels.min() < 0 or labels.max() >= len(self.class_names):
                raise DataError(
                    f"{self.name} {name}: expected labels in 0..{len(self.class_names) - 1}, found "
                    f"{labels.min()}..{labels.max()}"
                )

    @property
    def image_dim(self) -> int:
        """The number of image features, d_i."""
        return self.train.images.shape[1]

    @property
    def text_dim(self) -> int:
        """The number of text features, d_t."""
        return self.train.texts.shape[1]

    @property
    def title(self) -> str:
        """The name, marked where the features are generated."""
        return f"{self.name} (synthetic)" if self.synthetic else self.name

    def fingerprint(self) -> str:
        """The sha256 (hex) of all arrays: types, shapes and bytes, not the names."""
        digest = hashlib.sha256()
        for split in (getattr(self, name) for name in SPLITS):
            for array in (split.images, split.texts, split.labels):
                if array is None:
                    digest.update(b"none;")
                    continue
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                digest.update(f"{little.dtype.str}{little.shape};".encode())
                digest.update(little)
        return digest.hexdigest()


def paired_dataset(
    name: str, *, train, validation, test, synthetic: bool = False, features: Mapping[str, Any] | None = None
) -> PairedDataset:
    """Checks raw arrays of three splits and makes a dataset of them.

    Args:
        name: what the dataset is called in reports and messages.
        train, validation, test: triples (images [n, d_i], texts [n, d_t], labels or None); labels
            in any form that `normalize_labels` takes.
        synthetic: whether the features are generated.
        features: what made them, as `PairedDataset.features`.

    Returns:
        The dataset; class values are mapped jointly to 0..C-1.

    Raises:
        DataError: unequal counts, inconsistent dimensions, non-finite values, labels in some splits
            only, an empty training split.

    Warns:
        UserWarning: validation or test has a class that train lacks.

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
    raw = dict(zip(SPLITS, (train, validation, test), strict=True))
    arrays, values = {}, {}
    for split, (images, texts, labels) in raw.items():
        images = as_features(images, where=f"{name} {split} images")
        texts = as_features(texts, where=f"{name} {split} texts")
        if len(images) != len(texts):
            raise DataError(f"{name} {split}: expected as many texts as images, found {_counts(images, texts)}")
        arrays[split] = (images, texts)
        if labels is not None:
            values[split] = normalize_labels(labels, len(images), where=f"{name} {split} labels")
    if values and len(values) < len(SPLITS):
        raise DataError(
            f"{name}: expected labels in all splits or in none, found them only in {shown(values, limit=3)}"
        )
    encoded, class_names = (None,) * len(SPLITS), None
    if values:
        encoded, class_names = encode_labels(*(values[split] for split in SPLITS))
    splits = {split: PairedSplit(*arrays[split], labels) for split, labels in zip(SPLITS, encoded, strict=True)}
    dataset = PairedDataset(name, **splits, class_names=class_names, synthetic=synthetic, features=features)
    for split in SPLITS[1:] if values else ():
        unseen = np.setdiff1d(splits[split].labels, dataset.train.labels)
        if len(unseen):
            classes = shown((class_names[index] for index in unseen), limit=10)
            warnings.warn(f"{name} {split}: train has no pair of class {classes}", stacklevel=2)
    return dataset


def _counts(images: np.ndarray, texts: np.ndarray) -> str:
    return f"{len(images)} images and {len(texts)} texts"


def standardize(dataset: PairedDataset, *, image: bool, text: bool) -> tuple[PairedDataset, Standardization]:
    """Standardises the features of all splits by the statistics of the training split.

    The statistics are taken in float64 and stored in float32; a column that is constant in the
    training split gets the standard deviation 1.

    Args:
        dataset: any dataset.
        image: whether to standardise the images.
        text: whether to standardise the texts.

    Returns:
        The standardised dataset and the statistics.

    Example:
        >>> from gpldan_jax.data.paired import paired_dataset
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
    splits = {}
    for name in SPLITS:
        split = getattr(dataset, name)
        splits[name] = dataclasses.replace(
            split,
            images=statistics.images(split.images) if image else split.images,
            texts=statistics.texts(split.texts) if text else split.texts,
        )
    return dataclasses.replace(dataset, **splits), statistics


def _mean_and_std(features: np.ndarray, apply: bool) -> tuple[np.ndarray, np.ndarray]:
    width = features.shape[1]
    if not apply:
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    std = features.std(axis=0, dtype=np.float64).astype(np.float32)
    # Rounding gives constant columns a tiny std, so they are recognised by their range; a std
    # below the smallest normal float32 would overflow the quotient.
    constant = (features.max(axis=0) == features.min(axis=0)) | (std < np.finfo(np.float32).tiny)
    mean = np.where(constant, features[0], mean)
    return mean, np.where(constant, np.float32(1), std)
