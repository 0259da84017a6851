"""Retrieval metrics and curves as pure NumPy functions of a distance matrix.

Letters: `q` queries; `g` gallery items; `n` pairs, pair i being row i and column i; `C` classes. A smaller distance
ranks first; ties rank in the order of the gallery. The functions work on chunks of rows, so a call needs less than
about 100 MB beside the matrix for 10,000 gallery items.

Labels are `[n]`, one class for each item, or `[n, C]` of 0 and 1 for items with several. Items share a label or they do
not; -1, NaN, "" and a row of zeros mean "no label": such queries and gallery items are left out of what labels decide.
"""

import operator
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.retrieval.relevance import as_groups, as_labels, is_labelled, rank_by_labels

_CHUNK_ELEMENTS = 2_000_000
CONVENTIONS = ("hits", "trec")
RECALL_LEVELS = tuple(level / 20 for level in range(21))
"""The default levels of recall: 0, 0.05, ..., 1."""
_ROUNDING = 1e-9  # in floating point, 0.35 * 20 is a little above 7


def mean_average_precision(
    distances: ArrayLike,
    query_labels: ArrayLike,
    gallery_labels: ArrayLike,
    *,
    k: int | None = 50,
    convention: str = "hits",
    exclude: ArrayLike | None = None,
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

    Returns:
        The mean over the queries with a label, in [0, 1].

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
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be 'hits' or 'trec', got {convention!r}")
    k = None if k is None else whole_depth(k)
    total = queries = 0
    for gains, found in _ranked_gains(distances, query_labels, gallery_labels, k, exclude):
        relevant = found > 0
        precision = np.cumsum(relevant, axis=1) / np.arange(1, relevant.shape[1] + 1)
        divisor = (relevant if convention == "hits" else gains > 0).sum(axis=1)
        total += ((precision * relevant).sum(axis=1) / np.maximum(divisor, 1)).sum()
        queries += len(relevant)
    return float(total / queries)


def ndcg(
    distances: ArrayLike,
    query_labels: ArrayLike,
    gallery_labels: ArrayLike,
    *,
    k: int | None = None,
    exclude: ArrayLike | None = None,
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

    Returns:
        The mean over the queries with a label, in [0, 1].

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
    for gains, found in _ranked_gains(distances, query_labels, gallery_labels, k, exclude):
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
    distances: np.ndarray, labels: np.ndarray, recalls: Sequence[float] = RECALL_LEVELS
) -> dict[str, list[float]]:
    """Returns the interpolated precision at levels of recall, the mean over queries, in both directions.

    The precision of a query at recall r is the largest precision at any rank at which at least the share r of its
    relevant items has been found. An item is relevant when it shares a label with the query. Items without a label are
    left out.

    Args:
        distances: `[n, n]`, image i to text j, any real dtype, finite.
        labels: `[n]`, any dtype that compares, or `[n, C]` of 0 and 1.
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
    levels = np.asarray(recalls, float)
    if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"recalls must be a list of levels in [0, 1], got {levels.tolist()}")
    curves = _in_both_directions(lambda distances, labels: _curve(distances, labels, levels), distances, labels)
    return {direction: values.tolist() for direction, values in curves.items()}


def map_per_class(distances: np.ndarray, labels: np.ndarray, k: int = 50) -> dict[str, dict[str, float]]:
    """Returns the mean average precision at k (convention `"hits"`) of the queries of each class, in both directions.

    The mean over the classes, weighted by their numbers of queries, is `mean_average_precision` of all queries.

    Args:
        distances: `[n, n]`, image i to text j, any real dtype, finite.
        labels: `[n]`, any dtype that compares, or `[n, C]` of 0 and 1; the names of the classes are "0" to "C-1" then.
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
    figures = _in_both_directions(lambda distances, labels: _per_class(distances, labels, k), distances, labels)
    labels = np.asarray(labels)
    names = [str(value) for value in (range(labels.shape[1]) if labels.ndim == 2 else _classes(labels))]
    return {direction: dict(zip(names, values.tolist(), strict=True)) for direction, values in figures.items()}


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
    distances = np.asarray(distances)
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


def _ranked_gains(distances, query_labels, gallery_labels, k, exclude) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields for some rows after others the gains of the whole gallery, `[rows, g]`, and of the k nearest in order."""
    distances = _check_distances(distances)
    excluded = None if exclude is None else _check_excluded(exclude, distances.shape)
    ranking = rank_by_labels(distances, query_labels, gallery_labels, excluded)
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
    columns = np.asarray(exclude)
    if columns.shape != (q,) or columns.dtype.kind not in "iu" or (columns < -1).any() or (columns >= g).any():
        raise ValueError(f"exclude must be [{q}], columns from 0 to {g - 1} or -1, got {columns.dtype} {columns.shape}")
    return columns[:, None] == np.arange(g)


def _in_both_directions(
    figure: Callable[[np.ndarray, np.ndarray], np.ndarray], distances, labels
) -> dict[str, np.ndarray]:
    distances, labels = np.asarray(distances), np.asarray(labels)
    if distances.ndim != 2 or distances.shape != 2 * labels.shape[:1]:
        raise ValueError(f"distances must be [n, n] with labels [n], got {distances.shape} and {labels.shape}")
    distances = _check_distances(distances)
    labels = as_labels(labels, len(labels), "labels")
    if not (labelled := is_labelled(labels)).any():
        raise ValueError("no item has a label")
    if not labelled.all():
        distances, labels = distances[np.ix_(labelled, labelled)], labels[labelled]
    images, texts = figure(distances, labels), figure(np.ascontiguousarray(distances.T), labels)
    return {"image_to_text": images, "text_to_image": texts, "average": (images + texts) / 2}


def _curve(distances, labels, recalls):
    n = len(labels)
    ranks = np.arange(1, n + 1)
    total = np.zeros(len(recalls))
    for _, found in _ranked_gains(distances, labels, labels, None, None):
        relevant = found > 0
        precision = np.cumsum(relevant, axis=1) / ranks
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # The ranks of all hits, row after row; a query reaches a level of recall at its hit number `needed`.
        row, rank = np.nonzero(relevant)
        hits = relevant.sum(axis=1)
        needed = np.maximum(np.ceil(np.outer(hits, recalls) - _ROUNDING), 1).astype(int)
        first = (np.cumsum(hits) - hits)[:, None]
        total += best[row, rank][first + needed - 1].sum(axis=0)
    return total / n


def _per_class(distances, labels, k):
    queries = labels.T if labels.ndim == 2 else (labels == value for value in _classes(labels))
    return np.array([mean_average_precision(distances[own], labels[own], labels, k=k) for own in queries])


def _classes(labels):
    return np.unique(labels[is_labelled(labels)])
