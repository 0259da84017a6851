"""What a command leaves: the content of its files and the lines that it prints, without times."""

import hashlib
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_TIMES = re.compile(r"\b\d+(\.\d+)? (s|ms|min)\b|\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?")


def leavings(root: Path, folders: Iterable[Path], endings: tuple[str, ...]) -> dict[str, str]:
    """Returns what files hold, by their path in `root`: those of some folders whose names have one of these endings."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name.endswith(endings) and not {"checkpoints", "slices"} & set(path.parts):
                found[str(path.relative_to(root))] = digest(path)
    return found


def digest(path: Path) -> str:
    """Returns a hash of what a file holds, without times."""
    if path.name == "pictures.sqlite":
        with sqlite3.connect(path) as connection:
            try:
                rows = connection.execute("SELECT name, file FROM pictures ORDER BY name").fetchall()
            except sqlite3.Error as error:
                rows = [str(error)]
        connection.close()
        return hashlib.sha256(repr(rows).encode()).hexdigest()
    if path.suffix == ".npz":
        try:
            with np.load(path) as arrays:
                return hashlib.sha256(repr([(name, arrays[name].tobytes()) for name in arrays]).encode()).hexdigest()
        except Exception as error:  # a damaged archive raises of every kind
            return repr(error)
    content = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        text = content.decode(errors="replace")
        text = re.sub(r'"seconds": [0-9.e+-]+|, "crc32": "\w+"|"sha256": "\w+"|"bytes": \d+', "#", text)
        content = text.encode()
        if path.name == "index.json":
            # The names of files hold the hash of their content, which is what counts.
            content = "\n".join(sorted(re.findall(r'"file": "([^"]+)"', text))).encode()
    return hashlib.sha256(content).hexdigest()


def new_lines(before: str, after: str) -> str:
    """Returns the lines of a text that an earlier one has not, in one line."""
    known = set(plain(before).splitlines())
    return " | ".join(line for line in plain(after).splitlines() if line not in known)


def plain(text: str) -> str:
    """Returns what a command prints without times and the widths of columns."""
    return "\n".join(re.sub(r" +", " ", _TIMES.sub("#", line)).strip() for line in text.splitlines())
