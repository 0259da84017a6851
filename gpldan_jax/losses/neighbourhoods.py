"""Target distances from neighbourhoods: two pairs are near where they have the same neighbours. Ours, not the paper's.

In high dimensions the distances of unrelated inputs are nearly equal, and so is the target of Eq. 6. Which training
pairs are nearest says more. The rows of `neighbourhood_rows` take the place of both inputs of the graph pattern loss.

Letters: `n` training pairs, `b` pairs of a mini-batch, `m` neighbours; `d_i` and `d_t` widths of the inputs.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import distances


def nearest_neighbours(
    image_inputs: jax.Array, text_inputs: jax.Array, *, neighbours: int, block_size: int = 1024
) -> tuple[jax.Array, jax.Array]:
    """Finds the m training pairs most similar to each, itself included: `s_ij = (cos(u_i, u_j) + cos(c_i, c_j)) / 2`.

    Args:
        image_inputs: u, `[n, d_i]`, of all training pairs, any float dtype.
        text_inputs: c, `[n, d_t]`.
        neighbours: m, at least 1; more than n is cut to it.
        block_size: rows of s computed at a time; memory is `[block_size, n]`.

    Returns:
        Their indices, `[n, m]` int32, and their weights, `[n, m]` float32 (float64 where an argument is float64): s
        where it is positive, else 0, each row scaled to length one.

    Raises:
        ValueError: shapes that do not fit, or fewer than one neighbour.

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
        >>> columns, weights = nearest_neighbours(u, u, neighbours=2)
        >>> print(columns)
        [[0 1]
         [1 2]
         [2 1]]
        >>> print((100 * weights).astype(int))  # cosines 0.6 and 0.8, scaled to length one
        [[85 51]
         [78 62]
         [78 62]]
    """
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    image_inputs, text_inputs, _ = distances.as_inputs(image_inputs, text_inputs, None)
    return _nearest(image_inputs, text_inputs, min(neighbours, len(image_inputs)), min(block_size, len(image_inputs)))


def neighbourhood_rows(columns: jax.Array, weights: jax.Array, n: int) -> jax.Array:
    """Returns the rows of the neighbourhood matrix P of a mini-batch, which take the place of both inputs of the loss.

    With them `d_ori_ij` of Eq. 6 is `sqrt((1 - P_i . P_j)^2) = 1 - P_i . P_j`.

    Args:
        columns: `[b, m]` int32 in [0, n), rows of the indices that `nearest_neighbours` gives.
        weights: `[b, m]`, rows of the weights that `nearest_neighbours` gives.
        n: training pairs.

    Returns:
        `[b, n]`, dtype of `weights`.

    Example:
        >>> import jax.numpy as jnp
        >>> print(neighbourhood_rows(jnp.array([[2, 0]]), jnp.array([[0.8, 0.6]]), 4))
        [[0.6 0.  0.8 0. ]]
    """
    rows = jnp.arange(len(columns))[:, None]
    return jnp.zeros((len(columns), n), weights.dtype).at[rows, columns].set(weights)


class NearestSoFar(NamedTuple):
    """The most similar of the pairs that some pairs were compared with so far.

    Attributes:
        similarities: `[q, m]` float32, falling; -inf where there are fewer than m.
        columns: `[q, m]` int32, which pairs these are.
    """

    similarities: jax.Array
    columns: jax.Array


def no_neighbours(q: int, neighbours: int) -> NearestSoFar:
    """Returns what `merge_nearest` begins with for q pairs.

    Example:
        >>> no_neighbours(2, 3).columns.shape
        (2, 3)
    """
    return NearestSoFar(jnp.full((q, neighbours), -jnp.inf), jnp.zeros((q, neighbours), jnp.int32))


@functools.partial(jax.jit, static_argnames="block_size", donate_argnames="found")
def merge_nearest(
    found: NearestSoFar,
    pairs: tuple[jax.Array, jax.Array],
    known: tuple[jax.Array, jax.Array],
    first: jax.Array,
    first_known: jax.Array,
    count: jax.Array,
    *,
    block_size: int = 1024,
) -> NearestSoFar:
    """Compares some training pairs with a block of others: `nearest_neighbours` for inputs that come in blocks.

    Args:
        found: of the blocks before, `[q, m]`; it is donated.
        pairs: the inputs of the pairs, `[q, d_i]` and `[q, d_t]` float32; q is a multiple of `block_size`.
        known: those of the block, `[r, d_i]` and `[r, d_t]`. Blocks come in order, so that of equal similarities the
            first pair counts, as in `nearest_neighbours`.
        first: which training pair the first of `pairs` is; they follow each other.
        first_known: which one the first of `known` is.
        count: how many of `known` count; the rest is padding.
        block_size: of `pairs` that are compared at a time; memory is `[block_size, r]`.

    Returns:
        The m most similar ones so far; a pair itself is the most similar to it, with infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
        >>> found = no_neighbours(3, 2)
        >>> for start in range(3):
        ...     block = u[start : start + 1]
        ...     found = merge_nearest(found, (u, u), (block, block), 0, start, 1, block_size=3)
        >>> print(nearest_weights(found)[0])
        [[0 1]
         [1 2]
         [2 1]]
    """
    units, known_units = (tuple(map(distances.unit_length, of)) for of in (pairs, known))
    columns = first_known + jnp.arange(len(known[0]))
    counts = jnp.arange(len(known[0])) < count

    def block(part):
        rows, found, image, text = part
        similarity = _similarity(image, text, *known_units)
        similarity = jnp.where(rows[:, None] == columns, jnp.inf, similarity)
        similarity = jnp.where(counts, similarity, -jnp.inf)
        nearest, places = jax.lax.top_k(
            jnp.concatenate([found.similarities, similarity], axis=1), found.similarities.shape[1]
        )
        names = jnp.concatenate([found.columns, jnp.broadcast_to(columns, similarity.shape)], axis=1)
        return NearestSoFar(nearest, jnp.take_along_axis(names, places, axis=1))

    rows = first + jnp.arange(len(units[0]))
    parts = jax.tree.map(lambda of: of.reshape(-1, block_size, *of.shape[1:]), (rows, found, *units))
    return jax.tree.map(lambda of: of.reshape(-1, of.shape[-1]), jax.lax.map(block, parts))


def nearest_weights(found: NearestSoFar) -> tuple[jax.Array, jax.Array]:
    """Returns the indices and the weights that `nearest_neighbours` returns, after the last block.

    Args:
        found: from `merge_nearest`, after all training pairs.

    Returns:
        `[q, m]` int32 and `[q, m]` float32.

    Example:
        >>> import jax.numpy as jnp
        >>> found = NearestSoFar(jnp.array([[jnp.inf, 0.75, -0.5]]), jnp.array([[4, 0, 2]]))
        >>> print(nearest_weights(found)[1])
        [[0.8 0.6 0. ]]
    """
    weights = jnp.maximum(found.similarities.at[:, 0].set(1), 0)
    return found.columns, weights / jnp.linalg.norm(weights, axis=1, keepdims=True)


def _similarity(image, text, known_image, known_text):
    return (distances.matmul(image, known_image, (1, 1)) + distances.matmul(text, known_text, (1, 1))) / 2


@functools.partial(jax.jit, static_argnames=("neighbours", "block_size"))
def _nearest(image_inputs, text_inputs, neighbours, block_size):
    n = len(image_inputs)
    image, text = (distances.unit_length(x) for x in (image_inputs, text_inputs))

    def block(rows):
        similarity = _similarity(image[rows], text[rows], image, text)
        # Its own nearest, whatever rounding says and also where its inputs are zero.
        similarity = similarity.at[jnp.arange(block_size), rows].set(jnp.inf)
        nearest, columns = jax.lax.top_k(similarity, neighbours)
        return columns, jnp.maximum(nearest.at[:, 0].set(1), 0)

    rows = jnp.resize(jnp.arange(n), (-(-n // block_size), block_size))
    columns, weights = (of.reshape(-1, neighbours)[:n] for of in jax.lax.map(block, rows))
    return columns, weights / jnp.linalg.norm(weights, axis=1, keepdims=True)
