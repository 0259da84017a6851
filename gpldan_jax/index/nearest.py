"""The exact ranking: the bounds of `scan` say which items may be nearest, and those are measured exactly.

Letters: `q` queries; `k` nearest items of a query; `n` items of a gallery; `m` items to measure.

Weights make one query of q sides: an item's score is the weighted sum of its distances to the sides, in float64,
rounded to float32. A negative weight is for what is not wanted.
"""

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from gpldan_jax.index.gallery import Blocks, EncodedBatch, Gallery, Segment, exact_distances
from gpldan_jax.index.scan import TILE, bounds_of_blocks, single_device_mesh, smallest_bounds

_SPARE = 32  # items kept beyond k: those that rounding leaves in doubt
_AT_ONCE = 1024  # pairs measured exactly at a time


def nearest(
    queries: EncodedBatch,
    gallery: Gallery,
    k: int,
    *,
    blocks: Callable[[], Blocks],
    mesh: Mesh,
    weights: np.ndarray | None = None,
    among: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks all items by `exact_distances`, ties in the order of the gallery, and returns the first k.

    Args:
        queries: q items, NumPy arrays.
        gallery: at least k items, less than 2**31.
        k: at least 1.
        blocks: returns the blocks of the gallery each time it is called; their size is a multiple of the devices.
        mesh: the devices that share each block.
        weights: `[q]` float64: the queries are the sides of one query, at most `TILE`; `None` for q queries.
        among: `[n]` bool, the items to rank, at least k; `None` for all.

    Returns:
        Distances `[q, k]` float32, ascending, and positions `[q, k]` int64. With weights scores, in one row.

    Raises:
        ValueError: the gallery has too many items, or the query too many sides.
    """
    if len(gallery) > np.iinfo(np.int32).max:
        raise ValueError(f"a gallery may have {np.iinfo(np.int32).max:,} items, got {len(gallery):,}")
    if weights is not None and len(weights) > TILE:
        raise ValueError(f"a query may have {TILE} sides, got {len(weights)}")
    keep = 1 << (k + _SPARE - 1).bit_length()  # a power of two: the same program for many k
    starts = range(0, len(queries.attention), TILE)
    tiles = [_take_rows(queries, slice(start, start + TILE)) for start in starts]
    padded = [_pad(tile) for tile in tiles]
    scanned = {"weights": _pad_weights(weights), "among": among}
    shortlists = smallest_bounds(padded, blocks(), keep, mesh, **scanned)
    results = []
    for tile, shortlist in zip(tiles, shortlists, strict=True):
        q = len(tile.attention) if weights is None else 1
        bounds = shortlist.bounds[:, :q]
        distances, positions = _rank_shortlist(tile, gallery, bounds, shortlist.positions[:, :q], k, weights)
        # An item that a device has left out is no nearer than the last one that it has kept.
        doubtful = np.flatnonzero(bounds[..., -1].min(axis=0) <= distances[:, -1])
        if len(doubtful):
            limits, again = distances[doubtful, -1], tile if weights is not None else _take_rows(tile, doubtful)
            found = _rank_within(again, limits, gallery, k, blocks(), mesh, weights, among)
            for row, result in zip(doubtful, found, strict=True):
                distances[row], positions[row] = result
        results.append((distances, positions))
    distances, positions = (np.concatenate(of_tiles) for of_tiles in zip(*results, strict=True))
    return distances, positions


def nearest_among(
    query: EncodedBatch, gallery: Gallery, positions: np.ndarray, k: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks some items for one query, as `nearest` ranks all of them.

    Args:
        query: one item, or with weights the sides of one query, NumPy arrays.
        gallery: the items.
        positions: `[m]` int, the items to rank.
        k: at least 1.
        weights: as in `nearest`.

    Returns:
        Distances (with weights: scores) `[min(k, m)]` float32, ascending, and positions `[min(k, m)]` int.
    """
    positions = np.sort(positions)
    part = Gallery((Segment(positions, gallery.take(positions), {}),))
    size = 1 << (len(part) - 1).bit_length()
    k = min(k, len(part))
    mesh = single_device_mesh()
    distances, chosen = nearest(query, part, k, blocks=lambda: part.blocks(size), mesh=mesh, weights=weights)
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


def score(queries: EncodedBatch, items: EncodedBatch, weights: np.ndarray) -> np.ndarray:
    """Returns the scores of m items for one query of several sides.

    Args:
        queries: the q sides, NumPy arrays.
        items: m items, NumPy arrays.
        weights: `[q]` float64, of the distances to the sides.

    Returns:
        `[m]` float32.
    """
    m, total = len(items.attention), np.zeros(len(items.attention))
    for row, weight in enumerate(weights):
        total += np.float64(weight) * exact_distances(_take_rows(queries, np.full(m, row)), items).astype(np.float64)
    return total.astype(np.float32)


def _rank_shortlist(queries, gallery, bounds, positions, k, weights):
    """Measures the k smallest bounds, then all others that may still be nearer, and returns the k nearest."""
    bounds, positions = (np.concatenate(of_devices, axis=1) for of_devices in (bounds, positions))
    order = np.argsort(bounds, axis=1, kind="stable")
    bounds = np.take_along_axis(bounds, order, axis=1)
    positions = np.take_along_axis(positions, order, axis=1).astype(np.int64)
    distances = np.full(bounds.shape, np.inf, np.float32)

    def measure(chosen):
        rows, columns = np.nonzero(chosen)
        distances[rows, columns] = _measure(queries, gallery, positions[rows, columns], rows, weights)

    is_first = np.broadcast_to(np.arange(bounds.shape[1]) < k, bounds.shape)
    measure(is_first)
    measure(~is_first & (bounds <= distances[:, :k].max(axis=1, keepdims=True)))
    return _smallest(distances, positions, k)


def _rank_within(queries, limits, gallery, k, blocks, mesh, weights, among):
    """Measures all items with a bound up to the limit of their query, however many, and returns the k nearest."""
    results = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in limits]
    for first, bounds in bounds_of_blocks(_pad(queries), blocks, mesh, _pad_weights(weights)):
        if among is not None:
            bounds = np.where(among[first : first + bounds.shape[1]], bounds, np.inf)
        for row, (distances, positions) in enumerate(results):
            limit = distances[-1] if len(distances) == k else limits[row]
            more = first + np.flatnonzero(bounds[row] <= limit)
            if len(more):
                query = queries if weights is not None else _take_rows(queries, [row])
                distances = np.concatenate([distances, _measure(query, gallery, more, weights=weights)])
                results[row] = _smallest(distances, np.concatenate([positions, more]), k)
    return results


