"""Scales the features of a dataset to zero mean and unit variance on the training split.

Letters: `d_i`, `d_t` widths of the image and the text features.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from gpldan_jax.data.feature_arrays import FeaturesOnDisk, as_features
from gpldan_jax.data.paired import SPLITS, PairedDataset, Pairs, split_from_checked
from gpldan_jax.models.column_statistics import ColumnStatistics, column_range, column_statistics
from gpldan_jax.models.trained import Standardization


def standardize(dataset: PairedDataset, *, image: bool, text: bool) -> tuple[PairedDataset, Standardization]:
    """Scales the features of all splits to zero mean and unit variance on the training split.

    The statistics are taken in float64 and stored in float32; a column that is constant in the training split gets the
    standard deviation 1.

    Args:
        dataset: any dataset.
        image: whether to scale the images.
        text: whether to scale the texts.

    Returns:
        The scaled dataset and the statistics. Arrays that are not scaled are those of `dataset`, not copies. Features
        on disk are scaled when they are read.

    Raises:
        DataError: a scaled value is outside the float32 range; the message names the first rows.

    Example:
        >>> from gpldan_jax.data import paired_dataset
        >>> rows = (np.array([[1.0, 5.0], [3.0, 5.0]]), np.ones((2, 1)), None)
        >>> raw = paired_dataset("mine", train=rows, validation=rows, test=rows)
        >>> data, stats = standardize(raw, image=True, text=False)
        >>> data.test.images
        array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
        >>> stats.image_std
        array([1., 1.], dtype=float32)
    """
    train = dataset.train
    of_images = column_statistics(train.images) if image else None
    of_texts = column_statistics(train.texts) if text else None
    statistics = Standardization(*_mean_and_std(train.images, of_images), *_mean_and_std(train.texts, of_texts))
    splits: dict[str, Any] = {}
    for name in SPLITS:
        split, where = getattr(dataset, name), f"{dataset.name} {name}"
        images, texts = split.images, split.texts
        if of_images:
            images = _scale(statistics.images, images, f"{where} images", of_images if split is train else None)
        if of_texts:
            texts = _scale(statistics.texts, texts, f"{where} texts", of_texts if split is train else None)
        splits[name] = split_from_checked(Pairs(images, texts, split.labels, split.groups))
    return dataclasses.replace(dataset, **splits), statistics


def _scale(
    scale: Callable[[np.ndarray], np.ndarray], features: Any, where: str, known: ColumnStatistics | None
) -> np.ndarray:
    if isinstance(features, FeaturesOnDisk):
        return _scale_on_disk(scale, features, where, known)
    # Finite features become infinite only by an overflow. The processor reports it, so nobody has to search for it.
    try:
        with np.errstate(over="raise"):
            return scale(features)
    except FloatingPointError:
        with np.errstate(over="ignore"):
            return as_features(scale(features), where=f"{where}, standardized")


def _scale_on_disk(scale, features: FeaturesOnDisk, where: str, known: ColumnStatistics | None) -> Any:
    scaled = features.scaled(scale)
    if len(features):
        with np.errstate(over="ignore"):
            # No value of a column lies beyond its ends, before scaling and after it.
            ends = (known.low, known.high) if known else column_range(features)
            if not np.isfinite(scale(np.stack(ends))).all():
                as_features(scaled, where=f"{where}, standardized")
    return scaled


def _mean_and_std(features: np.ndarray, found: ColumnStatistics | None) -> tuple[np.ndarray, np.ndarray]:
    if found is None:
        return np.zeros(features.shape[1], np.float32), np.ones(features.shape[1], np.float32)
    mean, std = found.mean.astype(np.float32), found.std.astype(np.float32)
    # Rounding gives constant columns a tiny std, so they are recognised by their range. A std below the smallest normal
    # float32 would make the quotient overflow.
    constant = (found.high == found.low) | (std < np.finfo(np.float32).tiny)
    mean = np.where(constant, features[0], mean)
    return mean, np.where(constant, np.float32(1), std)
