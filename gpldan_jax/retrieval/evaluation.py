"""All metrics of retrieval in both directions, and their values for random rankings.

Letters: `n` images; `m` texts; `C` classes; `d_i`, `d_t` widths of their inputs; `H` width of the common space; `k`
representations.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data import PairedSplit
from gpldan_jax.data.arrays import as_array
from gpldan_jax.retrieval.metrics import mean_average_precision, ndcg, recall_at, row_chunks
from gpldan_jax.retrieval.relevance import Gains, as_groups, as_labels, rank_by_relevance

RECALL_DEPTHS = (1, 5, 10)
_MAP: Mapping[str, Mapping[str, Any]] = {
    "map@50": {"k": 50, "convention": "hits"},
    "map@50_trec": {"k": 50, "convention": "trec"},
    "map@all": {"k": None, "convention": "hits"},
}


def evaluate(
    distances: ArrayLike,
    labels: ArrayLike | tuple[ArrayLike, ArrayLike] | None,
    *,
    image_groups: ArrayLike | None = None,
    text_groups: ArrayLike | None = None,
    folds: int = 1,
    relevance: ArrayLike | Gains | None = None,
) -> dict[str, dict[str, float]]:
    """Returns all metrics of test images and texts in both directions.

    Without groups, image i belongs to text i. With groups, which several texts of an image share, the images are ranked
    for all texts and the reverse, and recall counts any partner. On the 5,000 test images of COCO, `folds=1` is the
    "5K" protocol of the field and `folds=5` its "1K" protocol.

    Args:
        distances: `[n, m]`, image i to text j, any real dtype, finite; without groups `[n, n]`.
        labels: `[n]`, or `[n, C]` of 0 and 1, of the pairs; with groups, the labels of the images and those of the
            texts. `None` for recall alone. See `gpldan_jax.retrieval.metrics` for items without a label.
        image_groups: `[n]`, any dtype that compares; each image once.
        text_groups: `[m]`; both or neither.
        folds: the number of parts into which the images are cut, in their order, each with the texts of its groups; the
            figures are means over them. It divides n.
        relevance: in place of labels, `[n, m]`, how relevant text j is to image i and the reverse, at least 0; or a
            function that takes a slice of the images and returns these rows.

    Returns:
        `{"map@50": {"image_to_text": x, "text_to_image": y, "average": z}, "map@50_trec": ..., "map@all": ...,
        "recall@1": ..., "recall@5": ..., "recall@10": ...}`, each in [0, 1]; with labels `[n, C]` or `relevance` also
        `"ndcg@50"`.

    Raises:
        ValueError: shapes that do not fit, distances that are not finite, or an image or text without a partner.

    Example:
        >>> import numpy as np
        >>> figures = evaluate(np.array([[0.1, 0.2], [0.1, 0.2]]), np.array([0, 1]))
        >>> figures["recall@1"]
        {'image_to_text': 0.5, 'text_to_image': 0.5, 'average': 0.5}
        >>> distances = np.array([[0.1, 0.2, 0.9], [0.8, 0.9, 0.1]])  # two captions of the first image
        >>> evaluate(distances, None, image_groups=["a", "b"], text_groups=["a", "a", "b"])["recall@1"]["average"]
        1.0
    """
    distances = as_array(distances, "distances")
    if image_groups is None or text_groups is None:
        if image_groups is not None or text_groups is not None:
            raise ValueError("image_groups and text_groups belong together")
        groups = None
    else:
        n, m = distances.shape if distances.ndim == 2 else (len(distances), 0)
        groups = as_groups(image_groups, n, "image_groups"), as_groups(text_groups, m, "text_groups")
    sides = (labels, labels)
    if groups is not None and labels is not None:
        if not isinstance(labels, tuple) or len(labels) != 2:
            raise ValueError("with groups, labels must be a tuple of the images' labels and the texts' labels")
        sides = labels
    if labels is not None:
        sides = as_array(sides[0], "labels", missing="unlabelled"), as_array(sides[1], "labels", missing="unlabelled")
    if relevance is not None:
        if labels is not None:
            raise ValueError("relevance takes the place of labels: labels must be None")
        gains = rank_by_relevance(distances, relevance).gains
        relevance = np.concatenate([gains(rows) for rows in row_chunks(*distances.shape)])
    if folds < 1 or len(distances) % folds:
        raise ValueError(f"folds must divide the images, got {folds} and {len(distances)} images")
    parts = [
        _both_directions(*_fold(distances, sides, groups, relevance, rows))
        for rows in np.split(np.arange(len(distances)), folds)
    ]
    return {
        name: {direction: float(np.mean([part[name][direction] for part in parts])) for direction in values}
        for name, values in parts[0].items()
    }


def evaluate_pairs(distances: ArrayLike, split: PairedSplit) -> dict[str, dict[str, float]]:
    """Returns all metrics of the pairs of a split; where they have groups, of their different images and texts.

    Args:
        distances: `[n, n]` of all pairs; or `[len(split.image_rows()), len(split.text_rows())]`, each image and each
            text once.
        split: the pairs.

    Returns:
        As `evaluate`.

    Raises:
        ValueError: as `evaluate`.

    Example:
        >>> import numpy as np
        >>> split = PairedSplit(np.ones((2, 5)), np.eye(2), groups=["cat", "cat"])  # one image with two texts
        >>> evaluate_pairs(np.array([[0.1, 0.2]]), split)["recall@1"]["average"]
        1.0
    """
    if split.groups is None:
        return evaluate(distances, split.labels)
    distances, labels = different_items(distances, split)
    images, texts = split.image_rows(), split.text_rows()
    return evaluate(distances, labels, image_groups=split.groups[images], text_groups=split.groups[texts])


def different_items(
    distances: ArrayLike, split: PairedSplit
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Returns the distances of the different images and texts of a split, and the labels of both.

    Args:
        distances: `[n, n]` of all pairs, or `[len(split.image_rows()), len(split.text_rows())]`.
        split: the pairs.

    Returns:
        The distances of the different items, and their labels, `None` where the split has none.

    Example:
        >>> import numpy as np
        >>> split = PairedSplit(np.ones((2, 5)), np.eye(2), np.array([3, 3]), groups=["cat", "cat"])
        >>> different_items(np.array([[0.1, 0.2], [0.1, 0.2]]), split)
        (array([[0.1, 0.2]]), (array([3], dtype=int32), array([3, 3], dtype=int32)))
    """
    images, texts = split.image_rows(), split.text_rows()
    found = as_array(distances, "distances")
    if found.shape == (len(split), len(split)) and split.groups is not None:
        found = found[np.ix_(images, texts)]
    return found, None if split.labels is None else (split.labels[images], split.labels[texts])


