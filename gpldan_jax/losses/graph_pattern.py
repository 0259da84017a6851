"""The graph pattern loss, Eq. 4-9: all in-batch distances, paired, unpaired and mutual, tied to the input spaces.

Letters: `n` pairs in the mini-batch; `k` representations of one instance, each `h` wide; `d_i`, `d_t` widths of
the inputs.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import distances

# rho of Eq. 6. The printed formula is signed, but its minimum is the collapse of all distances, which Table 3
# rules out; "absolute" is how CDPAE, by the same authors, and Eq. 8 measure the difference.
DISCREPANCIES = {"absolute": jnp.abs, "squared": jnp.square, "signed": lambda difference: difference}


class GraphPatternTerms(NamedTuple):
    """The three terms of Eq. 9 before their weights, scalars.

    Attributes:
        pairwise: `L_pd`, Eq. 4, in [0, 2].
        unpaired: `L_ud`, Eq. 6-7.
        mutual: `L_md`, Eq. 8.
    """

    pairwise: jax.Array
    unpaired: jax.Array
    mutual: jax.Array


def graph_pattern_loss(
    image: jax.Array,
    text: jax.Array,
    image_attention: jax.Array | None,
    text_attention: jax.Array | None,
    image_inputs: jax.Array,
    text_inputs: jax.Array,
    *,
    alpha: float | jax.Array,
    beta: float | jax.Array,
    discrepancy: str = "absolute",
    where: jax.Array | None = None,
    implementation: str | None = None,
) -> tuple[jax.Array, GraphPatternTerms]:
    """Graph pattern loss of a mini-batch, Eq. 4-9: `L_pd + alpha L_ud + beta L_md`.

    With the distances `l_vt`, `l_vv`, `l_tt` of Eq. 5 and the target `d` of Eq. 6, over i, j of the mini-batch:

        L_pd = 1/n   sum_i      l_vt(i, i)
        L_ud = 1/n^2 sum_{i!=j} rho(l_vt - d) + rho(l_vv - d) + rho(l_tt - d)
        L_md = 1/n^2 sum_{i!=j} |l_vt - l_vv| + |l_vt - l_tt| + |l_vv - l_tt|

    Args:
        image: `[n, k, h]` image representations of the n pairs, any float dtype; or plain embeddings `[n, H]`, k = 1.
        text: text representations, same shape; row i belongs to row i of `image`.
        image_attention: `[n, k]`, rows sum to 1; `None` for plain embeddings.
        text_attention: `[n, k]`, like `image_attention`.
        image_inputs: `[n, d_i]`, the image inputs before denoising; no gradient flows into them.
        text_inputs: `[n, d_t]`, the text inputs before denoising.
        alpha: weight of the unpaired term; a number or a traced scalar.
        beta: weight of the mutual term.
        discrepancy: rho: `"absolute"` (ours and the default), `"squared"`, or `"signed"` (as printed in the paper).
        where: `[n]` bool; pairs where it is False (padding) are left out as if they were not there, whatever they hold.
        implementation: `"dense"`, one matrix product for each distance matrix (the default, also as `None`), or
            `"vmap"`, the formulas for one pair mapped over both axes: the definition, to read and to test against.

    Returns:
        The loss, a scalar, and its three unweighted terms. In float32, or float64 where an argument is. Under a trace
        the loss is NaN where attention rows do not sum to 1.

    Raises:
        ValueError: shapes that do not fit, an unknown `discrepancy` or `implementation`, known attention values whose
            rows do not sum to 1.

    Source: Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.2.

    >>> import jax, jax.numpy as jnp
    >>> image, text = jax.random.normal(jax.random.key(0), (2, 8, 4, 16))
    >>> attention = jnp.full((8, 4), 0.25)
    >>> u, c = jax.random.normal(jax.random.key(1), (2, 8, 32))
    >>> loss, terms = graph_pattern_loss(image, text, attention, attention, u, c, alpha=1.0, beta=0.1)
    >>> bool(jnp.allclose(loss, terms.pairwise + terms.unpaired + 0.1 * terms.mutual))
    True
    """
    loss_and_terms = _graph_pattern_loss(
        image,
        text,
        image_attention,
        text_attention,
        image_inputs,
        text_inputs,
        where,
        alpha,
        beta,
        discrepancy=discrepancy,
        implementation="dense" if implementation is None else implementation,
    )
    distances.check_attention(image_attention, "image", where)
    distances.check_attention(text_attention, "text", where)
    return loss_and_terms


@functools.partial(jax.jit, static_argnames=("discrepancy", "implementation"))
def _graph_pattern_loss(v, t, a, b, u, c, where, alpha, beta, *, discrepancy, implementation):
    if discrepancy not in DISCREPANCIES:
        raise ValueError(f"discrepancy must be one of {', '.join(DISCREPANCIES)}, got {discrepancy!r}")
    if implementation not in ("vmap", "dense"):
        raise ValueError(f"implementation must be 'vmap' or 'dense', got {implementation!r}")
    u, c, where = distances.as_inputs(u, c, where)
    v, a = distances.as_instances(v, a, "image", where)
    t, b = distances.as_instances(t, b, "text", where)
    if v.shape != t.shape:
        raise ValueError(f"image and text must have the same [n, k, h], got {v.shape} and {t.shape}")

    matrices = _vmapped_distances if implementation == "vmap" else _dense_distances
    l_vt, l_vv, l_tt, d = matrices(v, t, a, b, u, c, where)
    rho = DISCREPANCIES[discrepancy]
    unpaired = rho(l_vt - d) + rho(l_vv - d) + rho(l_tt - d)
    mutual = jnp.abs(l_vt - l_vv) + jnp.abs(l_vt - l_tt) + jnp.abs(l_vv - l_tt)
    n = jnp.maximum(where.sum(), 1)
    not_paired = where[:, None] & where[None, :] & ~jnp.eye(where.shape[0], dtype=bool)
    terms = GraphPatternTerms(
        pairwise=jnp.where(where, jnp.diagonal(l_vt), 0).sum() / n,
        unpaired=jnp.where(not_paired, unpaired, 0).sum() / n**2,
        mutual=jnp.where(not_paired, mutual, 0).sum() / n**2,
    )
    return terms.pairwise + alpha * terms.unpaired + beta * terms.mutual, terms


def _dense_distances(v, t, a, b, u, c, where):
    """`l_vt`, `l_vv`, `l_tt` and `d`, all `[n, n]`, by matrix products."""
    l_vt = distances.dense_distances(v, t, a, b)
    l_vv = distances.dense_distances(v, v, a, a)
    l_tt = distances.dense_distances(t, t, b, b)
    return l_vt, l_vv, l_tt, distances.dense_targets(u, c, where)


def _vmapped_distances(v, t, a, b, u, c, where):
    """The same by the formulas: one pair of instances, then `vmap` over both axes."""

    def pair_distance(x, y, a, b):  # Eq. 2-5; x, y: [k, h]; a, b: [k]
        return distances.cosine_distance((a + b) @ x, (a + b) @ y)

    def original_distance(u_i, c_i, u_j, c_j):  # d_ori of Eq. 6
        image, text = distances.cosine_distance(u_i, u_j), distances.cosine_distance(c_i, c_j)
        return jnp.sqrt(distances.without_rounding(image) * distances.without_rounding(text))

    def over_all_pairs(function, x, y):
        return jax.vmap(lambda x_i: jax.vmap(lambda y_j: function(x_i, y_j))(y))(x)

    def l_p(x, y):
        return over_all_pairs(lambda x_i, y_j: pair_distance(x_i[0], y_j[0], x_i[1], y_j[1]), x, y)

    v, t = (distances.unit_scale(v), a), (distances.unit_scale(t), b)
    uc = tuple(distances.unit_scale(inputs) for inputs in (u, c))
    original = over_all_pairs(lambda i, j: original_distance(*i, *j), uc, uc)
    return l_p(v, t), l_p(v, v), l_p(t, t), distances.mean_normalized(original, where)
