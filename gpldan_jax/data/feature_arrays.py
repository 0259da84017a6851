"""Feature matrices `[n, d]`: the check that each passes once, and features that stay on disk.

Features on disk are memory maps of `.npy` files, which rows are taken from, and how their rows are scaled. They are
read where rows are asked for: a mini-batch, or a block of a pass over all of them.

Letters: `n` rows; `d` columns.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data.arrays import check_precision
from gpldan_jax.data.files.checks import DataError, name_rows
from gpldan_jax.data.files.npy import MappedFile
from gpldan_jax.models.column_statistics import Share, own_blocks, own_share, row_blocks


class FeaturesOnDisk:
    """Features that are read from `.npy` files where rows are asked for, `[n, d]` float32.

    `features[rows]` reads rows: a number, a slice, or an array of numbers or bools. `take` chooses rows without reading
    them, `np.asarray(features)` reads all. Nothing else of an array works.

    Attributes:
        rows_read: how many rows were read so far through this object; those that `take` returns count for themselves.
        share: which of several processes reads which rows for statistics; `None` for one process. All must ask for
            them together.

    Example:
        >>> import pathlib, tempfile
        >>> from gpldan_jax.data.files.npy import map_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/image.npy", np.arange(6.0).reshape(3, 2))
        ...     features = FeaturesOnDisk([map_file(pathlib.Path(folder, "image.npy"))])
        ...     features[[2]], features.rows_read, features.take(slice(1, 3)).shape
        (array([[4., 5.]], dtype=float32), 1, (2, 2))
    """

    ndim = 2

    def __init__(
        self,
        files: Sequence[MappedFile],
        rows: np.ndarray | slice = slice(None),
        scale: Callable[[np.ndarray], np.ndarray] | None = None,
        dtype: np.dtype | type = np.float32,
        share: Share | None = None,
    ):
        """Takes the parts of a matrix in their order, the rows that are used, and what scales blocks of rows."""
        self.share = share
        self._files, self._scale, self.dtype = tuple(files), scale, np.dtype(dtype)
        self._ends = np.cumsum([len(file.values) for file in files])
        self._rows = rows if isinstance(rows, np.ndarray) else range(int(self._ends[-1]))[rows]
        self.rows_read = 0

    @property
    def shape(self) -> tuple[int, int]:
        """`(n, d)`."""
        return len(self._rows), self._files[0].values.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in row_blocks(self):
            yield from block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Reads all rows."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, rows: int | np.integer | slice | ArrayLike) -> np.ndarray:
        """Reads rows."""
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])][0]
        with np.errstate(over="ignore"):  # the check of the features looks for overflows
            values = np.ascontiguousarray(self._read(self._chosen(rows)), self.dtype)
        self.rows_read += len(values)
        return values if self._scale is None else self._scale(values)

    def take(self, rows: slice | ArrayLike) -> "FeaturesOnDisk":
        """Returns the features of some rows; nothing is read."""
        return FeaturesOnDisk(self._files, _as_slice(self._chosen(rows)), self._scale, share=self.share)

    def scaled(self, scale: Callable[[np.ndarray], np.ndarray]) -> "FeaturesOnDisk":
        """Returns features that `scale` scales when they are read."""
        return FeaturesOnDisk(self._files, _as_slice(self._rows), scale, share=self.share)

    def is_of(self, other: "FeaturesOnDisk") -> bool:
        """Returns whether other features are rows of the same files, scaled alike."""
        return self._files == other._files and self._scale == other._scale

    def joined(self, parts: Sequence["FeaturesOnDisk"]) -> "FeaturesOnDisk":
        """Returns the rows of several features of the same files, in order; nothing is read."""
        rows = np.concatenate([np.asarray(part._rows) for part in parts])
        return FeaturesOnDisk(self._files, _as_slice(rows), self._scale, share=self.share)

    def stored(self) -> "FeaturesOnDisk":
        """Returns the same rows with the dtype that they have in the files, and not scaled."""
        dtype = np.result_type(*(file.values.dtype for file in self._files))
        return FeaturesOnDisk(self._files, _as_slice(self._rows), dtype=dtype, share=self.share)

    def _chosen(self, rows):
        if isinstance(rows, slice):
            return self._rows[rows]
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "biu"):
            raise IndexError("features on disk take a number, a slice, or numbers or bools [rows]")
        if rows.dtype.kind == "b":
            if len(rows) != len(self):
                raise IndexError(f"expected {len(self)} bools, got {len(rows)}")
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.int64, copy=False)
        if isinstance(self._rows, np.ndarray):
            return self._rows[rows]
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"expected rows below {len(self)}, got {rows.min()} to {rows.max()}")
        return self._rows.start + self._rows.step * np.where(rows < 0, rows + len(self), rows)

    def _read(self, rows) -> np.ndarray:
        """The stored values of some rows of the files, a `range` or numbers."""
        if len(self._files) == 1:
            return _read_part(self._files[0], rows)
        rows = np.asarray(rows)
        parts, starts = np.searchsorted(self._ends, rows, side="right"), [0, *self._ends.tolist()]
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        for part in np.unique(parts).tolist():
            of_part = parts == part
            found[of_part] = _read_part(self._files[part], rows[of_part] - starts[part])
        return found


def as_features(array: ArrayLike | FeaturesOnDisk, *, where: str, to_train_on: bool = False) -> np.ndarray:
    """Checks a feature matrix of real numbers or bools, `[n, d]`, and converts it to float32; `where` is for messages.

    Features `to_train_on` must also keep their differences in float32, see `check_precision`.

    Returns:
        `[n, d]` float32, C-contiguous, finite. An array that is already so is returned as it is, and `FeaturesOnDisk`.

    Raises:
        DataError: objects, strings or complex numbers, another number of axes, NaN, Inf or values outside the float32
            range; the message names the first rows. What `check_precision` refuses.
    """
    values: Any = array if isinstance(array, FeaturesOnDisk) else np.asarray(array)
    given: Any = values.stored() if isinstance(values, FeaturesOnDisk) else values
    if given.dtype.kind not in "biuf":
        raise DataError(f"{where}: expected real numbers, found {given.dtype}")
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"{where}: expected shape [rows, features], found {list(values.shape)}")
    if isinstance(values, np.ndarray):
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(values, dtype=np.float32)
    _check_finite(values, where)
    if to_train_on:
        check_precision(given, where)
    return values


def _check_finite(values: Any, where: str) -> None:
    """`DataError` where a value of the rows that this process reads is not finite, or of those of another process."""
    finite = np.concatenate([np.zeros(0, bool), *(np.isfinite(block).all(axis=1) for block in own_blocks(values))])
    share = own_share(values)
    start = 0 if share is None else share.rows(len(values)).start
    wrong = np.concatenate([np.zeros(start, bool), ~finite])
    others = [share.tell(np.array([wrong.any()], np.float32), source) for source in range(share.count)] if share else []
    if wrong.any():
        raise DataError(f"{where}: expected finite float32 values, found NaN, Inf or overflow in {name_rows(wrong)}")
    if np.any(others):
        raise DataError(f"{where}: expected finite float32 values; process {np.argmax(others)} says which are not")


def take_rows(features: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
    """Returns rows of features; of `FeaturesOnDisk` without reading them."""
    return features.take(rows) if isinstance(features, FeaturesOnDisk) else features[rows]


def join_features(parts: Sequence[Any]) -> np.ndarray:
    """Joins features, one below the other; parts of the same `FeaturesOnDisk` without reading them."""
    first = parts[0]
    if not all(isinstance(part, FeaturesOnDisk) and part.is_of(first) for part in parts):
        return np.concatenate(parts)
    return first.joined(parts)


def _read_part(file: MappedFile, rows) -> np.ndarray:
    if isinstance(rows, range):
        return file.read_block(slice(rows.start, rows.stop if rows.stop >= 0 else None, rows.step))
    return file.read_rows(rows)


def _as_slice(rows: np.ndarray | range) -> np.ndarray | slice:
    """Rows that follow each other as a slice, because it needs no memory and is read faster."""
    if isinstance(rows, range):
        return slice(rows.start, rows.stop if rows.stop >= 0 else None, rows.step)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
