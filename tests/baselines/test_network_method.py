"""The loop that the neural methods share, and the protocol of all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.baselines.method import SUPERVISION, Method
from gpldan_jax.baselines.network_method import train_network
from gpldan_jax.baselines.registry import METHODS
from gpldan_jax.data import PairedSplit


def split(n=20, labels=None):
    rng = np.random.default_rng(0)
    return PairedSplit(rng.normal(size=(n, 3)), rng.normal(size=(n, 2)), labels)


def squared(parameters, batch, hyperparameters):
    """Has its minimum where `offset` is 1, whatever the batch."""
    return jnp.sum((parameters["offset"] - hyperparameters["target"]) ** 2) + 0 * batch.images.sum()


def counting(parameters, batch, hyperparameters):
    """Pulls each training row's own parameter, and draws and progress into two more."""
    rows = batch.images[:, 0].astype(jnp.int32)
    seen = jnp.sum(parameters["seen"][rows]) + jnp.sum(parameters["labels"][rows] * batch.labels)
    return -seen - parameters["draw"] * jax.random.uniform(batch.key) - parameters["progress"] * batch.progress


def broken(parameters, batch, hyperparameters):
    return parameters["offset"].sum() * jnp.where(batch.progress > 0.4, jnp.nan, 1.0)


def offset_distances(parameters):
    return lambda images, texts: np.full((len(images), len(texts)), float(parameters["offset"][0]))


def fit(loss=squared, parameters=None, score=lambda distances: float(distances[0, 0]), train=None, **options):
    options = {
        "seed": 0,
        "epochs": 5,
        "batch_size": 8,
        "hyperparameters": {"learning_rate": 0.1, "target": 1.0},
    } | options
    parameters = {"offset": jnp.zeros(1)} if parameters is None else parameters
    return train_network(parameters, loss, offset_distances, train or split(), split(4), score, **options)


def test_the_epoch_with_the_best_score_is_given_back():
    seen = []

    def score(distances):
        seen.append(float(distances[0, 0]))
        return -abs(seen[-1] - 0.5)  # best on the way to 1

    found = fit(score=score)
    assert len(seen) == 5 and seen == sorted(seen) and seen[-1] > 0.9
    assert float(found["offset"][0]) == min(seen, key=lambda value: abs(value - 0.5)) != seen[-1]


def test_a_seed_gives_the_same_bits_and_settings_do_not_compile_again():
    first = fit(hyperparameters={"learning_rate": 0.1, "target": 1.0})
    from gpldan_jax.baselines import network_method as training

    compiled = training._epoch._cache_size()
    assert fit(hyperparameters={"learning_rate": 0.1, "target": 1.0})["offset"] == first["offset"]
    assert fit(hyperparameters={"learning_rate": 0.2, "target": 2.0}, seed=1)["offset"] != first["offset"]
    assert training._epoch._cache_size() == compiled


def test_every_epoch_sees_pairs_once_but_for_the_short_last_batch():
    n = 20
    train = PairedSplit(np.arange(n)[:, None] + np.zeros((n, 3)), np.zeros((n, 2)), np.arange(n) % 2)
    parameters = {"seen": jnp.zeros(n), "labels": jnp.zeros(n), "draw": jnp.zeros(()), "progress": jnp.zeros(())}
    parameters["offset"] = jnp.zeros(1)
    hyperparameters = {"learning_rate": 1.0, "b1": 0.0}
    found = fit(counting, parameters, lambda _: 1.0, train, epochs=1, hyperparameters=hyperparameters)
    # Adam without momentum moves a parameter the moment it has a gradient: 16 pairs in two batches of 8, the rest not.
    assert int((found["seen"] > 0).sum()) == 16
    assert set(np.flatnonzero(found["labels"] > 0)) == set(np.flatnonzero(found["seen"] > 0)) & set(range(1, n, 2))
    assert float(found["draw"]) > 0 and float(found["progress"]) > 0


def test_more_pairs_to_a_batch_than_there_are_make_one_batch():
    assert float(fit(batch_size=800, epochs=3)["offset"][0]) > 0.25


def test_a_loss_that_is_not_finite_is_an_error_naming_the_epoch():
    with pytest.raises(FloatingPointError, match="the loss is not finite in epoch 3"):
        fit(broken)


def test_the_methods_of_the_paper_are_there():
    names = {"chance", "cca", "cca-ridge", "cmcp", "jrl", "dcca", "dccae", "corr-ae", "cross-ae", "full-ae"}
    assert METHODS.keys() == names | {"ucal", "cdpae", "acmr", "dscmr", "infonce", "siglip"}
    for name, method in METHODS.items():
        assert method.name == name and method.title and method.source and method.settings
    groups = [SUPERVISION.index(method.supervision) for method in METHODS.values() if method.name != "chance"]
    assert groups == sorted(groups, reverse=True)


def test_an_unknown_supervision_is_refused():
    with pytest.raises(ValueError, match=r"supervision must be one of unsupervised, .*, got 'weak'"):
        Method("x", "X", "weak", "nowhere", fit)
