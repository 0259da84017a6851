"""The k nearest items of a gallery, exactly: a scan for bounds, then distances where the bounds leave a doubt.

Letters: `q` queries; `k` nearest items (elsewhere in this package k counts representations).
"""

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from gpldan_jax.retrieval.gallery import Blocks, Gallery
from gpldan_jax.retrieval.items import Items, exact_distances
from gpldan_jax.retrieval.scan import TILE, bounds_of_blocks, smallest_bounds

_SPARE = 32  # items kept beyond k: those that rounding leaves in doubt
_AT_ONCE = 1024  # items measured exactly at a time


def nearest(
    queries: Items, gallery: Gallery, k: int, *, blocks: Callable[[], Blocks], mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
    """The ranking by `exact_distances` of all items, ties in the order of the gallery, cut at k.

    Args:
        queries: q items, NumPy arrays.
        gallery: at least k items.
        k: at least 1.
        blocks: gives the blocks of the gallery each time it is called; of a size that is a multiple of the devices.
        mesh: the devices that share each block.

    Returns:
        Distances `[q, k]` float32 and positions `[q, k]` int64.
    """
    keep = 1 << (k + _SPARE - 1).bit_length()  # a power of two: the same program for many k
    starts = range(0, len(queries.attention), TILE)
    tiles = [_rows(queries, slice(start, start + TILE)) for start in starts]
    kept_of_tiles = smallest_bounds([_padded(tile) for tile in tiles], blocks(), keep, mesh)
    found = []
    for tile, kept in zip(tiles, kept_of_tiles, strict=True):
        results, doubtful = [], []
        for row in range(len(tile.attention)):
            query, bounds, positions = _rows(tile, slice(row, row + 1)), kept.bounds[:, row], kept.positions[:, row]
            result = _measured(query, gallery, bounds.reshape(-1), positions.reshape(-1), k)
            # What a device has not kept is no nearer than the last that it has.
            if bounds[:, -1].min() <= result[0][-1]:
                doubtful.append(row)
            results.append(result)
        if doubtful:
            limits = np.array([results[row][0][-1] for row in doubtful])
            again = _within(_rows(tile, doubtful), limits, gallery, k, blocks(), mesh)
            for row, result in zip(doubtful, again, strict=True):
                results[row] = result
        found += results
    return np.stack([distances for distances, _ in found]), np.stack([positions for _, positions in found])


def nearest_of(query: Items, gallery: Gallery, positions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Likewise of one query among the items at some positions: `[k]` each, fewer where there are fewer."""
    positions = np.sort(positions.astype(np.int64))
    return _smallest(_exactly(query, gallery, positions), positions, k)


def all_distances(queries: Items, gallery: Gallery) -> np.ndarray:
    """`exact_distances` of every query to every item, `[q, items]`; slow, and what `nearest` has to agree with."""
    rows = (_rows(queries, slice(row, row + 1)) for row in range(len(queries.attention)))
    everything = np.arange(len(gallery))
    return np.stack([_exactly(query, gallery, everything) for query in rows])


def _measured(query, gallery, bounds, positions, k):
    """The k nearest of what was kept: those of the smallest bounds, and those that may still be nearer."""
    order = np.argsort(bounds, kind="stable")
    order = order[bounds[order] < np.inf]
    first, rest = order[:k], order[k:]
    distances = _exactly(query, gallery, positions[first])
    rest = rest[bounds[rest] <= distances.max()]
    distances = np.concatenate([distances, _exactly(query, gallery, positions[rest])])
    return _smallest(distances, positions[np.concatenate([first, rest])].astype(np.int64), k)


def _within(queries, limits, gallery, k, blocks, mesh):
    """Likewise of all items with a bound up to the limit of the query, however many those are."""
    results = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in limits]
    for first, bounds in bounds_of_blocks(_padded(queries), blocks, mesh):
        for row, (distances, positions) in enumerate(results):
            limit = distances[-1] if len(distances) == k else limits[row]
            more = first + np.flatnonzero(bounds[row] <= limit)
            if len(more):
                query = _rows(queries, slice(row, row + 1))
                distances = np.concatenate([distances, _exactly(query, gallery, more)])
                results[row] = _smallest(distances, np.concatenate([positions, more]), k)
    return results


def _smallest(distances, positions, k):
    order = np.lexsort((positions, distances))[:k]
    return distances[order], positions[order]


def _exactly(query, gallery, positions):
    parts = [
        exact_distances(query, gallery.take(positions[start : start + _AT_ONCE]))
        for start in range(0, len(positions), _AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _padded(queries):
    """The queries with the first one repeated up to a power of two: a few programs serve any number."""
    missing = (1 << (len(queries.attention) - 1).bit_length()) - len(queries.attention)
    return _rows(queries, [*range(len(queries.attention)), *[0] * missing])


def _rows(items, rows):
    return Items(*(array[rows] for array in items))
