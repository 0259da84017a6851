"""Scales the features of a dataset to zero mean and unit variance on the training split.

Letters: `d_i`, `d_t` widths of the image and the text features.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from gpldan_jax.data.feature_arrays import FeaturesOnDisk, as_features
from gpldan_jax.data.paired import SPLITS, PairedDataset, Pairs, split_from_checked
from gpldan_jax.models.column_statistics import column_range, column_statistics
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
    statistics = Standardization(*_mean_and_std(dataset.train.images, image), *_mean_and_std(dataset.train.texts, text))
    splits: dict[str, Any] = {}
    for name in SPLITS:
        split, where = getattr(dataset, name), f"{dataset.name} {name}"
        images = _scale(statistics.images, split.images, f"{where} images") if image else split.images
        texts = _scale(statistics.texts, split.texts, f"{where} texts") if text else split.texts
        splits[name] = split_from_checked(Pairs(images, texts, split.labels, split.groups))
    return dataclasses.replace(dataset, **splits), statistics


def _scale(scale: Callable[[np.ndarray], np.ndarray], features: Any, where: str) -> np.ndarray:
    if isinstance(features, FeaturesOnDisk):
        return _scale_on_disk(scale, features, where)
    # Finite features become infinite only by an overflow. The processor reports it, so nobody has to search for it.
    try:
        with np.errstate(over="raise"):
            return scale(features)
    except FloatingPointError:
        with np.errstate(over="ignore"):
            return as_features(scale(features), where=f"{where}, standardized")


def _scale_on_disk(scale: Callable[[np.ndarray], np.ndarray], features: FeaturesOnDisk, where: str) -> Any:
    scaled = features.scaled(scale)
    if len(features):
        with np.errstate(over="ignore"):
            # No value of a column lies beyond its ends, before scaling and after it.
            if not np.isfinite(scale(np.stack(column_range(features)))).all():
                as_features(scaled, where=f"{where}, standardized")
    return scaled


def _mean_and_std(features: np.ndarray, apply: bool) -> tuple[np.ndarray, np.ndarray]:
    width = features.shape[1]
    if not apply:
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    found = column_statistics(features)
    mean, std = found.mean.astype(np.float32), found.std.astype(np.float32)
    # Rounding gives constant columns a tiny std, so they are recognised by their range. A std below the smallest normal
    # float32 would make the quotient overflow.
    constant = (found.high == found.low) | (std < np.finfo(np.float32).tiny)
    mean = np.where(constant, features[0], mean)
    return mean, np.where(constant, np.float32(1), std)