def _fold(distances, labels, groups, relevance, rows):
    """Returns the distances, labels, groups and relevance of some images, and of the texts of their groups."""
    if len(rows) == len(distances):
        return distances, labels, groups, relevance
    columns = rows if groups is None else np.flatnonzero(np.isin(groups[1], groups[0][rows]))
    of_fold = (None, None) if labels[0] is None else (labels[0][rows], labels[1][columns])
    part = None if groups is None else (groups[0][rows], groups[1][columns])
    block = np.ix_(rows, columns)
    return distances[block], of_fold, part, None if relevance is None else relevance[block]


def _both_directions(distances, labels, groups, relevance):
    directions = [
        _figures(matrix, *of_labels, *of_groups, gains)
        for matrix, of_labels, of_groups, gains in (
            (distances, labels, groups or (None, None), relevance),
            (
                np.ascontiguousarray(distances.T),
                labels[::-1],
                (groups or (None, None))[::-1],
                None if relevance is None else relevance.T,
            ),
        )
    ]
    return {
        name: {
            "image_to_text": directions[0][name],
            "text_to_image": directions[1][name],
            "average": (directions[0][name] + directions[1][name]) / 2,
        }
        for name in directions[0]
    }


def chance_of_pairs(split: PairedSplit) -> dict[str, float]:
    """Returns the expected value of each metric of `evaluate_pairs` for random rankings, of both directions the mean.

    Args:
        split: the pairs.

    Returns:
        The value of each metric, in [0, 1].

    Example:
        >>> import numpy as np
        >>> chance_of_pairs(PairedSplit(np.ones((2, 5)), np.eye(2), groups=["cat", "cat"]))["recall@1"]
        1.0
    """
    if split.groups is None:
        return chance(len(split), split.labels)
    images, texts = split.image_rows(), split.text_rows()
    directions = []
    for queries, gallery in ((images, texts), (texts, images)):
        figures = {} if split.labels is None else _chance_by_labels(split.labels[queries], split.labels[gallery], 0, 10)
        # A query with r partners among g items misses them in k draws without replacement.
        values, partners = np.unique(split.groups[gallery], return_counts=True)
        r, g = partners[np.searchsorted(values, split.groups[queries])], len(gallery)
        for k in RECALL_DEPTHS:
            drawn = np.arange(min(k, g))
            missed = np.maximum((g - r[:, None] - drawn) / (g - drawn), 0).prod(axis=1)
            figures[f"recall@{k}"] = float((1 - missed).mean())
        directions.append(figures)
    return {name: (directions[0][name] + directions[1][name]) / 2 for name in directions[0]}


