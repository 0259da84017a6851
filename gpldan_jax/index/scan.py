"""The exact search: a scan for lower bounds, then exact distances for all items that the bounds leave in doubt.

Letters: `q` queries of a tile; `m` items of a block; `k` representations of an item, each `h` wide; `H = k*h`; `c`
items that are kept for each query. In `nearest` and below it, `k` is the number of nearest items.

The numerator of a cosine is an inner product of expanded features, `sum_a b_a E_a . y'` with `E_ab = a_b x'_a`, and the
squared lengths are two small inner products. So a block costs one matrix product `[q k, H] x [H, m]`. Float32 rounds
it, so the scan computes a lower bound: the distance minus the largest possible rounding error. `nearest` then measures
the c items of the smallest bounds exactly. An item that was left out cannot be nearer than the smallest bound left out.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gpldan_jax.index.gallery import Blocks, EncodedBatch, Gallery, Segment, exact_distances

AXIS = "data"
"""The axis of a mesh that shares a block."""
TILE = 64
"""Queries at a time: 4 x 64 rows already fill a matrix product."""
_UNIT = 2.0**-24  # of rounding in float32
_OTHER_ROUNDING = 1024  # units for all that is not a sum over H or h: attention, square roots, quotients
_SHARES = (1, 2, 4, 16)  # a block is scanned whole, or its first half, quarter or sixteenth when the rest is padding
_IN_FLIGHT = 16  # blocks that are handed to the devices before waiting for them
_SPARE = 32  # items kept beyond k: those that rounding leaves in doubt
_AT_ONCE = 1024  # pairs measured exactly at a time


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


def single_device_mesh() -> Mesh:
    """Returns a mesh of the first device."""
    return Mesh(np.array(jax.local_devices()[:1]), (AXIS,), axis_types=(AxisType.Auto,))


def check_mesh(mesh: Mesh | None) -> Mesh:
    """Returns the mesh, or one of the first device; `ValueError` where it cannot share a block."""
    mesh = mesh or single_device_mesh()
    if mesh.axis_names != (AXIS,) or mesh.is_multi_process:
        raise ValueError(f"mesh must be of this process, with one axis {AXIS!r}, got axes {mesh.axis_names}")
    return mesh


def smallest_bounds(tiles: Sequence[EncodedBatch], blocks: Blocks, keep: int, mesh: Mesh) -> list[Shortlist]:
    """Finds the items of the smallest bounds for each query; every block is read once for all tiles.

    Args:
        tiles: queries, at most `TILE` each.
        blocks: all of one size, which is a multiple of the number of devices.
        keep: c.
        mesh: the devices, with one axis called `AXIS`.

    Returns:
        A shortlist for each tile, as NumPy arrays.
    """
    queries = [_replicate(_expand(tile), mesh) for tile in tiles]
    shortlists = [_empty_shortlist(len(tile.values), keep, mesh) for tile in tiles]
    for number, (first, count, block) in enumerate(on_devices(blocks, mesh)):
        for index, tile in enumerate(queries):
            shortlists[index] = _scan(shortlists[index], tile, block, first, first + count, mesh=mesh)
        if number % _IN_FLIGHT == _IN_FLIGHT - 1:
            jax.block_until_ready(shortlists)
    return jax.device_get(shortlists)


def bounds_of_blocks(queries: EncodedBatch, blocks: Blocks, mesh: Mesh) -> Iterator[tuple[int, np.ndarray]]:
    """Computes all bounds, block by block.

    Args:
        queries: at most `TILE`.
        blocks: as in `smallest_bounds`.
        mesh: as in `smallest_bounds`.

    Yields:
        For each block the position of its first item, and the bounds `[q, items of the block]` float32.
    """
    expanded = _replicate(_expand(queries), mesh)
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
    spread = NamedSharding(mesh, PartitionSpec(AXIS))
    return ((first, count, jax.device_put(block, spread)) for first, count, block in blocks)


@functools.partial(jax.jit, donate_argnames="shortlist", static_argnames="mesh")
def _scan(
    shortlist: Shortlist, queries: _Expanded, block: EncodedBatch, first: jax.Array, end: jax.Array, *, mesh: Mesh
) -> Shortlist:
    spread, whole = PartitionSpec(AXIS), PartitionSpec()
    specs = spread, whole, spread, whole, whole
    return jax.shard_map(_scan_share, mesh=mesh, in_specs=specs, out_specs=spread)(
        shortlist, queries, block, first, end
    )


def _scan_share(shortlist, queries, block, first, end):
    """Merges the share of one device in a block into the shortlist of that device."""
    m = len(block.values)
    start = first + m * jax.lax.axis_index(AXIS)

    def merge(size, shortlist):
        keep = shortlist.bounds.shape[-1]
        bounds = _bounds(queries, EncodedBatch(*(array[:size] for array in block)))
        bounds = jnp.where(start + jnp.arange(size) < end, bounds, jnp.inf)
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
    """Lower bounds of the distances, `[q, m]`; minus infinity where rounding may have left nothing of a length."""
    q, k = queries.attention.shape
    b, width = block.attention, block.values.shape[1]
    weighted = _inner_products(queries.features, block.values).reshape(q, k, -1)
    numerator = sum(b[:, part] * weighted[:, part] for part in range(k))
    squared = _inner_products(queries.gram, _pairs(b)), _inner_products(queries.pairs, block.gram)
    # The relative error of a length grows with the sum of the lengths that it is made of, divided by the length.
    longest = _inner_products(queries.lengths, b), _inner_products(queries.attention, _lengths(block.gram, k))
    amplified = sum(jnp.square(length) / square for length, square in zip(longest, squared, strict=True))
    rounding = _UNIT * (width + width // k + _OTHER_ROUNDING) / 2 * amplified
    bound = 1 - numerator * jax.lax.rsqrt(squared[0]) * jax.lax.rsqrt(squared[1]) - rounding
    return jnp.where((squared[0] > 0) & (squared[1] > 0), bound, -jnp.inf)


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


def _empty_shortlist(q, keep, mesh):
    shape = mesh.size, q, keep
    return jax.device_put(
        Shortlist(np.full(shape, np.inf, np.float32), np.zeros(shape, np.int32)),
        NamedSharding(mesh, PartitionSpec(AXIS)),
    )


def nearest(
    queries: EncodedBatch, gallery: Gallery, k: int, *, blocks: Callable[[], Blocks], mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks all items by `exact_distances`, ties in the order of the gallery, and returns the first k.

    Args:
        queries: q items, NumPy arrays.
        gallery: at least k items, less than 2**31.
        k: at least 1.
        blocks: returns the blocks of the gallery each time it is called; their size is a multiple of the devices.
        mesh: the devices that share each block.

    Returns:
        Distances `[q, k]` float32, ascending, and positions `[q, k]` int64.

    Raises:
        ValueError: the gallery has too many items.
    """
    if len(gallery) > np.iinfo(np.int32).max:
        raise ValueError(f"a gallery may have {np.iinfo(np.int32).max:,} items, got {len(gallery):,}")
    keep = 1 << (k + _SPARE - 1).bit_length()  # a power of two: the same program for many k
    starts = range(0, len(queries.attention), TILE)
    tiles = [_take_rows(queries, slice(start, start + TILE)) for start in starts]
    shortlists = smallest_bounds([_pad(tile) for tile in tiles], blocks(), keep, mesh)
    results = []
    for tile, shortlist in zip(tiles, shortlists, strict=True):
        q = len(tile.attention)
        distances, positions = _rank_shortlist(tile, gallery, shortlist.bounds[:, :q], shortlist.positions[:, :q], k)
        # An item that a device has left out is no nearer than the last one that it has kept.
        doubtful = np.flatnonzero(shortlist.bounds[:, :q, -1].min(axis=0) <= distances[:, -1])
        if len(doubtful):
            limits = distances[doubtful, -1]
            again = _rank_within(_take_rows(tile, doubtful), limits, gallery, k, blocks(), mesh)
            for row, result in zip(doubtful, again, strict=True):
                distances[row], positions[row] = result
        results.append((distances, positions))
    distances, positions = (np.concatenate(of_tiles) for of_tiles in zip(*results, strict=True))
    return distances, positions


