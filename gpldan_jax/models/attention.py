"""The attention map of an instance, Eq. 1."""

import flax.linen as nn
import jax

from gpldan_jax.models.linear import Linear


class Attention(nn.Module):
    """`a = softmax_k(W2 tanh(W1 x^T))`, Eq. 1: how much each of the k representations of an instance counts.

    `W1: [h/2, h]` and `W2: [h/2]`, no biases; one pair serves images and texts. With k = 1 the map is 1 and there is
    nothing to learn.

    Takes `[..., k, h]`, returns `[..., k]` in (0, 1) with a sum of 1 over k.

    >>> import jax, jax.numpy as jnp
    >>> maps, _ = Attention().init_with_output(jax.random.key(0), jnp.ones((2, 4, 8)))
    >>> print(maps)
    [[0.25 0.25 0.25 0.25]
     [0.25 0.25 0.25 0.25]]
    """

    @nn.compact
    def __call__(self, parts: jax.Array) -> jax.Array:
        k, h = parts.shape[-2:]
        if k == 1:
            return jax.numpy.ones(parts.shape[:-1], parts.dtype)
        hidden = nn.tanh(Linear(max(h // 2, 1), use_bias=False, name="w1")(parts))
        return nn.softmax(Linear(1, use_bias=False, name="w2")(hidden)[..., 0], axis=-1)
