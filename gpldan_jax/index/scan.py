"""The exact scan: the k nearest of a gallery of any size, block by block, at the speed of a matrix product.

Letters: `q` queries of a tile; `m` items of a block; `k` representations of an item, each `h` wide; `H = k*h`; `c`
items that are kept for each query.

The numerator of a cosine is one inner product of expanded features (`sum_a b_a E_a . y'` with `E_ab = a_b x'_a`), and
the squared lengths are two tiny ones, so a block is one `[q k, H] x [H, m]` product. It rounds; so what it gives is not
the distance but a lower bound of it, smaller by all that rounding can do. The c items of the smallest bounds are then
measured exactly, and what is not among them cannot be nearer than the least bound left out.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gpldan_jax.index.gallery import Blocks, EncodedBatch

AXIS = "data"
TILE = 64  # queries at a time: 4 x 64 rows already fill a matrix product
_UNIT = 2.0**-24  # of rounding in float32
_OTHER_ROUNDING = 1024  # units that cover what is not a sum over H or h: attention, square roots, quotients
_PARTS = (1, 2, 4, 16)  # the whole of a block, its half, ...; with fewer items than that the rest is left out
_IN_FLIGHT = 16  # blocks handed to the devices before waiting for them


class Kept(NamedTuple):
    """The smallest bounds so far, and where their items lie; of every device.

    Attributes:
        bounds: `[devices, q, c]` float32, falling; infinite where there are fewer items.
        positions: `[devices, q, c]` int32.
    """

    bounds: jax.Array
    positions: jax.Array


class _Prepared(NamedTuple):
    expanded: jax.Array  # [q k, H]
    attention: jax.Array
    pairs: jax.Array  # of attention, [q, k (k + 1) / 2]
    products: jax.Array
    lengths: jax.Array  # [q, k]


def one_device() -> Mesh:
    """A mesh of the first device."""
    return Mesh(np.array(jax.local_devices()[:1]), (AXIS,), axis_types=(AxisType.Auto,))


def smallest_bounds(tiles: Sequence[EncodedBatch], blocks: Blocks, keep: int, mesh: Mesh) -> list[Kept]:
    """The items of the smallest bounds for each query.

    Args:
        tiles: queries, at most `TILE` each; every block is read once for all of them.
        blocks: all of one size, which the devices share evenly.
        keep: c.
        mesh: one axis, `AXIS`.

    Returns:
        For each tile, as NumPy arrays.
    """
    prepared = [_on_all(_prepared(tile), mesh) for tile in tiles]
    kept = [_nothing(len(tile.values), keep, mesh) for tile in tiles]
    for number, (first, count, block) in enumerate(on_devices(blocks, mesh)):
        for index, tile in enumerate(prepared):
            kept[index] = _scan(kept[index], tile, block, first, first + count, mesh=mesh)
        if number % _IN_FLIGHT == _IN_FLIGHT - 1:
            jax.block_until_ready(kept)
    return jax.device_get(kept)


def bounds_of_blocks(queries: EncodedBatch, blocks: Blocks, mesh: Mesh) -> Iterator[tuple[int, np.ndarray]]:
    """All bounds, block by block: the position of its first item, and `[q, items]`."""
    prepared = _on_all(_prepared(queries), mesh)
    for first, count, block in on_devices(blocks, mesh):
        yield first, np.asarray(_bounds_on(prepared, block, mesh=mesh))[:, :count]


def on_devices(blocks: Blocks, mesh: Mesh) -> Blocks:
    """Blocks with their items spread over the devices of a mesh; those that are there already stay."""
    spread = NamedSharding(mesh, PartitionSpec(AXIS))
    return ((first, count, jax.device_put(block, spread)) for first, count, block in blocks)


@functools.partial(jax.jit, donate_argnames="kept", static_argnames="mesh")
def _scan(kept: Kept, queries: _Prepared, block: EncodedBatch, first: jax.Array, end: jax.Array, *, mesh: Mesh) -> Kept:
    def share(kept, queries, block, first, end):
        m, keep = len(block.values), kept.bounds.shape[-1]
        start = first + m * jax.lax.axis_index(AXIS)

        def merged(size, kept):
            bounds = _bounds(queries, EncodedBatch(*(array[:size] for array in block)))
            bounds = jnp.where(start + jnp.arange(size) < end, bounds, jnp.inf)
            nearest, columns = jax.lax.top_k(-bounds, min(keep, size))
            nearest = jnp.concatenate([-kept.bounds[0], nearest], axis=1)
            positions = jnp.concatenate([kept.positions[0], start + columns], axis=1)
            nearest, chosen = jax.lax.top_k(nearest, keep)
            return Kept(-nearest[None], jnp.take_along_axis(positions, chosen, axis=1)[None])

        # Of a block that is mostly padding, as that of a small gallery is, the first part is enough.
        sizes = [-(-m // part) for part in _PARTS]
        which = sum((end - start <= size).astype(jnp.int32) for size in sizes[1:])
        return jax.lax.switch(which, [functools.partial(merged, size) for size in sizes], kept)

    spread, whole = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(share, mesh=mesh, in_specs=(spread, whole, spread, whole, whole), out_specs=spread)(
        kept, queries, block, first, end
    )


@functools.partial(jax.jit, static_argnames="mesh")
def _bounds_on(queries, block, *, mesh):
    specs = PartitionSpec(), PartitionSpec(AXIS)
    return jax.shard_map(_bounds, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(None, AXIS))(queries, block)


def _bounds(queries: _Prepared, block: EncodedBatch) -> jax.Array:
    """Lower bounds of the distances, `[q, m]`; minus infinity where rounding may have left nothing of a length."""
    q, k = queries.attention.shape
    b, width = block.attention, block.values.shape[1]
    weighed = _product(queries.expanded, block.values).reshape(q, k, -1)
    numerator = sum(b[:, part] * weighed[:, part] for part in range(k))
    squared = _product(queries.products, _pairs(b)), _product(queries.pairs, block.products)
    # By how much a length is shorter than the sum of those it is made of: that much larger is its relative error.
    longest = _product(queries.lengths, b), _product(queries.attention, _lengths(block.products, k))
    amplified = sum(jnp.square(length) / square for length, square in zip(longest, squared, strict=True))
    rounding = _UNIT * (width + width // k + _OTHER_ROUNDING) / 2 * amplified
    bound = 1 - numerator * jax.lax.rsqrt(squared[0]) * jax.lax.rsqrt(squared[1]) - rounding
    return jnp.where((squared[0] > 0) & (squared[1] > 0), bound, -jnp.inf)


@jax.jit
def _prepared(queries: EncodedBatch) -> _Prepared:
    q, k = queries.attention.shape
    parts = queries.values.reshape(q, k, 1, -1)
    expanded = (queries.attention[:, None, :, None] * parts).reshape(q * k, -1)
    lengths = _lengths(queries.products, k)
    return _Prepared(expanded, queries.attention, _pairs(queries.attention), queries.products, lengths)


def _pairs(attention):
    """What each inner product of two parts counts in a squared length, `[n, k (k + 1) / 2]`."""
    rows, columns = np.triu_indices(attention.shape[1])
    return attention[:, rows] * attention[:, columns] * np.where(rows == columns, 1, 2).astype(np.float32)


def _lengths(products, k):
    rows, columns = np.triu_indices(k)
    return jnp.sqrt(products[:, np.flatnonzero(rows == columns)])


def _product(x, y):
    return jax.lax.dot_general(x, y, (((1,), (1,)), ((), ())), precision="highest")


def _on_all(tree, mesh):
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def _nothing(q, keep, mesh):
    shape = mesh.size, q, keep
    return jax.device_put(
        Kept(np.full(shape, np.inf, np.float32), np.zeros(shape, np.int32)), NamedSharding(mesh, PartitionSpec(AXIS))
    )
