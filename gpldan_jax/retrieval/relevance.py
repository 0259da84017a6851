"""Which gallery items are relevant to a query: those with a label in common; and who is left out of a ranking.

Letters: `q` queries; `g` gallery items; `C` classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data.arrays import as_array
from gpldan_jax.data.labels import is_labelled

Gains = Callable[[slice], np.ndarray]
"""Takes a slice of the queries; returns how relevant each gallery item is to each of them, `[rows, g]`, 0 for not."""


class Ranking(NamedTuple):
    """What a metric with labels looks at.

    Attributes:
        distances: `[q, g]`, without the queries and gallery items that have no label.
        gains: of the same queries and gallery items.
        excluded: which items are not in the gallery of a query, `[q, g]` bool; `None` for all being in it.
    """

    distances: np.ndarray
    gains: Gains
    excluded: np.ndarray | None


def as_labels(labels: ArrayLike, count: int, what: str) -> np.ndarray:
    """Returns labels as an array with a row for each of `count` items; `what` is for messages.

    Args:
        labels: array_like, `[count]` of one class each, or `[count, C]` of 0 and 1, a column for each class.
        count: the number of items.
        what: whose labels, such as "query_labels".

    Returns:
        `[count]` of any dtype that compares, or `[count, C]` bool.

    Raises:
        ValueError: another shape, or a matrix of other values than 0 and 1.
    """
    labels = as_array(labels, what, missing="unlabelled")
    if labels.ndim not in (1, 2) or len(labels) != count:
        raise ValueError(f"{what} must be [{count}], or [{count}, classes] of 0 and 1, got {list(labels.shape)}")
    if labels.ndim == 2:
        if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
            raise ValueError(f"{what} with two axes must hold 0 and 1, a column for each class")
        return labels.astype(bool)
    return labels


def rank_by_labels(
    distances: np.ndarray, query_labels: ArrayLike, gallery_labels: ArrayLike, excluded: np.ndarray | None = None
) -> Ranking:
    """Returns what remains where the queries and gallery items without a label are left out, and how relevant it is.

    The gain of an item is the number of labels that it has in common with the query: 0 or 1 where each has one.

    Args:
        distances: `[q, g]`.
        query_labels: `[q]`, or `[q, C]` of 0 and 1.
        gallery_labels: `[g]`, or `[g, C]` of 0 and 1.
        excluded: as in `Ranking`.

    Returns:
        The ranking.

    Raises:
        ValueError: shapes that do not fit, labels of different kinds, or no query with a label.

    Example:
        >>> ranking = rank_by_labels(np.zeros((2, 3)), [4, -1], [4, 5, 4])
        >>> ranking.distances.shape, ranking.gains(slice(0, 1))
        ((1, 3), array([[ True, False,  True]]))
    """
    q, g = distances.shape
    queries, gallery = as_labels(query_labels, q, "query_labels"), as_labels(gallery_labels, g, "gallery_labels")
    if queries.shape[1:] != gallery.shape[1:]:
        raise ValueError(
            f"query_labels {list(queries.shape)} and gallery_labels {list(gallery.shape)} must have the same classes"
        )
    check_comparable(queries, gallery, "query_labels", "gallery_labels")
    rows, columns = is_labelled(queries), is_labelled(gallery)
    if not rows.any():
        raise ValueError("no query has a label")
    if not (rows.all() and columns.all()):
        distances, queries, gallery = distances[np.ix_(rows, columns)], queries[rows], gallery[columns]
        excluded = None if excluded is None else excluded[np.ix_(rows, columns)]
    return Ranking(distances, shared_labels(queries, gallery), excluded)


def rank_by_relevance(
    distances: np.ndarray, relevance: ArrayLike | Gains, excluded: np.ndarray | None = None
) -> Ranking:
    """Returns the ranking of all queries and gallery items with gains that the user gives.

    Args:
        distances: `[q, g]`.
        relevance: `[q, g]`, how relevant each gallery item is to each query, at least 0; or a function that takes a
            slice of the queries and returns these rows.
        excluded: as in `Ranking`.

    Returns:
        The ranking.

    Raises:
        ValueError: another shape, or gains that are negative or not finite; of a function when it is called.

    Example:
        >>> rank_by_relevance(np.zeros((1, 2)), [[0, 2]]).gains(slice(0, 1))
        array([[0, 2]])
    """
    given = relevance if callable(relevance) else as_array(relevance, "relevance")
    if not callable(given):
        _check_gains(given, distances.shape)
        return Ranking(distances, given.__getitem__, excluded)

    def gains(part: slice) -> np.ndarray:
        rows = as_array(given(part), "relevance")
        _check_gains(rows, (len(range(*part.indices(len(distances)))), distances.shape[1]))
        return rows

    return Ranking(distances, gains, excluded)


def shared_labels(query_labels: np.ndarray, gallery_labels: np.ndarray) -> Gains:
    """Returns the function of how many labels each gallery item has in common with some queries.

    Args:
        query_labels: `[q]` or `[q, C]`, as `as_labels` returns them; each query has a label.
        gallery_labels: `[g]` or `[g, C]`.

    Returns:
        The function, see `Gains`: bool where each item has one label, else float32.

    Example:
        >>> shared_labels(np.array([[True, True]]), np.array([[True, True], [False, True]]))(slice(0, 1))
        array([[2., 1.]], dtype=float32)
    """
    if query_labels.ndim == 1:
        return lambda part: query_labels[part, None] == gallery_labels
    # Sums of 0 and 1 are exact in float32, up to 2**24 classes.
    left, right = query_labels.astype(np.float32), gallery_labels.astype(np.float32).T
    return lambda part: left[part] @ right


def _check_gains(gains: np.ndarray, shape: tuple[int, int]) -> None:
    if gains.shape != shape or gains.dtype.kind not in "biuf" or not np.isfinite(gains).all() or (gains < 0).any():
        raise ValueError(
            f"relevance must be {list(shape)} of finite numbers of at least 0, got {gains.dtype} {list(gains.shape)}"
        )


def as_groups(groups: ArrayLike, count: int, what: str) -> np.ndarray:
    """Returns the group of each of `count` items as an array `[count]`; `what` is for messages.

    Raises:
        ValueError: another shape.
    """
    groups = as_array(groups, what, missing="refuse")
    if groups.shape != (count,):
        raise ValueError(f"{what} must be [{count}], one for each item, got {list(groups.shape)}")
    return groups


def check_comparable(one: np.ndarray, other: np.ndarray, first: str, second: str) -> None:
    """Raises a `ValueError` for text on one side and numbers on the other; `first` and `second` are the arguments."""
    if (one.dtype.kind in "US") != (other.dtype.kind in "US"):
        raise ValueError(f"{first} are {one.dtype} and {second} {other.dtype}: no two could be equal")
