"""The scan of the exact search: for every item a lower bound of its distance, and the items of the smallest bounds.

Letters: `q` queries of a tile; `m` items of a block; `n` items of all blocks; `k` representations of an item, each `h`
wide; `H = k*h`; `c` items that are kept for each query.

The numerator of a cosine is an inner product of expanded features, `sum_a b_a E_a . y'` with `E_ab = a_b x'_a`, and the
squared lengths are two small inner products. So a block costs one matrix product `[q k, H] x [H, m]`. Float32 rounds
it, so the scan computes a lower bound: the distance minus the largest possible rounding error. `nearest` then measures
the c items of the smallest bounds exactly. An item that was left out cannot be nearer than the smallest bound left out.

A tile with weights is one query: the bound is that of the weighted sum of its q distances.
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
"""The axis of a mesh that shares a block."""
TILE = 64
"""Queries at a time: 4 x 64 rows already fill a matrix product."""
_UNIT = 2.0**-24  # of rounding in float32
_OTHER_ROUNDING = 1024  # units for all that is not a sum over H or h: attention, square roots, quotients
_SHARES = (1, 2, 4, 16)  # a block is scanned whole, or its first half, quarter or sixteenth when the rest is padding
_IN_FLIGHT = 16  # blocks that are handed to the devices before waiting for them


class DeviceBlocks(NamedTuple):
    """Blocks of items that stay on the devices of a mesh."""

    blocks: Blocks
    mesh: Mesh


class Shortlist(NamedTuple):
    """The smallest bounds so far, with the positions of their items, for each device.

    Attributes:
        bounds: `[devices, q, c]` float32, ascending; infinite where there are fewer items.
        positions: `[devices, q, c]` int32.
    """

    bounds: jax.Array
    positions: jax.Array


class _Expanded(NamedTuple):
    """Queries as the scan needs them."""

    features: jax.Array | np.ndarray  # [q k, H]
    attention: jax.Array | np.ndarray  # [q, k]
    pairs: jax.Array  # [q, k (k + 1) / 2], products of two attention weights
    gram: jax.Array | np.ndarray  # [q, k (k + 1) / 2]
    lengths: jax.Array  # [q, k]
    weights: jax.Array | np.ndarray | None = None  # [q] of the distances in their sum, which is then the only query


def single_device_mesh() -> Mesh:
    """Returns a mesh of the first device."""
    return Mesh(np.array(jax.local_devices()[:1]), (AXIS,), axis_types=(AxisType.Auto,))


def check_mesh(mesh: Mesh | None) -> Mesh:
    """Returns the mesh, or one of the first device; `ValueError` where it cannot share a block."""
    mesh = mesh or single_device_mesh()
    if mesh.axis_names != (AXIS,) or mesh.is_multi_process:
        raise ValueError(f"mesh must be of this process, with one axis {AXIS!r}, got axes {mesh.axis_names}")
    return mesh


def smallest_bounds(
    tiles: Sequence[EncodedBatch],
    blocks: Blocks,
    keep: int,
    mesh: Mesh,
    *,
    weights: np.ndarray | None = None,
    among: np.ndarray | None = None,
) -> list[Shortlist]:
    """Finds the items of the smallest bounds for each query; every block is read once for all tiles.

    Args:
        tiles: queries, at most `TILE` each.
        blocks: all of one size, which is a multiple of the number of devices.
        keep: c.
        mesh: the devices, with one axis called `AXIS`.
        weights: `[q]`, of the queries of the only tile, which are then one query; `None` for queries of their own.
        among: `[n]` bool, the items that may be found; `None` for all.

    Returns:
        A shortlist for each tile, as NumPy arrays.
    """
    queries = [_replicate(_expand(tile)._replace(weights=weights), mesh) for tile in tiles]
    shortlists = [_empty_shortlist(len(tile.values) if weights is None else 1, keep, mesh) for tile in tiles]
    blocks = list(blocks)
    passing: list[jax.Array | None] = [None] * len(blocks)
    if among is not None:  # sent together, because each transfer costs as much as the scan of a hundred items
        passing = _spread([_padded(among[at : at + count], len(block.values)) for at, count, block in blocks], mesh)
    for number, (first, count, block) in enumerate(on_devices(blocks, mesh)):
        for index, tile in enumerate(queries):
            shortlists[index] = _scan(shortlists[index], tile, block, passing[number], first, first + count, mesh=mesh)
        if number % _IN_FLIGHT == _IN_FLIGHT - 1:
            jax.block_until_ready(shortlists)
    return jax.device_get(shortlists)


def bounds_of_blocks(
    queries: EncodedBatch, blocks: Blocks, mesh: Mesh, weights: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Computes all bounds, block by block.

    Args:
        queries: at most `TILE`.
        blocks: as in `smallest_bounds`.
        mesh: as in `smallest_bounds`.
        weights: as in `smallest_bounds`.

    Yields:
        For each block the position of its first item, and the bounds `[q, items of the block]` float32; a single row
        with weights.
    """
    expanded = _replicate(_expand(queries)._replace(weights=weights), mesh)
    for first, count, block in on_devices(blocks, mesh):
        yield first, np.asarray(_bounds_on(expanded, block, mesh=mesh))[:, :count]


