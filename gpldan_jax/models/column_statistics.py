"""Means, standard deviations and ranges of the columns of features, computed in blocks of rows.

Features may be an array, or anything that returns rows for a slice, such as `gpldan_jax.data.FeaturesOnDisk`. NumPy
adds the rows of a matrix one after the other, and so do the blocks: the results have the bits of `mean` and `std`.

Letters: `n` rows; `d` columns.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

_BLOCK_VALUES = 1 << 21  # of a block: 16 MB in float64


class ColumnStatistics(NamedTuple):
    """What the columns of a matrix are like.

    Attributes:
        mean: `[d]` float64.
        std: `[d]` float64, the root of the mean squared difference from the mean.
        low: `[d]`, the smallest values.
        high: `[d]`, the largest values.
    """

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray


def row_blocks(features: Any) -> Iterator[np.ndarray]:
    """Yields the rows of features in blocks of a few megabytes.

    Args:
        features: `[n, d]`, an array or what returns rows for a slice.

    Yields:
        `[rows, d]`, in order.

    Example:
        >>> [block.shape for block in row_blocks(np.ones((3, 2)))]
        [(3, 2)]
    """
    # NumPy adds the values of a single column in another order, so it is one block.
    step = max(1, _BLOCK_VALUES // features.shape[1]) if features.shape[1] > 1 else max(1, len(features))
    for start in range(0, len(features), step):
        yield features[start : start + step]


def column_mean(features: Any, dtype: type = np.float64) -> np.ndarray:
    """Returns the mean of each column, with the bits of `features.mean(axis=0, dtype=dtype)`.

    Args:
        features: `[n, d]`, at least one row, an array or what returns rows for a slice.
        dtype: of the sums and the result.

    Returns:
        `[d]`, `dtype`.

    Example:
        >>> column_mean(np.array([[1.0, 2.0], [3.0, 2.0]]))
        array([2., 2.])
    """
    return _sum(features, lambda block: block, dtype) / dtype(len(features))


def column_range(features: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smallest and the largest value of each column.

    Args:
        features: `[n, d]`, at least one row, an array or what returns rows for a slice.

    Returns:
        Two arrays `[d]`, dtype of `features`.

    Example:
        >>> column_range(np.array([[1.0, 2.0], [3.0, 2.0]]))
        (array([1., 2.]), array([3., 2.]))
    """
    ranges = [(block.min(axis=0), block.max(axis=0)) for block in row_blocks(features)]
    return np.min([low for low, _ in ranges], axis=0), np.max([high for _, high in ranges], axis=0)


def column_statistics(features: Any) -> ColumnStatistics:
    """Returns the mean, the standard deviation and the range of each column, with the bits of NumPy's functions.

    Args:
        features: `[n, d]` float32, at least one row, an array or what returns rows for a slice.

    Returns:
        The statistics; sums are in float64.

    Example:
        >>> column_statistics(np.array([[1.0, 2.0], [3.0, 2.0]])).std
        array([1., 0.])
    """
    mean = column_mean(features)
    squares = _sum(features, lambda block: np.square(block - mean), np.float64)
    return ColumnStatistics(mean, np.sqrt(squares / len(features)), *column_range(features))


def _sum(features, of_block: Callable[[np.ndarray], np.ndarray], dtype) -> np.ndarray:
    total = None
    for block in row_blocks(features):
        values = of_block(block)
        if total is not None:
            values = values.astype(dtype)  # a copy, because the next line changes it
            values[0] += total
        total = values.sum(axis=0, dtype=dtype)
    return total if total is not None else np.zeros(features.shape[1], dtype)
