"""A folder of `.npy` files in place of one file of arrays: features as CLIP tools write them.

One key is one file, by the names of `NAMES`. The features may be in parts that are numbered from 0, such as
`img_emb_0.npy`, also in a folder of that name: clip-retrieval writes them so. Nothing is unpickled.
"""

import contextlib
import mmap
import os
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._checksums import FOLDER_FILE, DamagedError, check_files, read_folder
from gpldan_jax.data.files.checks import Budget, DataError, first_few, missing_key_error
from gpldan_jax.data.files.npz import check_header, read_header

NAMES = {
    "image": ("image", "images", "img_emb"),
    "text": ("text", "texts", "text_emb"),
    "label": ("label", "labels"),
    "group": ("group", "groups"),
    "split": ("split", "splits"),
    "id": ("id", "ids"),
    "caption": ("caption", "captions"),
    "image_file": ("image_file", "image_files"),
    "class_names": ("class_names",),
    "image_of": ("image_of",),
    "text_of": ("text_of",),
    "caption_utf8": ("caption_utf8",),
    "caption_ends": ("caption_ends",),
    "manifest": ("manifest",),
}
"""The names of the files of each key, without `.npy`. All but features may be `.txt` files, an item in each line."""
_OF_EXTRACTIONS = ("image_of", "text_of", "caption_utf8", "caption_ends", "manifest")  # nobody writes them by hand
_FEATURES = ("image", "text")
_KEYS = {name: key for key, names in NAMES.items() for name in names}
_PART = re.compile(r"(\w+?)_([0-9]{1,9})")
_KEPT_BYTES = 1 << 26  # of a file that may stay in the memory of the process between reads
_FAULT_BYTES = 1 << 16  # that the system maps around a row at most
_CHECKED: dict[Path, tuple[int, int, int]] = {}  # size, time and number of the files that this process has compared


class MappedFile:
    """The array of a `.npy` file, mapped from disk.

    `read_block` and `read_rows` copy rows, and the pages that they touch do not pile up in the memory of the process.

    Attributes:
        values: the array, as it is stored.
    """

    def __init__(self, values: np.ndarray, file: Path, start: int):
        """Takes the mapped array, its file, and where in the file the values start."""
        self.values, self._name, self._start, self._read = values, file, start, 0
        self._descriptor = None
        if hasattr(os, "preadv") and values.flags.c_contiguous and values.ndim == 2:  # Windows has it not
            self._descriptor = os.open(file, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)

    def read_block(self, rows: slice) -> np.ndarray:
        """Reads rows that lie one after the other."""
        block = np.array(self.values[rows])
        self._let_go(block.nbytes)
        return block

    def read_rows(self, rows: np.ndarray) -> np.ndarray:
        """Reads rows by their numbers, `[rows]` int64; `DataError` where the file has become shorter."""
        if self._descriptor is None:
            self._let_go(len(rows) * (self.values.itemsize * self.values.shape[1] + _FAULT_BYTES))
            return self.values[rows]
        # To read a row is faster than the page faults of a map.
        found = np.empty((len(rows), self.values.shape[1]), self.values.dtype)
        size = found.itemsize * found.shape[1]
        buffer = found.reshape(-1).view(np.uint8).data
        for place, row in enumerate(rows.tolist()):
            part = buffer[place * size : (place + 1) * size]
            if os.preadv(self._descriptor, [part], self._start + row * size) != size:
                raise DataError(f"{self._name}: damaged; it ends before row {row} (counted from 0)")
        return found

    def _let_go(self, size: int) -> None:
        """Counts bytes that were read; past a limit the process lets go of its pages, which the system still keeps."""
        self._read += size
        memory: Any = self.values.base.base if isinstance(self.values.base, np.memmap) else None
        if self._read > _KEPT_BYTES and memory is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            memory.madvise(mmap.MADV_DONTNEED)
            self._read = 0


class NpyFolder:
    """A folder; the arrays of single `.npy` files are mapped from disk.

    Files that `extract` wrote are compared with their SHA-256 before they are read, once in a process.
    """

    def __init__(self, path: Path):
        self.path = path
        with _as_data_error():
            self._expected = (read_folder(path) or {"files": {}})["files"]
        self._files: dict[str, list[Path]] = {}
        self._others: list[str] = []
        for key, files in _find(path):
            if key is None:
                self._others += [str(file.relative_to(path)) for file in files]
            elif key in self._files:
                both = sorted(str(file.relative_to(path)) for file in (self._files[key][0], files[0]))
                raise DataError(f"{path}: {' and '.join(both)} are both {key!r}; leave one of them")
            else:
                self._files[key] = files

    def close(self) -> None:
        """Does nothing: no file stays open."""

    def contents(self) -> dict[str, str]:
        """Returns the keys of the arrays, and the names of all other files."""
        return dict.fromkeys([*(key for key in NAMES if key in self._files), *self._others], "")

    def read(self, key: str, budget: Budget) -> np.ndarray:
        """Reads one array."""
        files = self._of_key(key)
        if files[0].suffix == ".txt":
            self.check(files)
            return _lines(files[0], budget)
        parts = [file.values for file in self.map(key)]
        if len(parts) > 1:
            budget.charge(sum(part.nbytes for part in parts), f"{self.path}[{key}]")
        values = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def map(self, key: str, *, check: bool = True) -> list[MappedFile]:
        """Maps the files of one array that is no text; each has a part of the rows.

        With `check=False` they are not compared with their SHA-256: another process does so.
        """
        files = self._of_key(key)
        if check:
            self.check(files)
        found = [map_file(file) for file in files]
        parts = [file.values for file in found]
        if len(parts) > 1 and (len({(part.ndim, part.shape[1:]) for part in parts}) > 1 or not parts[0].ndim):
            shapes = first_few([list(part.shape) for part in parts], limit=5)
            raise DataError(f"{self.path}: the parts of {key!r} must have equally many columns, found {shapes}")
        return found

    def check(self, files: list[Path]) -> None:
        """Compares files with their SHA-256, where they have one; `DataError` for a damaged one."""
        known = {}
        for file in files:
            name, status = file.relative_to(self.path).as_posix(), file.stat()
            state = (status.st_size, status.st_mtime_ns, status.st_ino)
            if name in self._expected and _CHECKED.get(file.absolute()) != state:
                known[name] = state
        with _as_data_error():
            check_files(self.path, {name: self._expected[name] for name in known})
        _CHECKED.update({(self.path / name).absolute(): state for name, state in known.items()})

    def _of_key(self, key: str) -> list[Path]:
        if key not in self._files:
            if key not in NAMES:
                raise missing_key_error(str(self.path), key, self._files)
            found = first_few([*self._files, *self._others], limit=10)
            raise DataError(
                f"{self.path}: no file for {key!r}: expected {' or '.join(_file_names(key))}; the folder has {found}"
            )
        return self._files[key]


