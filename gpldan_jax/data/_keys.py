"""Key syntax and the size budget, shared by the readers of the file formats."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from gpldan_jax.data.errors import DataError, shown

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
