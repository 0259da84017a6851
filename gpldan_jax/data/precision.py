"""Whether float32 has enough digits for features, or they stay float64 until they are scaled.

Networks compute in float32. Numbers with a large offset, such as times in seconds, or very small ones can be all
different in float64 and nearly all equal in float32. Their mean must be subtracted, and their standard deviation
divided by, before they become float32. All other features become float32 first, so that a file of float32 numbers and
one of the same numbers in float64 give the same bits.

Letters: `n` rows; `d` columns.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np

from gpldan_jax.data.files.checks import DataError
from gpldan_jax.models.column_statistics import column_range, ranges_of, row_blocks, varying_columns

_FEW = 16  # rows: fewer may be nearly equal by chance
_LOST = 0.01  # rounding to float32 in ranges of a column: fewer than about a hundred different values are left of it
_SEEN = 2.0**-16  # rounding in ranges of a column: less is not seen in a trained model
_SMALL = 64 * float(np.finfo(np.float32).tiny)  # the standard deviation of a smaller range may be no float32 number


class _Columns(NamedTuple):
    low: np.ndarray  # [d] float64
    high: np.ndarray  # [d] float64
    varies: np.ndarray  # [d] bool
    rounding: np.ndarray  # [d], the largest error of float32 in ranges of the column; infinite for tiny ranges


def needs_float64(features: Any) -> bool:
    """Returns whether float32 has too few digits for a column of features.

    Args:
        features: `[n, d]` finite real numbers within the range of float32, an array or `FeaturesOnDisk.stored()`.

    Returns:
        Whether rounding a column to float32 would change it by more than 2**-16 of its range. A column whose values
        differ by less than the rounding of float64 counts as constant.

    Example:
        >>> needs_float64(1.7e9 + np.arange(40.0).reshape(20, 2)), needs_float64(np.arange(0, 1, 0.1)[:, None])
        (True, False)
    """
    if _is_exact(features.dtype) or not len(features):
        return False
    # On disk whole numbers are read as float64, because several processes tell each other their ranges as such.
    columns = _look_at(features if isinstance(features, np.ndarray) else features.astype(np.float64))
    return bool((columns.varies & (columns.rounding > _SEEN)).any())


def as_float32(features: Any, where: str) -> Any:
    """Returns features, which are not scaled, as float32; `FeaturesOnDisk` become float32 when they are read.

    Args:
        features: `[n, d]` float32 or float64, as `as_features` returns them.
        where: what they are, for messages.

    Returns:
        `[n, d]` float32.

    Raises:
        DataError: no column that varies keeps its differences in float32.

    Warns:
        UserWarning: some columns do not keep them.

    Example:
        >>> as_float32(1.7e9 + np.arange(40.0).reshape(20, 2), "mine train images")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        gpldan_jax.data.files.checks.DataError: mine train images: float32 has too few digits for 2 of 2 columns: ...
    """
    if features.dtype == np.float32:
        return features
    if len(features) >= _FEW:
        _check_precision(features, where)
    return features.astype(np.float32)


def _check_precision(features, where):
    columns = _look_at(features)
    lost = columns.varies & (columns.rounding > _LOST)
    if not lost.any():
        return
    column = int(lost.argmax())
    message = (
        f"{where}: float32 has too few digits for {lost.sum()} of {len(lost)} columns: column {column} is from "
        f"{columns.low[column]:.17g} to {columns.high[column]:.17g}; scale them (image_scaling or text_scaling "
        "'standardize')"
    )
    if (lost | ~columns.varies).all():
        raise DataError(message)
    warnings.warn(message, stacklevel=4)


def _is_exact(dtype):
    """Whether float32 has all numbers of a dtype."""
    return dtype.itemsize <= (4 if dtype.kind in "bf" else 2)


def _look_at(features) -> _Columns:
    low, high = (np.asarray(end, float) for end in column_range(features))
    varies, spread = varying_columns(low, high), ranges_of(low, high)
    largest = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(divide="ignore", invalid="ignore"):
        rounding = np.where(varies, largest * 2.0**-24 / spread, 0)  # at most
        # Whole numbers, for example, may have an error of 0 all the same.
        if (suspects := rounding > _SEEN).any():
            found = np.zeros(suspects.sum())
            for block in row_blocks(features):
                values = block[:, suspects].astype(float)
                found = np.maximum(found, np.abs(values - values.astype(np.float32)).max(axis=0))
            rounding[suspects] = found / spread[suspects]
    rounding[varies & (spread < _SMALL)] = np.inf
    return _Columns(low, high, varies, rounding)
