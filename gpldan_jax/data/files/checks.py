"""The one error of this folder, and how its messages name rows and sizes.

Key syntax and the size budget, shared by the readers of the file formats.

The dense form of MATLAB's sparse matrices.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

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


_STEP = re.compile(r"\.([^.{}]+)|\{([0-9]{1,9})\}")
_HEAD = re.compile(r"[^.{}]+")


def parse_key(key: str) -> tuple[str | int, ...]:
    """Splits a key into the variable name, struct fields (str) and cell numbers (int, from 1).

    Raises:
        DataError: not a name followed by `.field` and `{number}` steps.

    Example:
        >>> parse_key("data.X{2}")
        ('data', 'X', 2)
    """
    head = _HEAD.match(key)
    steps: list[str | int] = [head.group()] if head else []
    position = head.end() if head else 0
    while head and position < len(key):
        step = _STEP.match(key, position)
        if step is None:
            break
        steps.append(step.group(1) if step.group(1) else int(step.group(2)))
        position = step.end()
    if not head or position < len(key):
        raise DataError(f"key {key!r}: expected a name like I_tr, data.X1 or X{{1}}")
    return tuple(steps)


def missing_key(where: str, key: str, present: Iterable[str]) -> DataError:
    """The error for a key that a file lacks, with its keys and the nearest one."""
    present = list(present)
    near = difflib.get_close_matches(key, present, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return DataError(f"{where}: no key {key!r}{hint}; the file has {shown(present, limit=20) or 'no keys'}")


class Budget:
    """Counts the bytes that reading expands to, and refuses what passes the limit."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.left = max_bytes

    def charge(self, size: int, where: str) -> None:
        """Takes `size` bytes before they are allocated; DataError when they are not left."""
        if size > self.left:
            raise DataError(
                f"{where}: expands to {size} bytes, more than is left of the limit of "
                f"{self.max_bytes} bytes (max_bytes)"
            )
        self.left -= size


def dense_from_columns(
    data: np.ndarray,
    ir: np.ndarray,
    jc: np.ndarray,
    *,
    rows: int,
    budget: Budget,
    where: str,
) -> np.ndarray:
    """The dense form of a compressed-sparse-column matrix, as MATLAB stores it.

    Args:
        data, ir: [entries or more] the values and their rows.
        jc: [columns + 1] where each column starts.
        rows: the number of rows.

    Returns:
        [rows, columns] of the type of `data`.

    Raises:
        DataError: starts or rows out of range, or a dense form past the budget.

    Example:
        >>> dense_from_columns(
        ...     np.array([5.0, 7.0]), np.array([1, 0]), np.array([0, 1, 2]),
        ...     rows=2, budget=Budget(100), where="a.mat[S]",
        ... )
        array([[0., 7.],
               [5., 0.]])
    """
    jc = jc.astype(np.int64)
    columns = len(jc) - 1
    entries = int(jc[-1]) if columns >= 0 else -1
    ordered = columns >= 0 and jc[0] == 0 and (np.diff(jc) >= 0).all()
    if not ordered or rows < 0 or not 0 <= entries <= min(len(ir), len(data)):
        raise DataError(f"{where}: damaged sparse matrix; its columns do not start in order")
    ir = ir[:entries].astype(np.int64)
    if entries and (ir.min() < 0 or ir.max() >= rows):
        raise DataError(f"{where}: damaged sparse matrix; expected rows below {rows}")
    budget.charge(rows * columns * data.dtype.itemsize, where)
    dense = np.zeros((rows, columns), data.dtype)
    dense[ir, np.repeat(np.arange(columns), np.diff(jc))] = data[:entries]
    return dense
