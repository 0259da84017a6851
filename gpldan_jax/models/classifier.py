"""The modality classifier D, Sec. 2.3."""

import flax.linen as nn
import jax

from gpldan_jax.models.projector import Linear


class ModalityClassifier(nn.Module):
    """Logits `[n, 2]` of "text" (column 0) and "image" (column 1) from features before fusion, `[n, H]`.

    Attributes:
        hidden: width of its one hidden layer (the paper does not say; 128 is ours).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits, _ = ModalityClassifier(hidden=8).init_with_output(jax.random.key(0), jnp.ones((3, 16)))
        >>> logits.shape
        (3, 2)

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.3.
    """

    hidden: int = 128

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return Linear(2, name="output")(nn.relu(Linear(self.hidden, name="hidden_layer")(features)))
