"""What verifies the files that this package writes: SHA-256 in a JSON file or of a folder, a CRC in a line.

A file that was written without a checksum, by an older version, is read as it is. A checksum guards against damage on a
disk or on the way, not against somebody who changes a file and its checksum.
"""

import concurrent.futures
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax import _files

DIGEST = "sha256"
"""The last key of a JSON file of ours: the SHA-256 of all others."""
FOLDER_FILE = "checksums.json"
"""The file of a folder that names its other files, with their sizes and SHA-256; it is written last."""

_SOURCE_MARK = "# sha256: "
_LINE_MARK = ', "crc32": "'
_BY_HAND = 'if you have changed it by hand, remove its key "sha256"'


class DamagedError(ValueError):
    """A file is not what was written; the message names it."""


def write_record(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Writes a JSON file with its SHA-256 as the last key, whole or not at all.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_record(f"{folder}/about.json", {"epoch": 3})
        ...     read_record(f"{folder}/about.json")
        {'epoch': 3}
    """
    _files.write_json(path, {**record, DIGEST: record_digest(record)})


def read_record(path: str | os.PathLike) -> Any:
    """Reads a JSON file and returns its content without the checksum.

    Raises:
        DamagedError: it is no JSON, or not what was written.
        OSError: it cannot be read.
    """
    return check_record(path)[0]


def check_record(path: str | os.PathLike) -> tuple[Any, bool]:
    """Reads a JSON file as `read_record` does; returns also whether it has a checksum."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {_files.one_line(error)}") from error
    if not isinstance(record, dict) or DIGEST not in record:
        return record, False
    if record.pop(DIGEST) != record_digest(record):
        raise DamagedError(f"{path} is damaged: its content is not what its SHA-256 says; {_BY_HAND}")
    return record, True


def record_digest(record: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of JSON values, in hex; it does not depend on the order of keys and on spaces."""
    text = json.dumps(json.loads(json.dumps(record)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_source(path: str | os.PathLike, source: str) -> None:
    """Writes Python source with its SHA-256 as a comment in the last line."""
    _files.write_text(path, f"{source}{_SOURCE_MARK}{_text_digest(source)}\n")


def check_source(path: str | os.PathLike) -> bool:
    """Compares Python source with the SHA-256 in its last line; returns whether it has one.

    Raises:
        DamagedError: it is not what was written.
        OSError: it cannot be read.
    """
    source, mark, digest = Path(path).read_text(encoding="utf-8", errors="replace").rpartition(_SOURCE_MARK)
    if not mark or len(digest.split()) != 1:  # not in the last line
        return False
    if digest.strip() != _text_digest(source):
        raise DamagedError(f"{path} is not what was written: damaged, or changed by hand; then remove its last line")
    return True


def write_folder(folder: Path, about: Mapping[str, Any]) -> None:
    """Writes `FOLDER_FILE`: the checksums of all files below a folder, and what else is to be known of it."""
    write_record(folder / FOLDER_FILE, {"files": _hashes(folder, _names_below(folder)), **about})


def check_folder(folder: Path) -> dict[str, Any] | None:
    """Compares the files of a folder with `FOLDER_FILE`.

    Returns:
        The content of that file; `None` where there is none, and nothing is known.

    Raises:
        DamagedError: a file is missing or not what was written; the message names the first one.
    """
    if record := read_folder(folder):
        check_files(folder, record["files"])
    return record


def read_folder(folder: Path) -> dict[str, Any] | None:
    """Returns the content of `FOLDER_FILE`, as `check_folder`; of the other files it only looks whether they exist."""
    path = folder / FOLDER_FILE
    try:
        record, has_digest = check_record(path)
        if not has_digest:
            raise DamagedError(f"{path} is damaged: it lacks its SHA-256")
        expected = {str(name): list(described) for name, described in record["files"].items()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path} is damaged: it is no list of files") from error
    if missing := [name for name in expected if not (folder / name).is_file()]:
        raise DamagedError(f"{folder / missing[0]} is missing")
    return record | {"files": expected}


def check_files(folder: Path, expected: Mapping[str, Sequence]) -> None:
    """Compares files with their sizes and SHA-256, `expected` by name; raises as `check_folder`."""
    try:
        found = _hashes(folder, expected)
    except OSError as error:
        raise DamagedError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    for name, (size, digest) in expected.items():
        if found[name] != [size, digest]:
            what = f"expected {size} bytes, found {found[name][0]}" if found[name][0] != size else "its SHA-256 differs"
            raise DamagedError(f"{folder / name} is damaged: {what}")


def checked_line(record: Mapping[str, Any]) -> str:
    """Returns a record as a line of JSON whose last key is the CRC-32 of the others.

    Example:
        >>> checked_line({"epoch": 1})
        '{"epoch": 1, "crc32": "94919848"}'
    """
    text = json.dumps(record)
    return f'{text[:-1]}{_LINE_MARK}{zlib.crc32(text.encode()):08x}"}}'


def read_line(line: str) -> tuple[dict[str, Any], bool]:
    """Reads a line; returns its record without the CRC, and whether it has one.

    Raises:
        ValueError: it is no JSON object, or not what was written.

    Example:
        >>> read_line('{"epoch": 1, "crc32": "94919848"}')
        ({'epoch': 1}, True)
        >>> read_line('{"epoch": 7, "crc32": "94919848"}')
        Traceback (most recent call last):
        ValueError: its CRC-32 differs
    """
    text, mark, crc = line.rpartition(_LINE_MARK)
    if mark:
        text += "}"
        if crc != f'{zlib.crc32(text.encode()):08x}"}}':
            raise ValueError("its CRC-32 differs")
    record = json.loads(text if mark else line)
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {type(record).__name__}")
    return record, bool(mark)


def _text_digest(text):
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _names_below(folder):
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in paths if path != folder / FOLDER_FILE]


def _hashes(folder, names):
    """The size and the SHA-256 of files by name; hashing leaves Python's lock to others."""

    def describe(name):
        return [(folder / name).stat().st_size, _files.sha256_of(folder / name)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(describe, names), strict=True))