def read_features(path: Path) -> np.ndarray:
    """Maps features from a `.npy` file.

    Args:
        path: of the file.

    Returns:
        `[n, d]`, real numbers.

    Raises:
        DataError: it is not such a file.
    """
    if path.is_file() and (path.parent / FOLDER_FILE).exists():  # of an extraction
        folder = NpyFolder(path.parent)
        folder.check([path])
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: expected real numbers [rows, features], found an archive of several arrays")
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(f"{path}: expected real numbers [rows, features], found {array.dtype} {list(array.shape)}")
    return array


def is_npy_folder(path: Path) -> bool:
    """Returns whether a folder has a file of features by one of the names.

    Example:
        >>> is_npy_folder(Path("no such folder"))
        False
    """
    return path.is_dir() and any(key in _FEATURES for key, _ in _find(path))


def expected_files() -> str:
    """Returns the names of the files that a user may put into a folder, for messages."""
    return "; ".join(f"{key}: {' or '.join(_file_names(key))}" for key in NAMES if key not in _OF_EXTRACTIONS)


@contextlib.contextmanager
def _as_data_error():
    try:
        yield
    except DamagedError as error:
        raise DataError(f"{error}; extract the features again, or delete {FOLDER_FILE} if you changed them") from error


def _file_names(key: str) -> list[str]:
    if key in _FEATURES:
        *whole, numbered = NAMES[key]
        return [
            *(f"{name}.npy" for name in whole),
            f"{numbered}.npy",
            f"the parts {numbered}_0.npy, {numbered}_1.npy, ...",
        ]
    return [f"{name}{suffix}" for name in NAMES[key] for suffix in (".npy", ".txt")]


def _find(folder: Path) -> Iterator[tuple[str | None, list[Path]]]:
    """Yields each key with its files, and for `None` the other files; a key comes again where it is ambiguous."""
    parts: dict[tuple[str, Path], dict[int, Path]] = {}
    inner = [folder / names[-1] for key, names in NAMES.items() if key in _FEATURES]
    for file in sorted([*folder.iterdir(), *(file for place in inner if place.is_dir() for file in place.iterdir())]):
        key = _KEYS.get(file.stem)
        number = _PART.fullmatch(file.stem)
        if (file in inner and file.is_dir()) or file.name == FOLDER_FILE:
            continue
        if file.suffix == ".npy" and number and _KEYS.get(number[1]) in _FEATURES:
            of = parts.setdefault((number[1], file.parent), {})
            if int(number[2]) in of:
                raise DataError(f"{folder}: {of[int(number[2])].name} and {file.name} have the same number; leave one")
            of[int(number[2])] = file
        elif key and file.is_file() and (file.suffix == ".npy" or (file.suffix == ".txt" and key not in _FEATURES)):
            yield key, [file]
        else:
            yield None, [file]
    for (name, _), of in parts.items():
        if lost := [number for number in range(len(of)) if number not in of]:
            raise DataError(f"{folder}: no {name}_{lost[0]}.npy, but {of[max(of)].name}; parts are numbered from 0")
        yield _KEYS[name], [of[number] for number in sorted(of)]


def map_file(file: Path) -> MappedFile:
    """Maps the array of a `.npy` file; every size is checked against the file.

    Args:
        file: its path.

    Returns:
        The array, of any dtype without objects, byte order and order of its axes.

    Raises:
        DataError: objects, or another number of bytes than the header says.
    """
    with file.open("rb") as stream:
        shape, fortran, dtype = read_header(stream)
        start = stream.tell()
        size = stream.seek(0, 2)
    check_header(shape, dtype, size - start, where=str(file))
    if 0 in shape:
        return MappedFile(np.zeros(shape, dtype), file, start)
    mapped = np.memmap(file, dtype, "r", start, shape, order="F" if fortran else "C")
    return MappedFile(mapped.view(np.ndarray), file, start)


def _lines(file: Path, budget: Budget) -> np.ndarray:
    """The lines of a text file; whole numbers where all of them are such."""
    budget.charge(file.stat().st_size, str(file))
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected UTF-8: {error.reason} at byte {error.start}") from error
    lines = text.split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    budget.charge(4 * len(lines) * max(map(len, lines), default=0), str(file))
    # "007" is a name.
    if lines and all(re.fullmatch(r"0|-?[1-9][0-9]{0,17}", line) for line in lines):
        return np.array([int(line) for line in lines], np.int64)
    return np.array(lines, dtype=str)
