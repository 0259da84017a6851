"""The contrastive losses against loops and optax's own, with padding, at extreme logits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpldan_jax import losses

FLOAT32 = 1e-5  # relative; sums of a few dozen terms
COSINES = np.random.default_rng(0).uniform(-1, 1, size=(5, 5))


def test_infonce_is_that_of_a_loop_and_of_optax():
    logits = 3.0 * COSINES
    total = 0.0
    for i in range(5):
        to_texts = sum(math.exp(logits[i, j]) for j in range(5))
        to_images = sum(math.exp(logits[j, i]) for j in range(5))
        total -= (math.log(math.exp(logits[i, i]) / to_texts) + math.log(math.exp(logits[i, i]) / to_images)) / 10
    found = losses.infonce(jnp.float32(COSINES), 3.0)
    np.testing.assert_allclose(found, total, rtol=FLOAT32)
    entropies = [
        optax.softmax_cross_entropy_with_integer_labels(jnp.float32(of), jnp.arange(5)) for of in (logits, logits.T)
    ]
    np.testing.assert_allclose(found, (entropies[0].mean() + entropies[1].mean()) / 2, rtol=FLOAT32)


def test_the_sigmoid_loss_is_that_of_a_loop_and_of_optax():
    total = 0.0
    for i in range(5):
        for j in range(5):
            logit = 3.0 * COSINES[i, j] - 0.7
            total += math.log(1 + math.exp(-logit if i == j else logit)) / 5
    found = losses.pairwise_sigmoid(jnp.float32(COSINES), 3.0, -0.7)
    np.testing.assert_allclose(found, total, rtol=FLOAT32)
    entropies = optax.sigmoid_binary_cross_entropy(jnp.float32(3.0 * COSINES - 0.7), jnp.eye(5))
    np.testing.assert_allclose(found, entropies.sum() / 5, rtol=FLOAT32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        lambda c, where: losses.infonce(c, 3.0, where=where),
        lambda c, where: losses.pairwise_sigmoid(c, 3.0, -0.7, where=where),
    ],
)
def test_padding_is_as_if_it_were_not_there(loss):
    kept = np.array([0, 2, 3])
    where = jnp.zeros(5, bool).at[kept].set(True)
    found, gradient = jax.value_and_grad(loss)(jnp.float32(COSINES), where)
    expected, inner = jax.value_and_grad(loss)(jnp.float32(COSINES[np.ix_(kept, kept)]), None)
    np.testing.assert_allclose(found, expected, rtol=FLOAT32)
    np.testing.assert_allclose(gradient[jnp.ix_(kept, kept)], inner, atol=FLOAT32)
    assert np.count_nonzero(gradient) == 9


def test_extreme_logits_stay_finite():
    worst = 1 - 2 * jnp.eye(3)
    np.testing.assert_allclose(losses.infonce(worst, 100.0), 200 + math.log(2), rtol=FLOAT32)
    np.testing.assert_allclose(losses.pairwise_sigmoid(worst, 1e4, 0.0), 3e4, rtol=FLOAT32)


def test_pairs_of_one_group_are_no_negatives_of_each_other():
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, (6, 6))
    groups, where = np.array([0, 1, 0, 2, 1, 0]), np.array([1, 1, 1, 1, 1, 0], bool)
    expected_infonce = expected_sigmoid = 0.0
    used = np.flatnonzero(where)
    for i in used:
        others = [j for j in used if j == i or groups[j] != groups[i]]
        for row in (cosines[i], cosines[:, i]):
            expected_infonce -= np.log(np.exp(3 * row[i]) / np.exp(3 * row[others]).sum()) / (2 * len(used))
        for j in others:
            sign = 1 if j == i else -1
            expected_sigmoid += np.log1p(np.exp(-sign * (3 * cosines[i, j] - 1))) / len(used)
    np.testing.assert_allclose(
        losses.infonce(jnp.float32(cosines), 3.0, where=where, groups=groups), expected_infonce, rtol=FLOAT32
    )
    found = losses.pairwise_sigmoid(jnp.float32(cosines), 3.0, -1.0, where=where, groups=groups)
    np.testing.assert_allclose(found, expected_sigmoid, rtol=FLOAT32)


def test_a_perfect_batch_with_an_image_twice_has_no_loss():
    same = jnp.array([[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])  # pairs 0 and 1 are of one image
    groups = np.array([5, 5, 7])
    assert losses.infonce(same, 20.0, groups=groups) < 1e-6 < 0.4 < losses.infonce(same, 20.0)
    assert (
        losses.pairwise_sigmoid(same, 20.0, 0.0, groups=groups) < 1e-6 < 10 < losses.pairwise_sigmoid(same, 20.0, 0.0)
    )


@pytest.mark.parametrize("where", [None, np.arange(5) < 4])
def test_strict_promotion_gives_the_same(where):
    cosines = jnp.float32(COSINES)
    for loss in (
        lambda x: losses.infonce(x, 2.0, where=where),
        lambda x: losses.pairwise_sigmoid(x, jnp.float32(2), -1.0, where=where),
    ):
        expected = jax.value_and_grad(loss)(cosines)
        with jax.numpy_dtype_promotion("strict"):
            found = jax.value_and_grad(loss)(cosines)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
