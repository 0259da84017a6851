"""Pairs as arguments: images and texts in any array_like of numbers, and the names of the columns of DataFrames.

Letters: `n` pairs; `d` columns.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data.arrays import as_array
from gpldan_jax.data.feature_arrays import as_features
from gpldan_jax.data.files.checks import first_few
from gpldan_jax.data.labels import normalize_groups, normalize_labels
from gpldan_jax.data.paired import Pairs


def feature_rows(values: Any, what: str, width: int | None = None, dtype: np.dtype | None = None) -> np.ndarray:
    """Checks a feature matrix that is an argument.

    Args:
        values: `[n, d]`, as in `as_array`, at least one row; finite real numbers.
        what: the argument, for messages.
        width: d, as in `fit`; `None` for any.
        dtype: of the features that these are scaled with, as in `as_features`; `None` for what these need.

    Returns:
        `[n, d]` float32, or float64 where float32 has too few digits.

    Raises:
        TypeError: a sparse matrix.
        ValueError: no rows, another width, or values that are no finite real numbers.

    Example:
        >>> feature_rows([[1, 2]], "images")
        array([[1., 2.]], dtype=float32)
    """
    from scipy import sparse

    if sparse.issparse(values):
        raise TypeError(f"{what} must be a dense array, got a sparse {type(values).__name__}; use its toarray()")
    features = as_features(as_array(values, what), where=what, dtype=dtype)
    if not len(features):
        raise ValueError(f"{what} must have rows, got shape {list(features.shape)}")
    if width is not None and features.shape[1] != width:
        raise ValueError(f"{what} must be [n, {width}] as in fit, got {list(features.shape)}")
    return features


def check_pairs(
    images: Any,
    texts: Any,
    labels: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    prefix: str = "",
    dtypes: Mapping[str, np.dtype] | None = None,
) -> Pairs:
    """Checks pairs that are arguments.

    Args:
        images: `[n, d_i]`, as in `feature_rows`.
        texts: `[n, d_t]`.
        labels: in any form that `normalize_labels` and `as_array` take; missing ones stand for no class.
        groups: `[n]`, whole numbers or strings.
        prefix: of the arguments' names in messages.
        dtypes: under "image" and "text" the `dtype` of `feature_rows`.

    Returns:
        The pairs.

    Raises:
        TypeError: sparse matrices.
        ValueError: what does not fit.

    Example:
        >>> check_pairs([[1, 2]], [[3]], labels=["cat"]).labels
        array(['cat'], dtype='<U3')
    """
    dtypes = dtypes or {}
    images = feature_rows(images, f"{prefix}images", dtype=dtypes.get("image"))
    texts = feature_rows(texts, f"{prefix}texts", dtype=dtypes.get("text"))
    if len(images) != len(texts):
        shapes = f"{list(images.shape)} and {list(texts.shape)}"
        raise ValueError(f"{prefix}images and texts must have as many rows, got {shapes}")
    if labels is not None:
        labels = as_array(labels, f"{prefix}labels", missing="unlabelled")
        labels = normalize_labels(labels, len(images), where=f"{prefix}labels", per_item="any")
    if groups is not None:
        groups = as_array(groups, f"{prefix}groups", missing="refuse")
        groups = normalize_groups(groups, len(images), where=f"{prefix}groups")
    return Pairs(images, texts, labels, groups)


def column_names(images: Any, texts: Any) -> dict[str, list[str]]:
    """Returns the names of the columns of DataFrames, of pandas, polars or another library.

    Args:
        images: any array_like.
        texts: any array_like.

    Returns:
        The names under "image" and "text", where these are DataFrames whose columns have text as names.

    Raises:
        TypeError: some names of a DataFrame are text and some are not.

    Example:
        >>> column_names(np.ones((2, 3)), [[1], [2]])
        {}
    """
    found = {}
    for view, frame in (("image", images), ("text", texts)):
        columns = getattr(frame, "columns", None)
        names = [] if columns is None else list(columns)
        text = [isinstance(name, str) for name in names]
        if any(text) and not all(text):
            others = sorted({type(name).__name__ for name in names})
            raise TypeError(f"the column names of {view}s must be all strings or none, got {', '.join(others)}")
        if any(text):
            found[view] = [str(name) for name in names]
    return found


def check_column_names(
    images: Any, texts: Any, fitted: Mapping[str, Sequence[str] | None], prefix: str = "", stacklevel: int = 3
) -> None:
    """Compares the names of columns with those of `fit`, as scikit-learn does; a warning where only one side has names.

    Args:
        images: as in `column_names`.
        texts: as in `column_names`.
        fitted: what `column_names` returned in `fit`.
        prefix: of the arguments' names in messages.
        stacklevel: of the warning, see `warnings.warn`.

    Raises:
        ValueError: other names, or another order.
        TypeError: as in `column_names`.

    Example:
        >>> check_column_names(np.ones((2, 3)), [[1], [2]], {})
    """
    found = column_names(images, texts)
    for view in ("image", "text"):
        here, before, what = found.get(view), fitted.get(view), f"{prefix}{view}s"
        if here == before:
            continue
        if here is None or before is None:
            which = ("no feature names", "with") if here is None else ("feature names", "without")
            warnings.warn(
                f"{what} have {which[0]}, but GPLDAN was fitted {which[1]} feature names", stacklevel=stacklevel
            )
            continue
        reasons = [
            f"{words}: {first_few(sorted(names), limit=5)}"
            for words, names in (
                ("unseen at fit time", set(here) - set(before)),
                ("seen at fit time, yet now missing", set(before) - set(here)),
            )
            if names
        ]
        reason = "; ".join(reasons) or "they must be in the same order as they were in fit"
        raise ValueError(f"{what}: the feature names should match those that were passed during fit ({reason})")
