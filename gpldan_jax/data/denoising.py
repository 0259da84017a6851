"""The denoising of the training inputs, Sec. 2.1."""

import jax
import jax.numpy as jnp


def zero_columns(inputs: jax.Array, key: jax.Array, fraction: float) -> jax.Array:
    """Sets `int(fraction * d)` randomly drawn columns to zero, the same ones for the whole mini-batch.

    This is the denoising of CDPAE, by the same authors, which the paper refers to. Unlike dropout it draws whole
    columns, an exact number of them, and does not rescale the rest.

    Args:
        inputs: `[n, d]`.
        key: a `jax.random.key`; it is consumed.
        fraction: in [0, 1].

    Returns:
        `[n, d]`, dtype of `inputs`.

    Raises:
        ValueError: inputs of another rank, or a fraction outside [0, 1].

    Source: Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.1; Zhan et al., CDPAE, ACM MM 2018.

    >>> import jax, jax.numpy as jnp
    >>> print(int(zero_columns(jnp.ones((1, 10)), jax.random.key(0), 0.7).sum()))
    3
    """
    if inputs.ndim != 2 or not 0 <= fraction <= 1:
        raise ValueError(f"need inputs [n, d] and a fraction in [0, 1], got {inputs.shape} and {fraction}")
    d = inputs.shape[1]
    return jnp.where(jax.random.permutation(key, d) < int(fraction * d), 0, inputs)
