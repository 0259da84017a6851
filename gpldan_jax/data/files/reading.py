"""Reads named arrays from `.mat` (5 and 7.3), `.h5` and `.npz` files and folders of `.npy`, and the Wikipedia lists.

The content of a file decides which format it has. Every size is checked before it is expanded, nothing in a file is
executed, and whatever is wrong with a file is a `DataError` of one line.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpldan_jax.data.files.checks import Budget, DataError
from gpldan_jax.data.files.hdf5 import Hdf5File
from gpldan_jax.data.files.mat5 import Mat5File
from gpldan_jax.data.files.npy import MappedFile, NpyFolder, is_npy_folder
from gpldan_jax.data.files.npz import NpzFile

MAX_BYTES = 8 * 2**30
_MAX_LIST_BYTES = 64 * 2**20
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_OTHER_FORMATS = {
    b"\x93NUMPY": "a single .npy array (np.savez stores several by name; or give the folder of image.npy and text.npy)",
    b"\x80": "what looks like a pickle, which is not read because it can run code",
}
_ArrayFile = NpzFile | Hdf5File | Mat5File | NpyFolder


def read_arrays(
    path: str | os.PathLike,
    keys: Iterable[str],
    *,
    optional: Iterable[str] = (),
    others: Callable[[dict[str, str]], object] | None = None,
    max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray]:
    """Reads some arrays of one file.

    A key is the name of a variable, followed by struct fields and cells as in MATLAB: `I_tr_CNN`, `data.X1`, `X{1}`
    (cells count from 1). A column of a MATLAB table is named like a field. Arrays have the orientation that MATLAB or
    NumPy shows; sparse matrices come dense; MATLAB text and cells of text come as strings `[rows]`; a MATLAB `string`
    or `categorical` comes as strings of its shape, where missing or undefined is "".

    Args:
        path: a `.mat` (MATLAB 5 or 7.3), HDF5 or `.npz` file; its content decides, not its name. Or a folder of `.npy`
            files, see `gpldan_jax.data.files.npy`; single ones are mapped from disk.
        keys: what to read.
        optional: what to read where the file has it.
        others: takes the keys that the file has and that are not read; their values are words for what is no plain
            array, such as "a MATLAB datetime", or "".
        max_bytes: the most that the arrays together may expand to, checked before expanding.

    Returns:
        The arrays by key, as stored: any real dtype, or strings.

    Raises:
        DataError: no such file, a directory, another format, a damaged file, a missing key, objects of other classes,
            sizes past `max_bytes`, or HDF5 without h5py.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/mine.npz", image=np.ones((3, 2)))
        ...     read_arrays(f"{folder}/mine.npz", ["image"])["image"].shape
        (3, 2)
    """
    budget = Budget(max_bytes)
    with _open(path) as file:
        present = file.contents() if optional or others else {}
        # A cell array or a struct is listed by its parts.
        wholes = {key: _wholes(key) for key in present}
        listed = set().union(*wholes.values())
        wanted = [*keys, *(key for key in optional if key in listed)]
        if others:
            others({key: kind for key, kind in present.items() if wholes[key].isdisjoint(wanted)})
        return {key: _check_text(file.read(key, budget), f"{path}[{key}]") for key in wanted}


def map_arrays(path: str | os.PathLike, keys: Iterable[str], *, check: bool = True) -> dict[str, list[MappedFile]]:
    """Maps arrays of a folder of `.npy` files from disk.

    Args:
        path: of the folder, see `gpldan_jax.data.files.npy`.
        keys: the arrays.
        check: whether to compare the files that `extract` wrote with their SHA-256, which reads all of them once.

    Returns:
        The files of each array by key, in the order of their rows.

    Raises:
        DataError: a missing key, or a damaged file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/image.npy", np.ones((3, 2)))
        ...     [file.values.shape for file in map_arrays(folder, ["image"])["image"]]
        [(3, 2)]
    """
    path = Path(path)
    with _one_line_errors(path):
        folder = NpyFolder(path)
        return {key: folder.map(key, check=check) for key in keys}


def available_keys(path: str | os.PathLike) -> tuple[str, ...]:
    """Returns the keys that `read_arrays` takes for a file, fields and cells included.

    Args:
        path: as for `read_arrays`.

    Returns:
        The keys in the order of the file.

    Raises:
        DataError: as for `read_arrays`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/mine.npz", image=np.ones(3), text=np.ones(3))
        ...     available_keys(f"{folder}/mine.npz")
        ('image', 'text')
    """
    with _open(path) as file:
        return tuple(file.contents())


def read_list(path: str | os.PathLike) -> list[tuple[str, str, int]]:
    r"""Reads a `.list` file of the Wikipedia release: text name, image name and class in each line.

    Args:
        path: of the file.

    Returns:
        One (text, image, class) for each line that is not blank; the class is the number in the file.

    Raises:
        DataError: no such file, not text, or a line that is not of this form.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.list").write_text("text-1\timage-1\t6\n")
        ...     read_list(f"{folder}/a.list")
        [('text-1', 'image-1', 6)]
    """
    path = _regular_file(path)
    if path.stat().st_size > _MAX_LIST_BYTES:
        raise DataError(f"{path}: expected a list of at most {_MAX_LIST_BYTES} bytes, found more")
    with _one_line_errors(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.rstrip().split("\t")
        if len(fields) != 3 or not (fields[2].isascii() and fields[2].isdigit()):
            raise DataError(
                f"{path}: line {number}: expected text, image and class number separated by tabs, found {line[:60]!r}"
            )
        with _one_line_errors(path):
            rows.append((fields[0], fields[1], int(fields[2])))
    return rows


def _check_text(values: np.ndarray, where: str) -> np.ndarray:
    """Returns an array; `DataError` for strings whose numbers are no characters, of which Python makes no text."""
    if values.dtype.kind == "U" and values.size:
        codes = np.ascontiguousarray(values).reshape(-1).view(np.uint32)
        if codes.max() > sys.maxunicode:
            raise DataError(f"{where}: damaged; expected text, found the number {codes.max()} in place of a character")
    return values


def _wholes(key: str) -> set[str]:
    """A key and the names of the structs and cells that it is a part of."""
    return {key} | {key[: match.start()] for match in re.finditer(r"[.{]", key)}


def _regular_file(path: str | os.PathLike) -> Path:
    path = Path(path)
    with _one_line_errors(path):
        if path.is_dir():
            raise DataError(f"{path}: expected a file, found a directory")
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if not path.is_file():
            raise DataError(f"{path}: expected a regular file")
        if not path.stat().st_size:
            raise DataError(f"{path}: the file is empty")
    return path


@contextmanager
def _open(path: str | os.PathLike) -> Iterator[_ArrayFile]:
    path = Path(path)
    with _one_line_errors(path):
        if is_npy_folder(path):
            yield NpyFolder(path)
            return
    path = _regular_file(path)
    with (
        _one_line_errors(path),
        path.open("rb") as stream,
        closing(_format(path, stream)(path, stream)) as file,
    ):
        yield file


def _format(path: Path, stream: BinaryIO) -> type[NpzFile] | type[Hdf5File] | type[Mat5File]:
    """The reader of the format that an open file has; the stream is at its start again."""
    start = stream.read(128)
    found = _reader(start, stream)
    if found is None:
        other = next((kind for sign, kind in _OTHER_FORMATS.items() if start.startswith(sign)), "another format")
        raise DataError(f"{path}: expected a .npz, HDF5 or MATLAB 5 or 7.3 file, found {other}")
    stream.seek(0)
    return found


def _reader(start: bytes, stream: BinaryIO) -> type[NpzFile] | type[Hdf5File] | type[Mat5File] | None:
    if start[:4] in (b"PK\3\4", b"PK\5\6"):
        return NpzFile
    if start[126:] in (b"IM", b"MI"):
        version = start[125] if start[126:] == b"IM" else start[124]
        if version == 1:
            return Mat5File
    # HDF5 allows other bytes before its signature: 512, 1024, 2048, and so on.
    offset = 0
    while stream.seek(offset) == offset and (found := stream.read(8)):
        if found == _HDF5_SIGNATURE:
            return Hdf5File
        offset = offset * 2 or 512
    return None


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except PermissionError:
        raise DataError(f"{path}: no permission to read the file") from None
    except ImportError as error:
        raise DataError(f"{path}: {error}") from None
    except MemoryError:
        raise DataError(f"{path}: the arrays do not fit into memory") from None
    except Exception as error:
        # zipfile, zlib, h5py and NumPy report damage by errors of a dozen classes.
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: unreadable or damaged file ({reason})") from error
