"""Scales the features of a dataset to zero mean and unit variance on the training split, and counts what is empty.

Letters: `d_i`, `d_t` widths of the image and the text features.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpldan_jax.data.feature_arrays import FeaturesOnDisk, as_features
from gpldan_jax.data.information import EmptyRows, WithoutInformation
from gpldan_jax.data.paired import SPLITS, PairedDataset, Pairs, split_from_checked
from gpldan_jax.data.precision import as_float32
from gpldan_jax.models.column_statistics import (
    column_range,
    column_statistics,
    exact_statistics,
    own_blocks,
    ranges_of,
    varying_columns,
)
from gpldan_jax.models.trained import Standardization


class _Scaled(NamedTuple):
    splits: list[Any]  # the features of train, validation and test, float32
    mean: np.ndarray  # [d]
    std: np.ndarray  # [d]
    constant: int  # columns in training
    empty: int  # rows of all splits


def standardize(dataset: PairedDataset, *, image: bool, text: bool) -> tuple[PairedDataset, Standardization]:
    """Scales the features of all splits to zero mean and unit variance on the training split.

    The statistics are taken in float64 and stored in float32; a column that is constant in the training split gets the
    standard deviation 1. Features that are float64, because float32 has too few digits for them, are scaled in float64
    with statistics that are stored in float64, and become float32 then.

    Args:
        dataset: any dataset.
        image: whether to scale the images.
        text: whether to scale the texts.

    Returns:
        The scaled dataset, float32, which says what is `empty` in it, and the statistics. Arrays that are not scaled
        are those of `dataset`, not copies. Features on disk are scaled when they are read.

    Raises:
        DataError: a scaled value is outside the float32 range; the message names the first rows. Features that are not
            scaled, and float32 has too few digits for all columns.

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
        >>> data.empty.columns
        {'image': (1, 2), 'text': (1, 1)}
    """
    whole = [getattr(dataset, name) for name in SPLITS]
    names = [f"{dataset.name} {name}" for name in SPLITS]
    images = _of_modality([split.images for split in whole], [f"{name} images" for name in names], image)
    texts = _of_modality([split.texts for split in whole], [f"{name} texts" for name in names], text)
    splits: dict[str, Any] = {
        name: split_from_checked(Pairs(images.splits[place], texts.splits[place], split.labels, split.groups))
        for place, (name, split) in enumerate(zip(SPLITS, whole, strict=True))
    }
    n, of_both = sum(map(len, whole)), {"image": images, "text": texts}
    empty = WithoutInformation(
        {name: (of.constant, len(of.mean)) for name, of in of_both.items()},
        {name: (of.empty, n) for name, of in of_both.items()},
    )
    scaling = Standardization(images.mean, images.std, texts.mean, texts.std)
    return dataclasses.replace(dataset, **splits, empty=empty), scaling


def _of_modality(splits: list[Any], where: list[str], is_scaled: bool) -> _Scaled:
    return _standardize(splits, where) if is_scaled else _leave(splits, where)


def _leave(splits, where) -> _Scaled:
    train, empty = splits[0], 0
    for features in splits:
        rows = EmptyRows()
        for block in own_blocks(features):
            rows.look(block)
        empty += rows.of_all_processes(features)
    low, high = column_range(train)
    constant = int((~varying_columns(low, high)).sum())
    kept = [as_float32(features, name) for features, name in zip(splits, where, strict=True)]
    width = train.shape[1]
    return _Scaled(kept, np.zeros(width, np.float32), np.ones(width, np.float32), constant, empty)


def _standardize(splits, where) -> _Scaled:
    train, rows = splits[0], EmptyRows()
    found = (exact_statistics if train.dtype == np.float64 else column_statistics)(train, rows.look)
    mean, std, constant = _mean_and_std(train, found)
    scale, spread = Standardization(mean, std, mean, std).images, ranges_of(found.low, found.high)
    scaled, empty = [_scale(scale, train, where[0], (found.low, found.high))], rows.of_all_processes(train)
    for features, name in zip(splits[1:], where[1:], strict=True):
        rows = EmptyRows()

        def look(block, rows=rows):
            rows.look(block, found.mean, spread)

        ends = None
        if isinstance(features, FeaturesOnDisk) and len(features):
            ends = column_range(features, look)
        else:
            look(np.asarray(features))
        scaled.append(_scale(scale, features, name, ends))
        empty += rows.of_all_processes(features)
    return _Scaled(scaled, mean, std, int(constant.sum()), empty)


def _scale(
    scale: Callable[[np.ndarray], np.ndarray], features: Any, where: str, ends: tuple[np.ndarray, np.ndarray] | None
) -> Any:
    if isinstance(features, FeaturesOnDisk):
        scaled = features.scaled(scale)
        with np.errstate(over="ignore"):
            # No value of a column lies beyond its ends, before scaling and after it.
            if ends and not np.isfinite(scale(np.stack(ends))).all():
                as_features(scaled, where=f"{where}, standardized")
        return scaled
    # Finite features become infinite only by an overflow. The processor reports it, so nobody has to search for it.
    try:
        with np.errstate(over="raise"):
            return scale(features)
    except FloatingPointError:
        with np.errstate(over="ignore"):
            return as_features(scale(features), where=f"{where}, standardized")


def _mean_and_std(features, found) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, the standard deviation, and which columns are constant; in the dtype of the features."""
    dtype = features.dtype
    mean, std = found.mean.astype(dtype), found.std.astype(dtype)
    # Rounding gives constant columns a tiny std, so they are recognised by their range. A std below the smallest normal
    # number would make the quotient overflow.
    constant = ~varying_columns(found.low, found.high) | (std < np.finfo(dtype).tiny)
    mean = np.where(constant, features[0], mean)
    return mean, np.where(constant, dtype.type(1), std), constant
