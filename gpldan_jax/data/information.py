"""What of the features carries no information: constant columns, and items that are all zeros or equal to the mean.

Letters: `n` rows; `d` columns.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpldan_jax.data.files.checks import DataError
from gpldan_jax.models.column_statistics import NOISE, own_share

_MODALITIES = ("image", "text")
_SAME = 1e-5  # ranges of a column: features that were filled with a mean differ from it by rounding
_FIRST = 16  # columns that are looked at in all rows; the others only in rows that may be empty


@dataclass(frozen=True)
class WithoutInformation:
    """How many columns and items of a dataset carry nothing.

    Attributes:
        columns: for `"image"` and `"text"` how many columns are constant in the training split, and how many there are.
        items: for each of both how many rows are all zeros or, where features are standardized, equal to the mean of
            the training split; and how many there are in all splits.

    Example:
        >>> found = WithoutInformation({"image": (3, 1000), "text": (0, 5)}, {"image": (0, 9), "text": (1, 9)})
        >>> found.line()
        'no information in 3 of 1,000 image columns (constant in training), 1 of 9 texts (all zeros or the mean)'
    """

    columns: Mapping[str, tuple[int, int]]
    items: Mapping[str, tuple[int, int]]

    def line(self) -> str:
        """Returns one line that says all; empty where there is nothing to say."""
        parts = [
            f"{few:,} of {all_of:,} {name} columns (constant in training)"
            for name, (few, all_of) in self.columns.items()
            if few
        ]
        parts += [
            f"{few:,} of {all_of:,} {name}s (all zeros or the mean)"
            for name, (few, all_of) in self.items.items()
            if few
        ]
        return f"no information in {', '.join(parts)}" if parts else ""

    def check(self, name: str) -> None:
        """Checks that both modalities have something to learn from.

        Args:
            name: of the dataset, for the message.

        Raises:
            DataError: all columns of a modality are constant.
        """
        for modality, (constant, width) in self.columns.items():
            if constant == width:
                raise DataError(
                    f"{name} train {modality}s: all {width} columns are constant, so there is nothing to learn from; "
                    f"check how these features were made, and that each row belongs to another {modality}"
                )


NOTHING_COUNTED = WithoutInformation({}, {})


class EmptyRows:
    """Counts the rows of blocks that are all zeros or equal to the mean."""

    def __init__(self):
        self.count = self.rows = 0

    def look(self, block: np.ndarray, mean: np.ndarray | None = None, spread: np.ndarray | None = None) -> None:
        """Looks at rows `[n, d]`; `mean` and `spread` `[d]`, the ranges of the columns, for features to standardize."""
        empty = _rows_where(block, lambda part, columns: part == 0)
        if mean is not None and spread is not None:
            near = spread * _SAME + np.abs(mean) * NOISE
            found = _rows_where(block, lambda part, columns: np.abs(part - mean[columns]) <= near[columns])
            empty = np.union1d(empty, found)
        self.count += len(empty)
        self.rows += len(block)

    def of_all_processes(self, features: Any) -> int:
        """Returns the count of all processes that read a part of `features`."""
        if (share := own_share(features)) is None:
            return self.count
        counts = [share.tell(np.array([self.count], np.float64), source) for source in range(share.count)]
        return int(np.sum(counts))


def _rows_where(block: np.ndarray, holds: Callable[[np.ndarray, slice], np.ndarray]) -> np.ndarray:
    """The rows in which something holds for all columns; the next columns are looked at only in rows that are left."""
    rows, start = np.arange(len(block)), 0
    while start < block.shape[1] and len(rows):
        columns = slice(start, max(_FIRST, 2 * start))
        part = block[:, columns] if len(rows) == len(block) else block[rows, columns]
        rows, start = rows[holds(part, columns).all(axis=1)], columns.stop
    return rows
