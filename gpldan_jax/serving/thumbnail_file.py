"""The thumbnails of a collection, in one SQLite file: a million files would not lie well in a folder.

A thumbnail is called by the SHA-256 of the picture that it was made of, so equal pictures are stored once, a browser
may keep them for ever, and a second build makes only what is new. The file is written beside its place and renamed when
it is whole; after an interruption the next build goes on with the thumbnails that it finds there.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import sqlite3
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax import _files
from gpldan_jax.features import read_images
from gpldan_jax.features.pictures import read_file
from gpldan_jax.features.thumbnails import SIDE, THUMBNAIL_TABLE, check_thumbnails, make_thumbnail

FILE = "pictures.sqlite"
_REFUSALS = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO, sqlite3.SQLITE_READONLY: errno.EROFS}
_PART = f"{_files.TEMPORARY}{FILE}"
_BATCH = 16  # pictures whose files are in memory at a time
_DIGITS = 32


class Thumbnails:
    """The thumbnails of a collection, read from its file when they are asked for; may be used in any thread.

    Args:
        path: the file.

    Raises:
        ValueError: it is no such file.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            # Neither views nor triggers of a stranger's file are run.
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True,
                check_same_thread=False)  # fmt: skip
            weakref.finalize(self, self._connection.close)  # also where this fails below
            self._connection.execute("PRAGMA trusted_schema = OFF")
            kinds = self._connection.execute("SELECT type FROM sqlite_schema WHERE name = 'pictures'").fetchall()
        except (sqlite3.Error, UnicodeError) as error:  # an error may quote a text that is none
            raise ValueError(f"{path} is no file of thumbnails ({error}); build the collection again") from error
        if kinds != [("table",)]:
            raise ValueError(f"{path} is no file of thumbnails; build the collection again")

    def __len__(self) -> int:
        return self._connection.execute("SELECT count(*) FROM pictures").fetchone()[0]

    def file(self, name: str) -> bytes | None:
        """Returns a thumbnail.

        Args:
            name: of the thumbnail, as the field "picture" of an image has it.

        Returns:
            The content of a WebP file; `None` where there is none of this name.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            found = self._connection.execute("SELECT crc, file FROM pictures WHERE name = ?", (name,)).fetchone()
        except (sqlite3.Error, UnicodeError) as error:
            raise ValueError(f"{self._path} is damaged ({error}); build the collection again") from error
        if found is None:
            return None
        if not isinstance(found[1], bytes) or zlib.crc32(found[1]) != found[0]:
            raise ValueError(f"{self._path} is damaged at {name}; build the collection again")
        return found[1]

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


def open_thumbnails(folder: str | os.PathLike) -> Thumbnails | None:
    """Opens the thumbnails of a collection.

    Args:
        folder: of the collection.

    Returns:
        The thumbnails, or `None` where the collection has none.

    Raises:
        ValueError: their file is damaged.
    """
    path = Path(folder) / FILE
    return Thumbnails(path) if path.is_file() else None


def build_thumbnails(
    folder: Path,
    pictures: Sequence[Path | np.ndarray],
    *,
    threads: int,
    on_items: Callable[[int], object] = lambda done: None,
) -> list[str]:
    """Makes the thumbnails of a collection; those of an earlier or interrupted build are used again.

    Args:
        folder: of the collection; it must exist, and be locked by the caller.
        pictures: n files, or pictures uint8 `[h, w, 3]`.
        threads: how many pictures are decoded at a time.
        on_items: called with the number of pictures that are done.

    Returns:
        For each picture the name of its thumbnail, "" where the file cannot be read.
    """
    part, names = folder / _PART, []
    if not part.exists() and (folder / FILE).exists():
        shutil.copyfile(folder / FILE, part)
    with _refusals_named(folder / FILE), _opened(part) as (connection, known):
        for start in range(0, len(pictures), _BATCH):
            batch = [_named(picture) for picture in pictures[start : start + _BATCH]]
            new = {name: content for name, content in batch if name and name not in known}
            made = _make(list(new.values()), threads)
            rows = [(name, zlib.crc32(file), file) for name, file in zip(new, made, strict=True) if file]
            with connection:
                connection.executemany("INSERT INTO pictures VALUES (?, ?, ?)", rows)
            known.update(name for name, _, _ in rows)
            names += [name if name in known else "" for name, _ in batch]
            on_items(len(names))
        if unused := known.difference(names):
            with connection:
                connection.executemany("DELETE FROM pictures WHERE name = ?", [(name,) for name in unused])
            connection.execute("VACUUM")
    _files.sync(part)
    os.replace(part, folder / FILE)
    _files.sync(folder)
    return names


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[tuple[sqlite3.Connection, set[str]]]:
    """Opens the file of a build, with the names in it; a new one where that of an earlier build is damaged."""
    connection = sqlite3.connect(part)
    try:
        connection.execute(THUMBNAIL_TABLE)
        check_thumbnails(connection)
        known = {name for (name,) in connection.execute("SELECT name FROM pictures")}
    except (sqlite3.DatabaseError, ValueError):
        connection.close()
        for leftover in (part, part.with_name(f"{part.name}-journal")):
            leftover.unlink(missing_ok=True)
        connection, known = sqlite3.connect(part), set()
        connection.execute(THUMBNAIL_TABLE)
    with contextlib.closing(connection):
        yield connection, known


@contextlib.contextmanager
def _refusals_named(path):
    """Makes what the machine refuses to SQLite an `OSError` with the name of the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        number = _REFUSALS.get(error.sqlite_errorcode & 0xFF)
        if number is None:
            raise
        if number == errno.EIO and _are_files_limited():  # SQLite does not say which of them it was
            number = errno.EFBIG
        raise OSError(number, os.strerror(number), str(path)) from error


def _are_files_limited():
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY


def _named(picture: Path | np.ndarray) -> tuple[str, bytes | np.ndarray]:
    """The name of a picture's thumbnail, "" where its file cannot be read; and the picture, or the file's content."""
    try:
        content = picture if isinstance(picture, np.ndarray) else read_file(picture)
    except ValueError:
        return "", b""
    return hashlib.sha256(content).hexdigest()[:_DIGITS], content  # type: ignore[arg-type]  # before Python 3.12


def _make(contents: list[Any], threads: int) -> list[bytes | None]:
    """The thumbnails of pictures or of the contents of their files; `None` where one cannot be decoded."""
    if contents and isinstance(contents[0], np.ndarray):
        return [make_thumbnail(content) for content in contents]
    made = read_images(contents, make_thumbnail, threads=threads, smallest=2 * SIDE)
    return [None if isinstance(file, ValueError) else file for file in made]
