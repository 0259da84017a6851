"""One conversion of whatever array a user has: lists, pandas, jax, PyTorch, NumPy.

A DataFrame, a Series with a nullable dtype and a list of Python objects reach NumPy as objects. Here they become
numbers or text, or an error says which value is neither. Neither pandas nor PyTorch is imported.
"""

import numbers
from typing import Any, Literal

import numpy as np

from gpldan_jax.data.files.checks import DataError, first_few

Missing = Literal["nan", "unlabelled", "refuse"]


def as_array(values: Any, what: str, *, missing: Missing = "nan") -> np.ndarray:
    """Converts an array_like to a NumPy array of numbers or text.

    Args:
        values: a list, a NumPy or jax array, a PyTorch tensor (of any device, also one that needs gradients), a pandas
            Series, Index or DataFrame of any dtype (nullable ones, categories and text included), or anything else that
            NumPy takes.
        what: the argument, for messages.
        missing: what a missing value (`None`, `pandas.NA`, NaN beside text) becomes: `"nan"`, NaN in an array of
            numbers and an error in text; `"unlabelled"`, -1 in whole numbers and bools, NaN in other numbers and "" in
            text; `"refuse"`, an error.

    Returns:
        The values in their shape. Objects become int64 (uint64 where a value needs it), float64, bool or str; all other
        dtypes stay.

    Raises:
        DataError: rows of unequal lengths, or values that are neither all numbers nor all text.

    Example:
        >>> as_array([1, None, 3], "labels", missing="unlabelled")
        array([ 1, -1,  3])
        >>> as_array(np.array(["a", "b"], dtype=object), "ids", missing="refuse")
        array(['a', 'b'], dtype='<U1')
    """
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # a tensor of PyTorch
        values = values.detach().cpu()
        if "bfloat16" in str(values.dtype):  # NumPy has no such dtype
            values = values.float()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{what} must be an array of numbers or text, got {type(values).__name__} ({error})") from error
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if isinstance(values, list | tuple):
        # NumPy makes text of numbers beside text, and rounds whole numbers that are large.
        large = array.dtype.kind == "f" and (np.abs(array) >= 2.0**63).any()
        array = np.asarray(values, dtype=object) if large or array.dtype.kind == "U" else array
    if array.dtype.kind in "OT":
        return _from_objects(array.astype(object), what, missing)
    if missing == "refuse" and array.dtype.kind == "f" and np.isnan(array).any():
        raise DataError(f"{what} must have no missing values, {_first(np.isnan(array))} is NaN")
    return array


def check_ids(ids: Any, n: int) -> np.ndarray:
    """Checks the ids of n items.

    Args:
        ids: n different strings or whole numbers, in any array_like.
        n: the number of items.

    Returns:
        `[n]`, strings, int64, or uint64 where they came as uint64 or need it.

    Raises:
        ValueError: they do not fit, or some are missing, or there are strings and numbers.

    Example:
        >>> check_ids([2**64 - 1, 5], 2)
        array([18446744073709551615,                    5], dtype=uint64)
    """
    array = as_array(ids, "ids", missing="refuse")
    if not n or array.shape[:1] != (n,):
        count = len(array) if array.ndim else "none"
        raise ValueError(f"ids and features must be equally many, at least one, got {count} and {n}")
    if array.dtype.kind in "iu" and array.dtype != np.uint64:
        array = array.astype(np.int64)
    if array.dtype.kind not in "Uiu" or array.ndim != 1:
        raise ValueError(f"ids must be strings or whole numbers, [n], got {array.dtype} {list(array.shape)}")
    values, counts = np.unique(array, return_counts=True)
    if len(values) < n:
        raise ValueError(f"ids must be all different, {values[counts > 1][0].item()!r} comes {counts.max()} times")
    return array


def _from_objects(array: np.ndarray, what: str, missing: Missing) -> np.ndarray:
    values = array.ravel().tolist()
    lost = np.array([_is_missing(value) for value in values], bool).reshape(array.shape)
    kinds = {_kind(value) for value, without in zip(values, lost.ravel().tolist(), strict=True) if not without}
    if "other" in kinds:
        names = {type(value).__name__ for value in values if _kind(value) == "other" and not _is_missing(value)}
        raise DataError(f"{what} must be numbers or text, got values of type {first_few(sorted(names), limit=3)}")
    if "text" in kinds and len(kinds) > 1:
        raise DataError(f"{what} must be all text or all numbers, got both")
    if lost.any() and (missing == "refuse" or (missing == "nan" and kinds == {"text"})):
        raise DataError(f"{what} must have no missing values, {_first(lost)} has none")
    if kinds == {"text"}:
        return np.where(lost, "", array).astype(str)
    whole = kinds <= {"whole", "bool"} and bool(kinds)
    if lost.any():
        kept = whole and missing == "unlabelled"
        filled = np.where(lost, -1 if kept else np.nan, array)
        return _whole(filled, what) if kept else filled.astype(float)
    if kinds == {"bool"}:
        return array.astype(bool)
    return _whole(array, what) if whole else array.astype(float)


def _whole(array: np.ndarray, what: str) -> np.ndarray:
    try:
        return array.astype(np.int64)
    except OverflowError:
        pass
    try:
        return array.astype(np.uint64)
    except OverflowError:
        raise DataError(f"{what} must be whole numbers from -2**63 to 2**64 - 1, got larger ones") from None


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas.NA, pandas.NaT
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, numbers.Integral):
        return "whole"
    return "real" if isinstance(value, numbers.Real) else "other"


def _first(mask: np.ndarray) -> str:
    return f"row {np.argwhere(mask)[0][0]} (counted from 0)"
