"""The losses of the modality classifier and of the projector against it, Eq. 10-11.

Letter: `n` pairs. Class 1 is "image", class 0 is "text".
"""

import jax
import jax.numpy as jnp

TEXT, IMAGE = 0, 1


def modality_classifier_loss(
    image_logits: jax.Array, text_logits: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Returns the loss of the modality classifier D, Eq. 10: `ce(D(V), image) + ce(D(T), text)`, means over the pairs.

    Args:
        image_logits: `[n, 2]`, D's logits for the image features; column 1 is "image", column 0 "text".
        text_logits: `[n, 2]`, D's logits for the text features.
        where: `[n]` bool; pairs where it is False are left out.

    Returns:
        A scalar, at least 0, in nats; `2 log 2` for a classifier that cannot tell the modalities apart.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> print(modality_classifier_loss(jnp.zeros((3, 2)), jnp.zeros((3, 2))).round(4))
        1.3863

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.3.
    """
    return _two_sided_cross_entropy(image_logits, text_logits, IMAGE, TEXT, where)


def adversarial_loss(image_logits: jax.Array, text_logits: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Returns the adversarial part of the projector's loss, Eq. 11: Eq. 10 with the modalities swapped.

    Args:
        image_logits: `[n, 2]`, as in `modality_classifier_loss`.
        text_logits: `[n, 2]`.
        where: `[n]` bool; pairs where it is False are left out.

    Returns:
        A scalar, at least 0, in nats, before the weight lambda.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> image_logits, text_logits = jnp.array([[0.0, 9.0]]), jnp.array([[9.0, 0.0]])  # D is right about both
        >>> print(adversarial_loss(image_logits, text_logits).round(3))
        18.0

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.3.
    """
    return _two_sided_cross_entropy(image_logits, text_logits, TEXT, IMAGE, where)


def _two_sided_cross_entropy(image_logits, text_logits, image_class, text_class, where):
    image_logits, text_logits = jnp.asarray(image_logits), jnp.asarray(text_logits)
    if image_logits.shape != text_logits.shape or image_logits.shape[1:] != (2,):
        raise ValueError(f"logits must be [n, 2] for image and text, got {image_logits.shape} and {text_logits.shape}")
    where = jnp.ones(image_logits.shape[0], bool) if where is None else jnp.asarray(where, bool)
    if where.shape != image_logits.shape[:1]:
        raise ValueError(f"where must be [n] = {image_logits.shape[:1]}, got {where.shape}")
    keep = where[:, None]
    losses = -(
        jax.nn.log_softmax(jnp.where(keep, image_logits, 0))[:, image_class]
        + jax.nn.log_softmax(jnp.where(keep, text_logits, 0))[:, text_class]
    )
    return jnp.where(where, losses, 0).sum() / jnp.maximum(where.sum(), 1).astype(losses.dtype)
