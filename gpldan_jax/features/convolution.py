"""3 x 3 convolutions with fewer multiplications, for processors.

Winograd's F(2 x 2, 3 x 3): four outputs from 16 products, where the definition takes 36 (Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", 2016). Each of the 16 is one matrix product over all tiles of 2 x 2
outputs.

Letters: `n` pictures of `h` x `w` pixels with `c` channels, `o` output channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

_INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))


def winograd_kernel(kernel: jax.Array) -> jax.Array:
    """What `winograd_convolution` takes: a kernel `[3, 3, c, o]` as `[4, 4, c, o]`.

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
