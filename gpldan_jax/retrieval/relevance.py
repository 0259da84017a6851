"""Which gallery items are relevant to a query: those with a label in common; and who is left out of a ranking.

Letters: `q` queries; `g` gallery items; `C` classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

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
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or len(labels) != count:
        raise ValueError(f"{what} must be [{count}], or [{count}, classes] of 0 and 1, got {list(labels.shape)}")
    if labels.ndim == 2:
        if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
            raise ValueError(f"{what} with two axes must hold 0 and 1, a column for each class")
        return labels.astype(bool)
    return labels.astype(str) if labels.dtype.kind == "O" and all(isinstance(x, str) for x in labels) else labels


def is_labelled(labels: np.ndarray) -> np.ndarray:
    """Returns which items have a label, `[n]` bool: not -1, not NaN, not "", and at least one class.

    Args:
        labels: as `as_labels` returns them.

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
    if queries.ndim == 1 and (queries.dtype.kind in "US") != (gallery.dtype.kind in "US"):
        raise ValueError(f"query_labels are {queries.dtype} and gallery_labels {gallery.dtype}: no two could be equal")
    rows, columns = is_labelled(queries), is_labelled(gallery)
    if not rows.any():
        raise ValueError("no query has a label")
    if not (rows.all() and columns.all()):
        distances, queries, gallery = distances[np.ix_(rows, columns)], queries[rows], gallery[columns]
        excluded = None if excluded is None else excluded[np.ix_(rows, columns)]
    if queries.ndim == 1:
        return Ranking(distances, lambda part: queries[part, None] == gallery, excluded)
    # Sums of 0 and 1 are exact in float32, up to 2**24 classes.
    left, right = queries.astype(np.float32), gallery.astype(np.float32).T
    return Ranking(distances, lambda part: left[part] @ right, excluded)


def as_groups(groups: ArrayLike, count: int, what: str) -> np.ndarray:
    """Returns the group of each of `count` items as an array `[count]`; `what` is for messages.

    Raises:
        ValueError: another shape.
    """
    groups = np.asarray(groups)
    if groups.shape != (count,):
        raise ValueError(f"{what} must be [{count}], one for each item, got {list(groups.shape)}")
    return groups.astype(str) if groups.dtype.kind == "O" else groups
