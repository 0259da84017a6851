"""One training step against the same step written out, and what it depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gpldan_jax
from gpldan_jax import training
from tests.training import tiny


def batch(n=8, seed=0, where=None):
    images, texts, _ = (getattr(tiny.dataset(seed=seed).train, name) for name in ("images", "texts", "labels"))
    return training.Batch(images[:n], texts[:n], where)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_trees_equal(one, other):
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_is_eq_10_then_eq_11_against_the_new_classifier():
    state, pairs = tiny.state(image_denoising=0.0, text_denoising=0.0), batch()
    before = jax.tree.map(jnp.copy, state)
    after, metrics = training.train_step(state, pairs)

    def represent(parameters):
        return before.projector.apply({"params": parameters}, pairs.images, pairs.texts)

    def classifier_loss(parameters):
        logits = [before.classifier.apply({"params": parameters}, x.features) for x in represent(g)]
        return gpldan_jax.modality_classifier_loss(*logits)

    g, d = before.projector_parameters, before.classifier_parameters
    d_loss, d_gradient = jax.value_and_grad(classifier_loss)(d)
    d_update, _ = before.classifier_optimizer.update(d_gradient, before.classifier_optimizer_state, d)
    new_d = optax.apply_updates(d, d_update)

    def projector_loss(parameters):
        image, text = represent(parameters)
        loss, _ = gpldan_jax.graph_pattern_loss(
            image.parts, text.parts, image.attention, text.attention, pairs.images, pairs.texts, alpha=1.0, beta=0.1
        )
        logits = [before.classifier.apply({"params": new_d}, x.features) for x in (image, text)]
        return loss + 0.01 * gpldan_jax.adversarial_loss(*logits)

    g_loss, g_gradient = jax.value_and_grad(projector_loss)(g)
    np.testing.assert_allclose(metrics["classifier"], d_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], g_loss, rtol=1e-5)
    for a, b in zip(leaves(after.classifier_parameters), leaves(new_d), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    # Adam's first moment is 0.1 times the gradient with its L2 part, which shows the gradient itself.
    moment = after.projector_optimizer_state[1][0].mu
    for mu, gradient, parameter in zip(leaves(moment), leaves(g_gradient), leaves(g), strict=True):
        np.testing.assert_allclose(mu, 0.1 * (gradient + 1e-4 * parameter), atol=1e-6)
    assert int(after.step) == 1


def test_the_same_seed_and_step_give_the_same_bits():
    one, _ = training.train_step(tiny.state(), batch())
    other, _ = training.train_step(tiny.state(), batch())
    assert_trees_equal(one.projector_parameters, other.projector_parameters)
    another_seed, _ = training.train_step(tiny.state(seed=1), batch())
    assert (leaves(one.projector_parameters)[0] != leaves(another_seed.projector_parameters)[0]).any()


def test_denoising_changes_with_the_step_and_leaves_the_targets_alone():
    def unpaired(step, **changes):
        # alpha and beta are outputs of the same inputs; only the zeroed columns differ between steps
        state = tiny.state(**changes).replace(step=jnp.asarray(step, jnp.int32))
        return float(training.train_step(state, batch())[1]["unpaired"])

    assert unpaired(0) != unpaired(1)
    assert unpaired(0, image_denoising=0.0, text_denoising=0.0) == unpaired(1, image_denoising=0.0, text_denoising=0.0)
    # With every column zeroed all images are equal, and all texts, so l_vv and l_tt are 0 and the targets show.
    everything = unpaired(0, image_denoising=1.0, text_denoising=1.0)
    pairs = batch()
    d = np.asarray(gpldan_jax.target_distances(pairs.images, pairs.texts))
    off = ~np.eye(8, dtype=bool)
    state = tiny.state()
    image, text = state.projector.apply({"params": state.projector_parameters}, pairs.images * 0, pairs.texts * 0)
    l_vt = np.asarray(gpldan_jax.co_attention_distances(image.parts, text.parts, image.attention, text.attention))
    np.testing.assert_allclose(everything, (np.abs(l_vt - d)[off].sum() + 2 * d[off].sum()) / 64, rtol=1e-4)


def test_padding_does_not_change_the_step():
    state = tiny.state(image_denoising=0.0, text_denoising=0.0)
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


@pytest.mark.parametrize("discrepancy", ["squared", "signed"])
def test_the_discrepancy_reaches_the_loss(discrepancy):
    _, absolute = training.train_step(tiny.state(), batch())
    _, other = training.train_step(tiny.state(discrepancy=discrepancy), batch())
    assert float(absolute["unpaired"]) != float(other["unpaired"])
    assert float(absolute["pairwise"]) == float(other["pairwise"])
