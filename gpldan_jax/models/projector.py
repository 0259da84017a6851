"""The diversified attention feature projector, Sec. 2.1, and its layers: one space for images and texts.

Letters: `n` instances; `d_i`, `d_t` widths of the inputs; `H` width of the space; `k` representations of one instance,
each `h = H / k` wide.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from gpldan_jax.config import default


class Linear(nn.Module):
    """`x @ kernel + bias`, both drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)) as `torch.nn.Linear` does.

    The authors used PyTorch. Flax's own default (LeCun normal, zero bias) starts with kernels of three times the
    variance, for which the published learning rates were not found.

    Attributes:
        features: width of the output.
        use_bias: whether there is a bias.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> parameters = Linear(3).init(jax.random.key(0), jnp.ones((1, 16)))["params"]
        >>> bool(abs(parameters["kernel"]).max() <= 0.25), parameters["bias"].shape
        (True, (3,))
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer to `[..., fan_in]`; returns `[..., features]`."""
        fan_in = x.shape[-1]

        def uniform(key, shape):
            return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) / jnp.sqrt(fan_in)

        x = x @ self.param("kernel", uniform, (fan_in, self.features))
        return x + self.param("bias", uniform, (self.features,)) if self.use_bias else x


class Attention(nn.Module):
    """The attention map of an instance, `a = softmax_k(W2 tanh(W1 x^T))`, Eq. 1: the weights of its k representations.

    `W1: [h/2, h]` and `W2: [h/2]` have no biases, and images and texts share them. With k = 1 the map is 1 and there is
    nothing to learn.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> maps, _ = Attention().init_with_output(jax.random.key(0), jnp.ones((2, 4, 8)))
        >>> print(maps)
        [[0.25 0.25 0.25 0.25]
         [0.25 0.25 0.25 0.25]]
    """

    @nn.compact
    def __call__(self, parts: jax.Array) -> jax.Array:
        """Returns the maps `[..., k]` of representations `[..., k, h]`: in (0, 1), with a sum of 1 over k."""
        k, h = parts.shape[-2:]
        if k == 1:
            return jax.numpy.ones(parts.shape[:-1], parts.dtype)
        hidden = nn.tanh(Linear(max(h // 2, 1), use_bias=False, name="w1")(parts))
        return nn.softmax(Linear(1, use_bias=False, name="w2")(hidden)[..., 0], axis=-1)


@flax.struct.dataclass
class Representation:
    """n instances of one modality in the common space.

    Attributes:
        features: `[n, H]`, the abstract features before fusion (V or T); what the modality classifier sees.
        parts: `[n, k, h]`, the same numbers as k representations.
        attention: `[n, k]`, the attention map, rows sum to 1 (Eq. 1).
    """

    features: jax.Array
    parts: jax.Array
    attention: jax.Array


class Projector(nn.Module):
    """The network G: `Linear + ReLU` for each modality, then one linear layer that both modalities share.

    Its H outputs are read as k representations of h = H / k numbers.

    Attributes:
        hidden: width of each modality's own layer (2048: DSCMR, whose weight sharing the paper takes up).
        width: H, width of the common space (1024).
        parts: k, representations of one instance (4: Sec. 3.2); 1 is the model without diversified attention.

    Raises:
        ValueError: k does not divide H.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> projector = Projector(hidden=32, width=16, parts=4)
        >>> images, texts = jnp.ones((2, 10)), jnp.ones((2, 6))
        >>> variables = projector.init(jax.random.key(0), images, texts)
        >>> image, text = projector.apply(variables, images, texts)
        >>> image.features.shape, image.parts.shape, text.attention.shape
        ((2, 16), (2, 4, 4), (2, 4))
        >>> projector.apply(variables, texts, method="encode_text").attention.shape
        (2, 4)

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.1.
    """

    hidden: int = default("model.hidden")
    width: int = default("model.width")
    parts: int = default("model.parts")

    def setup(self):
        """Makes the layers."""
        if self.parts < 1 or self.width % self.parts:
            raise ValueError(f"parts (k) must divide width (H), got k = {self.parts} and H = {self.width}")
        self.image_hidden = Linear(self.hidden)
        self.text_hidden = Linear(self.hidden)
        self.shared = Linear(self.width)
        self.attention = Attention()

    def encode_image(self, images: jax.Array) -> Representation:
        """Returns the `Representation` of image inputs `[n, d_i]`."""
        return self.represent(self.shared(nn.relu(self.image_hidden(images))))

    def encode_text(self, texts: jax.Array) -> Representation:
        """Returns the `Representation` of text inputs `[n, d_t]`."""
        return self.represent(self.shared(nn.relu(self.text_hidden(texts))))

    def __call__(self, images: jax.Array, texts: jax.Array) -> tuple[Representation, Representation]:
        """Returns the representations of both modalities: of images `[n, d_i]` and of texts, `[n, d_t]` as a rule."""
        if len(images) != len(texts):
            return self.encode_image(images), self.encode_text(texts)
        # One product with the shared kernel instead of two: it is read once, and its gradient is written once. Stacked
        # on an axis of their own, the pairs stay on the devices that share them.
        hidden = jnp.stack([nn.relu(self.image_hidden(images)), nn.relu(self.text_hidden(texts))])
        both = self.represent(self.shared(hidden))
        return tuple(jax.tree.map(lambda x, side=side: x[side], both) for side in (0, 1))

    def represent(self, features: jax.Array) -> Representation:
        """Returns the `Representation` that has the features `[n, H]`: its parts, and the attention of these."""
        parts = features.reshape(*features.shape[:-1], self.parts, -1)
        return Representation(features=features, parts=parts, attention=self.attention(parts))
