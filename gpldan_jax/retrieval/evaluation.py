"""The figures of a report: every metric in both directions, and what chance would give."""

import numpy as np

from gpldan_jax.retrieval.metrics import mean_average_precision, recall_at

RECALL_DEPTHS = (1, 5, 10)
_MAP = {
    "map@50": {"k": 50, "convention": "hits"},
    "map@50_trec": {"k": 50, "convention": "trec"},
    "map@all": {"k": None, "convention": "hits"},
}


def evaluate(distances: np.ndarray, labels: np.ndarray | None) -> dict[str, dict[str, float]]:
    """All metrics of n test pairs in both directions.

    Args:
        distances: `[n, n]`, image i to text j; pair i is row i and column i.
        labels: `[n]`, or `None`: then only recall is reported.

    Returns:
        `{"map@50": {"image_to_text": x, "text_to_image": y, "average": z}, "map@50_trec": ..., "map@all": ...,
        "recall@1": ..., "recall@5": ..., "recall@10": ...}`, each in [0, 1].

    >>> import numpy as np
    >>> figures = evaluate(np.array([[0.1, 0.2], [0.1, 0.2]]), np.array([0, 1]))
    >>> figures["recall@1"]
    {'image_to_text': 0.5, 'text_to_image': 0.5, 'average': 0.5}
    """
    directions = [_figures(distances, labels), _figures(np.ascontiguousarray(np.transpose(distances)), labels)]
    return {
        name: {
            "image_to_text": directions[0][name],
            "text_to_image": directions[1][name],
            "average": (directions[0][name] + directions[1][name]) / 2,
        }
        for name in directions[0]
    }


def chance(n: int, labels: np.ndarray | None, *, seed: int = 0, trials: int = 10) -> dict[str, float]:
    """What random rankings give for each metric of `evaluate`.

    Recall is exact, `k / n`; the MAP figures are means over random rankings of up to 1,000 queries in each trial.

    >>> chance(100, None)
    {'recall@1': 0.01, 'recall@5': 0.05, 'recall@10': 0.1}
    """
    figures = {}
    if labels is not None:
        rng = np.random.default_rng(seed)
        samples = {name: [] for name in _MAP}
        for _ in range(trials):
            queries = rng.permutation(n)[:1000]
            distances = rng.random((len(queries), n), dtype=np.float32)
            for name, options in _MAP.items():
                samples[name].append(mean_average_precision(distances, labels[queries], labels, **options))
        figures = {name: float(np.mean(values)) for name, values in samples.items()}
    return figures | {f"recall@{k}": min(k / n, 1.0) for k in RECALL_DEPTHS}


def _figures(distances, labels):
    figures = {}
    if labels is not None:
        figures = {name: mean_average_precision(distances, labels, labels, **options) for name, options in _MAP.items()}
    return figures | {f"recall@{k}": recall_at(distances, k) for k in RECALL_DEPTHS}
