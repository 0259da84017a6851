"""The dense form of MATLAB's sparse matrices."""

from __future__ import annotations

import numpy as np

from gpldan_jax.data._keys import Budget
from gpldan_jax.data.errors import DataError


def dense_from_columns(
    data: np.ndarray,
    ir: np.ndarray,
    jc: np.ndarray,
    *,
    rows: int,
    budget: Budget,
    where: str,
) -> np.ndarray:
    """The dense form of a compressed-sparse-column matrix, as MATLAB stores it.

    Args:
        data, ir: [entries or more] the values and their rows.
        jc: [columns + 1] where each column starts.
        rows: the number of rows.

    Returns:
        [rows, columns] of the type of `data`.

    Raises:
        DataError: starts or rows out of range, or a dense form past the budget.

    Example:
        >>> dense_from_columns(
        ...     np.array([5.0, 7.0]), np.array([1, 0]), np.array([0, 1, 2]),
        ...     rows=2, budget=Budget(100), where="a.mat[S]",
        ... )
        array([[0., 7.],
               [5., 0.]])
    """
    jc = jc.astype(np.int64)
    columns = len(jc) - 1
    entries = int(jc[-1]) if columns >= 0 else -1
    ordered = columns >= 0 and jc[0] == 0 and (np.diff(jc) >= 0).all()
    if not ordered or rows < 0 or not 0 <= entries <= min(len(ir), len(data)):
        raise DataError(f"{where}: damaged sparse matrix; its columns do not start in order")
    ir = ir[:entries].astype(np.int64)
    if entries and (ir.min() < 0 or ir.max() >= rows):
        raise DataError(f"{where}: damaged sparse matrix; expected rows below {rows}")
    budget.charge(rows * columns * data.dtype.itemsize, where)
    dense = np.zeros((rows, columns), data.dtype)
    dense[ir, np.repeat(np.arange(columns), np.diff(jc))] = data[:entries]
    return dense
