"""The objective of the correspondence autoencoders against a loop, and what training makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gpldan_jax.baselines.corr_ae import CORRESPONDENCE, METHODS, VARIANTS, correspondence_loss, encode
from gpldan_jax.baselines.network_method import LabelledBatch
from gpldan_jax.baselines.perceptrons import initial_parameters
from tests.baselines import shared_latent

DECODERS = {
    "corr": {"image_to_image": "image", "text_to_text": "text"},
    "cross": {"image_to_text": "text", "text_to_image": "image"},
    "full": {"image_to_image": "image", "image_to_text": "text", "text_to_image": "image", "text_to_text": "text"},
}
"""What each decoder of a variant reconstructs; its name says from what."""


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_is_that_of_a_loop(variant):
    widths = {"image": 4, "text": 3}
    layers = {name: (d, 5) for name, d in widths.items()}
    layers |= {decoder: (5, widths[name]) for decoder, name in DECODERS[variant].items()}
    parameters = initial_parameters(jax.random.key(0), layers)
    rng = np.random.default_rng(0)
    inputs = {"image": rng.normal(size=(6, 4)), "text": rng.normal(size=(6, 3))}
    batch = LabelledBatch(*(jnp.asarray(x, jnp.float32) for x in inputs.values()), None, jax.random.key(0), 0.0)

    def layer(name, x):
        return x @ np.asarray(parameters[name]["layer_0"]["kernel"]) + np.asarray(parameters[name]["layer_0"]["bias"])

    expected = 0
    for i in range(6):
        codes = {name: 1 / (1 + np.exp(-layer(name, x[i]))) for name, x in inputs.items()}
        expected += 0.7 * ((codes["image"] - codes["text"]) ** 2).sum() / 6
        for decoder, name in DECODERS[variant].items():
            expected += 0.3 * ((inputs[name][i] - layer(decoder, codes[decoder.split("_")[0]])) ** 2).sum() / 6
    assert jax.jit(correspondence_loss)(parameters, batch, {"correspondence": 0.7}) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_training_lowers_the_loss_and_finds_partners(method):
    settings = {"width": 32, "learning_rate": 1e-2, "epochs": 20}
    found, before, after = shared_latent.training_of(method.fit, **settings)
    assert after < 0.8 * before
    assert found > 3 * shared_latent.CHANCE


def test_ranking_is_by_the_euclidean_distance_of_codes():
    distances, (parameters, *_) = shared_latent.untrained(CORRESPONDENCE.fit, width=16)
    images, texts = np.random.default_rng(0).normal(size=(5, 12)), np.random.default_rng(1).normal(size=(3, 8))
    codes = encode(parameters["image"], images), encode(parameters["text"], texts)
    np.testing.assert_allclose(distances(images, texts), cdist(*codes), atol=1e-6)


def test_another_variant_is_refused():
    with pytest.raises(ValueError, match="variant must be one of corr, cross, full, got 'half'"):
        CORRESPONDENCE.fit(*shared_latent.splits(), shared_latent.recall, seed=0, variant="half")
