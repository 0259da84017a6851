"""Damages files as disks and copies do: a bit flips, a block is zero, the end is missing."""

import functools
from pathlib import Path

from soaking import faults

damage = functools.partial(faults.damage, kinds=faults.OF_DISKS)
"""Damages a file at a random place; returns what was done."""


def files_below(folder: Path) -> list[Path]:
    """Returns the files of a folder that are not empty."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
