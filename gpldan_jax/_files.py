"""One way to write a file and to hash; and the checks that commands make before they start to work.

Every file of this package is written under a temporary name and renamed once it is whole and on the disk. The temporary
name begins with `TEMPORARY`, so that a folder can tell what an interrupted process left there; who writes the same file
again removes it.
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path` to write to, and renames it to `path` when the block ends.

    A reader sees the old file or the whole new one. If the block fails, `path` stays as it was and the temporary file
    is removed; that of a process that was killed is removed too. Folders that do not exist are made. The temporary path
    has the same suffix as `path`. An `OSError` that names no file, such as that of a full disk, names `path`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(f"{folder}/figure.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     Path(f"{folder}/figure.txt").read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    with naming(path, temporary):
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Returns the path under which this process makes a file or a folder before it is renamed to `path`.

    What other processes of this machine left under such a name, and are gone, is removed.
    """
    mark = f"{TEMPORARY}{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]}-"
    for other in path.parent.glob(f"{mark}*-{glob.escape(path.name)}"):
        process = other.name.removeprefix(mark).removesuffix(f"-{path.name}")
        if process.isdecimal() and not is_running(int(process)):
            shutil.rmtree(other) if other.is_dir() else other.unlink(missing_ok=True)
    return path.with_name(f"{mark}{os.getpid()}-{path.name}")


def is_running(process: int) -> bool:
    """Returns whether a process of this machine runs, as far as that can be known."""
    if os.name == "nt":  # where a signal ends it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's
        return True
    return True


@contextlib.contextmanager
def naming(path: str | os.PathLike, temporary: Path | None = None) -> Iterator[None]:
    """Makes an `OSError` inside that names no file, or a temporary one, name `path`: a write to a full disk names none.

    Example:
        >>> with naming("figure.txt"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device: 'figure.txt'
    """
    try:
        yield
    except OSError as error:
        # An error without a number has a message of its own.
        if error.errno is not None and (error.filename is None or str(error.filename) == str(temporary)):
            error.filename = os.fspath(path)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike, value: Any, *, indent: int | None = 2) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def sync(path: str | os.PathLike) -> None:
    """Waits until a file or the entries of a folder are on the disk; does nothing for folders on Windows."""
    if os.name == "nt" and os.path.isdir(path):
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_line(error: BaseException) -> str:
    """Returns the first line of an error's message, at most 200 characters.

    Example:
        >>> one_line(MemoryError())
        'MemoryError'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def check_writable(path: Path, suffixes: tuple[str, ...], *, or_folder: bool = False) -> None:
    """Checks before long work that a result can be written to `path`.

    With `or_folder`, a path without a suffix is a folder that the result goes into; it may exist.
    """
    is_folder = or_folder and not path.suffix
    if not is_folder and path.suffix not in suffixes:
        other = "; or name a folder, without a dot in its name" if or_folder else ""
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}{other}")
    if is_folder and (not path.name or path.name == ".."):
        raise ValueError(f"cannot write {path}: expected the name of a folder")
    if is_folder and path.exists() and not path.is_dir():
        raise ValueError(f"cannot write {path}: expected a folder, found a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if (path.is_dir() and not is_folder) or not folder.is_dir():
        raise ValueError(f"cannot write {path}")
    if not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise ValueError(f"cannot write {path}") from OSError(number, os.strerror(number), str(path))
