"""One training step against the same step written out, and what it depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gpldan_jax
from gpldan_jax import training
from gpldan_jax.training.batches import zero_columns
from gpldan_jax.training.state import denoising_key
from tests.training import tiny


def batch(n=8, seed=0, where=None):
    images, texts, _ = (getattr(tiny.dataset(seed=seed).train, name) for name in ("images", "texts", "labels"))
    return training.Batch(images[:n], texts[:n], where)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_trees_equal(one, other):
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@jax.jit(static_argnames="static")
def written_out(g, d, d_state, pairs, image_columns, text_columns, static):
    """Losses, the new D and the gradient of G, step by step; the inputs are denoised by the given columns."""
    projector, classifier, optimizer = static

    def represent(parameters):
        return projector.apply({"params": parameters}, pairs.images * image_columns, pairs.texts * text_columns)

    def logits(parameters, representations):
        return [classifier.apply({"params": parameters}, x.features) for x in representations]

    def classifier_loss(parameters):
        return gpldan_jax.modality_classifier_loss(*logits(parameters, represent(g)))

    d_loss, d_gradient = jax.value_and_grad(classifier_loss)(d)
    d_update, _ = optimizer.update(d_gradient, d_state, d)
    new_d = optax.apply_updates(d, d_update)

    def projector_loss(parameters):
        image, text = represent(parameters)
        attention = image.attention, text.attention
        loss, _ = gpldan_jax.graph_pattern_loss(
            image.parts, text.parts, *attention, pairs.images, pairs.texts, alpha=1.0, beta=0.1
        )
        return loss + 0.01 * gpldan_jax.adversarial_loss(*logits(new_d, (image, text)))

    g_loss, g_gradient = jax.value_and_grad(projector_loss)(g)
    return d_loss, g_loss, new_d, g_gradient


@pytest.mark.slow
def test_a_step_is_eq_10_then_eq_11_against_the_new_classifier():
    # Targets from the clean inputs, features from denoised ones; the columns are those that the key of step 0 draws.
    state, pairs = tiny.state(), batch()
    keys = jax.random.split(denoising_key(state.key, state.step))
    columns = [zero_columns(jnp.ones((1, d)), key, p) for d, key, p in zip((10, 6), keys, (0.5, 0.7), strict=True)]
    g = jax.tree.map(jnp.copy, state.projector_parameters)
    d_loss, g_loss, new_d, g_gradient = written_out(
        g,
        state.classifier_parameters,
        state.classifier_optimizer_state,
        pairs,
        *columns,
        static=(state.projector, state.classifier, state.classifier_optimizer(1e-3)),
    )
    after, metrics = training.train_step(state, pairs)
    np.testing.assert_allclose(metrics["classifier"], d_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], g_loss, rtol=1e-5)
    for a, b in zip(leaves(after.classifier_parameters), leaves(new_d), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    # Adam's first moment is 0.1 times the gradient with its L2 part, which shows the gradient itself.
    moment = after.projector_optimizer_state[1][0].mu
    for mu, gradient, parameter in zip(leaves(moment), leaves(g_gradient), leaves(g), strict=True):
        np.testing.assert_allclose(mu, 0.1 * (gradient + 1e-4 * parameter), atol=1e-6)
    assert int(after.step) == 1


@pytest.mark.slow
def test_the_same_seed_and_step_give_the_same_bits():
    one, _ = training.train_step(tiny.state(), batch())
    other, _ = training.train_step(tiny.state(), batch())
    assert_trees_equal(one.projector_parameters, other.projector_parameters)
    another_seed, _ = training.train_step(tiny.state(seed=1), batch())
    assert (leaves(one.projector_parameters)[0] != leaves(another_seed.projector_parameters)[0]).any()


def test_denoising_changes_with_the_step():
    def unpaired(step):
        state = tiny.state().replace(step=jnp.asarray(step, jnp.int32))
        return float(training.train_step(state, batch())[1]["unpaired"])

    assert unpaired(0) == unpaired(0) != unpaired(1)


@pytest.mark.slow
def test_padding_does_not_change_the_step():
    state = tiny.state()
    pairs = batch()
    alone, alone_metrics = training.train_step(jax.tree.map(jnp.copy, state), pairs)
    padding = np.full((3, 10), 7.0, np.float32), np.full((3, 6), -5.0, np.float32)
    padded = training.Batch(
        np.concatenate([pairs.images, padding[0]]), np.concatenate([pairs.texts, padding[1]]), np.arange(11) < 8
    )
    with_padding, metrics = training.train_step(state, padded)
    for name, value in alone_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    for a, b in zip(
        leaves(alone.projector_optimizer_state), leaves(with_padding.projector_optimizer_state), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_state_is_donated():
    state = tiny.state()
    kernel = state.projector_parameters["shared"]["kernel"]
    training.train_step(state, batch())
    assert kernel.is_deleted()


@pytest.mark.slow
def test_the_discrepancy_reaches_the_loss():
    _, absolute = training.train_step(tiny.state(), batch())
    _, squared = training.train_step(tiny.state(discrepancy="squared"), batch())
    assert float(absolute["unpaired"]) != float(squared["unpaired"])
    np.testing.assert_allclose(absolute["pairwise"], squared["pairwise"], rtol=1e-6)


def test_every_seed_of_32_bits_is_one_of_its_own():
    seeds = (0, 5, 2**31, 2**32 - 1)
    keys = [jax.random.key_data(tiny.state(seed).key).tolist() for seed in seeds]
    assert keys == [jax.random.key_data(jax.random.key(np.uint32(seed))).tolist() for seed in seeds]
    assert keys[1] == jax.random.key_data(jax.random.key(5)).tolist()
    assert len(set(map(tuple, keys))) == len(seeds)
