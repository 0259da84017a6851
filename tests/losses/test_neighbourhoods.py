"""Neighbourhoods against a loop in float64, and the target distances that come of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import losses


def inputs(n=23, zero=()):
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(n, 7)), rng.normal(size=(n, 4))
    texts[list(zero)] = 0
    return images, texts


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else 0.0


def loop_rows(images, texts, m):
    """P, `[n, n]`, as its definition reads."""
    n = len(images)
    rows = np.zeros((n, n))
    for i in range(n):
        similar = [(cosine(images[i], images[j]) + cosine(texts[i], texts[j])) / 2 for j in range(n)]
        similar[i] = 1.0
        for j in sorted(range(n), key=lambda j: -similar[j])[:m]:
            rows[i, j] = max(similar[j], 0)
        rows[i] /= np.linalg.norm(rows[i])
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("m", [1, 3, 15, 40])
@pytest.mark.parametrize("block_size", [4, 23, 1024])
def test_they_are_those_of_a_loop(m, block_size):
    images, texts = inputs(zero=(2,))
    columns, weights = losses.nearest_neighbours(images, texts, neighbours=m, block_size=block_size)
    assert columns.shape == weights.shape == (23, min(m, 23)) and columns.dtype == jnp.int32
    assert columns[:, 0].tolist() == list(range(23))
    rows = losses.neighbourhood_rows(columns, weights, 23)
    np.testing.assert_allclose(rows, loop_rows(images, texts, m), atol=1e-6)


def test_a_pair_without_features_is_its_own_neighbour():
    images, texts = inputs(zero=(2,))
    images[2] = 0
    columns, weights = losses.nearest_neighbours(images, texts, neighbours=3)
    np.testing.assert_allclose(losses.neighbourhood_rows(columns, weights, 23)[2], np.eye(23)[2])


@pytest.mark.slow
def test_the_target_distance_of_rows_is_one_minus_their_product():
    columns, weights = losses.nearest_neighbours(*inputs(), neighbours=6)
    batch = jnp.array([3, 0, 11, 19, 7])
    rows = losses.neighbourhood_rows(columns[batch], weights[batch], 23)
    d = losses.target_distances(rows, rows)
    expected = 1 - loop_rows(*inputs(), 6)[batch] @ loop_rows(*inputs(), 6)[batch].T
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(np.asarray(d)[off], (expected / expected[off].mean())[off], atol=1e-5)


@pytest.mark.optimized
def test_no_array_is_quadratic_in_the_training_pairs():
    n = 4096
    shape = jax.ShapeDtypeStruct((n, 8), jnp.float32)
    find = jax.jit(lambda u, c: losses.nearest_neighbours(u, c, neighbours=5, block_size=64))
    memory = find.lower(shape, shape).compile().memory_analysis()
    assert memory.temp_size_in_bytes < n * n * 4 / 8


@pytest.mark.parametrize(
    ("shapes", "neighbours", "message"),
    [(((5, 3), (5, 2)), 0, "neighbours must be at least 1, got 0"), (((5, 3), (4, 2)), 2, r"\(5, 3\) and \(4, 2\)")],
)
def test_what_does_not_fit_is_refused(shapes, neighbours, message):
    with pytest.raises(ValueError, match=message):
        losses.nearest_neighbours(*map(np.ones, shapes), neighbours=neighbours)
