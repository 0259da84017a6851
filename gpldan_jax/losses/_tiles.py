"""One tile of the graph: all pairs of one block of the mini-batch with another block, their loss and its gradients.

The gradients are written out, not left to autodiff, because what a tile costs beside its three matrix products is
memory traffic, and autodiff keeps, transposes and re-reads far more than is needed. The algebra, with the lifted
representations `x'` of `distances.lift`:

    <Co(x_i, y_j), Co(y_j, x_i)> = sum_ab b_ja a_ib x'_ia . y'_jb         large products, see `_products`
    |Co(x_i, y_j)|^2             = sum_ab b_ja b_jb (x'_ia . x'_ib)       gram of one side, attention of the other

Letters: `n` pairs; `t` pairs of a block; `s = 2 t` instances, the block's images above its texts; `k` representations
of an instance, each `h` wide; `g = k (k + 1) / 2` distinct inner products among them; `d_i`, `d_t` widths of the
inputs. In a tile the columns of the graph come first: arrays are `[columns, rows]`, so that the products read and write
memory in its order.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import _products, distances
from gpldan_jax.losses.distances import MatmulConfig, matmul


class Pairs(NamedTuple):
    """What the loss is computed from, n pairs.

    Attributes:
        image: `[n, k, h]`.
        text: `[n, k, h]`.
        image_attention: `[n, k]`, rows sum to 1; a caller may give `None`.
        text_attention: `[n, k]`; a caller may give `None`.
        image_inputs: `[n, d_i]`; `None` for a loss without inputs.
        text_inputs: `[n, d_t]`, or `None`.
        where: `[n]` bool or `None`.
    """

    image: jax.Array
    text: jax.Array
    image_attention: Any
    text_attention: Any
    image_inputs: jax.Array | None
    text_inputs: jax.Array | None
    where: jax.Array | None


class Statistics(NamedTuple):
    """Small facts of each instance, computed once.

    Attributes:
        magnitudes: `[2, n]`, the largest of image and text.
        gram: `[g, 2, n]`, inner products of the lifted representations, a <= b.
        input_scales: `[2, n]`, one over the length of the inputs, 0 for zeros; `None` for pairs without inputs.
    """

    magnitudes: jax.Array
    gram: jax.Array
    input_scales: jax.Array | None


class Instances(NamedTuple):
    """One side of a tile. The gradient with respect to it has the same fields.

    Attributes:
        lifted: `[s, k, h]`, the lifted representations.
        attention: `[s, k]`.
        gram: `[g, s]`, inner products of the lifted representations, a <= b.
    """

    lifted: jax.Array
    attention: jax.Array
    gram: jax.Array


class TermSums(NamedTuple):
    """The terms of Eq. 9 before the division by n or n^2, entry by entry, to be summed once at the end.

    Attributes:
        pairwise: `[t]`.
        unpaired: `[t, t]`.
        mutual: `[t, t]`.
    """

    pairwise: jax.Array
    unpaired: jax.Array
    mutual: jax.Array


class Tiling(NamedTuple):
    """n pairs in `count` blocks of `size`; where they do not divide, the last block overlaps the one before it."""

    n: int
    size: int
    count: int  # type: ignore[assignment]  # hides the method of tuples

    def start(self, i):
        """The first pair of block i."""
        return 0 if self.count == 1 else jnp.minimum(i * self.size, self.n - self.size)

    def take(self, x, i, axis=0):
        """Block i of an array."""
        return x if self.count == 1 else jax.lax.dynamic_slice_in_dim(x, self.start(i), self.size, axis)

    def put(self, x, block, i, axis=0):
        """The array with another block i."""
        return block if self.count == 1 else jax.lax.dynamic_update_slice_in_dim(x, block, self.start(i), axis)

    def rows(self, i):
        """`[size]`, the pairs of block i."""
        return self.start(i) + jnp.arange(self.size)

    def is_new(self, i):
        """`[size]` bool: the pairs that no earlier block has."""
        return self.rows(i) >= i * self.size

    def each(self, body, carry, first=0, stop=None):
        """`body(i, carry)` for the blocks from `first` to `stop`, the end; a single block needs no loop."""
        if self.count > 1:
            return jax.lax.fori_loop(first, self.count if stop is None else stop, body, carry)
        return carry if isinstance(first, int) and first > 0 else body(0, carry)


def tilings(n: int, block_size: int, halved: bool = True) -> tuple[Tiling, Tiling]:
    """Blocks of at most half the size, and blocks that are two of those each (or one, where there is but one).

    Blocks that are not `halved` are the same twice, of at most the whole size.

    Example:
        >>> tilings(10, 6)
        (Tiling(n=10, size=3, count=4), Tiling(n=10, size=6, count=2))
        >>> tilings(10, 6, halved=False)[0]
        Tiling(n=10, size=5, count=2)
    """
    count = max(-(-n // (block_size // 2 if halved else block_size)), 1)
    size = -(-n // count)
    blocks = Tiling(n, size, count)
    return blocks, Tiling(n, min(2 * size, n), -(-count // 2)) if halved else blocks


def instance_statistics(pairs: Pairs, tiling: Tiling) -> Statistics:
    """The statistics of all instances, computed block by block."""
    n, k = pairs.image_attention.shape
    dtype = pairs.image.dtype

    def block(i, statistics):
        representations, attention = read_representations(pairs, tiling, i)
        magnitudes = distances.magnitude(representations)
        gram = representation_gram(distances.lift(representations, attention, magnitudes))
        input_scales = None
        if statistics.input_scales is not None:
            input_scales = jnp.stack([_inverse_length(x) for x in _read_inputs(pairs, tiling, i)])
            input_scales = tiling.put(statistics.input_scales, input_scales, i, 1)
        return Statistics(
            tiling.put(statistics.magnitudes, magnitudes.reshape(2, -1), i, 1),
            tiling.put(statistics.gram, gram.reshape(-1, 2, tiling.size), i, 2),
            input_scales,
        )

    zeros = jnp.zeros((2, n), dtype)
    input_scales = None if pairs.image_inputs is None else zeros
    return tiling.each(block, Statistics(zeros, jnp.zeros((k * (k + 1) // 2, 2, n), dtype), input_scales))


def read_representations(pairs: Pairs, tiling: Tiling, i):
    """Representations and attention of block i, images above texts: `[2 t, k, h]`, `[2 t, k]`."""
    where = None if pairs.where is None else tiling.take(pairs.where, i)
    representations = [distances.masked(tiling.take(x, i), where) for x in (pairs.image, pairs.text)]
    attention = [tiling.take(x, i) for x in (pairs.image_attention, pairs.text_attention)]
    return jnp.concatenate(representations), jnp.concatenate(attention)


def read_instances(pairs: Pairs, statistics: Statistics, tiling: Tiling, i) -> Instances:
    """Block i as a side of a tile, images above texts."""
    representations, attention = read_representations(pairs, tiling, i)
    magnitudes = tiling.take(statistics.magnitudes, i, 1).reshape(-1)
    gram = tiling.take(statistics.gram, i, 2)
    lifted = distances.lift(representations, attention, magnitudes)
    return Instances(lifted, attention, gram.reshape(len(gram), -1))


def read_unit_inputs(pairs: Pairs, statistics: Statistics, tiling: Tiling, i):
    """Image and text inputs of block i at length 1, zeros where left out: `[t, d_i]`, `[t, d_t]`."""
    scales = tiling.take(statistics.input_scales, i, 1)
    return [x * scale[:, None] for x, scale in zip(_read_inputs(pairs, tiling, i), scales, strict=True)]


def is_counted(pairs: Pairs, tiling: Tiling, i):
    """`[t]` bool: the pairs of block i that are present and in no block before."""
    is_new = tiling.is_new(i)
    return is_new if pairs.where is None else is_new & tiling.take(pairs.where, i)


def original_distances(row_inputs, pairs: Pairs, statistics: Statistics, counted, tiling: Tiling, j, matmul_config):
    """`d_ori` of Eq. 6 of a tile, columns first, 0 where a pair is not counted: `[t, t]`.

    Args:
        row_inputs: image and text inputs of the rows, `[t, d_i]` and `[t, d_t]`, of length 1 or 0.
        pairs: those of the columns.
        statistics: those of the columns. Their input scales multiply the product, so that its operand needs no pass.
        counted: `[t, t]` bool.
        tiling: of the columns.
        j: the block of the columns.
        matmul_config: how to multiply.
    """
    scales = tiling.take(statistics.input_scales, j, 1)
    column_inputs = [tiling.take(x, j) for x in (pairs.image_inputs, pairs.text_inputs)]
    cosines = (
        scale[:, None] * _products.of_inputs(column, row, matmul_config)
        for row, column, scale in zip(row_inputs, column_inputs, scales, strict=True)
    )
    image, text = (jnp.maximum(distances.without_rounding(1 - cosine), 0) for cosine in cosines)
    return jnp.where(counted, jnp.sqrt(image * text), 0)


def representation_gram(lifted):
    """`x'_a . x'_b` for a <= b: `[g, s]`."""
    return jnp.stack([(lifted[:, a] * lifted[:, b]).sum(-1) for a, b in _ordered(lifted.shape[1])])


def representation_gram_gradient(gradient, lifted):
    """The gradient with respect to `lifted: [s, k, h]` of `representation_gram`, given that of its result."""
    k = lifted.shape[1]
    rows = [0] * k
    for (a, b), g in zip(_ordered(k), gradient, strict=True):
        rows[a] += g[:, None] * lifted[:, b]
        rows[b] += g[:, None] * lifted[:, a]
    return jnp.stack(rows, 1)


def tile_terms(
    expanded, rows: Instances, columns: Instances, target, counted, discrepancy, matmul_config: MatmulConfig
) -> TermSums:
    """The terms of a tile, summed over both directions of each pair.

    Args:
        expanded: `_products.expand` of the rows.
        rows: s instances.
        columns: s instances.
        target: `[t, t]`, `d` of Eq. 6, columns first.
        counted: `[t, t]` bool; the other pairs count nothing.
        discrepancy: rho of Eq. 6, elementwise.
        matmul_config: how to multiply.
    """
    quadrants = _quadrants(tile_distances(expanded, rows, columns, matmul_config).distance)
    return TermSums(jnp.diagonal(quadrants[1]), *_pattern_terms(quadrants, target, counted, discrepancy))


def tile_gradients(
    expanded, rows: Instances, columns: Instances, target, counted, discrepancy, matmul_config, weights, own
):
    """The terms of a tile and their gradients with respect to both sides.

    Args:
        expanded: as in `tile_terms`.
        rows: as in `tile_terms`.
        columns: as in `tile_terms`.
        target: as in `tile_terms`.
        counted: as in `tile_terms`.
        discrepancy: as in `tile_terms`.
        matmul_config: as in `tile_terms`.
        weights: of the unpaired and the mutual term, and, for a block with itself, of the pairwise term: `[t]`.
        own: the rows are the columns. The tile then holds each pair twice, and by symmetry both sides have the same
            gradient; so the columns' gradient of the whole tile is the full gradient of half its sums.
    """
    tile = tile_distances(expanded, rows, columns, matmul_config)
    quadrants = _quadrants(tile.distance)
    (unpaired, mutual), pull = jax.vjp(
        lambda *quadrants: _pattern_terms(quadrants, target, counted, discrepancy), *quadrants
    )
    vv, vt, tv, tt = pull((jnp.full_like(unpaired, weights[0]), jnp.full_like(mutual, weights[1])))
    if own:
        paired = jnp.where(jnp.eye(len(target), dtype=bool), weights[2], 0)
        vt, tv = vt + paired, tv + paired
    sums = TermSums(jnp.diagonal(quadrants[1]), unpaired, mutual)
    slope = jnp.block([[vv, vt], [tv, tt]])
    return sums, *pull_back(slope, tile, expanded, rows, columns, matmul_config, own)


def pull_back(slope, tile, expanded, rows: Instances, columns: Instances, matmul_config, own):
    """The gradients with respect to rows and columns, given that with respect to the distances of a tile.

    Args:
        slope: `[s, s]`, like the distances.
        tile: `tile_distances` of the other arguments.
        expanded: `_products.expand` of the rows.
        rows: s instances.
        columns: s instances.
        matmul_config: how to multiply.
        own: the rows are the columns; there is no gradient for them then, as `tile_gradients` says.
    """
    slopes = _slopes(tile, jnp.where(jnp.abs(tile.cosine) >= 1, 0, slope))  # where the distance is clipped, 0
    of_columns = _column_gradients(expanded, rows, columns, tile.kept, slopes, matmul_config)
    of_rows = None if own else _row_gradients(rows, columns, tile.kept, slopes, matmul_config)
    return of_rows, of_columns


def _column_gradients(expanded, rows, columns, kept, slopes, matmul_config):
    of_pairs = matmul(rows.gram, slopes.squared_rows, (1, 1))
    lifted, attention = _products.of_columns(
        slopes.inner, kept, columns.lifted, columns.attention, expanded, matmul_config
    )
    return Instances(
        lifted=lifted,
        attention=attention + _attention_pairs_gradient(of_pairs, columns.attention),
        gram=matmul(_attention_pairs(rows.attention), slopes.squared_columns, (1, 1)),
    )


def _row_gradients(rows, columns, kept, slopes, matmul_config):
    of_pairs = matmul(columns.gram, slopes.squared_columns, (1, 0))
    lifted, attention = _products.of_rows(
        slopes.inner, kept, columns.lifted, columns.attention, rows.lifted, rows.attention, matmul_config
    )
    return Instances(
        lifted=lifted,
        attention=attention + _attention_pairs_gradient(of_pairs, rows.attention),
        gram=matmul(_attention_pairs(columns.attention), slopes.squared_rows, (1, 0)),
    )


class _Slopes(NamedTuple):
    """Derivatives of the weighted sum, each `[s, s]`: by the inner products, and by both squared norms."""

    inner: jax.Array
    squared_rows: jax.Array
    squared_columns: jax.Array


def _slopes(tile, slope):
    # Each of these ends in a division: XLA keeps the result of one, where it would compute cheaper operations once more
    # inside every loop that reads them, with all that they depend on.
    inner = -slope / tile.norm
    squared_rows = -0.5 * inner * tile.inner / tile.squared_rows
    squared_columns = -0.5 * inner * tile.inner / tile.squared_columns
    return _Slopes(inner, squared_rows, squared_columns)


class Tile(NamedTuple):
    """The distances of a tile, `[s, s]`, and what their gradient needs; columns first, images before texts."""

    kept: Any  # of `_products.inner_products`
    inner: jax.Array
    squared_rows: jax.Array  # |Co(row, column)|^2; infinite where it is no more than rounding: cosine and gradient 0
    squared_columns: jax.Array  # |Co(column, row)|^2
    norm: jax.Array
    cosine: jax.Array
    distance: jax.Array


def tile_distances(expanded, rows, columns, matmul_config) -> Tile:
    """All distances of the s instances of the columns to the s of the rows, of which `expanded` is `expand`."""
    k = columns.attention.shape[1]
    inner, kept = _products.inner_products(columns.lifted, columns.attention, expanded, matmul_config)
    squared_rows = _products.of_few(_attention_pairs(columns.attention), rows.gram, matmul_config)
    squared_columns = _products.of_few(columns.gram, _attention_pairs(rows.attention), matmul_config)
    squared_rows = distances.without_cancellation(squared_rows, _trace(rows.gram, k)[None, :])
    squared_columns = distances.without_cancellation(squared_columns, _trace(columns.gram, k)[:, None])
    norm = jnp.sqrt(squared_rows) * jnp.sqrt(squared_columns)
    cosine = inner / norm
    return Tile(kept, inner, squared_rows, squared_columns, norm, cosine, jnp.clip(1 - cosine, 0, 2))


def _quadrants(distance):
    """The distances of columns to rows, `[t, t]`: image to image, image to text, text to image, text to text."""
    t = len(distance) // 2
    return distance[:t, :t], distance[:t, t:], distance[t:, :t], distance[t:, t:]


def _pattern_terms(quadrants, target, counted, discrepancy):
    """`(L_ud, L_md)` pair by pair, `[t, t]`, of both directions together: `_quadrants` has two distances across."""
    vv, vt, tv, tt = quadrants

    def rho(distance):
        return discrepancy(distance - target)

    unpaired = 2 * (rho(vv) + rho(tt)) + rho(vt) + rho(tv)
    mutual = 2 * jnp.abs(vv - tt) + sum(jnp.abs(across - within) for across in (vt, tv) for within in (vv, tt))
    return jnp.where(counted, unpaired, 0), jnp.where(counted, mutual, 0)


def _read_inputs(pairs, tiling, i):
    where = None if pairs.where is None else tiling.take(pairs.where, i)
    return [distances.masked(tiling.take(x, i), where) for x in (pairs.image_inputs, pairs.text_inputs)]


def _inverse_length(inputs):
    squared = jnp.square(distances.unit_scale(inputs)).sum(-1)
    return distances.inverse_root(squared, 1) / distances.magnitude(inputs)


def _attention_pairs(attention):
    """`a_a a_b`, twice where a < b: `[g, s]`; its product with a gram is a squared norm."""
    pairs = _ordered(attention.shape[1])
    return jnp.stack([(1 if a == b else 2) * attention[:, a] * attention[:, b] for a, b in pairs])


def _attention_pairs_gradient(gradient, attention):
    """The gradient with respect to `attention: [s, k]` of `_attention_pairs`, given that of its result."""
    rows = [0] * attention.shape[1]
    for (a, b), g in zip(_ordered(len(rows)), gradient, strict=True):
        rows[a] += 2 * g * attention[:, b]
        if a != b:
            rows[b] += 2 * g * attention[:, a]
    return jnp.stack(rows, 1)


def _trace(gram, k):
    return sum(entry for (a, b), entry in zip(_ordered(k), gram, strict=True) if a == b)


def _ordered(k: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(k) for b in range(a, k)]
