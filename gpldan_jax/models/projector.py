"""The diversified attention feature projector, Sec. 2.1: one space for images and texts.

Letters: `n` instances; `d_i`, `d_t` widths of the inputs; `H` width of the space; `k` representations of one instance,
each `h = H / k` wide.
"""

import flax.linen as nn
import flax.struct
import jax

from gpldan_jax.models.attention import Attention
from gpldan_jax.models.linear import Linear


@flax.struct.dataclass
class Representation:
    """What the projector makes of n instances of one modality.

    Attributes:
        features: `[n, H]`, the abstract features before fusion (V or T); what the modality classifier sees.
        parts: `[n, k, h]`, the same numbers as k representations.
        attention: `[n, k]`, the attention map, rows sum to 1 (Eq. 1).
    """

    features: jax.Array
    parts: jax.Array
    attention: jax.Array


class Projector(nn.Module):
    """`Linear + ReLU` for each modality, then one linear layer that both share, read as k representations.

    Attributes:
        hidden: width of the modality's own layer (2048: DSCMR, whose weight sharing the paper takes up).
        width: H, width of the common space (1024).
        parts: k, representations of one instance (4: Sec. 3.2); 1 is the model without diversified attention.

    Raises:
        ValueError: k does not divide H.

    Source: Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.1.

    >>> import jax, jax.numpy as jnp
    >>> projector = Projector(hidden=32, width=16, parts=4)
    >>> images, texts = jnp.ones((2, 10)), jnp.ones((2, 6))
    >>> variables = projector.init(jax.random.key(0), images, texts)
    >>> image, text = projector.apply(variables, images, texts)
    >>> image.features.shape, image.parts.shape, text.attention.shape
    ((2, 16), (2, 4, 4), (2, 4))
    >>> projector.apply(variables, texts, method="encode_text").attention.shape
    (2, 4)
    """

    hidden: int = 2048
    width: int = 1024
    parts: int = 4

    def setup(self):
        if self.parts < 1 or self.width % self.parts:
            raise ValueError(f"parts (k) must divide width (H), got k = {self.parts} and H = {self.width}")
        self.image_hidden = Linear(self.hidden)
        self.text_hidden = Linear(self.hidden)
        self.shared = Linear(self.width)
        self.attention = Attention()

    def encode_image(self, images: jax.Array) -> Representation:
        """Image inputs `[n, d_i]` as a `Representation`."""
        return self._represent(self.image_hidden(images))

    def encode_text(self, texts: jax.Array) -> Representation:
        """Text inputs `[n, d_t]` as a `Representation`."""
        return self._represent(self.text_hidden(texts))

    def __call__(self, images: jax.Array, texts: jax.Array) -> tuple[Representation, Representation]:
        """Both modalities of n pairs, `[n, d_i]` and `[n, d_t]`."""
        return self.encode_image(images), self.encode_text(texts)

    def _represent(self, hidden):
        features = self.shared(nn.relu(hidden))
        parts = features.reshape(*features.shape[:-1], self.parts, -1)
        return Representation(features=features, parts=parts, attention=self.attention(parts))
