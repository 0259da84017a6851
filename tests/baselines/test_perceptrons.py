"""The perceptrons against NumPy, and the cosine distances against SciPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gpldan_jax.baselines.perceptrons import Mlp, apply_mlp, cosine_distances_between, initial_parameters


@pytest.mark.parametrize(("activation", "reference"), [(nn.relu, lambda x: np.maximum(x, 0)), (nn.tanh, np.tanh)])
def test_an_mlp_has_its_activation_between_layers_only(activation, reference):
    parameters = initial_parameters(jax.random.key(0), {"network": (5, 7, 3)})["network"]
    inputs = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    first, second = ({k: np.asarray(v, np.float64) for k, v in parameters[f"layer_{i}"].items()} for i in range(2))
    expected = reference(inputs @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]
    np.testing.assert_allclose(apply_mlp(parameters, inputs, activation), expected, atol=1e-6)
    np.testing.assert_allclose(Mlp((7, 3), activation).apply({"params": parameters}, inputs), expected, atol=1e-6)


def test_it_starts_as_in_pytorch_or_as_glorot_and_bengio_say():
    of = {"network": (200, 100)}
    pytorch, xavier = (initial_parameters(jax.random.key(0), of, xavier=x)["network"]["layer_0"] for x in (False, True))
    for parameter in jax.tree.leaves(pytorch):
        assert 0.9 * 200**-0.5 < abs(parameter).max() <= 200**-0.5
    assert 0.99 * (6 / 300) ** 0.5 < abs(xavier["kernel"]).max() <= (6 / 300) ** 0.5
    assert not xavier["bias"].any()


def test_networks_of_one_shape_start_apart():
    parameters = initial_parameters(jax.random.key(0), {"image": (4, 4), "text": (4, 4)})
    assert not np.allclose(parameters["image"]["layer_0"]["kernel"], parameters["text"]["layer_0"]["kernel"])


def test_cosine_distances_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    np.testing.assert_allclose(cosine_distances_between(x, y), cdist(x, y, "cosine"), atol=1e-12)
    assert cosine_distances_between(jnp.zeros((2, 4)), y).tolist() == [[1.0] * 3] * 2
