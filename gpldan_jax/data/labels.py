"""Class labels: from the forms in which files store them to 0..C-1, or to several classes of an item; and groups.

Letters: `n` items; `C` classes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data.files.checks import DataError, name_rows

# Whole numbers beyond this are not exact in float64, so a class could silently become another.
_LARGEST_EXACT = 2.0**53


def normalize_labels(raw: ArrayLike, count: int, *, where: str, per_item: str = "one") -> np.ndarray:
    """Converts class labels of any usual form to one class value per item, or to the classes of each item.

    Args:
        raw: array_like; whole numbers, bools or strings of shape `[n]`, `[n, 1]` or `[1, n]`, or rows `[n, C]` or
            columns `[C, n]` of 0 and 1. A square array has its items in rows, unless only its columns are one-hot.
        count: n, the number of items that the labels belong to.
        where: the file and key, for messages.
        per_item: how many classes an item has: `"one"`, or `"any"`, several or none. With `"any"` NaN stands for no
            class, as -1 and "" do.

    Returns:
        `[n]`, int64 or str: the values as they are stored. Rows of 0 and 1 with at most one 1 each give its position,
        counted from 0, and -1 for none. Where rows have several, `[n, C]` bool.

    Raises:
        DataError: another shape or count, values that are not whole, complex numbers or objects; with `"one"` also NaN
            and rows with several classes or none.

    Example:
        >>> normalize_labels([[3.0], [1.0]], 2, where="a.mat[Y]")
        array([3, 1])
        >>> normalize_labels([[0, 1], [1, 0], [0, 1]], 3, where="a.mat[Y]")
        array([1, 0, 1])
        >>> normalize_labels([[1, 1], [0, 1], [0, 0]], 3, where="a.mat[Y]", per_item="any")[0]
        array([ True,  True])
    """
    values = np.asarray(raw)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "O" and all(isinstance(item, str) for item in values.ravel()):
        values = values.astype(str)
    if values.dtype.kind not in "biufU":
        raise DataError(f"{where}: labels must be whole numbers or strings, found {values.dtype}")
    if values.shape in {(count,), (count, 1), (1, count)}:
        values = values.reshape(count)
        if per_item == "any" and values.dtype.kind == "f":
            values = np.where(np.isnan(values), -1, values)
        return _whole(values, where)
    if values.ndim == 2 and count in values.shape:
        rows = _zeros_and_ones(values, count, where)
        if (rows.sum(axis=1) > 1).any() or per_item == "one":
            return rows if per_item == "any" else np.argmax(_one_hot(rows, where), axis=1).astype(np.int64)
        return np.where(rows.any(axis=1), np.argmax(rows, axis=1), -1).astype(np.int64)
    raise DataError(
        f"{where}: expected {count} labels as [{count}], [{count}, 1], [1, {count}] or "
        f"[{count}, classes] of 0 and 1, found {list(values.shape)}"
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


def encode_labels(
    *parts: np.ndarray, names: Sequence[str] | None = None
) -> tuple[tuple[np.ndarray, ...], tuple[str, ...]]:
    """Maps class values to 0..C-1, jointly over all `parts` and in sorted order; -1 and "" become -1, no class.

    Args:
        *parts: arrays `[n]` or `[n, C]` as `normalize_labels` returns them; n may differ. Beside `[n, C]`, numbers
            are positions of classes.
        names: the C class names of `[n, C]`, and of numbers that are positions of classes; `None` where the values
            themselves are the names.

    Returns:
        The parts as int32 in -1..C-1, or all as bool `[n, C]`; and the C class names (`str` of the stored values).

    Raises:
        DataError: numbers in one part and strings in another, or class counts that do not fit.

    Example:
        >>> encode_labels(np.array([7, 2]), np.array([2, 9, -1]))
        ((array([1, 0], dtype=int32), array([ 0,  2, -1], dtype=int32)), ('2', '7', '9'))
    """
    filled = [part for part in parts if len(part)]
    if any(part.ndim == 2 for part in filled):
        return _encode_several(parts, names)
    if len({part.dtype.kind for part in filled}) > 1:
        raise DataError("labels: expected one kind in all splits, found numbers and strings")
    values = np.concatenate(filled) if filled else np.empty(0, np.int64)
    none = values.dtype.type() if values.dtype.kind == "U" else -1
    classes = np.unique(values[values != none])
    encoded = tuple(
        np.where(part == none, -1, np.searchsorted(classes, part)).astype(np.int32)
        if len(part)
        else np.empty(0, np.int32)
        for part in parts
    )
    if names is not None:
        if values.dtype.kind == "U" or (len(classes) and not 0 <= classes[0] <= classes[-1] < len(names)):
            raise DataError(f"labels: class names belong to labels in 0..{len(names) - 1}, or to [n, {len(names)}]")
        return encoded, tuple(str(names[value]) for value in classes)
    return encoded, tuple(str(value) for value in classes)


def is_labelled(labels: np.ndarray) -> np.ndarray:
    """Returns which items have a label, `[n]` bool: not -1, not NaN, not "", and at least one class.

    Args:
        labels: `[n]` of one class each, or `[n, C]` bool, a column for each class.

    Returns:
        `[n]` bool.

    Example:
        >>> is_labelled(np.array([2, -1, 0])), is_labelled(np.array(["a", ""]))
        (array([ True, False,  True]), array([ True, False]))
    """
    if labels.ndim == 2:
        return np.asarray(labels.any(axis=1))
    if labels.dtype.kind in "US":
        return np.asarray(labels != labels.dtype.type())
    known: np.ndarray = np.asarray(labels == labels)  # NaN does not equal itself
    if labels.dtype.kind in "iuf":
        known &= labels != -1
    return known


def _encode_several(parts, names):
    counts = {part.shape[1] for part in parts if part.ndim == 2}
    count = max(counts)
    if len(counts) > 1:
        raise DataError(f"labels: expected as many classes in all splits, found {sorted(counts)}")
    if names is not None and len(names) != count:
        raise DataError(f"labels: expected {count} class names, found {len(names)}")
    encoded = []
    for part in parts:
        if part.ndim == 1:
            if part.dtype.kind == "U" or (len(part) and not -1 <= part.min() <= part.max() < count):
                raise DataError(f"labels: expected rows of {count} classes in all splits, or positions of classes")
            part = part[:, None] == np.arange(count)
        encoded.append(part)
    return tuple(encoded), tuple(names or map(str, range(count)))


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


def _zeros_and_ones(values: np.ndarray, count: int, where: str) -> np.ndarray:
    """The classes of each item, bool `[count, C]`."""
    rows = values if values.shape[0] == count else values.T
    if rows.dtype.kind == "U" or not np.isin(rows, (0, 1)).all():
        raise DataError(
            f"{where}: labels of shape {list(values.shape)} must be 0 and 1, a column for each class; found others"
        )
    rows = rows != 0
    if values.shape == (count, count) and (rows.sum(axis=1) != 1).any() and (rows.sum(axis=0) == 1).all():
        return np.ascontiguousarray(rows.T)
    return rows


def _one_hot(rows: np.ndarray, where: str) -> np.ndarray:
    marks = rows.sum(axis=1)
    if (wrong := marks != 1).any():
        raise DataError(f"{where}: expected one class per item, found {marks[np.argmax(wrong)]} in {name_rows(wrong)}")
    return rows