def nearest_among(
    query: EncodedBatch, gallery: Gallery, positions: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks some items for one query, as `nearest` ranks all of them.

    Args:
        query: one item, NumPy arrays.
        gallery: the items.
        positions: `[m]` int, the items to rank.
        k: at least 1.

    Returns:
        Distances `[min(k, m)]` float32, ascending, and positions `[min(k, m)]` int.
    """
    positions = np.sort(positions)
    part = Gallery((Segment(positions, gallery.take(positions), {}),))
    size = 1 << (len(part) - 1).bit_length()
    k = min(k, len(part))
    distances, chosen = nearest(query, part, k, blocks=lambda: part.blocks(size), mesh=single_device_mesh())
    return distances[0], positions[chosen[0]]


def all_distances(queries: EncodedBatch, gallery: Gallery) -> np.ndarray:
    """Returns `exact_distances` of every query to every item; slow, the reference for `nearest`.

    Args:
        queries: q items, NumPy arrays.
        gallery: n items.

    Returns:
        `[q, n]` float32, in [0, 2].
    """
    positions = np.arange(len(gallery))
    rows = range(len(queries.attention))
    return np.stack([_measure(_take_rows(queries, [row]), gallery, positions) for row in rows])


def _rank_shortlist(queries, gallery, bounds, positions, k):
    """Measures the k smallest bounds, then all others that may still be nearer, and returns the k nearest."""
    bounds, positions = (np.concatenate(of_devices, axis=1) for of_devices in (bounds, positions))
    order = np.argsort(bounds, axis=1, kind="stable")
    bounds = np.take_along_axis(bounds, order, axis=1)
    positions = np.take_along_axis(positions, order, axis=1).astype(np.int64)
    distances = np.full(bounds.shape, np.inf, np.float32)

    def measure(chosen):
        rows, columns = np.nonzero(chosen)
        distances[rows, columns] = _measure(queries, gallery, positions[rows, columns], rows)

    is_first = np.broadcast_to(np.arange(bounds.shape[1]) < k, bounds.shape)
    measure(is_first)
    measure(~is_first & (bounds <= distances[:, :k].max(axis=1, keepdims=True)))
    return _smallest(distances, positions, k)


def _rank_within(queries, limits, gallery, k, blocks, mesh):
    """Measures all items with a bound up to the limit of their query, however many, and returns the k nearest."""
    results = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in limits]
    for first, bounds in bounds_of_blocks(_pad(queries), blocks, mesh):
        for row, (distances, positions) in enumerate(results):
            limit = distances[-1] if len(distances) == k else limits[row]
            more = first + np.flatnonzero(bounds[row] <= limit)
            if len(more):
                distances = np.concatenate([distances, _measure(_take_rows(queries, [row]), gallery, more)])
                results[row] = _smallest(distances, np.concatenate([positions, more]), k)
    return results


def _smallest(distances, positions, k):
    order = np.lexsort((positions, distances), axis=-1)[..., :k]
    return np.take_along_axis(distances, order, axis=-1), np.take_along_axis(positions, order, axis=-1)


def _measure(queries, gallery, positions, rows=None):
    """Exact distances of the queries in these rows (by default the only query) to the items at these positions."""
    rows = np.zeros(len(positions), int) if rows is None else rows
    distances = np.empty(len(positions), np.float32)
    for start in range(0, len(positions), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distances[part] = exact_distances(_take_rows(queries, rows[part]), gallery.take(positions[part]))
    return distances


def _pad(queries):
    """Repeats the first query up to a power of two, so that a few compiled programs serve any number."""
    missing = (1 << (len(queries.attention) - 1).bit_length()) - len(queries.attention)
    return _take_rows(queries, [*range(len(queries.attention)), *[0] * missing])


def _take_rows(encoded, rows):
    return EncodedBatch(*(array[rows] for array in encoded))
