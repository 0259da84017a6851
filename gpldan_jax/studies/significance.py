"""Whether one method is better than another on the same queries: the paired bootstrap.

Letters: `s` seeds; `q` queries of one direction.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpldan_jax import retrieval

PerQuery = Mapping[str, Sequence[float]]
"""The figure of each query of one fit: `{"image_to_text": [q], "text_to_image": [q]}`."""

_DRAWS = 2000
_OUTSIDE = 0.05  # share of the draws outside the interval


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean difference of two methods and the interval that holds it in 95 % of the draws.

    Attributes:
        mean: of the first less the second, over queries, directions and seeds.
        low: the 2.5th percentile.
        high: the 97.5th percentile.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]".replace("-", "\N{MINUS SIGN}")


def average_precisions_of(distances: np.ndarray, labels: tuple[Any, Any], *, digits: int | None = None) -> PerQuery:
    """Returns the average precision at 50 of each query in both directions.

    Args:
        distances: `[n, m]`, image i to text j.
        labels: those of the images and those of the texts, as `retrieval.average_precisions` takes them.
        digits: to round to; `None` keeps all.

    Returns:
        The figures, of the queries with a label.

    Example:
        >>> average_precisions_of(np.array([[0.1, 0.2], [0.1, 0.2]]), ([0, 1], [0, 1]))["image_to_text"]
        [1.0, 0.5]
    """
    of_texts = retrieval.average_precisions(np.ascontiguousarray(distances.T), *labels[::-1])
    found = {"image_to_text": retrieval.average_precisions(distances, *labels), "text_to_image": of_texts}
    return {direction: (of if digits is None else of.round(digits)).tolist() for direction, of in found.items()}


def recalls_of(distances: np.ndarray, groups: tuple[Any, Any], *, k: int = 10) -> PerQuery:
    """Returns for each query in both directions whether a partner is among its k nearest, 0 or 1.

    Args:
        distances: `[n, m]`, image i to text j.
        groups: those of the images and those of the texts; partners are in one group.
        k: the depth.

    Returns:
        The figures.

    Example:
        >>> recalls_of(np.array([[0.1, 0.2], [0.1, 0.2]]), ([0, 1], [0, 1]), k=1)["image_to_text"]
        [1.0, 0.0]
    """
    found = {}
    for direction, matrix, (queries, gallery) in (
        ("image_to_text", distances, groups),
        ("text_to_image", np.ascontiguousarray(distances.T), groups[::-1]),
    ):
        found[direction] = [
            retrieval.recall_at(row[None], k, query_groups=[group], gallery_groups=gallery)
            for row, group in zip(matrix, queries, strict=True)
        ]
    return found


def paired_bootstrap(first: Sequence[PerQuery], second: Sequence[PerQuery], *, seed: int = 0) -> Difference:
    """Returns the difference of two methods; the draws are of queries, the same for both.

    The figure of a query is its mean over the seeds of a method first: how much a method varies from seed to seed is
    another question, which the standard deviation over seeds answers. Where both directions have equally many queries,
    the two queries of a pair are drawn together.

    Args:
        first: the figures of the fits of one method, s seeds.
        second: those of the other, any number of seeds; the same queries in the same order.
        seed: of the draws.

    Returns:
        The difference.

    Raises:
        ValueError: other queries.

    Example:
        >>> one = [{"image_to_text": [0.5, 0.7, 0.9], "text_to_image": [0.5, 0.7, 0.9]}]
        >>> other = [{"image_to_text": [0.4, 0.6, 0.8], "text_to_image": [0.4, 0.6, 0.8]}]
        >>> str(paired_bootstrap(one, other))
        '+0.100 [+0.100, +0.100]'

    References:
        Efron and Tibshirani, An introduction to the bootstrap, 1993; Sakai, Evaluating evaluation metrics based on the
        bootstrap, SIGIR 2006.
    """
    differences = []
    for direction in ("image_to_text", "text_to_image"):
        means = [np.mean([fit[direction] for fit in fits], axis=0) for fits in (first, second)]
        if means[0].shape != means[1].shape:
            raise ValueError(f"the two have {means[0].shape} and {means[1].shape} queries {direction}")
        differences.append(means[0] - means[1])
    generator = np.random.default_rng(seed)
    if len(differences[0]) == len(differences[1]):
        drawn = _means_of_draws(sum(differences) / 2, generator)
    else:
        drawn = sum(_means_of_draws(of, generator) for of in differences) / 2
    low, high = np.quantile(drawn, (_OUTSIDE / 2, 1 - _OUTSIDE / 2))
    return Difference(float(np.mean([of.mean() for of in differences])), float(low), float(high))


def _means_of_draws(values, generator):
    rows = generator.integers(len(values), size=(_DRAWS, len(values)))
    return values[rows].mean(axis=1)