def _smallest(distances, positions, k):
    order = np.lexsort((positions, distances), axis=-1)[..., :k]
    return np.take_along_axis(distances, order, axis=-1), np.take_along_axis(positions, order, axis=-1)


def _measure(queries, gallery, positions, rows=None, weights=None):
    """Exact distances of the queries in these rows (by default the only query) to the items at these positions."""
    rows = np.zeros(len(positions), int) if rows is None else rows
    distances = np.empty(len(positions), np.float32)
    for start in range(0, len(positions), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        items = gallery.take(positions[part])
        if weights is None:
            distances[part] = exact_distances(_take_rows(queries, rows[part]), items)
        else:
            distances[part] = score(queries, items, weights)
    return distances


def _pad(queries):
    """Repeats the first query up to a power of two, so that a few compiled programs serve any number."""
    missing = (1 << (len(queries.attention) - 1).bit_length()) - len(queries.attention)
    return _take_rows(queries, [*range(len(queries.attention)), *[0] * missing])


def _pad_weights(weights):
    """The weights in float32, and 0 for each query that `_pad` repeats."""
    if weights is None:
        return None
    return np.pad(np.float32(weights), (0, (1 << (len(weights) - 1).bit_length()) - len(weights)))


def _take_rows(encoded, rows):
    return EncodedBatch(*(array[rows] for array in encoded))
