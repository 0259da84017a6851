"""Class labels: from the forms in which files store them to 0..C-1.

Letters: `n` items; `C` classes.
"""

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data.files.checks import DataError, name_rows

# Whole numbers beyond this are not exact in float64, so a class could silently become another.
_LARGEST_EXACT = 2.0**53


def normalize_labels(raw: ArrayLike, count: int, *, where: str) -> np.ndarray:
    """Converts class labels of any usual form to one class value per item.

    Args:
        raw: array_like; whole numbers, bools or strings of shape `[n]`, `[n, 1]` or `[1, n]`, or one-hot rows `[n, C]`
            or columns `[C, n]` of 0 and 1. A square one-hot array has its items in rows.
        count: n, the number of items that the labels belong to.
        where: the file and key, for messages.

    Returns:
        `[n]`, int64 or str: the values as they are stored. One-hot input gives the position of the 1, counted from 0.

    Raises:
        DataError: another shape or count, values that are not whole, NaN, rows with several classes or none, complex
            numbers or objects.

    Example:
        >>> normalize_labels([[3.0], [1.0]], 2, where="a.mat[Y]")
        array([3, 1])
        >>> normalize_labels([[0, 1], [1, 0], [0, 1]], 3, where="a.mat[Y]")
        array([1, 0, 1])
    """
    values = np.asarray(raw)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "O" and all(isinstance(item, str) for item in values.ravel()):
        values = values.astype(str)
    if values.dtype.kind not in "biufU":
        raise DataError(f"{where}: labels must be whole numbers or strings, found {values.dtype}")
    if values.shape in {(count,), (count, 1), (1, count)}:
        return _whole(values.reshape(count), where)
    if values.ndim == 2 and count in values.shape:
        rows = _one_hot(values, count, where)
        return np.argmax(rows, axis=1).astype(np.int64)
    raise DataError(
        f"{where}: expected {count} labels as [{count}], [{count}, 1], [1, {count}] or one-hot "
        f"[{count}, classes], found {list(values.shape)}"
    )


def normalize_groups(raw: ArrayLike, count: int, *, where: str) -> np.ndarray:
    """Converts the groups of items to one value per item: pairs that belong together have the same group.

    Args:
        raw: array_like; whole numbers or strings of shape `[n]`, `[n, 1]` or `[1, n]`.
        count: n, the number of items that the groups belong to.
        where: the file and key, for messages.

    Returns:
        `[n]`, int64 or str.

    Raises:
        DataError: another shape or count, or values that are neither whole numbers nor strings.

    Example:
        >>> normalize_groups(["a.jpg", "a.jpg", "b.jpg"], 3, where="a.npz[group]").tolist()
        ['a.jpg', 'a.jpg', 'b.jpg']
    """
    values = np.asarray(raw)
    if values.shape not in {(count,), (count, 1), (1, count)}:
        raise DataError(f"{where}: expected a group for each of {count} pairs, found {list(values.shape)}")
    return normalize_labels(values, count, where=where)


def encode_labels(*parts: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[str, ...]]:
    """Maps class values to 0..C-1, jointly over all `parts` and in sorted order.

    Args:
        *parts: arrays `[n]` as `normalize_labels` returns them; n may differ.

    Returns:
        The parts as int32 in 0..C-1, and the C class names (`str` of the stored values).

    Raises:
        DataError: numbers in one part and strings in another.

    Example:
        >>> encode_labels(np.array([7, 2]), np.array([2, 9]))
        ((array([1, 0], dtype=int32), array([0, 2], dtype=int32)), ('2', '7', '9'))
    """
    filled = [part for part in parts if len(part)]
    if len({part.dtype.kind for part in filled}) > 1:
        raise DataError("labels: expected one kind in all splits, found numbers and strings")
    classes = np.unique(np.concatenate(filled)) if filled else np.empty(0, np.int64)
    encoded = tuple((np.searchsorted(classes, part) if len(part) else np.empty(0)).astype(np.int32) for part in parts)
    return encoded, tuple(str(value) for value in classes)


def _whole(values: np.ndarray, where: str) -> np.ndarray:
    if values.dtype.kind == "U":
        return values
    if values.dtype.kind == "f":
        lost = ~np.isfinite(values)
        if lost.any():
            raise DataError(f"{where}: {name_rows(lost)} have NaN or Inf as label")
        partial = (values != np.floor(values)) | (np.abs(values) > _LARGEST_EXACT)
        if partial.any():
            first = values[np.argmax(partial)]
            raise DataError(f"{where}: expected whole numbers as labels, found {first} in {name_rows(partial)}")
    if values.dtype.kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
        raise DataError(f"{where}: label {values.max()} is past the range of int64")
    return values.astype(np.int64)


def _one_hot(values: np.ndarray, count: int, where: str) -> np.ndarray:
    rows = values if values.shape[0] == count else values.T
    if rows.dtype.kind == "U" or not np.isin(rows, (0, 1)).all():
        raise DataError(
            f"{where}: labels of shape {list(values.shape)} must be one-hot, found other values than 0 and 1"
        )
    marks = (rows != 0).sum(axis=1)
    if (marks == 1).all():
        return rows
    if values.shape == (count, count) and (values.sum(axis=0) == 1).all():
        return values.T
    wrong = marks != 1
    raise DataError(
        f"{where}: expected one class per item, found {marks[np.argmax(wrong)]} in "
        f"{name_rows(wrong)}; multi-label data are not supported"
    )
