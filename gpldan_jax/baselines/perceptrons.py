"""Parts of the neural methods: perceptrons, gradient reversal, distances of codes.

Letters: `n`, `m` items, `d` width of an input, `h` width of a code.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.models import Linear


class Mlp(nn.Module):
    """Linear layers with an activation between them, none after the last: `[n, d] -> [n, features[-1]]`.

    With `xavier` kernels start from Glorot and Bengio's uniform distribution and biases from zero, otherwise both as in
    PyTorch (`gpldan_jax.models.projector.Linear`).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> parameters = Mlp((8, 3)).init(jax.random.key(0), jnp.ones((1, 5)))["params"]
        >>> jax.tree.map(jnp.shape, parameters["layer_1"])
        {'bias': (3,), 'kernel': (8, 3)}
    """

    features: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    xavier: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layers."""
        for i, width in enumerate(self.features):
            x = self.activation(x) if i else x
            if self.xavier:
                x = nn.Dense(width, kernel_init=nn.initializers.xavier_uniform(), name=f"layer_{i}")(x)
            else:
                x = Linear(width, name=f"layer_{i}")(x)
        return x


def initial_parameters(key: jax.Array, widths: Mapping[str, tuple[int, ...]], *, xavier: bool = False) -> dict:
    """Returns first parameters of several `Mlp`, by name; the key is consumed.

    Each has the width of its inputs and of its layers' outputs.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> parameters = initial_parameters(jax.random.key(0), {"image": (5, 8, 3), "text": (4, 3)})
        >>> jax.tree.map(jnp.shape, parameters["text"])
        {'layer_0': {'bias': (3,), 'kernel': (4, 3)}}
    """
    return _initial_parameters(key, tuple(widths.items()), xavier)


@functools.partial(jax.jit, static_argnames="activation")
def apply_mlp(parameters: Any, inputs: jax.Array, activation: Callable[[jax.Array], jax.Array] = nn.relu) -> jax.Array:
    """Returns the output of the `Mlp` that the parameters belong to.

    Their shapes say how wide it is, so that a loss need not close over a network and compiles once for all of a width.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> output, variables = Mlp((8, 3)).init_with_output(jax.random.key(0), jnp.ones((2, 5)))
        >>> bool((apply_mlp(variables["params"], jnp.ones((2, 5))) == output).all())
        True
    """
    features = tuple(parameters[f"layer_{i}"]["kernel"].shape[1] for i in range(len(parameters)))
    outputs: Any = Mlp(features, activation).apply({"params": parameters}, inputs)
    return outputs


def cosine_distances_between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns `1 - cos` of all items of x `[n, h]` to all of y `[m, h]`: `[n, m]`; 1 where an item is zero.

    Example:
        >>> import numpy as np
        >>> print(cosine_distances_between(np.array([[3.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [-2.0, 0.0]])))
        [[0. 2.]
         [1. 1.]]
    """
    x, y = (np.asarray(z) for z in (x, y))
    x, y = (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12) for z in (x, y))
    return 1 - x @ y.T


def euclidean_distances_between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the Euclidean distances `[n, m]` of all items of x `[n, h]` to all of y `[m, h]`.

    They are computed in float64: of codes that are close, float32 would leave a difference of rounded squares.

    Example:
        >>> print(euclidean_distances_between(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])))
        [[5.]]
    """
    x, y = (np.asarray(z, np.float64) for z in (x, y))
    squared = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    return np.sqrt(np.maximum(squared, 0))


def reverse_gradient(x: jax.Array, weight: float | jax.Array) -> jax.Array:
    """Returns `x`, through which the gradient goes back times `-weight`.

    Example:
        >>> jax.grad(lambda x: reverse_gradient(x, 0.5) ** 2)(3.0).item()
        -3.0

    References:
        Ganin and Lempitsky, Unsupervised domain adaptation by backpropagation, ICML 2015.
    """
    return jax.lax.stop_gradient((1 + weight) * x) - weight * x


# Compiled, since the draws of so many layers, one by one, would each be compiled by themselves.
@functools.partial(jax.jit, static_argnums=(1, 2))
def _initial_parameters(key, widths, xavier):
    return {
        name: Mlp(tuple(features), xavier=xavier).init(of, jnp.zeros((1, d)))["params"]
        for of, (name, (d, *features)) in zip(jax.random.split(key, len(widths)), widths, strict=True)
    }
