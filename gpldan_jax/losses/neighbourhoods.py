"""Target distances from neighbourhoods: two pairs are near where they have the same neighbours. Ours, not the paper's.

In high dimensions the distances of unrelated inputs are nearly equal, and so is the target of Eq. 6. Which training
pairs are nearest says more. The rows of `neighbourhood_rows` take the place of both inputs of the graph pattern loss.

Letters: `n` training pairs, `b` pairs of a mini-batch, `m` neighbours; `d_i` and `d_t` widths of the inputs.
"""

import functools

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


@functools.partial(jax.jit, static_argnames=("neighbours", "block_size"))
def _nearest(image_inputs, text_inputs, neighbours, block_size):
    n = len(image_inputs)
    image, text = (distances.unit_length(x) for x in (image_inputs, text_inputs))

    def block(rows):
        similarity = (distances.matmul(image[rows], image, (1, 1)) + distances.matmul(text[rows], text, (1, 1))) / 2
        # Its own nearest, whatever rounding says and also where its inputs are zero.
        similarity = similarity.at[jnp.arange(block_size), rows].set(jnp.inf)
        nearest, columns = jax.lax.top_k(similarity, neighbours)
        return columns, jnp.maximum(nearest.at[:, 0].set(1), 0)

    rows = jnp.resize(jnp.arange(n), (-(-n // block_size), block_size))
    columns, weights = (of.reshape(-1, neighbours)[:n] for of in jax.lax.map(block, rows))
    return columns, weights / jnp.linalg.norm(weights, axis=1, keepdims=True)
