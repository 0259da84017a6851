"""DSCMR: its objective against a float64 loop, gradients where norms vanish, and training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import retrieval
from gpldan_jax.baselines import dscmr
from gpldan_jax.baselines.network_method import LabelledBatch
from gpldan_jax.data import PairedSplit
from gpldan_jax.data.splits import synthetic_splits
from tests.baselines.shared_latent import parameters_of

FLOAT32 = 1e-5  # relative; sums of a few hundred terms
LABELS = np.array([0, 2, 0, 1, 2, 0])
SMALL = {"hidden": 64, "width": 32, "learning_rate": 1e-3, "batch_size": 48}

LOSS = jax.jit(dscmr.dscmr_loss)


def batch():
    rng = np.random.default_rng(0)
    images, texts = (jnp.asarray(rng.normal(size=(6, d)), jnp.float32) for d in (5, 4))
    return LabelledBatch(images, texts, jnp.asarray(LABELS), jax.random.key(0), jnp.float32(0))


def parameters():
    return {
        "projector": dscmr.projector_parameters(jax.random.key(1), 5, 4, hidden=8, width=3),
        "classifier": {"kernel": jax.random.normal(jax.random.key(2), (3, 4))},
    }


def splits():
    drawn = synthetic_splits((192, 64, 128), image_dim=24, text_dim=16, classes=4)
    return [PairedSplit(*split) for split in drawn]


def projected(of, inputs, layer):
    of = jax.tree.map(lambda x: np.asarray(x, np.float64), of)
    hidden = np.maximum(np.asarray(inputs, np.float64) @ of[layer]["kernel"] + of[layer]["bias"], 0)
    return hidden @ of["shared"]["kernel"] + of["shared"]["bias"]


def test_the_objective_is_that_of_a_loop():
    of, inputs = parameters(), batch()
    v = projected(of["projector"], inputs.images, "image_hidden")
    t = projected(of["projector"], inputs.texts, "text_hidden")
    kernel = np.asarray(of["classifier"]["kernel"], np.float64)
    total = 0.0
    for i in range(6):
        for features in (v, t):
            prediction = features[i] @ kernel
            prediction[LABELS[i]] -= 1
            total += np.sqrt((prediction**2).sum()) / 6
        total += 0.3 * np.sqrt(((v[i] - t[i]) ** 2).sum()) / 6
        for j in range(6):
            for x, y in ((v[i], t[j]), (v[i], v[j]), (t[i], t[j])):
                q = x @ y / np.sqrt((x @ x) * (y @ y)) / 2
                total += 0.2 * (np.log(1 + np.exp(q)) - (LABELS[i] == LABELS[j]) * q) / 36
    found = LOSS(of, inputs, {"alpha": 0.2, "beta": 0.3})
    np.testing.assert_allclose(found, total, rtol=FLOAT32)


@pytest.mark.slow
def test_norms_that_vanish_have_zero_gradients():
    of = jax.tree.map(jnp.zeros_like, parameters())  # v = t = 0
    of["projector"]["shared"]["bias"] = jnp.zeros(3)
    value, gradient = jax.jit(jax.value_and_grad(dscmr.dscmr_loss))(of, batch(), {"alpha": 0.2, "beta": 0.3})
    # P v = P t = 0, one from the one-hot label; all cosines 0
    np.testing.assert_allclose(value, 2 + 0.2 * 3 * np.log(2), rtol=FLOAT32)
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient))


def test_distances_are_those_of_cosines():
    of, inputs = parameters(), batch()
    v = projected(of["projector"], inputs.images, "image_hidden")
    t = projected(of["projector"], inputs.texts, "text_hidden")[:4]
    expected = [[1 - x @ y / np.sqrt((x @ x) * (y @ y)) for y in t] for x in v]
    found = dscmr.projected_distances(of)(np.asarray(inputs.images), np.asarray(inputs.texts[:4]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_training_without_labels_is_refused():
    train, validation, _ = splits()
    with pytest.raises(ValueError, match=r"^the method needs the labels of the training pairs$"):
        dscmr.DSCMR.fit(PairedSplit(train.images, train.texts), validation, lambda _: 0.0, seed=0)


@pytest.mark.slow
def test_a_few_steps_lower_the_loss():
    train, validation, _ = splits()
    inputs = LabelledBatch(train.images, train.texts, train.labels, jax.random.key(0), jnp.float32(0))
    before, after = (
        LOSS(
            parameters_of(dscmr.DSCMR.fit, train, validation, epochs=epochs, **SMALL),
            inputs,
            {"alpha": 1e-3, "beta": 0.1},
        )
        for epochs in (0, 1)
    )
    assert after < 0.98 * before


def test_it_beats_chance():
    train, validation, test = splits()

    def score(distances):
        return retrieval.evaluate(distances, validation.labels)["map@50"]["average"]

    unlabelled = PairedSplit(validation.images, validation.texts)
    fitted = dscmr.DSCMR.fit(train, unlabelled, score, seed=0, epochs=20, **SMALL)
    reached = retrieval.evaluate(fitted(test.images, test.texts), test.labels)["map@50"]["average"]
    assert reached > 2 * retrieval.chance(len(test), test.labels)["map@50"]
