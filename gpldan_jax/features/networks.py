"""VGG-19 and AlexNet up to fc7, with Winograd's convolution for CPUs, and their weights in torchvision's names.

Letters: `n` pictures of `h` x `w` pixels with `c` channels, `o` output channels.

References:
    VGG-19: K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
    configuration E.
    AlexNet: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, the single-column
    network that torchvision calls `alexnet`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SIDE = 224  # pixels, of the pictures that both networks take
_PRECISION = lax.Precision.HIGHEST  # otherwise accelerators round factors to fewer bits than float32 has
# Winograd's transforms of the pictures, the kernel and the products.
_INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))


def winograd_kernel(kernel: jax.Array) -> jax.Array:
    """Returns a kernel `[3, 3, c, o]` in the form that `winograd_convolution` takes, `[4, 4, c, o]`."""
    rows = [_combine(weights, kernel) for weights in _KERNEL]
    return jnp.stack([jnp.stack([_combine(weights, row) for weights in _KERNEL]) for row in rows])


def winograd_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution of pictures with a 3 x 3 kernel, with stride 1 and a border of zeros.

    This is Winograd's F(2 x 2, 3 x 3): 16 products give four outputs, for which the definition takes 36. Each of the 16
    is one matrix product over all tiles of 2 x 2 outputs. The rounding errors are a little larger than those of the
    definition.

    Args:
        x: `[n, h, w, c]`.
        kernel: `[4, 4, c, o]`, from `winograd_kernel`.

    Returns:
        `[n, h, w, o]`.

    References:
        A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
    """
    n, h, w, c = x.shape
    down, across = -(-h // 2), -(-w // 2)  # tiles
    x = jnp.pad(x, ((0, 0), (1, 2 * down + 1 - h), (1, 2 * across + 1 - w), (0, 0)))
    lines = [x[:, i : i + 2 * down - 1 : 2] for i in range(4)]
    # Without the barrier XLA computes the first half of the transform again in each of the 16 products.
    rows = lax.optimization_barrier([_combine(weights, lines) for weights in _INPUT])
    products = []
    for i, row in enumerate(rows):
        columns = [row[:, :, j : j + 2 * across - 1 : 2] for j in range(4)]
        products.append([_combine(weights, columns).reshape(-1, c) @ kernel[i, j] for j, weights in enumerate(_INPUT)])
    lines = []
    for weights in _OUTPUT:
        line = [_combine(weights, column) for column in zip(*products, strict=True)]
        pair = [_combine(weights, line).reshape(n, down, across, -1) for weights in _OUTPUT]
        lines.append(jnp.stack(pair, axis=3).reshape(n, down, 2 * across, -1))
    return jnp.stack(lines, axis=2).reshape(n, 2 * down, 2 * across, -1)[:, :h, :w]


def _combine(weights: Sequence[float], terms: Sequence[jax.Array] | jax.Array) -> jax.Array:
    signed = [weight * term for weight, term in zip(weights, terms, strict=True) if weight]
    return sum(signed[1:], start=signed[0])


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution, a ReLU, and a maximum over windows of stride 2 if `pool`, their side, is not 0."""

    features: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0


class ImageNetwork(nn.Module):
    """Convolutions, fc6 and fc7: from pictures, float32 `[n, 224, 224, 3]`, to features, float32 `[n, width]`.

    Attributes:
        convolutions: the layers, in order.
        width: of fc6 and fc7.
        rectified: whether fc7 is taken after its ReLU.
        group: how many pictures of a batch go through the convolutions at a time, if `grouped`.
        grouped: True: pictures go through the convolutions in groups, so that intermediate results stay in the caches,
            and wide 3 x 3 convolutions are computed by `winograd_convolution`. False: the whole batch goes through
            together. None: True on a CPU, False elsewhere.

    Example:
        >>> network, key = ImageNetwork(ARCHITECTURES["alexnet"].convolutions), jax.random.key(0)
        >>> jax.eval_shape(lambda: network.init_with_output(key, jnp.zeros((2, 224, 224, 3)))[0]).shape
        (2, 4096)
    """

    convolutions: tuple[Convolution, ...]
    width: int = 4096
    rectified: bool = True
    group: int = 4
    grouped: bool | None = None

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Returns fc7, float32 `[n, width]`, of pictures that are scaled as the weights expect."""
        parameters, channels = [], pictures.shape[-1]
        for index, layer in positions(self.convolutions):
            shape = (layer.kernel, layer.kernel, channels, layer.features)
            kernel = self.param(f"features_{index}_kernel", nn.initializers.he_normal(), shape)
            parameters.append((kernel, self.param(f"features_{index}_bias", nn.initializers.zeros, shape[-1:])))
            channels = layer.features

        together = functools.partial(_convolve, self.convolutions)
        in_groups = functools.partial(_convolve_groups, self.convolutions, self.group)
        if self.grouped is None:
            x = lax.platform_dependent(pictures, parameters, cpu=in_groups, default=together)
        else:
            x = (in_groups if self.grouped else together)(pictures, parameters)
        x = nn.relu(nn.Dense(self.width, precision=_PRECISION, name="fc6")(x.reshape(len(x), -1)))
        x = nn.Dense(self.width, precision=_PRECISION, name="fc7")(x)
        return nn.relu(x) if self.rectified else x


def _convolve(layers, pictures, parameters):
    for layer, (kernel, bias) in zip(layers, parameters, strict=True):
        pictures = _layer(pictures, layer, kernel, bias)
    return pictures


def _convolve_groups(layers, group, pictures, parameters):
    parameters = [
        (winograd_kernel(kernel) if _is_wide(layer, kernel) else kernel, bias)
        for layer, (kernel, bias) in zip(layers, parameters, strict=True)
    ]
    count = min(group, len(pictures))
    whole = len(pictures) // count * count
    groups = pictures[:whole].reshape(-1, count, *pictures.shape[1:])
    x = lax.map(lambda group: _convolve(layers, group, parameters), groups)
    x = x.reshape(whole, *x.shape[2:])
    rest = pictures[whole:]
    return jnp.concatenate([x, _convolve(layers, rest, parameters)]) if len(rest) else x


def _layer(x, layer, kernel, bias):
    if kernel.shape[0] > layer.kernel:
        x = winograd_convolution(x, kernel)
    else:
        padding = [(layer.padding, layer.padding)] * 2
        strides = (layer.stride, layer.stride)
        numbers = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, precision=_PRECISION)
    x = nn.relu(x + bias)
    return nn.max_pool(x, (layer.pool, layer.pool), (2, 2)) if layer.pool else x


