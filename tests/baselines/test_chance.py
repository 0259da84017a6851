"""Random distances, and the task on which every closed-form method has to beat them."""

import dataclasses

import numpy as np
import pytest

from gpldan_jax import retrieval
from gpldan_jax.baselines import chance
from gpldan_jax.data import PairedSplit, synthetic_splits

CLASSES = 5


def splits():
    """Train, validation and test, 25-d and 15-d, of five classes."""
    drawn = synthetic_splits((200, 50, 100), image_dim=25, text_dim=15, classes=CLASSES, seed=1)
    return [PairedSplit(*of) for of in drawn]


def average_map(method, *, seed=0, **settings):
    """map@50 on the test split, both directions averaged, of a method that sees what its supervision allows."""
    train, validation, test = splits()
    if method.supervision == "unsupervised":
        train = dataclasses.replace(train, labels=None)

    def score(distances):
        return retrieval.evaluate(distances, validation.labels)["map@50"]["average"]

    unlabelled = dataclasses.replace(validation, labels=None)
    distances = method.fit(train, unlabelled, score, seed=seed, **settings)
    return retrieval.evaluate(distances(test.images, test.texts), test.labels)["map@50"]["average"]


def test_the_same_seed_and_shape_draw_the_same_distances_and_no_other():
    train, validation, test = splits()
    first, again, other = (
        chance.fit(train, validation, None, seed=seed)(test.images, test.texts) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (100, 100) and first.min() >= 0 and first.max() < 1
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.05
    smaller = chance.random_distances(3, 50, 50).ravel()
    assert abs(np.corrcoef(first.ravel()[: smaller.size], smaller)[0, 1]) < 0.1


def test_it_ranks_like_random_rankings():
    expected = retrieval.chance(100, splits()[2].labels)["map@50"]
    found = np.mean([average_map(chance.METHODS[0], seed=seed) for seed in range(5)])
    assert found == pytest.approx(expected, abs=0.02)
