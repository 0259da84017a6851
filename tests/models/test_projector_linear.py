"""The linear layer starts as PyTorch's does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.models.projector import Linear

# A fixed key: 5 standard errors, which an honest draw misses once in 10^6.
STANDARD_ERRORS = 5
# The variance of x**2 over the squared variance of x, for a uniform x: its kurtosis, 9/5, less one.
SQUARES = 4 / 5
# Float32 sums of 64 terms of O(1).
FLOAT32_TOLERANCE = 1e-5

FAN_IN, FEATURES = 64, 512
BOUND = 1 / 8


@pytest.fixture(scope="module")
def parameters():
    return jax.jit(Linear(FEATURES).init)(jax.random.key(0), jnp.ones((1, FAN_IN)))["params"]


@pytest.mark.parametrize("name, shape", [("kernel", (FAN_IN, FEATURES)), ("bias", (FEATURES,))])
def test_kernel_and_bias_are_uniform_within_the_root_of_the_fan_in(parameters, name, shape):
    values = np.asarray(parameters[name], np.float64)
    assert values.shape == shape
    assert np.abs(values).max() <= BOUND
    assert np.abs(values).max() > BOUND * (1 - 20 / values.size)  # the whole range is used
    variance = BOUND**2 / 3
    assert abs(values.mean()) < STANDARD_ERRORS * np.sqrt(variance / values.size)
    assert np.mean(values**2) == pytest.approx(variance, rel=STANDARD_ERRORS * np.sqrt(SQUARES / values.size))


def test_kernel_and_bias_are_different_draws(parameters):
    assert not np.isin(parameters["bias"], parameters["kernel"][0]).all()


def test_it_is_a_matrix_product_and_a_shift(parameters):
    x = np.random.default_rng(0).normal(size=(3, FAN_IN)).astype(np.float32)
    expected = x.astype(np.float64) @ np.asarray(parameters["kernel"], np.float64) + parameters["bias"]
    found = Linear(FEATURES).apply({"params": parameters}, x)
    np.testing.assert_allclose(found, expected, atol=FLOAT32_TOLERANCE)


def test_without_bias():
    layer = Linear(2, use_bias=False)
    parameters = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 3)))["params"]
    assert set(parameters) == {"kernel"}
    np.testing.assert_array_equal(layer.apply({"params": {"kernel": jnp.eye(3, 2)}}, jnp.ones((1, 3))), [[1, 1]])