def _is_wide(layer, kernel):
    # With fewer channels, the transforms take longer than the products that they save.
    return (layer.kernel, layer.stride, layer.padding) == (3, 1, 1) and kernel.shape[2] >= 64 and kernel.shape[3] >= 128


def positions(convolutions: tuple[Convolution, ...]) -> Iterator[tuple[int, Convolution]]:
    """Yields each convolution with its position in torchvision's `features`, where ReLU and pooling count too."""
    index = 0
    for layer in convolutions:
        yield index, layer
        index += 3 if layer.pool else 2


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The layers of a network, in order, and the names that torchvision has for fc6 and fc7."""

    convolutions: tuple[Convolution, ...]
    linear: tuple[str, str]


ARCHITECTURES = {
    "vgg19": Architecture(
        tuple(
            Convolution(features, pool=2 if last else 0)
            for features, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
            for last in [False] * (depth - 1) + [True]
        ),
        linear=("classifier.0", "classifier.3"),
    ),
    "alexnet": Architecture(
        (
            Convolution(64, kernel=11, stride=4, padding=2, pool=3),
            Convolution(192, kernel=5, padding=2, pool=3),
            Convolution(384),
            Convolution(256),
            Convolution(256, pool=3),
        ),
        linear=("classifier.1", "classifier.4"),
    ),
}


def import_weights(
    state_dict: Mapping[str, np.ndarray], network: ImageNetwork, linear: tuple[str, str], *, side: int = SIDE
) -> dict[str, Any]:
    """Returns the parameters of a network, from its state dict in torchvision's names.

    Args:
        state_dict: arrays by name, as `read_state_dict` returns them: `features.0.weight` `[64, 3, 3, 3]` and so on, of
            any float type. Layers after fc7 are ignored.
        network: the network.
        linear: the names of fc6 and fc7 in the state dict, without `.weight`.
        side: of the pictures, in pixels; the size of fc6 depends on it.

    Raises:
        ValueError: a layer that is missing, has another shape or type, or NaN or Inf, or that the network does not
            have; the message names the first one.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))["params"]
    channels = network.convolutions[-1].features
    rows = int((shapes["fc6"]["kernel"].shape[0] // channels) ** 0.5)
    parameters: dict[str, Any] = {}
    known = set()
    for index, _ in positions(network.convolutions):
        h, w, c, o = shapes[f"features_{index}_kernel"].shape
        kernel, bias = _take(state_dict, f"features.{index}", (o, c, h, w))
        parameters[f"features_{index}_kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
        parameters[f"features_{index}_bias"] = bias
        known |= {f"features.{index}.weight", f"features.{index}.bias"}
    for theirs, ours in zip(linear, ("fc6", "fc7"), strict=True):
        inputs, outputs = shapes[ours]["kernel"].shape
        weight, bias = _take(state_dict, theirs, (outputs, inputs))
        if ours == "fc6":  # channels come first there and last here
            weight = weight.reshape(outputs, channels, rows, rows).transpose(0, 2, 3, 1).reshape(outputs, inputs)
        parameters[ours] = {"kernel": np.ascontiguousarray(weight.T), "bias": bias}
    foreign = sorted(name for name in state_dict if name.startswith("features.") and name not in known)
    if foreign:
        raise ValueError(f"the first layer that does not fit is {foreign[0]}: the network has none of that name")
    return {"params": parameters}


def _take(state_dict: Mapping[str, np.ndarray], layer: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The weight and the bias of a layer, in float32."""
    arrays = []
    for name, expected in ((f"{layer}.weight", shape), (f"{layer}.bias", shape[:1])):
        found = state_dict.get(name)
        if found is None or found.shape != expected or found.dtype.kind != "f":
            shown = "none" if found is None else f"{found.dtype} {list(found.shape)}"
            raise ValueError(
                f"the first layer that does not fit is {name}: expected floats {list(expected)}, found {shown}"
            )
        if not np.isfinite(found).all():
            raise ValueError(f"{name}: expected finite weights, found NaN or Inf")
        arrays.append(np.asarray(found, np.float32))
    return arrays
