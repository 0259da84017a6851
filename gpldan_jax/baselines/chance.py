"""Chance: random distances, which every method has to beat."""

import numpy as np

from gpldan_jax.baselines.method import Distances, Method, Score
from gpldan_jax.data import PairedSplit


def fit(train: PairedSplit, validation: PairedSplit, score: Score, *, seed: int) -> Distances:
    """Returns random distances: float32, uniform in [0, 1), a function of the seed and the numbers of items."""
    return lambda images, texts: random_distances(seed, len(images), len(texts))


def random_distances(seed: int, n: int, m: int) -> np.ndarray:
    """Returns random distances `[n, m]` float32 in [0, 1), a function of the seed and the shape.

    Example:
        >>> random_distances(0, 2, 3).shape, bool((random_distances(0, 2, 3) == random_distances(0, 2, 3)).all())
        ((2, 3), True)
    """
    return np.random.default_rng((seed, n, m)).random((n, m), dtype=np.float32)


METHODS = (Method(name="chance", title="Chance", supervision="unsupervised", source="random ranking", fit=fit),)
