"""Damages files as disks and copies do: a bit flips, a block is zero, the end is missing."""

import random
from pathlib import Path


def damage(path: Path, rng: random.Random) -> str:
    """Damages a file at a random place; returns what was done."""
    content = bytearray(path.read_bytes())
    kind, place = rng.choice(("bit", "zeros", "cut")), rng.randrange(len(content))
    if kind == "bit":
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    else:
        del content[place:]
    if bytes(content) == path.read_bytes():  # these were zeros
        content[place] ^= 1
    path.write_bytes(content)
    return f"{kind} at {place}"


def files_below(folder: Path) -> list[Path]:
    """Returns the files of a folder that are not empty."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
