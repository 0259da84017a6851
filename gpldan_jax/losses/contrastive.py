"""Contrastive losses of a mini-batch: partners against all others.

Letters: `n` pairs of the mini-batch.
"""

import jax
import jax.numpy as jnp

from gpldan_jax.losses.distances import float_dtype


def infonce(
    cosines: jax.Array,
    scale: float | jax.Array,
    *,
    where: jax.Array | None = None,
    groups: jax.Array | None = None,
) -> jax.Array:
    """Returns InfoNCE, `-(1 / 2n) sum_i [log softmax_j(s c_ij) + log softmax_j(s c_ji)]` at j = i.

    Args:
        cosines: c, `[n, n]`, image i and text j, float, in [-1, 1].
        scale: s, positive; the temperature is 1 / s.
        where: `[n]` bool; pairs where it is False (padding) are left out.
        groups: `[n]` whole numbers, the same for pairs that belong together, such as five captions of an image; a pair
            is no negative for the others of its group. `None` where each pair stands alone.

    Returns:
        A scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{infonce(jnp.eye(2), 1.0):.4f}")  # log(1 + 1/e)
        0.3133

    References:
        Radford et al., Learning transferable visual models from natural language supervision (CLIP), ICML 2021.
    """
    where = jnp.ones(len(cosines), bool) if where is None else where
    logits = scale * cosines
    # A finite number: padding's own row would be all -inf, and the gradient NaN.
    counts = where[:, None] & where[None, :]
    if groups is not None:
        counts &= ~_share_group(groups)
    logits = jnp.where(counts, logits, jnp.finfo(logits.dtype).min)
    both = sum(jnp.diagonal(jax.nn.log_softmax(logits, axis)) for axis in (1, 0))
    return -jnp.where(where, both, 0).sum() / (2 * jnp.maximum(where.sum(), 1)).astype(both.dtype)


def pairwise_sigmoid(
    cosines: jax.Array,
    scale: float | jax.Array,
    bias: float | jax.Array,
    *,
    where: jax.Array | None = None,
    groups: jax.Array | None = None,
) -> jax.Array:
    """Returns `-(1 / n) sum_ij log sigmoid(z_ij (s c_ij + bias))`, z = 1 for partners and -1 for all others.

    Args:
        cosines: c, `[n, n]`, image i and text j, float, in [-1, 1].
        scale: s, positive.
        bias: of all logits.
        where: `[n]` bool; pairs where it is False (padding) are left out.
        groups: `[n]` whole numbers, the same for pairs that belong together, such as five captions of an image; a pair
            is no negative for the others of its group. `None` where each pair stands alone.

    Returns:
        A scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{pairwise_sigmoid(jnp.eye(2), 1.0, -1.0):.4f}")  # log 2 + log(1 + 1/e)
        1.0064

    References:
        Zhai, Mustafa, Kolesnikov and Beyer, Sigmoid loss for language image pre-training (SigLIP), ICCV 2023.
    """
    where = jnp.ones(len(cosines), bool) if where is None else where
    logits = scale * cosines + bias
    dtype = float_dtype(logits)
    terms = jax.nn.log_sigmoid((2 * jnp.eye(len(cosines), dtype=dtype) - 1) * logits.astype(dtype))
    counts = where[:, None] & where[None, :]
    if groups is not None:
        counts &= ~_share_group(groups)
    return -jnp.where(counts, terms, 0).sum() / jnp.maximum(where.sum(), 1).astype(dtype)


def _share_group(groups):
    """Which different pairs are of one group, `[n, n]`."""
    return (groups[:, None] == groups[None, :]) & ~jnp.eye(len(groups), dtype=bool)
