"""3 x 3 convolutions with fewer multiplications, for processors.

Winograd's F(2 x 2, 3 x 3): four outputs from 16 products, where the definition takes 36 (Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", 2016). Each of the 16 is one matrix product over all tiles of 2 x 2
outputs.

Letters: `n` pictures of `h` x `w` pixels with `c` channels, `o` output channels.

VGG-19 and AlexNet up to fc7, and their weights from the state dicts of torchvision.

VGG-19: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
configuration E. AlexNet: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, the
single-column network that torchvision calls `alexnet`.

Letters: `n` pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))


def winograd_kernel(kernel: jax.Array) -> jax.Array:
    """What `winograd_convolution` takes: a kernel `[3, 3, c, o]` as `[4, 4, c, o]`.

    Example:
        >>> winograd_kernel(jnp.ones((3, 3, 2, 5))).shape
        (4, 4, 2, 5)
    """
    rows = [_combined(weights, kernel) for weights in _KERNEL]
    return jnp.stack([jnp.stack([_combined(weights, row) for weights in _KERNEL]) for row in rows])


def winograd_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of pictures with a 3 x 3 kernel, of stride 1, with a border of zeros, so that sizes stay.

    It rounds a little more than the sum of nine products does.

    Args:
        x: `[n, h, w, c]`.
        kernel: `[4, 4, c, o]`, from `winograd_kernel`.

    Returns:
        `[n, h, w, o]`.

    Example:
        >>> x = jnp.arange(12.0).reshape(1, 3, 4, 1)
        >>> winograd_convolution(x, winograd_kernel(jnp.ones((3, 3, 1, 1))))[0, 1, :, 0]  # sums of neighbourhoods
        Array([27., 45., 54., 39.], dtype=float32)
    """
    n, h, w, c = x.shape
    down, across = -(-h // 2), -(-w // 2)  # tiles
    x = jnp.pad(x, ((0, 0), (1, 2 * down + 1 - h), (1, 2 * across + 1 - w), (0, 0)))
    lines = [x[:, i : i + 2 * down - 1 : 2] for i in range(4)]
    # Without the barrier XLA computes the first half of the transform again in each of the 16 products.
    rows = lax.optimization_barrier([_combined(weights, lines) for weights in _INPUT])
    products = []
    for i, row in enumerate(rows):
        columns = [row[:, :, j : j + 2 * across - 1 : 2] for j in range(4)]
        products.append([_combined(weights, columns).reshape(-1, c) @ kernel[i, j] for j, weights in enumerate(_INPUT)])
    lines = []
    for weights in _OUTPUT:
        line = [_combined(weights, column) for column in zip(*products, strict=True)]
        pair = [_combined(weights, line).reshape(n, down, across, -1) for weights in _OUTPUT]
        lines.append(jnp.stack(pair, axis=3).reshape(n, down, 2 * across, -1))
    return jnp.stack(lines, axis=2).reshape(n, 2 * down, 2 * across, -1)[:, :h, :w]


def _combined(weights: Sequence[float], terms: Sequence[jax.Array]) -> jax.Array:
    signed = [weight * term for weight, term in zip(weights, terms, strict=True) if weight]
    return sum(signed[1:], start=signed[0])


SIDE = 224  # pixels, of what both networks look at
_PRECISION = lax.Precision.HIGHEST  # otherwise accelerators round factors to fewer bits than float32 has


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution and a ReLU; `pool` is the window of the maximum after it, of stride 2, or 0."""

    features: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0


class ImageNetwork(nn.Module):
    """Convolutions, fc6 and fc7.

    Attributes:
        convolutions: the layers, in order.
        width: of fc6 and fc7.
        rectified: whether fc7 is taken after its ReLU.
        group: how many pictures go through the convolutions at a time where `grouped`.
        grouped: whether pictures go through them in groups, so that what is between two layers stays in the caches, and
            wide 3 x 3 convolutions are Winograd's; or the batch as one. None is the former on a CPU and the latter
            elsewhere.

    Returns:
        Of float32 `[n, 224, 224, 3]`, scaled as the weights expect: float32 `[n, 4096]`.

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
        parameters, channels = [], pictures.shape[-1]
        for index, layer in positions(self.convolutions):
            shape = (layer.kernel, layer.kernel, channels, layer.features)
            kernel = self.param(f"features_{index}_kernel", nn.initializers.he_normal(), shape)
            parameters.append((kernel, self.param(f"features_{index}_bias", nn.initializers.zeros, shape[-1:])))
            channels = layer.features

        def together(pictures, parameters):
            for layer, (kernel, bias) in zip(self.convolutions, parameters, strict=True):
                pictures = _layer(pictures, layer, kernel, bias)
            return pictures

        def in_groups(pictures, parameters):
            parameters = [
                (winograd_kernel(kernel) if _is_wide(layer, kernel) else kernel, bias)
                for layer, (kernel, bias) in zip(self.convolutions, parameters, strict=True)
            ]
            count = min(self.group, len(pictures))
            whole = len(pictures) // count * count
            groups = pictures[:whole].reshape(-1, count, *pictures.shape[1:])
            x = lax.map(lambda group: together(group, parameters), groups)
            x = x.reshape(whole, *x.shape[2:])
            return x if whole == len(pictures) else jnp.concatenate([x, together(pictures[whole:], parameters)])

        if self.grouped is None:
            x = lax.platform_dependent(pictures, parameters, cpu=in_groups, default=together)
        else:
            x = (in_groups if self.grouped else together)(pictures, parameters)
        x = nn.relu(nn.Dense(self.width, precision=_PRECISION, name="fc6")(x.reshape(len(x), -1)))
        x = nn.Dense(self.width, precision=_PRECISION, name="fc7")(x)
        return nn.relu(x) if self.rectified else x


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
    # With fewer channels what the transforms move takes longer than the products they save.
    return (layer.kernel, layer.stride, layer.padding) == (3, 1, 1) and kernel.shape[2] >= 64 and kernel.shape[3] >= 128


def positions(convolutions: tuple[Convolution, ...]) -> Iterator[tuple[int, Convolution]]:
    """Each convolution with its place in torchvision's `features`, where ReLU and pooling have places too."""
    index = 0
    for layer in convolutions:
        yield index, layer
        index += 3 if layer.pool else 2


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network by its layers.

    Attributes:
        convolutions: in order.
        linear: what torchvision calls fc6 and fc7.
    """

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
    """The parameters of a network from torchvision's state dict of it.

    Args:
        state_dict: arrays by name, as `read_state_dict` returns them: `features.0.weight` `[64, 3, 3, 3]` and so on, of
            any float type. What comes after fc7 is not looked at.
        network: which takes them.
        linear: the names of fc6 and fc7 in the state dict, without `.weight`.
        side: pixels of the pictures; fc6 depends on it.

    Returns:
        What `network.apply` takes, NumPy arrays in float32.

    Raises:
        ValueError: a layer that is missing, has another shape or type, or NaN or Inf, or that the network does not
            have; the message names the first one.

    Example:
        >>> network = ImageNetwork((Convolution(4, pool=2),), width=6)
        >>> arrays = {"features.0.weight": (4, 3, 3, 3), "fc6.weight": (6, 16), "fc7.weight": (6, 6)}
        >>> arrays |= {"features.0.bias": (4,), "fc6.bias": (6,), "fc7.bias": (6,)}
        >>> state_dict = {name: np.zeros(shape) for name, shape in arrays.items()}
        >>> parameters = import_weights(state_dict, network, ("fc6", "fc7"), side=4)
        >>> network.apply(parameters, jnp.ones((2, 4, 4, 3))).shape
        (2, 6)
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))["params"]
    channels = network.convolutions[-1].features
    rows = int((shapes["fc6"]["kernel"].shape[0] // channels) ** 0.5)
    names = [(f"features.{index}", f"features_{index}") for index, _ in positions(network.convolutions)]
    known, parameters = set(), {}

    def take(name, shape):
        known.add(name)
        found = state_dict.get(name)
        if found is None or found.shape != shape or found.dtype.kind != "f":
            shown = "none" if found is None else f"{found.dtype} {list(found.shape)}"
            raise ValueError(
                f"the first layer that does not fit is {name}: expected floats {list(shape)}, found {shown}"
            )
        if not np.isfinite(found).all():
            raise ValueError(f"{name}: expected finite weights, found NaN or Inf")
        return np.asarray(found, np.float32)

    for theirs, ours in names:
        h, w, c, o = shapes[f"{ours}_kernel"].shape
        parameters[f"{ours}_kernel"] = np.ascontiguousarray(
            take(f"{theirs}.weight", (o, c, h, w)).transpose(2, 3, 1, 0)
        )
        parameters[f"{ours}_bias"] = take(f"{theirs}.bias", (o,))
    for theirs, ours in zip(linear, ("fc6", "fc7"), strict=True):
        inputs, outputs = shapes[ours]["kernel"].shape
        weight = take(f"{theirs}.weight", (outputs, inputs))
        if ours == "fc6":  # channels come first there and last here
            weight = weight.reshape(outputs, channels, rows, rows).transpose(0, 2, 3, 1).reshape(outputs, inputs)
        parameters[ours] = {"kernel": np.ascontiguousarray(weight.T), "bias": take(f"{theirs}.bias", (outputs,))}
    foreign = sorted(name for name in state_dict if name.startswith("features.") and name not in known)
    if foreign:
        raise ValueError(f"the first layer that does not fit is {foreign[0]}: the network has none of that name")
    return {"params": parameters}
