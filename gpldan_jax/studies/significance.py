"""Whether one method is better than another on the same queries: the paired bootstrap.

Letters: `s` seeds; `q` queries of one direction.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

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