def chance(n: int, labels: ArrayLike | None, *, seed: int = 0, trials: int = 10) -> dict[str, float]:
    """Returns the expected value of each metric of `evaluate` for random rankings.

    Recall is exact, `k / n`. The MAP figures are means over random rankings of up to 1,000 queries in each trial.

    Args:
        n: the number of pairs.
        labels: `[n]`, or `[n, C]` of 0 and 1; `None` for recall alone.
        seed: of the random rankings.
        trials: the number of trials.

    Returns:
        The value of each metric, in [0, 1].

    Raises:
        ValueError: labels that are not n.

    Example:
        >>> chance(100, None)
        {'recall@1': 0.01, 'recall@5': 0.05, 'recall@10': 0.1}
    """
    labels = None if labels is None else as_labels(labels, n, "labels")
    figures = {} if labels is None else _chance_by_labels(labels, labels, seed, trials)
    return figures | {f"recall@{k}": min(k / n, 1.0) for k in RECALL_DEPTHS}


def _chance_by_labels(query_labels, gallery_labels, seed, trials):
    rng = np.random.default_rng(seed)
    metrics = _metrics_by_labels(query_labels)
    samples: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(trials):
        queries = rng.permutation(len(query_labels))[:1000]
        distances = rng.random((len(queries), len(gallery_labels)), dtype=np.float32)
        for name, metric in metrics.items():
            samples[name].append(metric(distances, query_labels[queries], gallery_labels))
    return {name: float(np.mean(values)) for name, values in samples.items()}


def _metrics_by_labels(labels):
    metrics = {name: functools.partial(mean_average_precision, **options) for name, options in _MAP.items()}
    return metrics | ({"ndcg@50": functools.partial(ndcg, k=50)} if np.ndim(labels) == 2 else {})


def _figures(distances, query_labels, gallery_labels, query_groups, gallery_groups, relevance):
    figures = {}
    if query_labels is not None or relevance is not None:
        metrics = _metrics_by_labels(relevance if query_labels is None else query_labels)
        of = {"query_labels": query_labels, "gallery_labels": gallery_labels, "relevance": relevance}
        figures = {name: metric(distances, **of) for name, metric in metrics.items()}
    groups = {"query_groups": query_groups, "gallery_groups": gallery_groups}
    return figures | {f"recall@{k}": recall_at(distances, k, **groups) for k in RECALL_DEPTHS}
