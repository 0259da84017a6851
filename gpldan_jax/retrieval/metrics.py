"""Retrieval metrics and curves as pure NumPy functions of a distance matrix.

Letters: `q` queries; `g` gallery items; `n` pairs, pair i being row i and column i. A smaller distance ranks first;
ties rank in the order of the gallery. The functions work on chunks of rows, so a call needs less than about 100 MB
beside the matrix for 10,000 gallery items.
"""

import operator
from collections.abc import Callable, Iterator, Sequence

import numpy as np

_CHUNK_ELEMENTS = 2_000_000
CONVENTIONS = ("hits", "trec")
RECALL_LEVELS = tuple(level / 20 for level in range(21))
"""The default levels of recall: 0, 0.05, ..., 1."""
_ROUNDING = 1e-9  # in floating point, 0.35 * 20 is a little above 7


def mean_average_precision(
    distances: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    k: int | None = 50,
    convention: str = "hits",
) -> float:
    """Returns the mean average precision at k; an item is relevant when it has the label of the query.

    `AP@k = sum_r precision(r) relevant(r) / R` over the ranks r = 1..k; it is 0 for a query without relevant items. The
    conventions differ in R; their figures differ by a factor of up to three:

    - `"hits"`: R is the number of relevant items among the first k; the papers of this field report this.
    - `"trec"`: R is the number of all relevant items in the gallery, as in trec_eval.

    Args:
        distances: `[q, g]`, any real dtype, finite.
        query_labels: `[q]`, any dtype that compares.
        gallery_labels: `[g]`.
        k: depth of the ranking, at least 1; `None` (or more than g) for the whole ranking, for which both conventions
            are the same.
        convention: `"hits"` or `"trec"`.

    Returns:
        The mean over the queries, in [0, 1].

    Raises:
        ValueError: shapes that do not fit, no queries, distances that are not finite, k below 1, or an unknown
            convention.

    Example:
        >>> import numpy as np
        >>> distances = np.array([[0.1, 0.2, 0.3, 0.4]])
        >>> labels = np.array([1, 0, 1, 1])  # relevant at ranks 1, 3 and 4
        >>> round(mean_average_precision(distances, [1], labels, k=3), 4)  # (1/1 + 2/3) / 2
        0.8333
        >>> round(mean_average_precision(distances, [1], labels, k=3, convention="trec"), 4)  # (1/1 + 2/3) / 3
        0.5556
    """
    distances = _check_distances(distances)
    query_labels, gallery_labels = np.asarray(query_labels), np.asarray(gallery_labels)
    q, g = distances.shape
    if query_labels.shape != (q,) or gallery_labels.shape != (g,):
        raise ValueError(
            f"distances {distances.shape} need labels of {q} queries and {g} gallery items, "
            f"got {query_labels.shape} and {gallery_labels.shape}"
        )
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be 'hits' or 'trec', got {convention!r}")
    k = g if k is None else min(whole_depth(k), g)
    ranks = np.arange(1, k + 1)
    total = 0.0
    for rows in row_chunks(q, g):
        relevant = gallery_labels[nearest_columns(distances[rows], k)] == query_labels[rows, None]
        precision = np.cumsum(relevant, axis=1) / ranks
        if convention == "hits":
            divisor = relevant.sum(axis=1)
        else:
            divisor = (gallery_labels[None, :] == query_labels[rows, None]).sum(axis=1)
        total += ((precision * relevant).sum(axis=1) / np.maximum(divisor, 1)).sum()
    return float(total / q)


