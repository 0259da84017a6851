"""One tile of the graph: all pairs of one block of the mini-batch with another, their loss and its gradients.

The gradients are written out, not left to autodiff, because what a tile costs beside its three matrix products is
memory traffic, and autodiff keeps, transposes and re-reads far more than is needed. The algebra, with `x' = x + p`,
`p = sum_a a_a x_a` (attention sums to one, so the fused `Co(x_i, y_j)` is `sum_a b_ja x'_ia`):

    <Co(x_i, y_j), Co(y_j, x_i)> = sum_a b_ja (sum_b a_ib x'_ia . y'_jb)  one product, rows expanded to [k s, k h]
    |Co(x_i, y_j)|^2             = sum_ab b_ja b_jb (x'_ia . x'_ib)       grams of one side, attention of the other

Letters: `t` pairs of a block; `s = 2 t` instances, the block's images above its texts; `k` representations of an
instance, each `h` wide; `g = k (k + 1) / 2` distinct inner products among them. In a tile the columns of the graph
come first: arrays are `[columns, rows]`, so that the products read and write memory in its order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import distances
from gpldan_jax.losses.distances import Products, matmul


class Instances(NamedTuple):
    """One side of a tile. The gradient with respect to it has the same fields.

    Attributes:
        lifted: `[s, k, h]`, the representations plus their own attended sum.
        attention: `[s, k]`.
        grams: `[g, s]`, inner products of the lifted representations, a <= b.
    """

    lifted: jax.Array
    attention: jax.Array
    grams: jax.Array


class Sums(NamedTuple):
    """The terms of Eq. 9 before the division by n or n^2, entry by entry, to be summed once at the end.

    Attributes:
        pairwise: `[t]`.
        unpaired: `[2, t, 2, t]`.
        mutual: `[2, t, 2, t]`.
    """

    pairwise: jax.Array
    unpaired: jax.Array
    mutual: jax.Array


def lift(x, attention, magnitudes):
    """`x' = (x + sum_a a_a x_a) / magnitude`, `[s, k, h]`; `magnitudes`: `[s]`."""
    magnitudes = magnitudes[:, None]
    # Divided on its own, the sum is computed once and not for every representation that it is added to; see below.
    own = sum(attention[:, a, None] * x[:, a] for a in range(x.shape[1])) / magnitudes
    return x / magnitudes[:, None] + own[:, None]


def representation_grams(lifted):
    """`x'_a . x'_b` for a <= b: `[g, s]`."""
    return jnp.stack([(lifted[:, a] * lifted[:, b]).sum(-1) for a, b in _ordered(lifted.shape[1])])


def representation_grams_gradient(gradient, lifted):
    """The gradient with respect to `lifted: [s, k, h]` of `representation_grams`, given that of its result."""
    k = lifted.shape[1]
    rows = [0] * k
    for (a, b), g in zip(_ordered(k), gradient, strict=True):
        rows[a] += g[:, None] * lifted[:, b]
        rows[b] += g[:, None] * lifted[:, a]
    return jnp.stack(rows, 1)


def expand(lifted, attention):
    """`x'_ia a_ib` for all a, b: `[k s, k h]`, a before i."""
    s, k, h = lifted.shape
    return (lifted.swapaxes(0, 1)[:, :, None, :] * attention[None, :, :, None]).reshape(k * s, k * h)


def tile_sums(expanded, rows: Instances, columns: Instances, target, pairs, rho, products: Products) -> Sums:
    """The terms of a tile.

    Args:
        expanded: `expand` of the rows.
        rows: s instances.
        columns: s instances.
        target: `[t, t]`, `d` of Eq. 6, columns first.
        pairs: `[t, t]` bool; the others count nothing.
        rho: of Eq. 6, elementwise.
        products: how to compute.

    Returns:
        The sums over both directions of each pair; `pairwise` is that of the tile's diagonal, for a tile of a block
        with itself.
    """
    distance = _distances(expanded, rows, columns, products).distance
    return Sums(jnp.diagonal(distance[0, :, 1]), *_pattern(distance, target, pairs, rho))


def tile_gradients(expanded, rows: Instances, columns: Instances, target, pairs, rho, products: Products, weights, own):
    """The terms of a tile and their gradients; arguments as in `tile_sums`.

    Args:
        weights: of the unpaired and the mutual term, and, for a block with itself, of the pairwise term: `[t]`.
        own: the rows are the columns. The tile then holds each pair twice, and by symmetry both sides have the same
            gradient; so the columns' gradient of the whole tile is the full gradient of half its sums.

    Returns:
        The sums, the gradients with respect to the rows (`None` for `own`) and to the columns, as `Instances`.
    """
    s, k, h = columns.lifted.shape
    t = s // 2
    tile = _distances(expanded, rows, columns, products)
    (unpaired, mutual), pull = jax.vjp(lambda distance: _pattern(distance, target, pairs, rho), tile.distance)
    (slope,) = pull((jnp.full_like(unpaired, weights[0]), jnp.full_like(mutual, weights[1])))
    if own:
        is_paired = jnp.eye(t, dtype=bool)[:, None, :] & ~jnp.eye(2, dtype=bool)[:, None, :, None]
        slope += jnp.where(is_paired, weights[2], 0)
    slope = jnp.where(jnp.abs(tile.cosine) >= 1, 0, slope)  # clipped
    # Each of these ends in a division: XLA keeps the result of one, where it would compute cheaper operations once more
    # inside every loop that reads them, with all that they depend on.
    to_inner = -slope / tile.norm
    to_rows = (-0.5 * to_inner * tile.inner / tile.squared_rows).reshape(s, s)
    to_columns = (-0.5 * to_inner * tile.inner / tile.squared_columns).reshape(s, s)
    to_inner = to_inner.reshape(s, s)

    row_pairs, row_pull = jax.vjp(_attention_pairs, rows.attention)
    column_pairs, column_pull = jax.vjp(_attention_pairs, columns.attention)
    (attention,) = column_pull(matmul(rows.grams, to_rows, (1, 1)))
    attention += jnp.stack([(to_inner * tile.parts[:, a]).sum(1) for a in range(k)], 1)
    of_parts = (to_inner[:, None] * columns.attention[:, :, None]).reshape(s, k * s)
    column_gradients = Instances(
        lifted=matmul(of_parts, expanded, (1, 0), products).reshape(s, k, h),
        attention=attention,
        grams=matmul(row_pairs, to_columns, (1, 1)),
    )
    sums = Sums(jnp.diagonal(tile.distance[0, :, 1]), unpaired, mutual)
    if own:
        return sums, None, column_gradients

    flat = columns.lifted.reshape(s, k * h)
    of_expanded = matmul(of_parts, flat, (0, 0), products).reshape(k, s, k, h)
    (attention,) = row_pull(matmul(columns.grams, to_columns, (1, 0)))
    row_gradients = Instances(
        lifted=jnp.stack(
            [sum(of_expanded[a, :, b] * rows.attention[:, b, None] for b in range(k)) for a in range(k)], 1
        ),
        attention=attention + sum(of_expanded[a] * rows.lifted[:, a, None, :] for a in range(k)).sum(-1),
        grams=matmul(column_pairs, to_rows, (1, 0)),
    )
    return sums, row_gradients, column_gradients


def original_distances(row_inputs, column_inputs, column_scales, products: Products):
    """`d_ori` of Eq. 6, `[t, t]`, columns first.

    Args:
        row_inputs: image and text inputs of the rows, `[t, d_i]` and `[t, d_t]`, of length 1 or 0.
        column_inputs: those of the columns, of any length.
        column_scales: `[2, t]`, the inverse lengths of the latter, which scale the product: its operand needs no pass
            of its own.
        products: how to compute.
    """
    cosines = (
        scale[:, None] * matmul(column, row, (1, 1), products)
        for row, column, scale in zip(row_inputs, column_inputs, column_scales, strict=True)
    )
    image, text = (jnp.maximum(distances.without_rounding(1 - cosine), 0) for cosine in cosines)
    return jnp.sqrt(image * text)


class _Tile(NamedTuple):
    parts: jax.Array  # [s, k, s], the one large product
    inner: jax.Array  # the rest: [2, t, 2, t], modality and pair of the column, then of the row
    squared_rows: jax.Array  # |Co(row, column)|^2; infinite where it is no more than rounding: cosine and gradient 0
    squared_columns: jax.Array  # |Co(column, row)|^2
    norm: jax.Array
    cosine: jax.Array
    distance: jax.Array


def _distances(expanded, rows, columns, products) -> _Tile:
    s, k, h = columns.lifted.shape
    t = s // 2
    parts = matmul(columns.lifted.reshape(s, k * h), expanded, (1, 1), products).reshape(s, k, s)
    inner = sum(columns.attention[:, a].reshape(2, t, 1, 1) * parts[:, a].reshape(2, t, 2, t) for a in range(k))
    squared_rows = matmul(_attention_pairs(columns.attention), rows.grams, (0, 0))
    squared_columns = matmul(columns.grams, _attention_pairs(rows.attention), (0, 0))
    # Reshaped before anything elementwise: the loops below then run over contiguous rows.
    squared_rows, squared_columns = (x.reshape(2, t, 2, t) for x in (squared_rows, squared_columns))
    squared_rows = distances.without_cancellation(squared_rows, _traces(rows.grams, k).reshape(1, 1, 2, t))
    squared_columns = distances.without_cancellation(squared_columns, _traces(columns.grams, k).reshape(2, t, 1, 1))
    norm = jnp.sqrt(squared_rows) * jnp.sqrt(squared_columns)
    cosine = inner / norm
    return _Tile(parts, inner, squared_rows, squared_columns, norm, cosine, jnp.clip(1 - cosine, 0, 2))


def _pattern(distance, target, pairs, rho):
    """`(L_ud, L_md)` entry by entry: `[2, t, 2, t]`, whose sums count both directions of each pair.

    With p and q the modalities of column and row, a pair and its reverse are four distances: `l[0, j, 1, i]` and
    `l[1, j, 0, i]` across, and `l[0, j, 0, i]`, `l[1, j, 1, i]` within, which both directions share.
    """
    target, pairs = target[None, :, None, :], pairs[None, :, None, :]
    within = jnp.eye(2, dtype=distance.dtype)[:, None, :, None]
    unpaired = (1 + within) * rho(distance - target)
    # Reversing one axis of modalities compares vt with vv and tt, both at once vv with tt; each comes up twice.
    other_column, other_row = distance[::-1], distance[:, :, ::-1]
    mutual = (jnp.abs(distance - other_column) + jnp.abs(distance - other_row)) / 2
    mutual += within * jnp.abs(distance - distance[::-1, :, ::-1])
    return jnp.where(pairs, unpaired, 0), jnp.where(pairs, mutual, 0)


def _attention_pairs(attention):
    """`a_a a_b`, twice where a < b: `[g, s]`; its product with grams is a squared norm."""
    pairs = _ordered(attention.shape[1])
    return jnp.stack([(1 if a == b else 2) * attention[:, a] * attention[:, b] for a, b in pairs])


def _traces(grams, k):
    return sum(gram for (a, b), gram in zip(_ordered(k), grams, strict=True) if a == b)


def _ordered(k: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(k) for b in range(a, k)]
