"""The one error of this folder, and how its messages name rows and sizes."""

from __future__ import annotations

import numpy as np


class DataError(ValueError):
    """A file or an array is not what a dataset needs.

    The message names the file and the key where there are any, what was expected and what was
    found. It is meant to be printed as it is, without a traceback.
    """


def shown(items, *, limit: int) -> str:
    """The first `limit` of `items`, comma-separated, and how many more there are.

    Example:
        >>> shown([3, 5, 8, 9], limit=3)
        '3, 5, 8 and 1 more'
    """
    items = [str(item) for item in items]
    head = ", ".join(items[:limit])
    return head if len(items) <= limit else f"{head} and {len(items) - limit} more"


def bad_rows(mask: np.ndarray) -> str:
    """Names the rows where the bool array `mask` [n] holds, counted from 0.

    Example:
        >>> bad_rows(np.array([False, True, True]))
        'rows 1, 2 (counted from 0)'
    """
    rows = np.flatnonzero(mask)
    return f"row{'s' if len(rows) > 1 else ''} {shown(rows, limit=3)} (counted from 0)"
