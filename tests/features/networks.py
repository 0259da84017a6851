"""A network in float64, as loops over what the definitions say, and small networks to compare with it."""

import numpy as np

from gpldan_jax.features.networks import Convolution, ImageNetwork

# Wide layers, odd sides, a stride, both poolings: what the real ones have, and nothing larger.
WIDE = (Convolution(64, pool=2), Convolution(128), Convolution(128, pool=2))
STRIDED = (Convolution(8, kernel=5, stride=2, padding=2, pool=3), Convolution(12, kernel=3), Convolution(6, pool=3))
NETWORKS = {"wide": (WIDE, 11), "strided": (STRIDED, 37)}  # and the sides of their pictures
LINEAR = ("classifier.0", "classifier.3")


def network(name, **settings):
    """A small network, and the side of its pictures."""
    convolutions, side = NETWORKS[name]
    return ImageNetwork(convolutions, width=10, **settings), side


def state_dict(network, side, seed=0):
    """Random weights of a network by torchvision's names, float32."""
    random, found, channels, place = np.random.default_rng(seed), {}, 3, 0
    for layer in network.convolutions:
        shape = (layer.features, channels, layer.kernel, layer.kernel)
        found[f"features.{place}.weight"] = random.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        found[f"features.{place}.bias"] = random.standard_normal(layer.features) / 10
        channels, place = layer.features, place + (3 if layer.pool else 2)
        side = (side + 2 * layer.padding - layer.kernel) // layer.stride + 1
        side = (side - layer.pool) // 2 + 1 if layer.pool else side
    for name, inputs in zip(LINEAR, (channels * side * side, network.width), strict=True):
        found[f"{name}.weight"] = random.standard_normal((network.width, inputs)) * (2 / inputs) ** 0.5
        found[f"{name}.bias"] = random.standard_normal(network.width) / 10
    return {name: array.astype(np.float32) for name, array in found.items()}


def loop(network, weights, picture):
    """fc7 of a picture `[side, side, 3]`, in float64."""
    weights = {name: array.astype(np.float64) for name, array in weights.items()}
    x, place = picture.astype(np.float64).transpose(2, 0, 1), 0
    for layer in network.convolutions:
        kernel, bias = (weights[f"features.{place}.{of}"] for of in ("weight", "bias"))
        x = np.pad(x, ((0, 0), (layer.padding,) * 2, (layer.padding,) * 2))
        x = _windows(x, layer.kernel, layer.stride, lambda seen, k=kernel, b=bias: (k * seen).sum((1, 2, 3)) + b)
        x = np.maximum(x, 0)
        if layer.pool:
            x = _windows(x, layer.pool, 2, lambda seen: seen.max((1, 2)))
        place += 3 if layer.pool else 2
    fc6, fc7 = LINEAR
    x = np.maximum(weights[f"{fc6}.weight"] @ x.ravel() + weights[f"{fc6}.bias"], 0)
    x = weights[f"{fc7}.weight"] @ x + weights[f"{fc7}.bias"]
    return np.maximum(x, 0) if network.rectified else x


def _windows(x, size, stride, of):
    steps = range(0, x.shape[1] - size + 1, stride)
    return np.stack([np.stack([of(x[:, i : i + size, j : j + size]) for j in steps], -1) for i in steps], -2)
