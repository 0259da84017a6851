"""The objective of CDPAE against a loop over twos of pairs, and what training makes of it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.baselines import cdpae
from gpldan_jax.baselines.network_method import LabelledBatch
from gpldan_jax.baselines.perceptrons import initial_parameters
from tests.baselines import shared_latent

NUMBERS = {"distance": 0.3, "reconstruction": 0.05}


def first_parameters(d_i, d_t, width):
    widths = {"image": (d_i, width), "text": (d_t, width), "image_decoder": (width, d_i), "text_decoder": (width, d_t)}
    return initial_parameters(jax.random.key(0), widths, xavier=True)


def cosine_distance(a, b):
    return 1 - a @ b / np.sqrt((a @ a) * (b @ b))


def loop_loss(parameters, images, texts, noisy_images, noisy_texts, l1, l2):
    """The published loss of two pairs, averaged over all twos of pairs, in float64."""

    def layer(name, x):
        return x @ np.asarray(parameters[name]["layer_0"]["kernel"], np.float64) + np.asarray(
            parameters[name]["layer_0"]["bias"], np.float64
        )

    v, t = np.tanh(layer("image", noisy_images)), np.tanh(layer("text", noisy_texts))
    losses = []
    for i, j in itertools.combinations(range(len(images)), 2):
        d = np.sqrt(cosine_distance(images[i], images[j]) * cosine_distance(texts[i], texts[j]))
        pair = cosine_distance(v[i], t[i]) + cosine_distance(v[j], t[j])
        across = abs(cosine_distance(v[i], t[j]) - d) + abs(cosine_distance(v[j], t[i]) - d)
        within = abs(cosine_distance(v[i], v[j]) - d) + abs(cosine_distance(t[i], t[j]) - d)
        reconstruction = sum(
            np.linalg.norm(images[k] - layer("image_decoder", v[k]))
            + np.linalg.norm(texts[k] - layer("text_decoder", t[k]))
            for k in (i, j)
        )
        losses.append(pair + l1 * (across + within) + l2 * reconstruction)
    return np.mean(losses)


def test_the_loss_is_that_of_a_loop_over_twos_of_pairs():
    rng = np.random.default_rng(0)
    images, noisy_images = rng.normal(size=(2, 6, 5))
    texts, noisy_texts = rng.normal(size=(2, 6, 4))
    parameters = first_parameters(5, 4, 7)
    given = [jnp.asarray(x, jnp.float32) for x in (images, texts, noisy_images, noisy_texts)]
    expected = loop_loss(parameters, images, texts, noisy_images, noisy_texts, 0.3, 0.05)
    assert jax.jit(cdpae.comprehensive_loss)(parameters, *given, NUMBERS) == pytest.approx(expected, rel=1e-5)


def test_denoising_takes_the_published_share_of_columns_from_the_codes_only(monkeypatch):
    seen = []
    monkeypatch.setattr(cdpae, "comprehensive_loss", lambda *arguments: seen.append(arguments))
    batch = LabelledBatch(jnp.ones((4, 20)), jnp.ones((4, 10)), None, jax.random.key(0), 0.0)
    cdpae.cdpae_loss({}, batch, NUMBERS)
    cdpae.cdpae_loss_without_denoising({}, batch, NUMBERS)
    _, images, texts, noisy_images, noisy_texts, _ = seen[0]
    assert images is batch.images and texts is batch.texts
    assert noisy_images.sum(axis=1).tolist() == [10] * 4 and noisy_texts.sum(axis=1).tolist() == [3] * 4
    _, images, texts, whole_images, whole_texts, _ = seen[1]
    assert whole_images is images is batch.images and whole_texts is texts is batch.texts


def test_a_perfect_reconstruction_and_equal_pairs_have_a_finite_gradient():
    zero, ones = jnp.zeros((3, 5)), jnp.ones((3, 4))
    gradients = jax.jit(jax.grad(cdpae.comprehensive_loss))(first_parameters(5, 4, 7), zero, ones, zero, ones, NUMBERS)
    assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_training_lowers_the_loss_and_finds_partners():
    settings = {"width": 64, "learning_rate": 1e-2, "epochs": 20}
    found, before, after = shared_latent.training_of(cdpae.CDPAE.fit, **settings)
    assert after < 0.8 * before
    assert found > 3 * shared_latent.CHANCE


def test_fit_trains_with_or_without_denoising():
    losses = [shared_latent.untrained(cdpae.CDPAE.fit, width=4, denoising=of)[1][1] for of in (True, False)]
    assert losses == [cdpae.cdpae_loss, cdpae.cdpae_loss_without_denoising]