def on_devices(blocks: Blocks, mesh: Mesh) -> Blocks:
    """Spreads the items of each block over the devices of a mesh; blocks that are there already stay.

    Args:
        blocks: all of one size, which is a multiple of the number of devices.
        mesh: the devices.

    Returns:
        The blocks, as jax arrays.
    """
    return ((first, count, _spread(block, mesh)) for first, count, block in blocks)


@functools.partial(jax.jit, donate_argnames="shortlist", static_argnames="mesh")
def _scan(
    shortlist: Shortlist,
    queries: _Expanded,
    block: EncodedBatch,
    passing: jax.Array | None,
    first: jax.Array,
    end: jax.Array,
    *,
    mesh: Mesh,
) -> Shortlist:
    spread, whole = PartitionSpec(AXIS), PartitionSpec()
    specs = spread, whole, spread, spread, whole, whole
    return jax.shard_map(_scan_share, mesh=mesh, in_specs=specs, out_specs=spread)(
        shortlist, queries, block, passing, first, end
    )


def _scan_share(shortlist, queries, block, passing, first, end):
    """Merges the share of one device in a block into the shortlist of that device."""
    m = len(block.values)
    start = first + m * jax.lax.axis_index(AXIS)

    def merge(size, shortlist):
        keep = shortlist.bounds.shape[-1]
        bounds = _bounds(queries, EncodedBatch(*(array[:size] for array in block)))
        eligible = start + jnp.arange(size) < end
        bounds = jnp.where(eligible if passing is None else eligible & passing[:size], bounds, jnp.inf)
        negated, columns = jax.lax.top_k(-bounds, min(keep, size))
        negated = jnp.concatenate([-shortlist.bounds[0], negated], axis=1)
        positions = jnp.concatenate([shortlist.positions[0], start + columns], axis=1)
        negated, chosen = jax.lax.top_k(negated, keep)
        return Shortlist(-negated[None], jnp.take_along_axis(positions, chosen, axis=1)[None])

    sizes = [-(-m // share) for share in _SHARES]
    which = sum((end - start <= size).astype(jnp.int32) for size in sizes[1:])
    return jax.lax.switch(which, [functools.partial(merge, size) for size in sizes], shortlist)


@functools.partial(jax.jit, static_argnames="mesh")
def _bounds_on(queries, block, *, mesh):
    specs = PartitionSpec(), PartitionSpec(AXIS)
    return jax.shard_map(_bounds, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(None, AXIS))(queries, block)


def _bounds(queries: _Expanded, block: EncodedBatch) -> jax.Array:
    """Lower bounds of the distances, `[q, m]`; minus infinity where rounding may have left nothing of a length.

    With weights, lower bounds of the weighted sum of the distances, `[1, m]`.
    """
    q, k = queries.attention.shape
    b, width = block.attention, block.values.shape[1]
    weighted = _inner_products(queries.features, block.values).reshape(q, k, -1)
    numerator = sum(b[:, part] * weighted[:, part] for part in range(k))
    squared = _inner_products(queries.gram, _pairs(b)), _inner_products(queries.pairs, block.gram)
    # The relative error of a length grows with the sum of the lengths that it is made of, divided by the length.
    longest = _inner_products(queries.lengths, b), _inner_products(queries.attention, _lengths(block.gram, k))
    amplified = sum(jnp.square(length) / square for length, square in zip(longest, squared, strict=True))
    rounding = _UNIT * (width + width // k + _OTHER_ROUNDING) / 2 * amplified
    approximate = 1 - numerator * jax.lax.rsqrt(squared[0]) * jax.lax.rsqrt(squared[1])
    is_bounded = (squared[0] > 0) & (squared[1] > 0)
    if queries.weights is None:
        return jnp.where(is_bounded, approximate - rounding, -jnp.inf)
    # A distance with a negative weight needs an upper bound, which is as far from it as the lower one.
    weights = queries.weights[:, None]
    rounding += _UNIT * (q + 4) * (1 + jnp.abs(approximate))  # of the sum itself
    bound = (weights * approximate - jnp.abs(weights) * rounding).sum(axis=0, keepdims=True)
    return jnp.where(is_bounded.all(axis=0, keepdims=True) & jnp.isfinite(bound), bound, -jnp.inf)


@jax.jit
def _expand(queries: EncodedBatch) -> _Expanded:
    q, k = queries.attention.shape
    parts = queries.values.reshape(q, k, 1, -1)
    features = (queries.attention[:, None, :, None] * parts).reshape(q * k, -1)
    return _Expanded(features, queries.attention, _pairs(queries.attention), queries.gram, _lengths(queries.gram, k))


def _pairs(attention):
    """The factor of each inner product of two parts in a squared length, `[n, k (k + 1) / 2]`."""
    rows, columns = np.triu_indices(attention.shape[1])
    return attention[:, rows] * attention[:, columns] * np.where(rows == columns, 1, 2).astype(np.float32)


def _lengths(gram, k):
    rows, columns = np.triu_indices(k)
    return jnp.sqrt(gram[:, np.flatnonzero(rows == columns)])


def _inner_products(x, y):
    return jax.lax.dot_general(x, y, (((1,), (1,)), ((), ())), precision="highest")


def _replicate(tree, mesh):
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def _spread(tree, mesh):
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def _padded(passing, size):
    return passing if len(passing) == size else np.pad(passing, (0, size - len(passing)))


def _empty_shortlist(q, keep, mesh):
    shape = mesh.size, q, keep
    return _spread(Shortlist(np.full(shape, np.inf, np.float32), np.zeros(shape, np.int32)), mesh)
