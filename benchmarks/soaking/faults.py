"""Damages a file as disks, copies and people do."""

import random
from collections.abc import Sequence
from pathlib import Path

KINDS = ("bit", "zeros", "cut", "line removed", "digit changed", "emptied", "replaced", "removed")
OF_DISKS = ("bit", "zeros", "cut")
_OF_TEXT = ("line removed", "digit changed")
_TEXT = (".json", ".jsonl", ".py", ".csv", ".md", ".txt")
_RARE = {"emptied": 0.3, "replaced": 0.4, "removed": 0.4}  # each is the same for every place in the file
_BLOCK = 64
_OTHERS = ("5", "{}", "[]", '{"a": 1}', "null", '{"config": {}, "data": ""}', "[[5]]")


def damage(path: Path, rng: random.Random, kinds: Sequence[str] = KINDS) -> str:
    """Damages a file at a random place.

    Args:
        path: of the file.
        rng: decides what and where.
        kinds: what it may be; those of lines are for text files only.

    Returns:
        What was done, such as "bit 3 of byte 170"; the file is never what it was.
    """
    before = path.read_bytes()
    kinds = [kind for kind in kinds if kind not in _OF_TEXT or path.suffix in _TEXT]
    weights = [_RARE.get(kind, 1.0) for kind in kinds]
    for _ in range(100):
        kind = rng.choices(kinds, weights)[0] if before else "replaced"
        if kind == "removed":
            path.unlink()
            return kind
        content, what = _damaged(before, kind, rng)
        if content != before:
            path.write_bytes(content)
            return what
    path.write_bytes(b"5\n")
    return "replaced by 5"


def _damaged(before, kind, rng):
    content = bytearray(before)
    place = rng.randrange(len(content)) if content else 0
    if kind == "bit":
        bit = rng.randrange(8)
        content[place] ^= 1 << bit
        return bytes(content), f"bit {bit} of byte {place}"
    if kind == "zeros":
        length = len(content[place : place + _BLOCK])
        content[place : place + length] = bytes(length)
        return bytes(content), f"{length} zeros at byte {place}"
    if kind == "cut":
        return bytes(content[:place]), f"cut at byte {place}"
    if kind == "line removed":
        lines = before.splitlines(keepends=True)
        line = rng.randrange(len(lines))
        return b"".join(lines[:line] + lines[line + 1 :]), f"line {line + 1} removed"
    if kind == "digit changed":
        digits = [at for at, byte in enumerate(before) if chr(byte).isdigit()]
        if not digits:
            return before, kind
        place = rng.choice(digits)
        content[place] = ord(rng.choice("0123456789"))
        return bytes(content), f"digit changed at byte {place}"
    if kind == "emptied":
        return b"", kind
    if rng.random() < 0.7:
        other = rng.choice(_OTHERS)
        return f"{other}\n".encode(), f"replaced by {other}"
    return rng.randbytes(len(before) or 16), "replaced by noise"
