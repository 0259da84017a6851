"""Precision-recall curves, and mean average precision for each class.

Letters: `n` pairs; pair i is row i and column i of the distances. Rankings are those of `metrics`: a smaller distance
ranks first; ties rank in the order of the gallery.
"""

from collections.abc import Callable, Sequence

import numpy as np

from gpldan_jax.retrieval import metrics

RECALL_LEVELS = tuple(level / 20 for level in range(21))
"""The default levels of recall: 0, 0.05, ..., 1."""
_ROUNDING = 1e-9  # in floating point, 0.35 * 20 is a little above 7


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


def _in_both_directions(
    figure: Callable[[np.ndarray, np.ndarray], np.ndarray], distances, labels
) -> dict[str, np.ndarray]:
    distances, labels = np.asarray(distances), np.asarray(labels)
    if distances.ndim != 2 or distances.shape != 2 * labels.shape:
        raise ValueError(f"distances must be [n, n] with labels [n], got {distances.shape} and {labels.shape}")
    distances = metrics._check_distances(distances)
    images, texts = figure(distances, labels), figure(np.ascontiguousarray(distances.T), labels)
    return {"image_to_text": images, "text_to_image": texts, "average": (images + texts) / 2}


def _curve(distances, labels, recalls):
    n = len(labels)
    ranks = np.arange(1, n + 1)
    total, queries = np.zeros(len(recalls)), 0
    for rows in metrics._chunks(n, n):
        relevant = labels[metrics._nearest(distances[rows], n)] == labels[rows, None]
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
    return np.array([metrics.mean_average_precision(distances[own], labels[own], labels, k=k) for own in queries])


def _classes(labels):
    return np.unique(labels[labels == labels])  # NaN is no class
