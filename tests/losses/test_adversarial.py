"""The two losses of the modality classifier against hand-computed values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gpldan_jax

LOGITS = jnp.array([[0.0, np.log(3.0)], [0.0, 0.0]])  # "image" with probability 3/4 and 1/2


def test_modality_classifier_loss_by_hand():
    expected = (-np.log(3 / 4) - np.log(1 / 2)) / 2 + (-np.log(1 / 4) - np.log(1 / 2)) / 2
    np.testing.assert_allclose(gpldan_jax.modality_classifier_loss(LOGITS, LOGITS), expected, rtol=1e-6)
    confident = gpldan_jax.modality_classifier_loss(LOGITS[:1], -LOGITS[:1])
    np.testing.assert_allclose(confident, -np.log(3 / 4) - np.log(3 / 4), rtol=1e-6)


def test_adversarial_loss_swaps_the_modalities():
    a, b = jax.random.normal(jax.random.key(0), (2, 5, 2))
    np.testing.assert_allclose(gpldan_jax.adversarial_loss(a, b), gpldan_jax.modality_classifier_loss(b, a), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [gpldan_jax.modality_classifier_loss, gpldan_jax.adversarial_loss])
def test_masked_pairs_leave_no_trace(loss):
    a, b = jax.random.normal(jax.random.key(1), (2, 4, 2))
    where = jnp.array([True, False, True, False])
    padded = a.at[1].set(jnp.nan)
    value, grad = jax.value_and_grad(loss)(padded, b, where=where)
    np.testing.assert_allclose(value, loss(a[where], b[where]), rtol=1e-6)
    assert np.isfinite(grad).all() and not grad[~where].any()


def test_extreme_logits_stay_finite():
    assert np.isfinite(gpldan_jax.adversarial_loss(jnp.array([[1e4, -1e4]]), jnp.array([[-1e4, 1e4]])))


def test_bad_shapes_name_both_sides():
    with pytest.raises(ValueError, match=r"logits must be \[n, 2\] for image and text, got \(2, 2\) and \(3, 2\)"):
        gpldan_jax.adversarial_loss(jnp.ones((2, 2)), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"where must be \[n\] = \(2,\), got \(3,\)"):
        gpldan_jax.adversarial_loss(jnp.ones((2, 2)), jnp.ones((2, 2)), where=jnp.ones(3, bool))


@pytest.mark.parametrize("where", [None, jnp.array([True, False])])
def test_strict_promotion_gives_the_same(where):
    logits = jnp.array([[1.0, 2.0], [3.0, -1.0]])
    for loss in (gpldan_jax.adversarial_loss, gpldan_jax.modality_classifier_loss):
        expected = jax.value_and_grad(loss)(logits, -logits, where=where)
        with jax.numpy_dtype_promotion("strict"):
            found = jax.value_and_grad(loss)(logits, -logits, where=where)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
