"""Retrieval metrics and curves as pure NumPy functions of a distance matrix.

Letters: `q` queries; `g` gallery items; `n` pairs, pair i being row i and column i; `C` classes. A smaller distance
ranks first; ties rank in the order of the gallery. The functions work on chunks of rows, so a call needs less than
about 100 MB beside the matrix for 10,000 gallery items.

Labels are `[n]`, one class for each item, or `[n, C]` of 0 and 1 for items with several. Items share a label or they do
not; -1, NaN, "" and a row of zeros mean "no label": such queries and gallery items are left out of what labels decide.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data.arrays import as_array
from gpldan_jax.data.labels import is_labelled
from gpldan_jax.retrieval.relevance import (
    Gains,
    as_groups,
    as_labels,
    check_comparable,
    rank_by_labels,
    rank_by_relevance,
)

_CHUNK_ELEMENTS = 2_000_000
CONVENTIONS = ("hits", "trec")
RECALL_LEVELS = tuple(level / 20 for level in range(21))
"""The default levels of recall: 0, 0.05, ..., 1."""
_ROUNDING = 1e-9  # in floating point, 0.35 * 20 is a little above 7


def mean_average_precision(
    distances: ArrayLike,
    query_labels: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    *,
    k: int | None = 50,
    convention: str = "hits",
    exclude: ArrayLike | None = None,
    relevance: ArrayLike | Gains | None = None,
) -> float:
    """Returns the mean average precision at k; an item is relevant when it shares a label with the query.

    `AP@k = sum_r precision(r) relevant(r) / R` over the ranks r = 1..k; it is 0 for a query without relevant items. The
    conventions differ in R; their figures differ by a factor of up to three:

    - `"hits"`: R is the number of relevant items among the first k; the papers of this field report this.
    - `"trec"`: R is the number of all relevant items in the gallery, as in trec_eval.

    Args:
        distances: `[q, g]`, any real dtype, finite.
        query_labels: `[q]`, any dtype that compares, or `[q, C]` of 0 and 1.
        gallery_labels: `[g]`, or `[g, C]` of 0 and 1.
        k: depth of the ranking, at least 1; `None` (or more than g) for the whole ranking, for which both conventions
            are the same.
        convention: `"hits"` or `"trec"`.
        exclude: `[q]`, for each query the column of an item that is not in its gallery, such as the query itself; -1
            for none. `None` for none at all.
        relevance: in place of labels: `[q, g]`, more than 0 where a gallery item is relevant; or a function that takes
            a slice of the queries and returns these rows.

    Returns:
        The mean over the queries with a label, in [0, 1]; with `relevance` over all queries.

    Raises:
        ValueError: shapes that do not fit, no queries, none with a label, distances that are not finite, k below 1, or
            an unknown convention.

    Example:
        >>> import numpy as np
        >>> distances = np.array([[0.1, 0.2, 0.3, 0.4]])
        >>> labels = np.array([1, 0, 1, 1])  # relevant at ranks 1, 3 and 4
        >>> round(mean_average_precision(distances, [1], labels, k=3), 4)  # (1/1 + 2/3) / 2
        0.8333
        >>> round(mean_average_precision(distances, [1], labels, k=3, convention="trec"), 4)  # (1/1 + 2/3) / 3
        0.5556
        >>> mean_average_precision(distances, [[0, 1]], [[1, 1], [1, 0], [0, 1], [1, 0]])  # at ranks 1 and 3
        0.8333333333333333
    """
    relevant_by = query_labels, gallery_labels, relevance
    total = queries = 0
    for values in _average_precisions(distances, relevant_by, k, convention, exclude):
        total += values.sum()
        queries += len(values)
    return float(total / queries)


def average_precisions(
    distances: ArrayLike,
    query_labels: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    *,
    k: int | None = 50,
    convention: str = "hits",
    exclude: ArrayLike | None = None,
    relevance: ArrayLike | Gains | None = None,
) -> np.ndarray:
    """Returns the average precision of each query, whose mean is `mean_average_precision`.

    Args:
        distances: as in `mean_average_precision`, like the following.
        query_labels: of the queries.
        gallery_labels: of the gallery items.
        k: depth of the ranking.
        convention: `"hits"` or `"trec"`.
        exclude: for each query an item that is not in its gallery.
        relevance: in place of labels.

    Returns:
        `[q]` float64 in [0, 1], of the queries with a label, in their order.

    Example:
        >>> average_precisions(np.array([[0.1, 0.2], [0.1, 0.2]]), [0, 1], [0, 1]).tolist()
        [1.0, 0.5]
    """
    relevant_by = query_labels, gallery_labels, relevance
    return np.concatenate([*_average_precisions(distances, relevant_by, k, convention, exclude)])


def ndcg(
    distances: ArrayLike,
    query_labels: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    *,
    k: int | None = None,
    exclude: ArrayLike | None = None,
    relevance: ArrayLike | Gains | None = None,
) -> float:
    """Returns the normalized discounted cumulative gain at k; the gain of an item is its number of shared labels.

    `DCG@k = sum_r gain(r) / log2(r + 1)` over the ranks r = 1..k, divided by that of the best order of the gallery; 0
    for a query without relevant items.

    Args:
        distances: `[q, g]`, any real dtype, finite.
        query_labels: `[q]`, any dtype that compares, or `[q, C]` of 0 and 1.
        gallery_labels: `[g]`, or `[g, C]` of 0 and 1.
        k: depth of the ranking, at least 1; `None` (or more than g) for the whole ranking.
        exclude: as in `mean_average_precision`.
        relevance: in place of labels, as in `mean_average_precision`; the gains.

    Returns:
        The mean over the queries with a label, in [0, 1]; with `relevance` over all queries.

    Raises:
        ValueError: as in `mean_average_precision`.

    Example:
        >>> import numpy as np
        >>> distances = np.array([[0.1, 0.2, 0.3]])
        >>> labels = np.array([[1, 1], [0, 0], [1, 0]])  # the second has no label and is left out
        >>> round(ndcg(distances[:, ::-1], [[1, 1]], labels[:, :]), 4)  # gains 1, 2 instead of 2, 1
        0.8597

    References:
        Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 2002.
    """
    k = None if k is None else whole_depth(k)
    total = queries = 0
    for gains, found in _ranked_gains(distances, (query_labels, gallery_labels, relevance), k, exclude):
        depth = found.shape[1]
        discounts = 1 / np.log2(np.arange(2, depth + 2))
        best = np.sort(gains, axis=1)[:, ::-1][:, :depth] @ discounts
        total += ((found @ discounts) / np.where(best > 0, best, 1)).sum()
        queries += len(found)
    return float(total / queries)


def recall_at(
    distances: ArrayLike,
    k: int,
    *,
    query_groups: ArrayLike | None = None,
    gallery_groups: ArrayLike | None = None,
    exclude: ArrayLike | None = None,
) -> float:
    """Returns the share of the queries whose partner is among the k nearest.

    Without groups the partner is the gallery item of the same pair. With groups it is any gallery item of the query's
    group: for five captions of an image, the image is the query of one row and each of its captions counts.

    Args:
        distances: `[n, n]`, any real dtype, finite; pair i is row i and column i. With groups `[q, g]`.
        k: at least 1.
        query_groups: `[q]`, any dtype that compares.
        gallery_groups: `[g]`; both or neither.
        exclude: as in `mean_average_precision`; with groups only.

    Returns:
        The recall at k, in [0, 1].

    Raises:
        ValueError: a matrix that is empty, or not square without groups; distances that are not finite; k below 1;
            groups that do not fit, or a query whose group has nothing in its gallery.

    Example:
        >>> import numpy as np
        >>> distances = np.array([[0.3, 0.1, 0.2], [0.5, 0.1, 0.9], [0.2, 0.2, 0.2]])  # partners rank 3, 1 and 3
        >>> round(recall_at(distances, 1), 4), recall_at(distances, 3)
        (0.3333, 1.0)
        >>> recall_at(distances[:1], 1, query_groups=["cat"], gallery_groups=["cat", "cat", "dog"])
        1.0
    """
    matrix = _check_distances(distances)
    k = whole_depth(k)
    if query_groups is not None and gallery_groups is not None:
        return _group_recall(matrix, k, query_groups, gallery_groups, exclude)
    if query_groups is not None or gallery_groups is not None or exclude is not None:
        raise ValueError("query_groups and gallery_groups belong together, and exclude needs both")
    n, g = matrix.shape
    if n != g:
        raise ValueError(f"recall needs the distances of n pairs, [n, n], or groups, got {matrix.shape}")
    hits = 0
    for rows in row_chunks(n, n):
        own = np.arange(n)[rows, None]
        chunk = matrix[rows]
        partner = np.take_along_axis(chunk, own, axis=1)
        before = (chunk < partner) | ((chunk == partner) & (np.arange(n) < own))
        hits += (before.sum(axis=1) < k).sum()
    return float(hits / n)


def precision_recall(
    distances: ArrayLike, labels: ArrayLike | tuple[ArrayLike, ArrayLike], recalls: Sequence[float] = RECALL_LEVELS
) -> dict[str, list[float]]:
    """Returns the interpolated precision at levels of recall, the mean over queries, in both directions.

    The precision of a query at recall r is the largest precision at any rank at which at least the share r of its
    relevant items has been found. An item is relevant when it shares a label with the query. Items without a label are
    left out.

    Args:
        distances: `[n, m]`, image i to text j, any real dtype, finite.
        labels: `[n]`, any dtype that compares, or `[n, C]` of 0 and 1, of n pairs; or a tuple of the labels of the n
            images and those of the m texts.
        recalls: levels in [0, 1]; `RECALL_LEVELS` by default.

    Returns:
        `{"image_to_text": [...], "text_to_image": [...], "average": [...]}`, a precision in [0, 1] for each level.

    Raises:
        ValueError: shapes that do not fit, distances that are not finite, levels outside [0, 1], or no item has a
            label.

    Example:
        >>> import numpy as np
        >>> distances = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
        >>> curves = precision_recall(distances, np.array([0, 1, 0]), recalls=[0.5, 1])
        >>> [round(precision, 3) for precision in curves["image_to_text"]]  # means of (1, 1/2, 1), (2/3, 1/2, 2/3)
        [0.833, 0.611]
    """
    levels = as_array(recalls, "recalls").astype(float)
    if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"recalls must be a list of levels in [0, 1], got {levels.tolist()}")
    sides = _both_sides(distances, labels)
    to_text, to_image = _in_both_directions(functools.partial(_curve, recalls=levels), distances, sides)
    curves = {"image_to_text": to_text, "text_to_image": to_image, "average": (to_text + to_image) / 2}
    return {direction: values.tolist() for direction, values in curves.items()}


def map_per_class(
    distances: ArrayLike, labels: ArrayLike | tuple[ArrayLike, ArrayLike], k: int = 50
) -> dict[str, dict[str, float]]:
    """Returns the mean average precision at k (convention `"hits"`) of the queries of each class, in both directions.

    Where each item has one class, the mean over the classes, weighted by their numbers of queries, is
    `mean_average_precision` of all queries. A class without a query in a direction is left out of it.

    Args:
        distances: `[n, m]`, image i to text j, any real dtype, finite.
        labels: as in `precision_recall`; of `[n, C]` the names of the classes are "0" to "C-1".
        k: depth of the ranking, at least 1.

    Returns:
        `{"image_to_text": {"0": x, "1": y}, "text_to_image": ..., "average": ...}`, each in [0, 1]; the classes in
        sorted order, as strings, because keys in JSON are strings.

    Raises:
        ValueError: shapes that do not fit, distances that are not finite, or k below 1.

    Example:
        >>> import numpy as np
        >>> distances = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
        >>> map_per_class(distances, np.array([0, 1, 0]), k=2)["image_to_text"]
        {'0': 1.0, '1': 0.5}
    """
    images, texts = _both_sides(distances, labels)
    columns = images.shape[1] if images.ndim == 2 else None
    classes = np.arange(columns) if columns else _classes(np.concatenate([images, texts]))

    def figure(matrix, queries, gallery):
        of_class = {str(value): queries[:, value] if columns else queries == value for value in classes}
        return {
            name: mean_average_precision(matrix[own], queries[own], gallery, k=k)
            for name, own in of_class.items()
            if own.any()
        }

    to_text, to_image = _in_both_directions(figure, distances, (images, texts))
    both = {name: (to_text[name] + to_image[name]) / 2 for name in to_text if name in to_image}
    return {"image_to_text": to_text, "text_to_image": to_image, "average": both}


def nearest_columns(distances, k):
    """Columns of the k smallest values of each row, `[rows, k]`, sorted stably by value."""
    if k < distances.shape[1]:
        # First choose the k smallest in column order, ties at the edge from the left; then sort only k values.
        edge = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
        below, at_edge = distances < edge, distances == edge
        room = k - below.sum(axis=1, keepdims=True)
        chosen = below | (at_edge & (np.cumsum(at_edge, axis=1, dtype=np.int32) <= room))
        columns = np.nonzero(chosen)[1].reshape(-1, k)
        order = np.argsort(np.take_along_axis(distances, columns, axis=1), axis=1, kind="stable")
        return np.take_along_axis(columns, order, axis=1)
    return np.argsort(distances, axis=1, kind="stable")


def row_chunks(rows: int, columns: int) -> Iterator[slice]:
    """Returns slices of the rows of a matrix, small enough to work on one after the other."""
    step = max(1, _CHUNK_ELEMENTS // max(columns, 1))
    return (slice(start, start + step) for start in range(0, rows, step))


def _check_distances(distances: ArrayLike) -> np.ndarray:
    distances = as_array(distances, "distances")
    if distances.ndim != 2 or 0 in distances.shape:
        raise ValueError(f"distances must be [q, g] with at least one of each, got {distances.shape}")
    if distances.dtype.kind not in "iuf":
        raise ValueError(f"distances must be real numbers, got {distances.dtype}")
    for rows in row_chunks(*distances.shape):
        finite = np.isfinite(distances[rows]).all(axis=1)
        if not finite.all():
            raise ValueError(f"distances must be finite, row {rows.start + int(np.argmin(finite))} is not")
    return distances


def whole_depth(k) -> int:
    """Returns the depth of a ranking as an int; `ValueError` if it is not a whole number of at least 1."""
    try:
        whole = operator.index(k)
    except TypeError:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}") from None
    if whole < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
    return whole


def _average_precisions(distances, relevant_by, k, convention, exclude) -> Iterator[np.ndarray]:
    """Yields the average precision of some queries after others."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be 'hits' or 'trec', got {convention!r}")
    k = None if k is None else whole_depth(k)
    for gains, found in _ranked_gains(distances, relevant_by, k, exclude):
        relevant = found > 0
        precision = np.cumsum(relevant, axis=1) / np.arange(1, relevant.shape[1] + 1)
        divisor = (relevant if convention == "hits" else gains > 0).sum(axis=1)
        yield (precision * relevant).sum(axis=1) / np.maximum(divisor, 1)


