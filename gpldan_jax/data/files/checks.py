"""What all readers share: errors and their words, the syntax of keys, the size budget, and sparse matrices."""

import difflib
import re
from collections.abc import Iterable

import numpy as np

LISTING_BYTES = 1 << 28
"""The most that is expanded to list the keys of a variable; a larger struct is listed by its own name."""

_STEP = re.compile(r"\.([^.{}]+)|\{([0-9]{1,9})\}")
_HEAD = re.compile(r"[^.{}]+")


class DataError(ValueError):
    """A file or an array is not what a dataset needs.

    The message names the file and the key where there are any, what was expected and what was found. It is meant to be
    printed as it is, without a traceback.
    """


class MissingFilesError(DataError):
    """The files of a dataset are not there; the message says which files, what they must hold and where to put them."""


def first_few(items: Iterable, *, limit: int) -> str:
    """Lists the first `limit` of some items, and says how many more there are.

    Example:
        >>> first_few([3, 5, 8, 9], limit=3)
        '3, 5, 8 and 1 more'
    """
    items = [str(item) for item in items]
    head = ", ".join(items[:limit])
    return head if len(items) <= limit else f"{head} and {len(items) - limit} more"


def name_rows(mask: np.ndarray) -> str:
    """Names the rows where a mask is True, counted from 0."""
    rows = np.flatnonzero(mask)
    return f"row{'s' if len(rows) > 1 else ''} {first_few(rows, limit=3)} (counted from 0)"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns words for the known name that is nearest to an unknown one, or "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def parse_key(key: str) -> tuple[str | int, ...]:
    """Splits a key, a name followed by `.field` and `{number}` steps, into the variable name, fields and cell numbers.

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


def missing_key_error(where: str, key: str, present: Iterable[str]) -> DataError:
    """Makes the error for a key that a file lacks."""
    present = list(present)
    listed = first_few(present, limit=20) or "no keys"
    return DataError(f"{where}: no key {key!r}{did_you_mean(key, present)}; the file has {listed}")


class Budget:
    """Counts the bytes that reading expands to, and refuses what passes the limit."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.left = max_bytes

    def charge(self, size: int, where: str) -> None:
        """Takes bytes from the budget before they are allocated; `where` is the file and key, for the message."""
        if size > self.left:
            raise DataError(
                f"{where}: expands to {size} bytes, more than is left of the limit of {self.max_bytes} bytes "
                "(max_bytes)"
            )
        self.left -= size


def dense_from_columns(
    data: np.ndarray, ir: np.ndarray, jc: np.ndarray, *, rows: int, budget: Budget, where: str
) -> np.ndarray:
    """Returns the dense form `[rows, columns]` of a compressed-sparse-column matrix, as MATLAB stores it.

    Args:
        data: `[entries or more]` the values, any real dtype.
        ir: `[entries or more]` the rows of the values, counted from 0.
        jc: `[columns + 1]` where each column starts.
        rows: the number of rows.
        budget: charged with the size of the dense form.
        where: the file and key, for messages.
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
