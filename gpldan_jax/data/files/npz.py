"""Arrays in `.npz` archives, read without pickle and without trusting the sizes that a file declares."""

import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from gpldan_jax._files import one_line
from gpldan_jax.data.files.checks import Budget, DataError, missing_key_error

_PIECE = 1 << 20
_SUFFIX = ".npy"


class NpzFile:
    """An open archive; the path is for messages."""

    def __init__(self, path: Path, stream: BinaryIO):
        self.path = path
        self._archive = zipfile.ZipFile(stream)
        self._members = {
            info.filename.removesuffix(_SUFFIX): info
            for info in self._archive.infolist()
            if info.filename.endswith(_SUFFIX)
        }

    def close(self) -> None:
        """Closes the archive."""
        self._archive.close()

    def contents(self) -> dict[str, str]:
        """Returns the names of the arrays."""
        return dict.fromkeys(self._members, "")

    def read(self, key: str, budget: Budget) -> np.ndarray:
        """Reads one array."""
        if key not in self._members:
            raise missing_key_error(str(self.path), key, self._members)
        where = f"{self.path}[{key}]"
        info = self._members[key]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{where}: expected a stored or deflated member, found another method")
        budget.charge(info.file_size, where)
        with self._archive.open(info) as stream:
            shape, fortran, dtype = read_header(stream)
            size = check_header(shape, dtype, info.file_size - stream.tell(), where=where)
            # Grown piece by piece: memory follows what the file holds, not what it declares.
            data = bytearray()
            while piece := stream.read(_PIECE):
                data += piece
        if len(data) != size:
            raise DataError(f"{where}: truncated; expected {size} bytes, found {len(data)}")
        values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        return values.astype(dtype.newbyteorder("="), copy=False)


def check_archive(path: Path) -> None:
    """Compares every array of an archive with its CRC-32; `DataError` where one differs, or it is no archive.

    Args:
        path: of the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {one_line(error)}") from error
    if wrong:
        raise DataError(f"{path} is damaged: the CRC-32 of its array {wrong.removesuffix(_SUFFIX)} differs")


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Returns the shape, whether it is in Fortran's order, and the dtype of a `.npy` file; what follows are its values.

    Args:
        stream: at the start of the file.

    Raises:
        ValueError: no header of version 1 or 2.
    """
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"unsupported .npy version {version}")
    with warnings.catch_warnings():
        # NumPy warns of headers written by Python 2, which read correctly.
        warnings.simplefilter("ignore")
        return read(stream)


def check_header(shape: tuple[int, ...], dtype: np.dtype, held: int, *, where: str) -> int:
    """Returns the number of bytes of an array, after comparing it with the bytes that the file holds.

    Args:
        shape: as the header says.
        dtype: as the header says.
        held: the number of bytes after the header.
        where: the file and key, for messages.

    Raises:
        DataError: objects, or another number of bytes.

    Example:
        >>> check_header((3, 2), np.dtype("f4"), 24, where="a.npy")
        24
    """
    if dtype.hasobject:
        raise DataError(
            f"{where}: expected numbers, found pickled objects; they are not read because a pickle can run code"
        )
    if dtype.kind not in "biufcSU" or not dtype.itemsize or min(shape, default=0) < 0:
        raise DataError(f"{where}: expected numbers or strings, found {dtype} {shape}")
    size = math.prod(shape) * dtype.itemsize
    if size != held:
        raise DataError(f"{where}: damaged; expected {size} bytes for shape {shape}, found {held}")
    return size
