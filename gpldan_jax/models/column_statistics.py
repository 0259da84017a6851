"""Means, standard deviations and ranges of the columns of features, computed in blocks of rows.

Features may be an array, or anything that returns rows for a slice, such as `gpldan_jax.data.FeaturesOnDisk`. NumPy
adds the rows of a matrix one after the other, and so do the blocks: the results have the bits of `mean` and `std`.
Features with a `share` are read by several processes, each of which reads its part.

Letters: `n` rows; `d` columns.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

_BLOCK_VALUES = 1 << 21  # of a block: 16 MB in float64


NOISE = 2.0**-44
"""Relative differences this small are what operations in float64 leave of equal numbers."""


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


@dataclasses.dataclass(frozen=True)
class Share:
    """Which rows of features this process reads, where several processes compute statistics together.

    All of them must then ask for the same statistics in the same order, because they wait for each other.

    Attributes:
        index: of this process, from 0.
        count: how many processes there are.
        tell: takes an array of this process and the index of a process; returns the array of that process. All
            processes call it together, with arrays of one shape and dtype.
    """

    index: int
    count: int
    tell: Callable[[np.ndarray, int], np.ndarray]

    def rows(self, n: int) -> slice:
        """Returns the rows of n that this process reads.

        Example:
            >>> Share(1, 2, lambda values, source: values).rows(5)
            slice(2, 5, None)
        """
        return slice(n * self.index // self.count, n * (self.index + 1) // self.count)


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


def column_range(
    features: Any, look: Callable[[np.ndarray], None] = lambda block: None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smallest and the largest value of each column.

    Args:
        features: `[n, d]`, at least one row, an array or what returns rows for a slice.
        look: called with each block of rows that this process reads.

    Returns:
        Two arrays `[d]`, dtype of `features`.

    Example:
        >>> column_range(np.array([[1.0, 2.0], [3.0, 2.0]]))
        (array([1., 2.]), array([3., 2.]))
    """
    ranges = []
    for block in own_blocks(features):
        look(block)
        ranges.append((block.min(axis=0), block.max(axis=0)))
    return _whole_range(features, ranges)


Look = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""Takes a block of rows that this process reads, the mean `[d]` and the range `[d]` of each column."""


def column_statistics(features: Any, look: Look = lambda block, mean, spread: None) -> ColumnStatistics:
    """Returns the mean, the standard deviation and the range of each column, with the bits of NumPy's functions.

    Args:
        features: `[n, d]` float32, at least one row, an array or what returns rows for a slice.
        look: called with each block, when the mean is known.

    Returns:
        The statistics; sums are in float64.

    Example:
        >>> column_statistics(np.array([[1.0, 2.0], [3.0, 2.0]])).std
        array([1., 0.])
    """
    ranges: list[tuple[np.ndarray, np.ndarray]] = []

    def note_range(block):
        ranges.append((block.min(axis=0), block.max(axis=0)))
        return block

    def squares_of(block):
        look(block, mean, ranges_of(low, high))
        return np.square(block - mean)

    mean = _sum(features, note_range, np.float64) / len(features)
    low, high = _whole_range(features, ranges)
    squares = _sum(features, squares_of, np.float64)
    return ColumnStatistics(mean, np.sqrt(squares / len(features)), low, high)


def exact_statistics(features: Any, look: Look = lambda block, mean, spread: None) -> ColumnStatistics:
    """Returns what `column_statistics` returns, for features whose offset or scale would cost it digits.

    Args:
        features: `[n, d]` float64, at least one row, an array or what returns rows for a slice.
        look: called with each block, when the mean is known.

    Returns:
        The statistics, computed of the differences from the first row, in ranges of each column.

    Example:
        >>> exact_statistics(1e9 + np.array([[1.0, 2.0], [3.0, 2.0]])).mean - 1e9
        array([2., 2.])
    """
    low, high = column_range(features)
    first, spread = features[0], np.where(high > low, high - low, 1)
    mean = _sum(features, lambda block: (block - first) / spread, np.float64) / len(features)
    whole = first + spread * mean

    def squares_of(block):
        look(block, whole, spread)
        return np.square((block - first) / spread - mean)

    squares = _sum(features, squares_of, np.float64)
    return ColumnStatistics(whole, spread * np.sqrt(squares / len(features)), low, high)


def ranges_of(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns the differences of the largest and the smallest values, `[d]` float64, where float32 may overflow."""
    return np.subtract(high, low, dtype=np.float64)


def varying_columns(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns which columns vary by more than the rounding of float64, `[d]` bool.

    Args:
        low: `[d]`, the smallest values.
        high: `[d]`, the largest values.

    Example:
        >>> varying_columns(np.array([0.0, 0.1, 1.7e9]), np.array([0.0, 0.1 + 1e-16, 1.7e9 + 1]))
        array([False, False,  True])
    """
    return ranges_of(low, high) > NOISE * np.maximum(np.abs(low), np.abs(high))


def own_share(features: Any) -> Share | None:
    """Returns the share of the rows that this process reads; `None` where it reads all of them.

    NumPy adds the values of a single column in another order, so one process after the other would change bits.
    """
    return getattr(features, "share", None) if features.shape[1] > 1 else None


def own_blocks(features: Any) -> Iterator[np.ndarray]:
    """Yields the rows that this process reads as `row_blocks` does."""
    share = own_share(features)
    yield from row_blocks(features) if share is None else row_blocks(features.take(share.rows(len(features))))


def _whole_range(features, ranges):
    """The ends of all ranges, also of those that other processes have seen."""
    width = features.shape[1]
    low, high = (np.full(width, end, features.dtype) for end in (np.inf, -np.inf)) if not ranges else ranges[0]
    for other_low, other_high in ranges[1:]:
        low, high = np.minimum(low, other_low), np.maximum(high, other_high)
    if (share := own_share(features)) is not None:
        told = [(share.tell(low, source), share.tell(high, source)) for source in range(share.count)]
        low, high = np.min([low for low, _ in told], axis=0), np.max([high for _, high in told], axis=0)
    return low, high


def _sum(features, of_block: Callable[[np.ndarray], np.ndarray], dtype) -> np.ndarray:
    if (share := own_share(features)) is None:
        return _add(row_blocks(features), of_block, dtype, features.shape[1])
    # One process after the other goes on with the sum of those before, so the number of processes changes no bit.
    total: np.ndarray | None = None
    for source in range(share.count):
        if source == share.index:
            total = _add(own_blocks(features), of_block, dtype, features.shape[1], total)
        total = share.tell(np.zeros(features.shape[1], dtype) if total is None else total, source)
    return np.zeros(features.shape[1], dtype) if total is None else total


def _add(blocks, of_block, dtype, width, total=None) -> np.ndarray:
    for block in blocks:
        values = of_block(block)
        if total is not None:
            values = values.astype(dtype)  # a copy, because the next line changes it
            values[0] += total
        total = values.sum(axis=0, dtype=dtype)
    return total if total is not None else np.zeros(width, dtype)