def recall_at(distances: np.ndarray, k: int) -> float:
    """Returns the share of the queries whose partner, the gallery item of the same pair, is among the k nearest.

    Args:
        distances: `[n, n]`, any real dtype, finite; pair i is row i and column i.
        k: at least 1.

    Returns:
        The recall at k, in [0, 1].

    Raises:
        ValueError: a matrix that is empty or not square, distances that are not finite, or k below 1.

    Example:
        >>> import numpy as np
        >>> distances = np.array([[0.3, 0.1, 0.2], [0.5, 0.1, 0.9], [0.2, 0.2, 0.2]])  # partners rank 3, 1 and 3
        >>> round(recall_at(distances, 1), 4), recall_at(distances, 3)
        (0.3333, 1.0)
    """
    distances = _check_distances(distances)
    n, g = distances.shape
    if n != g:
        raise ValueError(f"recall needs the distances of n pairs, [n, n], got {distances.shape}")
    k = whole_depth(k)
    hits = 0
    for rows in row_chunks(n, n):
        own = np.arange(n)[rows, None]
        chunk = distances[rows]
        partner = np.take_along_axis(chunk, own, axis=1)
        before = (chunk < partner) | ((chunk == partner) & (np.arange(n) < own))
        hits += (before.sum(axis=1) < k).sum()
    return float(hits / n)


def precision_recall(
    distances: np.ndarray, labels: np.ndarray, recalls: Sequence[float] = RECALL_LEVELS
) -> dict[str, list[float]]:
    """Returns the interpolated precision at levels of recall, the mean over queries, in both directions.

    The precision of a query at recall r is the largest precision at any rank at which at least the share r of its
    relevant items has been found. An item is relevant when it has the label of the query. Queries without relevant
    items do not count; these have a label that does not equal itself, such as NaN.

    Args:
        distances: `[n, n]`, image i to text j, any real dtype, finite.
        labels: `[n]`, any dtype that compares.
        recalls: levels in [0, 1]; `RECALL_LEVELS` by default.

    Returns:
        `{"image_to_text": [...], "text_to_image": [...], "average": [...]}`, a precision in [0, 1] for each level.

    Raises:
        ValueError: shapes that do not fit, distances that are not finite, levels outside [0, 1], or no query has a
            relevant item.

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
        labels: `[n]`, any dtype that compares.
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
    names = [str(value) for value in _classes(np.asarray(labels))]
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
    step = max(1, _CHUNK_ELEMENTS // columns)
    return (slice(start, start + step) for start in range(0, rows, step))


def _check_distances(distances):
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


def _in_both_directions(
    figure: Callable[[np.ndarray, np.ndarray], np.ndarray], distances, labels
) -> dict[str, np.ndarray]:
    distances, labels = np.asarray(distances), np.asarray(labels)
    if distances.ndim != 2 or distances.shape != 2 * labels.shape:
        raise ValueError(f"distances must be [n, n] with labels [n], got {distances.shape} and {labels.shape}")
    distances = _check_distances(distances)
    images, texts = figure(distances, labels), figure(np.ascontiguousarray(distances.T), labels)
    return {"image_to_text": images, "text_to_image": texts, "average": (images + texts) / 2}


def _curve(distances, labels, recalls):
    n = len(labels)
    ranks = np.arange(1, n + 1)
    total, queries = np.zeros(len(recalls)), 0
    for rows in row_chunks(n, n):
        relevant = labels[nearest_columns(distances[rows], n)] == labels[rows, None]
        relevant = relevant[relevant.any(axis=1)]
        precision = np.cumsum(relevant, axis=1) / ranks
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # The ranks of all hits, row after row; a query reaches a level of recall at its hit number `needed`.
        row, rank = np.nonzero(relevant)
        hits = relevant.sum(axis=1)
        needed = np.maximum(np.ceil(np.outer(hits, recalls) - _ROUNDING), 1).astype(int)
        first = (np.cumsum(hits) - hits)[:, None]
        total += best[row, rank][first + needed - 1].sum(axis=0)
        queries += len(relevant)
    if not queries:
        raise ValueError("no query has a relevant item: no label equals itself")
    return total / queries


def _per_class(distances, labels, k):
    queries = (labels == value for value in _classes(labels))
    return np.array([mean_average_precision(distances[own], labels[own], labels, k=k) for own in queries])


def _classes(labels):
    return np.unique(labels[labels == labels])  # NaN is no class
