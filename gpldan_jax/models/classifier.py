"""The modality classifier D, Sec. 2.3."""

import flax.linen as nn
import jax

from gpldan_jax.config import default
from gpldan_jax.models.projector import Linear


class ModalityClassifier(nn.Module):
    """The network D: tells from features before fusion which modality they are of.

    Attributes:
        hidden: width of its one hidden layer; unpublished, the default is ours.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits, _ = ModalityClassifier(hidden=8).init_with_output(jax.random.key(0), jnp.ones((3, 16)))
        >>> logits.shape
        (3, 2)

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.3.
    """

    hidden: int = default("model.classifier_hidden")

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Returns logits `[..., 2]`, column 0 "text" and column 1 "image", of features `[..., H]`."""
        return Linear(2, name="output")(nn.relu(Linear(self.hidden, name="hidden_layer")(features)))
