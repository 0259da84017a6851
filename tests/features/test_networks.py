"""Image networks against loops in float64, and their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.features import networks
from gpldan_jax.features.networks import winograd_convolution, winograd_kernel
from tests.features import networks as small

ROUNDING = 1e-5  # float32 against float64, of the largest feature


def pictures(side, count=2, seed=1):
    return np.random.default_rng(seed).standard_normal((count, side, side, 3)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 3), (5, 4), (7, 7)])
def test_winograd_is_the_convolution(h, w):
    random = np.random.default_rng(h * w)
    x, kernel = random.standard_normal((2, h, w, 3)), random.standard_normal((3, 3, 3, 5))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, h, w, 5))
    for i in range(h):
        for j in range(w):
            expected[:, i, j] = np.einsum("nhwc,hwco->no", padded[:, i : i + 3, j : j + 3], kernel)
    found = winograd_convolution(jnp.float32(x), winograd_kernel(jnp.float32(kernel)))
    np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(("group", "grouped"), [(1, True), (2, True), (9, True), (1, False), (2, None)])
@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("name", small.NETWORKS)
def test_a_network_is_what_its_layers_say(name, rectified, group, grouped):
    network, side = small.network(name, rectified=rectified, group=group, grouped=grouped)
    weights, seen = small.state_dict(network, side), pictures(side, count=3)
    parameters = networks.import_weights(weights, network, small.LINEAR, side=side)
    expected = np.stack([small.loop(network, weights, picture) for picture in seen])
    found = jax.jit(network.apply)(parameters, seen)
    np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())
    assert (expected.min() < 0) != rectified  # the option shows


def test_wide_layers_are_winograds_on_a_cpu():
    def products(grouped):
        network, side = small.network("wide", grouped=grouped)
        parameters = jax.eval_shape(network.init, jax.random.key(0), pictures(side))
        return str(jax.make_jaxpr(network.apply)(parameters, pictures(side))).count("conv_general_dilated")

    assert products(False) == 3 and products(True) == 1  # the first layer has three channels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "convolutions", "widths", "inputs"),
    [
        (
            "vgg19",
            [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
            [64, 64, 128, 128, *[256] * 4, *[512] * 8],
            7 * 7 * 512,
        ),
        ("alexnet", [0, 3, 6, 8, 10], [64, 192, 384, 256, 256], 6 * 6 * 256),
    ],
)
def test_the_architectures(name, convolutions, widths, inputs):
    architecture = networks.ARCHITECTURES[name]
    network = networks.ImageNetwork(architecture.convolutions)
    found = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    assert [index for index, _ in networks.positions(architecture.convolutions)] == convolutions
    assert [found[f"features_{index}_kernel"].shape[3] for index in convolutions] == widths
    assert found["fc6"]["kernel"].shape == (inputs, 4096) and found["fc7"]["kernel"].shape == (4096, 4096)


def _without(name):
    return lambda weights: weights.pop(name)


def _with(name, change):
    return lambda weights: weights.update({name: change(weights.get(name))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("features.3.weight"), r"features\.3\.weight: expected floats \[128, 64, 3, 3\], found none"),
        (_with("features.3.weight", lambda w: w[:, :3]), r"features\.3\.weight: .*, found float32 \[128, 3, 3, 3\]"),
        (_with("features.3.bias", lambda b: b.astype(int)), r"features\.3\.bias: .* found int64 \[128\]"),
        (_with("classifier.0.weight", lambda w: w.T), r"classifier\.0\.weight: expected floats \[10, 512\]"),
        (
            _with("features.5.bias", lambda b: b * np.nan),
            r"features\.5\.bias: expected finite weights, found NaN or Inf",
        ),
        (_with("features.1.running_mean", lambda _: np.zeros(64)), r"features\.1\.running_mean: the network has none"),
    ],
)
def test_a_wrong_file_is_refused_by_its_first_layer(change, message):
    network, side = small.network("wide")
    weights = small.state_dict(network, side)
    change(weights)
    with pytest.raises(ValueError, match=message) as caught:
        networks.import_weights(weights, network, small.LINEAR, side=side)
    assert "\n" not in str(caught.value)


def test_weights_of_other_precisions_and_what_follows_fc7():
    network, side = small.network("wide")
    weights = {name: array.astype(np.float16) for name, array in small.state_dict(network, side).items()}
    expected = networks.import_weights(weights, network, small.LINEAR, side=side)
    weights |= {"classifier.6.weight": np.zeros((1000, 10)), "classifier.6.bias": np.full(1000, np.nan)}
    found = networks.import_weights(weights, network, small.LINEAR, side=side)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