def _ranked_gains(distances, relevant_by, k, exclude) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields for some rows after others the gains of the whole gallery, `[rows, g]`, and of the k nearest in order.

    `relevant_by` is the labels of the queries, those of the gallery, and the gains where there are no labels.
    """
    distances = _check_distances(distances)
    excluded = None if exclude is None else _check_excluded(exclude, distances.shape)
    query_labels, gallery_labels, relevance = relevant_by
    if [query_labels is None, gallery_labels is None] != [relevance is not None] * 2:
        raise ValueError("query_labels and gallery_labels belong together, and relevance takes the place of both")
    if relevance is None:
        ranking = rank_by_labels(distances, query_labels, gallery_labels, excluded)
    else:
        ranking = rank_by_relevance(distances, relevance, excluded)
    q, g = ranking.distances.shape
    for rows in row_chunks(q, g):
        gains, chunk = ranking.gains(rows), ranking.distances[rows]
        if ranking.excluded is not None:
            gains, chunk = np.where(ranking.excluded[rows], 0, gains), np.where(ranking.excluded[rows], np.inf, chunk)
        yield gains, np.take_along_axis(gains, nearest_columns(chunk, g if k is None else min(k, g)), axis=1)


def _group_recall(distances, k, query_groups, gallery_groups, exclude):
    q, g = distances.shape
    queries = as_groups(query_groups, q, "query_groups")
    gallery = as_groups(gallery_groups, g, "gallery_groups")
    check_comparable(queries, gallery, "query_groups", "gallery_groups")
    excluded = None if exclude is None else _check_excluded(exclude, distances.shape)
    hits = 0
    for rows in row_chunks(q, g):
        chunk, partners = distances[rows], queries[rows, None] == gallery
        if excluded is not None:
            chunk, partners = np.where(excluded[rows], np.inf, chunk), partners & ~excluded[rows]
        if not (has_partner := partners.any(axis=1)).all():
            row = rows.start + int(np.argmin(has_partner))
            raise ValueError(f"query_groups: nothing in the gallery is of the group of row {row}, {queries[row]!r}")
        hits += np.take_along_axis(partners, nearest_columns(chunk, min(k, g)), axis=1).any(axis=1).sum()
    return float(hits / q)


def _check_excluded(exclude, shape):
    """Returns which items are not in the gallery of a query, `[q, g]` bool."""
    q, g = shape
    columns = as_array(exclude, "exclude", missing="refuse")
    if columns.shape != (q,) or columns.dtype.kind not in "iu" or (columns < -1).any() or (columns >= g).any():
        raise ValueError(f"exclude must be [{q}], columns from 0 to {g - 1} or -1, got {columns.dtype} {columns.shape}")
    return columns[:, None] == np.arange(g)


def _both_sides(distances, labels) -> tuple[np.ndarray, np.ndarray]:
    """The labels of the images and of the texts; those without a label too."""
    n, m = _check_distances(distances).shape
    if isinstance(labels, tuple) and len(labels) == 2:
        return as_labels(labels[0], n, "labels of images"), as_labels(labels[1], m, "labels of texts")
    if n != m:
        raise ValueError(f"distances [{n}, {m}] of images and texts need a tuple of the labels of both")
    labels = as_labels(labels, n, "labels")
    return labels, labels


def _in_both_directions(figure: Callable[..., Any], distances, sides) -> tuple[Any, Any]:
    distances, (images, texts) = as_array(distances, "distances"), sides
    if not is_labelled(images).any() or not is_labelled(texts).any():
        raise ValueError("no item has a label")
    return figure(distances, images, texts), figure(np.ascontiguousarray(distances.T), texts, images)


def _curve(distances, query_labels, gallery_labels, recalls):
    total, queries = np.zeros(len(recalls)), 0
    for _, found in _ranked_gains(distances, (query_labels, gallery_labels, None), None, None):
        queries += len(found)
        relevant = found[(found > 0).any(axis=1)] > 0  # a query without relevant items has precision 0
        precision = np.cumsum(relevant, axis=1) / np.arange(1, found.shape[1] + 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # The ranks of all hits, row after row; a query reaches a level of recall at its hit number `needed`.
        row, rank = np.nonzero(relevant)
        hits = relevant.sum(axis=1)
        needed = np.maximum(np.ceil(np.outer(hits, recalls) - _ROUNDING), 1).astype(int)
        first = (np.cumsum(hits) - hits)[:, None]
        total += best[row, rank][first + needed - 1].sum(axis=0)
    return total / queries


def _classes(labels):
    return np.unique(labels[is_labelled(labels)])
