"""A linear layer that starts like PyTorch's, which the authors used."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Linear(nn.Module):
    """`x @ kernel + bias`, both drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)) as `torch.nn.Linear` does.

    Flax's own default (LeCun normal, zero bias) starts with kernels of three times the variance; the published settings
    of this family, learning rates first, were found with this one.

    Attributes:
        features: width of the output.
        use_bias: whether there is a bias.

    >>> import jax, jax.numpy as jnp
    >>> parameters = Linear(3).init(jax.random.key(0), jnp.ones((1, 16)))["params"]
    >>> bool(abs(parameters["kernel"]).max() <= 0.25), parameters["bias"].shape
    (True, (3,))
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1]

        def uniform(key, shape):
            return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) / jnp.sqrt(fan_in)

        x = x @ self.param("kernel", uniform, (fan_in, self.features))
        return x + self.param("bias", uniform, (self.features,)) if self.use_bias else x
