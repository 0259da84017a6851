"""One search in a gallery: of all items, or of the candidates of a vector index.

Letters: `q` queries; `k` nearest items of a query; `n` items of the gallery.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from gpldan_jax.index.candidates import VectorIndex
from gpldan_jax.index.gallery import EncodedBatch, Gallery
from gpldan_jax.index.nearest import nearest, nearest_among
from gpldan_jax.index.scan import TILE, DeviceBlocks, check_mesh


def rank_all(
    queries: EncodedBatch,
    gallery: Gallery,
    k: int,
    weights: np.ndarray | None,
    among: np.ndarray | None,
    *,
    placed: DeviceBlocks | None,
    block_size: int,
    mesh: Mesh | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks all items of a gallery.

    Args:
        queries: q items, NumPy arrays.
        gallery: n items.
        k: at least 1, at most the items to rank.
        weights: see `nearest`.
        among: see `nearest`.
        placed: the items on accelerators, if they are there.
        block_size: items of a block; rounded up to a multiple of the devices.
        mesh: the devices; `None` for the first one.

    Returns:
        Distances (with weights: scores) and positions, `[q, k]`; one row with weights.
    """
    mesh = placed.mesh if placed else check_mesh(mesh)
    size = -(-block_size // mesh.size) * mesh.size

    def blocks():
        return placed.blocks if placed else gallery.blocks(size)

    return nearest(queries, gallery, k, blocks=blocks, mesh=mesh, weights=weights, among=among)


def rank_candidates(
    queries: EncodedBatch,
    gallery: Gallery,
    k: int,
    weights: np.ndarray | None,
    among: np.ndarray | None,
    *,
    vectors: VectorIndex,
    candidates: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks the candidates of a vector index.

    With weights, the candidates are those of every side with a positive weight, together.

    Args:
        queries: as in `rank_all`.
        gallery: as in `rank_all`.
        k: as in `rank_all`.
        weights: as in `rank_all`.
        among: as in `rank_all`; the candidates are the nearest of these items.
        vectors: the vector index of the gallery.
        candidates: how many candidates of each query, or of each such side.

    Returns:
        As `rank_all`.

    Raises:
        ValueError: fewer candidates than k, or no positive weight.
    """
    if candidates < k:
        raise ValueError(f"candidates must be at least k = {k}, got {candidates}")
    if weights is not None:
        wanted = np.flatnonzero(weights > 0)
        if not len(wanted):
            raise ValueError("candidates need a positive weight: they are what is near to a side that is wanted")
        proposed = vectors.search(_take(queries, wanted), candidates, among)
        rows = [nearest_among(queries, gallery, np.unique(np.concatenate(proposed)), k, weights)]
    else:
        proposed = vectors.search(queries, candidates, among)
        rows = [nearest_among(_take(queries, [row]), gallery, of_row, k) for row, of_row in enumerate(proposed)]
    distances, positions = (np.stack(of_rows) for of_rows in zip(*rows, strict=True))
    return distances, positions


def check_weights(weights: Sequence[float] | None, queries: int) -> np.ndarray | None:
    """Checks the weights of the sides of a query.

    Args:
        weights: one for each query; `None` for queries of their own.
        queries: the number of queries, q.

    Returns:
        `[q]` float64, or `None`.

    Raises:
        ValueError: another number of weights, too many, or weights that are not finite or all 0.

    Example:
        >>> check_weights([1, -0.5], 2)
        array([ 1. , -0.5])
    """
    if weights is None:
        return None
    checked = np.asarray(weights, np.float64)
    if checked.shape != (queries,) or queries > TILE:
        raise ValueError(f"weights must be one for each of the {queries} queries, at most {TILE}, got {checked.shape}")
    if not np.isfinite(checked).all() or not checked.any() or np.abs(checked).max() > 1e6:
        raise ValueError(f"weights must be finite, at most a million, and not all 0, got {checked.tolist()}")
    return checked


def check_among(among: Any, n: int) -> np.ndarray | None:
    """Checks which items may be found.

    Args:
        among: a value for each item; `None` for all items.
        n: the number of items.

    Returns:
        `[n]` bool, or `None`.

    Raises:
        ValueError: not `[n]` bool, or true nowhere.

    Example:
        >>> check_among([True, False], 2)
        array([ True, False])
    """
    if among is None:
        return None
    checked = np.asarray(among)
    if checked.shape != (n,) or checked.dtype != bool:
        raise ValueError(f"among must be [{n}] bool, one for each item, got {list(checked.shape)} {checked.dtype}")
    if not checked.any():
        raise ValueError("among must be true for one item at least, got none")
    return checked


def _take(encoded, rows):
    return EncodedBatch(*(array[rows] for array in encoded))
