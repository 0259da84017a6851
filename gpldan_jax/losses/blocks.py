"""The pairs of a mini-batch block by block: what a tile reads of them, and what it adds to their gradients.

Letters: `n` pairs; `t` pairs of a block; `k` representations of an instance, each `h` wide; `g = k (k + 1) / 2`;
`d_i`, `d_t` widths of the inputs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import distances, tiles
from gpldan_jax.losses.distances import Products


class Pairs(NamedTuple):
    """What the loss is computed from, n pairs.

    Attributes:
        image: `[n, k, h]`.
        text: `[n, k, h]`.
        image_attention: `[n, k]`, rows sum to 1.
        text_attention: `[n, k]`.
        image_inputs: `[n, d_i]`.
        text_inputs: `[n, d_t]`.
        where: `[n]` bool or `None`.
    """

    image: jax.Array
    text: jax.Array
    image_attention: jax.Array
    text_attention: jax.Array
    image_inputs: jax.Array
    text_inputs: jax.Array
    where: jax.Array | None


class Statistics(NamedTuple):
    """Small facts of each instance, computed once.

    Attributes:
        magnitudes: `[2, n]`, the largest of image and text.
        grams: `[g, 2, n]`, of the lifted representations.
        input_scales: `[2, n]`, one over the length of the inputs, 0 for zeros.
    """

    magnitudes: jax.Array
    grams: jax.Array
    input_scales: jax.Array


class Gradient(NamedTuple):
    """Gradients while they are collected: `image` and `text` of the lifted representations until `lowered`.

    Attributes:
        image: `[n, k, h]`.
        text: `[n, k, h]`.
        image_attention: `[n, k]`.
        text_attention: `[n, k]`.
        grams: `[g, 2, n]`.
    """

    image: jax.Array
    text: jax.Array
    image_attention: jax.Array
    text_attention: jax.Array
    grams: jax.Array


class Tiling(NamedTuple):
    """n pairs in `count` blocks of `size`; where they do not divide, the last block overlaps the one before it."""

    n: int
    size: int
    count: int

    def start(self, i):
        return 0 if self.count == 1 else jnp.minimum(i * self.size, self.n - self.size)

    def take(self, x, i, axis=0):
        return x if self.count == 1 else jax.lax.dynamic_slice_in_dim(x, self.start(i), self.size, axis)

    def put(self, x, block, i, axis=0):
        return block if self.count == 1 else jax.lax.dynamic_update_slice_in_dim(x, block, self.start(i), axis)

    def rows(self, i):
        """`[size]`, the rows of block i."""
        return self.start(i) + jnp.arange(self.size)

    def is_new(self, i):
        """`[size]` bool: rows that no earlier block has."""
        return self.rows(i) >= i * self.size

    def each(self, body, carry, first=0, stop=None):
        """`body(i, carry)` for the blocks from `first` to `stop`, the end; a single block needs no loop."""
        if self.count > 1:
            return jax.lax.fori_loop(first, self.count if stop is None else stop, body, carry)
        return carry if isinstance(first, int) and first > 0 else body(0, carry)


def tilings(n: int, block_size: int) -> tuple[Tiling, Tiling]:
    """Blocks of at most half the size, and blocks that are two of those each (or one, where there is but one).

    Example:
        >>> tilings(10, 6)
        (Tiling(n=10, size=3, count=4), Tiling(n=10, size=6, count=2))
    """
    count = max(-(-n // (block_size // 2)), 1)
    size = -(-n // count)
    return Tiling(n, size, count), Tiling(n, min(2 * size, n), -(-count // 2))


def statistics_of(pairs: Pairs, tiling: Tiling) -> Statistics:
    """Computed block by block."""
    n, k = pairs.image_attention.shape
    dtype = pairs.image.dtype

    def block(i, statistics):
        features, attention = _features(pairs, tiling, i)
        magnitudes = distances.magnitude(features)
        grams = tiles.representation_grams(tiles.lift(features, attention, magnitudes))
        input_scales = jnp.stack([_inverse_length(x) for x in _inputs(pairs, tiling, i)])
        return Statistics(
            tiling.put(statistics.magnitudes, magnitudes.reshape(2, -1), i, 1),
            tiling.put(statistics.grams, grams.reshape(-1, 2, tiling.size), i, 2),
            tiling.put(statistics.input_scales, input_scales, i, 1),
        )

    zeros = jnp.zeros((2, n), dtype)
    return tiling.each(block, Statistics(zeros, jnp.zeros((k * (k + 1) // 2, 2, n), dtype), zeros))


def _inverse_length(inputs):
    squared = jnp.square(distances.unit_scale(inputs)).sum(-1)
    return distances.inverse_root(squared, 1) / distances.magnitude(inputs)


def lowered(gradient: Gradient, pairs: Pairs, statistics: Statistics, tiling: Tiling) -> tuple[jax.Array, ...]:
    """The gradient with respect to images, texts and their attention, of what was collected with `collect`."""

    def block(i, gradient):
        features, attention = _features(pairs, tiling, i)
        magnitudes = tiling.take(statistics.magnitudes, i, 1).reshape(-1)
        lifted, pull = jax.vjp(lambda x, a: tiles.lift(x, a, magnitudes), features, attention)
        of_grams = tiling.take(gradient.grams, i, 2).reshape(len(gradient.grams), -1)
        of_lifted = jnp.concatenate([tiling.take(gradient.image, i), tiling.take(gradient.text, i)])
        of_features, of_attention = pull(of_lifted + tiles.representation_grams_gradient(of_grams, lifted))
        of_attention += jnp.concatenate(
            [tiling.take(gradient.image_attention, i), tiling.take(gradient.text_attention, i)]
        )

        def put(x, new):  # rows of the block before are done
            is_new = tiling.is_new(i).reshape(-1, *[1] * (x.ndim - 1))
            return tiling.put(x, jnp.where(is_new, new, tiling.take(x, i)), i)

        (image, text), (image_attention, text_attention) = jnp.split(of_features, 2), jnp.split(of_attention, 2)
        return gradient._replace(
            image=put(gradient.image, image),
            text=put(gradient.text, text),
            image_attention=put(gradient.image_attention, image_attention),
            text_attention=put(gradient.text_attention, text_attention),
        )

    return tuple(tiling.each(block, gradient)[:4])


def collect(gradient, of_block: tiles.Instances | None, tiling, i):
    """The gradient with that of the instances of block i added."""
    if gradient is None:
        return None

    def add(x, new, axis=0):
        return tiling.put(x, tiling.take(x, i, axis) + new, i, axis)

    (image, text), (image_attention, text_attention) = jnp.split(of_block.lifted, 2), jnp.split(of_block.attention, 2)
    return Gradient(
        add(gradient.image, image),
        add(gradient.text, text),
        add(gradient.image_attention, image_attention),
        add(gradient.text_attention, text_attention),
        add(gradient.grams, of_block.grams.reshape(-1, 2, tiling.size), axis=2),
    )


def _features(pairs, tiling, i):
    """Representations and attention of block i, images above texts: `[2 t, k, h]`, `[2 t, k]`."""
    where = None if pairs.where is None else tiling.take(pairs.where, i)
    features = [distances.masked(tiling.take(x, i), where) for x in (pairs.image, pairs.text)]
    attention = [tiling.take(x, i) for x in (pairs.image_attention, pairs.text_attention)]
    return jnp.concatenate(features), jnp.concatenate(attention)


def instances(pairs: Pairs, statistics: Statistics, tiling: Tiling, i) -> tiles.Instances:
    """Block i as a side of a tile, images above texts."""
    features, attention = _features(pairs, tiling, i)
    magnitudes = tiling.take(statistics.magnitudes, i, 1).reshape(-1)
    grams = tiling.take(statistics.grams, i, 2)
    return tiles.Instances(tiles.lift(features, attention, magnitudes), attention, grams.reshape(len(grams), -1))


def _inputs(pairs, tiling, i):
    where = None if pairs.where is None else tiling.take(pairs.where, i)
    return [distances.masked(tiling.take(x, i), where) for x in (pairs.image_inputs, pairs.text_inputs)]


def unit_inputs(pairs: Pairs, statistics: Statistics, tiling: Tiling, i):
    """Image and text inputs of block i at length 1, zeros where left out: `[t, d_i]`, `[t, d_t]`."""
    scales = tiling.take(statistics.input_scales, i, 1)
    return [x * scale[:, None] for x, scale in zip(_inputs(pairs, tiling, i), scales, strict=True)]


def original_distances(row_inputs, guest_pairs, guest_statistics, pairs_counted, tiling, j, products: Products):
    """`d_ori` of a tile, columns first, 0 where a pair is not counted: `[t, t]`."""
    scales = tiling.take(guest_statistics.input_scales, j, 1)
    inputs = [tiling.take(x, j) for x in (guest_pairs.image_inputs, guest_pairs.text_inputs)]
    return jnp.where(pairs_counted, tiles.original_distances(row_inputs, inputs, scales, products), 0)


def counted(pairs, guest_pairs, tiling, i, j, is_own):
    """The pairs of a tile that count: present, in no tile before and, among our own, not of an instance with itself."""
    counted = is_counted(guest_pairs, tiling, j)[:, None] & is_counted(pairs, tiling, i)[None, :]
    if is_own:
        counted &= tiling.rows(j)[:, None] != tiling.rows(i)[None, :]
    return counted


def is_counted(pairs: Pairs, tiling: Tiling, i):
    """`[t]` bool: the pairs of block i that are present and in no block before."""
    is_new = tiling.is_new(i)
    return is_new if pairs.where is None else is_new & tiling.take(pairs.where, i)


def is_present(pairs: Pairs):
    """`[n]` bool."""
    return jnp.ones(len(pairs.image), bool) if pairs.where is None else pairs.where
