"""The k nearest items of a gallery, exactly: a scan for bounds, then distances where the bounds leave a doubt.

Letters: `q` queries; `k` nearest items (elsewhere in this package k counts representations).
"""

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from gpldan_jax.index.gallery import Blocks, EncodedBatch, Gallery, Segment, exact_distances
from gpldan_jax.index.scan import TILE, bounds_of_blocks, one_device, smallest_bounds

_SPARE = 32  # items kept beyond k: those that rounding leaves in doubt
_AT_ONCE = 1024  # pairs measured exactly at a time


def nearest(
    queries: EncodedBatch, gallery: Gallery, k: int, *, blocks: Callable[[], Blocks], mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
    """The ranking by `exact_distances` of all items, ties in the order of the gallery, cut at k.

    Args:
        queries: q items, NumPy arrays.
        gallery: at least k items, less than 2**31.
        k: at least 1.
        blocks: gives the blocks of the gallery each time it is called; of a size that is a multiple of the devices.
        mesh: the devices that share each block.

    Returns:
        Distances `[q, k]` float32 and positions `[q, k]` int64.
    """
    if len(gallery) > np.iinfo(np.int32).max:
        raise ValueError(f"a gallery may have {np.iinfo(np.int32).max:,} items, got {len(gallery):,}")
    keep = 1 << (k + _SPARE - 1).bit_length()  # a power of two: the same program for many k
    starts = range(0, len(queries.attention), TILE)
    tiles = [_rows(queries, slice(start, start + TILE)) for start in starts]
    found = []
    for tile, kept in zip(tiles, smallest_bounds([_padded(tile) for tile in tiles], blocks(), keep, mesh), strict=True):
        q = len(tile.attention)
        distances, positions = _measured(tile, gallery, kept.bounds[:, :q], kept.positions[:, :q], k)
        # What a device has not kept is no nearer than the last that it has.
        doubtful = np.flatnonzero(kept.bounds[:, :q, -1].min(axis=0) <= distances[:, -1])
        if len(doubtful):
            again = _within(_rows(tile, doubtful), distances[doubtful, -1], gallery, k, blocks(), mesh)
            for row, result in zip(doubtful, again, strict=True):
                distances[row], positions[row] = result
        found.append((distances, positions))
    return tuple(np.concatenate(of_tiles) for of_tiles in zip(*found, strict=True))


def nearest_of(query: EncodedBatch, gallery: Gallery, positions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Likewise of one query among the items at some positions: `[k]` each, fewer where there are fewer."""
    positions = np.sort(positions)
    part = Gallery((Segment(positions, gallery.take(positions), {}),))
    size = 1 << (len(part) - 1).bit_length()
    k = min(k, len(part))
    distances, found = nearest(query, part, k, blocks=lambda: part.blocks(size), mesh=one_device())
    return distances[0], positions[found[0]]


def all_distances(queries: EncodedBatch, gallery: Gallery) -> np.ndarray:
    """`exact_distances` of every query to every item, `[q, items]`; slow, and what `nearest` has to agree with."""
    everything = np.arange(len(gallery))
    return np.stack([_exactly(_rows(queries, [row]), gallery, everything) for row in range(len(queries.attention))])


def _measured(queries, gallery, bounds, positions, k):
    """The k nearest of what was kept: those of the smallest bounds, and those that may still be nearer."""
    bounds, positions = (np.concatenate(of_devices, axis=1) for of_devices in (bounds, positions))
    order = np.argsort(bounds, axis=1, kind="stable")
    bounds = np.take_along_axis(bounds, order, axis=1)
    positions = np.take_along_axis(positions, order, axis=1).astype(np.int64)
    distances = np.full(bounds.shape, np.inf, np.float32)

    def measure(chosen):
        rows, columns = np.nonzero(chosen)
        distances[rows, columns] = _exactly(queries, gallery, positions[rows, columns], rows)

    is_first = np.broadcast_to(np.arange(bounds.shape[1]) < k, bounds.shape)
    measure(is_first)
    measure(~is_first & (bounds <= distances[:, :k].max(axis=1, keepdims=True)))
    return _smallest(distances, positions, k)


def _within(queries, limits, gallery, k, blocks, mesh):
    """Likewise of all items with a bound up to the limit of the query, however many those are."""
    results = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in limits]
    for first, bounds in bounds_of_blocks(_padded(queries), blocks, mesh):
        for row, (distances, positions) in enumerate(results):
            limit = distances[-1] if len(distances) == k else limits[row]
            more = first + np.flatnonzero(bounds[row] <= limit)
            if len(more):
                distances = np.concatenate([distances, _exactly(_rows(queries, [row]), gallery, more)])
                results[row] = _smallest(distances, np.concatenate([positions, more]), k)
    return results


def _smallest(distances, positions, k):
    order = np.lexsort((positions, distances), axis=-1)[..., :k]
    return np.take_along_axis(distances, order, axis=-1), np.take_along_axis(positions, order, axis=-1)


def _exactly(queries, gallery, positions, rows=None):
    """Distances of the queries in these rows, of the only one unless given, to the items at these positions."""
    rows = np.zeros(len(positions), int) if rows is None else rows
    distances = np.empty(len(positions), np.float32)
    for start in range(0, len(positions), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distances[part] = exact_distances(_rows(queries, rows[part]), gallery.take(positions[part]))
    return distances


def _padded(queries):
    """The queries with the first one repeated up to a power of two: a few programs serve any number."""
    missing = (1 << (len(queries.attention) - 1).bit_length()) - len(queries.attention)
    return _rows(queries, [*range(len(queries.attention)), *[0] * missing])


def _rows(items, rows):
    return EncodedBatch(*(array[rows] for array in items))
