"""The attention map against Eq. 1 in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.models import Attention
from tests.models.numpy_reference import drawn_variables, equation_1

# Float32 against float64 for probabilities.
FLOAT32_TOLERANCE = 1e-6

N, K, H = 5, 4, 8
PARTS = np.random.default_rng(0).normal(size=(N, K, H)).astype(np.float32)
apply = jax.jit(Attention().apply)


@pytest.fixture(scope="module")
def variables():
    return drawn_variables(Attention(), PARTS)


def test_it_is_equation_1(variables):
    w1, w2 = (np.asarray(variables["params"][name]["kernel"], np.float64) for name in ("w1", "w2"))
    expected = [equation_1(parts.astype(np.float64), w1.T, w2[:, 0]) for parts in PARTS]
    maps = apply(variables, PARTS)
    np.testing.assert_allclose(maps, expected, atol=FLOAT32_TOLERANCE)
    assert np.ptp(maps) > 0.1  # far from uniform, which would hide mistakes


def test_maps_are_positive_and_sum_to_one(variables):
    for scale in (1, 1e4):
        maps = np.asarray(apply(variables, PARTS * np.float32(scale)))
        np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=FLOAT32_TOLERANCE)
        assert (maps > 0).all()


def test_the_representations_of_one_instance_can_be_permuted(variables):
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(
        apply(variables, PARTS[:, order]), apply(variables, PARTS)[:, order], atol=FLOAT32_TOLERANCE
    )


@pytest.mark.parametrize("h, hidden", [(8, 4), (256, 128), (9, 4), (1, 1)])
def test_the_weights_have_the_widths_of_the_paper_and_no_biases(h, hidden):
    parameters = jax.eval_shape(Attention().init, jax.random.key(0), jnp.ones((1, 2, h)))["params"]
    assert jax.tree.map(lambda x: x.shape, parameters) == {"w1": {"kernel": (h, hidden)}, "w2": {"kernel": (hidden, 1)}}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_single_representation_has_all_the_attention_and_nothing_to_learn(dtype):
    maps, variables = Attention().init_with_output(jax.random.key(0), jnp.full((3, 1, 8), 7, dtype))
    np.testing.assert_array_equal(maps, np.ones((3, 1)))
    assert maps.dtype == dtype
    assert not jax.tree.leaves(variables)


def test_any_leading_axes(variables):
    np.testing.assert_allclose(
        apply(variables, PARTS[None, :2, :])[0], apply(variables, PARTS)[:2], atol=FLOAT32_TOLERANCE
    )
    np.testing.assert_allclose(apply(variables, PARTS[0]), apply(variables, PARTS)[0], atol=FLOAT32_TOLERANCE)
