"""The neighbourhoods of all training pairs: in one program, or block by block where there are many pairs.

All pairs are compared with all. Block by block, the inputs are read from memory or from disk, and memory is bounded
whatever the number of pairs.

Letters: `n` training pairs; `m` neighbours; `d_i`, `d_t` widths of the inputs.
"""

import contextlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.losses.neighbourhoods import merge_nearest, nearest_neighbours, nearest_weights, no_neighbours
from gpldan_jax.models.column_statistics import Share
from gpldan_jax.training.read_ahead import read_ahead

IN_ONE_PROGRAM = 1 << 16
"""Training pairs up to which all are compared in one program, on the device."""
_PAIRS, _KNOWN = 1 << 16, 1 << 14  # of a block, and of the blocks that it is compared with: 600 MB with 900 columns
_AT_A_TIME = 1024  # pairs


def find_neighbours(
    images: np.ndarray,
    texts: np.ndarray,
    neighbours: int,
    *,
    on_pairs: Callable[[int], None] = lambda done: None,
    share: Share | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the m training pairs most similar to each, see `gpldan_jax.losses.nearest_neighbours`.

    Args:
        images: `[n, d_i]` float32, an array or `gpldan_jax.data.FeaturesOnDisk`, scaled as in training.
        texts: `[n, d_t]` float32, the same.
        neighbours: m, at least 1; more than n is cut to it.
        on_pairs: takes how many pairs are done, where it is not done in one program; what is half done counts half.
        share: which process this is of several that divide the work; all call this together. `None` for one.

    Returns:
        Their indices, `[n, m]` int32, and their weights, `[n, m]` float32. Above `IN_ONE_PROGRAM` pairs the matrix
        products have other shapes, so that weights may differ from those of `nearest_neighbours` in the last bits.

    Example:
        >>> columns, weights = find_neighbours(np.eye(3, 5, dtype=np.float32), np.eye(3, 4, dtype=np.float32), 2)
        >>> columns[:, 0]
        array([0, 1, 2], dtype=int32)
    """
    n = len(images)
    if n <= IN_ONE_PROGRAM:
        return jax.device_get(nearest_neighbours(jnp.asarray(images), jnp.asarray(texts), neighbours=neighbours))
    m = min(neighbours, n)
    columns, weights = np.empty((n, m), np.int32), np.empty((n, m), np.float32)

    def read(start: int, size: int) -> tuple[tuple[jax.Array, jax.Array], int]:
        found = images[start : start + size], texts[start : start + size]
        count = len(found[0])
        padded = (np.pad(of, ((0, size - count), (0, 0))) for of in found)
        first, second = (jnp.asarray(of) for of in padded)
        return (first, second), count

    each = -(-n // (share.count if share else 1))
    size = min(_PAIRS, -(-each // _AT_A_TIME) * _AT_A_TIME)
    starts = range(0, n, size)
    for number, start in enumerate(starts):
        if share and number % share.count != share.index:
            continue
        pairs, here = read(start, size)
        found = no_neighbours(size, m)
        blocks = read_ahead(lambda first: (first, *read(first, _KNOWN)), range(0, n, _KNOWN), ahead=1)
        with contextlib.closing(blocks):
            for first, known, count in blocks:
                found = merge_nearest(found, pairs, known, start, first, count, block_size=_AT_A_TIME)
                found.columns.block_until_ready()  # or the device would be sent blocks faster than it works
                on_pairs(start + here * min(first + _KNOWN, n) // n)
        rows = slice(start, start + here)
        columns[rows], weights[rows] = (of[:here] for of in jax.device_get(nearest_weights(found)))
    if share:
        for number, start in enumerate(starts):
            for of in (columns, weights):
                of[start : start + size] = share.tell(of[start : start + size], number % share.count)
    return columns, weights
