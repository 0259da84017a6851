"""The contrastive methods: whose cosines they take, the bound of the scale, denoising, and training."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import losses, retrieval
from gpldan_jax.baselines import contrastive_methods as contrastive
from gpldan_jax.baselines import dscmr
from gpldan_jax.baselines.network_method import LabelledBatch
from gpldan_jax.data import PairedSplit
from gpldan_jax.data.splits import synthetic_splits
from gpldan_jax.training.batches import zero_columns
from tests.baselines.shared_latent import parameters_of

FLOAT32 = 1e-5  # relative; sums of a few dozen terms
SMALL = {"hidden": 64, "width": 32, "learning_rate": 1e-3, "batch_size": 48}
METHODS = {method.name: method for method in contrastive.METHODS}


def batch(labels=None):
    rng = np.random.default_rng(0)
    images, texts = (jnp.asarray(rng.normal(size=(6, d)), jnp.float32) for d in (10, 20))
    return LabelledBatch(images, texts, labels, jax.random.key(0), jnp.float32(0))


def parameters():
    projector = dscmr.projector_parameters(jax.random.key(1), 10, 20, hidden=8, width=3)
    return {"projector": projector, "log_scale": jnp.float32(1.2), "bias": jnp.float32(-0.7)}


def splits():
    drawn = synthetic_splits((192, 64, 128), image_dim=24, text_dim=16, classes=4)
    return [PairedSplit(*split) for split in drawn]


@pytest.mark.slow
def test_the_scale_of_infonce_stays_below_100_and_can_return():
    above, below = (
        contrastive.infonce_loss(parameters() | {"log_scale": jnp.log(scale)}, batch(), {}) for scale in (200.0, 50.0)
    )
    np.testing.assert_allclose(above, below, rtol=FLOAT32)
    x, step, limit = 0.0, 0.3, math.log(100.0)
    slope = jax.grad(lambda x: contrastive.bounded(x, limit))
    for _ in range(30):
        x += step * slope(x).item()
    assert limit - step <= contrastive.bounded(x, limit) <= limit
    for _ in range(30):
        x -= step * slope(x).item()
    assert contrastive.bounded(x, limit) < limit - 20 * step


@pytest.mark.slow
@pytest.mark.parametrize("denoising", [False, True])
def test_the_losses_are_those_of_the_cosines_of_projected_pairs(denoising):
    of, inputs = parameters(), batch()
    images, texts = inputs.images, inputs.texts
    if denoising:  # half of 10 columns, 14 of 20
        image_key, text_key = jax.random.split(inputs.key)
        images, texts = zero_columns(images, image_key, 0.5), zero_columns(texts, text_key, 0.7)
        assert (int((images == 0).sum()), int((texts == 0).sum())) == (6 * 5, 6 * 14)
    v, t = (np.asarray(x, np.float64) for x in dscmr.project(of["projector"], images, texts))
    cosines = jnp.float32([[x @ y / np.sqrt((x @ x) * (y @ y)) for y in t] for x in v])
    for loss, expected in (
        (contrastive.infonce_loss, losses.infonce(cosines, math.exp(1.2))),
        (contrastive.siglip_loss, losses.pairwise_sigmoid(cosines, math.exp(1.2), -0.7)),
    ):
        found = jax.jit(loss, static_argnames="denoising")(of, inputs, {}, denoising=denoising)
        np.testing.assert_allclose(found, expected, rtol=FLOAT32)


@pytest.mark.parametrize("loss", [contrastive.infonce_loss, contrastive.siglip_loss])
def test_labels_are_not_looked_at(loss):
    of, loss = parameters(), jax.jit(loss)
    np.testing.assert_array_equal(loss(of, batch(), {}), loss(of, batch(jnp.arange(6)), {}))


@pytest.mark.parametrize("loss", [contrastive.infonce_loss, contrastive.siglip_loss])
def test_scale_and_bias_are_learned(loss):
    gradient = jax.jit(jax.grad(loss))(parameters(), batch(), {})
    assert gradient["log_scale"] != 0 and (gradient["bias"] != 0) == (loss is contrastive.siglip_loss)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), [("infonce", contrastive.infonce_loss), ("siglip", contrastive.siglip_loss)])
def test_a_few_steps_lower_the_loss(name, loss):
    train, validation, _ = splits()
    inputs = LabelledBatch(train.images, train.texts, None, jax.random.key(0), jnp.float32(0))
    before, after = (
        loss(parameters_of(METHODS[name].fit, train, validation, epochs=epochs, **SMALL), inputs, {})
        for epochs in (0, 1)
    )
    assert after < 0.98 * before


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("denoising", [False, True])
def test_it_beats_chance(name, denoising):
    train, validation, test = splits()
    unlabelled = [PairedSplit(of.images, of.texts) for of in (train, validation)]

    def score(distances):
        return retrieval.evaluate(distances, validation.labels)["map@50"]["average"]

    fitted = METHODS[name].fit(*unlabelled, score, seed=0, epochs=15, denoising=denoising, **SMALL)
    reached = retrieval.evaluate(fitted(test.images, test.texts), test.labels)["map@50"]["average"]
    assert reached > 1.5 * retrieval.chance(len(test), test.labels)["map@50"]
