"""Distances and targets against the float64 loop and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gpldan_jax
from tests.losses import loop_reference

pytestmark = pytest.mark.optimized  # rounding is what they are about


@pytest.mark.slow
def test_co_attention_distances_of_two_sets_of_different_size():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3, 8)), rng.normal(size=(4, 3, 8))
    a, b = rng.dirichlet(np.ones(3), 5), rng.dirichlet(np.ones(3), 4)
    expected = [[loop_reference.pair_distance(x[i], y[j], a[i], b[j]) for j in range(4)] for i in range(5)]
    found = gpldan_jax.co_attention_distances(*(z.astype(np.float32) for z in (x, y, a, b)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_plain_embeddings_have_cosine_distances():
    x, y = jnp.array([[3.0, 4.0], [0.0, 0.0]]), jnp.array([[3.0, 4.0], [-6.0, -8.0], [4.0, -3.0]])
    np.testing.assert_allclose(gpldan_jax.co_attention_distances(x, y, None, None), [[0, 2, 1], [1, 1, 1]], atol=1e-6)


@pytest.mark.slow
def test_distances_of_one_modality_are_symmetric_with_a_zero_diagonal():
    x = jax.random.normal(jax.random.key(0), (6, 4, 16))
    a = jax.nn.softmax(jax.random.normal(jax.random.key(1), (6, 4)))
    distances = gpldan_jax.co_attention_distances(x, x, a, a)
    np.testing.assert_allclose(distances, distances.T, atol=1e-6)
    np.testing.assert_allclose(np.diagonal(distances), 0, atol=1e-6)
    assert (distances >= 0).all() and (distances <= 2).all()


def test_sets_that_do_not_fit_are_refused():
    x, y = jnp.ones((2, 4, 8)), jnp.ones((2, 2, 8))
    with pytest.raises(ValueError, match=r"x and y must agree in \[k, h\], got \(4, 8\) and \(2, 8\)"):
        gpldan_jax.co_attention_distances(x, y, jnp.full((2, 4), 0.25), jnp.full((2, 2), 0.5))


def test_target_distances_match_the_loop_with_duplicates_and_zero_rows():
    rng = np.random.default_rng(1)
    u, c = rng.normal(size=(8, 64)).astype(np.float32), rng.normal(size=(8, 32)).astype(np.float32)
    u[1], u[2], c[3], c[4] = u[0], 2 * u[0], c[0], 0
    np.testing.assert_allclose(
        gpldan_jax.target_distances(u, c),
        loop_reference.target_distances(u.astype(np.float64), c.astype(np.float64)),
        atol=1e-5,
    )


@pytest.mark.slow
def test_target_distances_leave_out_masked_pairs():
    u, c = jax.random.normal(jax.random.key(0), (2, 5, 8))
    where = jnp.array([True, False, True, True, False])
    masked = gpldan_jax.target_distances(u.at[1].set(jnp.nan), c, where=where)
    np.testing.assert_allclose(masked[where][:, where], gpldan_jax.target_distances(u[where], c[where]), rtol=1e-6)
    assert not masked[~where].any() and not masked[:, ~where].any()
