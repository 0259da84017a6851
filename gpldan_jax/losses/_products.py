"""The large matrix products of a tile: each at once, or in a loop, over the k representations or over parts of a width.

At once is fastest where memory is read through caches. A compiler for TPUs takes most of its time for such products:
the larger a product, the longer its program, and in float32 it is computed in six passes. The loop has one product of a
part of the size.

Letters: as in `_tiles`. `columns: [s, k h]` are the lifted representations of the columns; `expanded: [k, s, k h]` is
`_tiles.expand` of the rows; `inner: [s, s]`, columns first, is the derivative by the inner products of `parts`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gpldan_jax.losses.distances import MatmulConfig, matmul

_WIDTH = 1024  # of inputs that are multiplied at once in a loop


def of_inputs(columns, rows, config: MatmulConfig):
    """All inner products of inputs `[s, d]`: `[s, s]`, columns first."""
    count = columns.shape[1] // _WIDTH
    if not config.looped or count < 2:
        return matmul(columns, rows, (1, 1), config)

    def add(total, i):
        columns_i, rows_i = (jax.lax.dynamic_slice_in_dim(x, i * _WIDTH, _WIDTH, 1) for x in (columns, rows))
        return total + matmul(columns_i, rows_i, (1, 1), config), None

    rest = slice(count * _WIDTH, None)
    start = matmul(columns[:, rest], rows[:, rest], (1, 1), config)  # zeros where nothing is left
    return jax.lax.scan(add, start, jnp.arange(count))[0]


def parts(columns, expanded, config: MatmulConfig) -> Sequence[jax.Array]:
    """The k products `sum_b a_ib x'_ia . y'_jb`, whose sum with weights `b_ja` is the inner product: `[s, s]` each."""
    k, s, _ = expanded.shape
    if config.looped:
        return jax.lax.map(lambda part: matmul(columns, part, (1, 1), config), expanded)
    whole = matmul(columns, expanded.reshape(k * s, -1), (1, 1), config).reshape(s, k, s)
    return [whole[:, a] for a in range(k)]


def of_columns(inner, attention, expanded, config: MatmulConfig):
    """The derivative by the representations of the columns, whose attention is `[s, k]`: `[s, k h]`."""
    k, s, _ = expanded.shape
    if not config.looped:
        return matmul(_weighted(inner, attention), expanded.reshape(k * s, -1), (1, 0), config)

    def add(total, part):
        weights, expanded = part
        return total + matmul(inner * weights[:, None], expanded, (1, 0), config), None

    return jax.lax.scan(add, jnp.zeros_like(expanded[0]), (attention.T, expanded))[0]


def of_rows(inner, attention, columns, lifted, row_attention, config: MatmulConfig):
    """The derivatives by the lifted representations of the rows `[s, k, h]` and by their attention `[s, k]`.

    Args:
        inner: `[s, s]`.
        attention: `[s, k]`, of the columns.
        columns: `[s, k h]`.
        lifted: `[s, k, h]`, of the rows.
        row_attention: `[s, k]`.
        config: how to multiply.
    """
    s, k, _ = lifted.shape

    def of_one(of_expanded, lifted):  # the derivative by one of `expanded`, `[s, k, h]`
        of_lifted = sum(of_expanded[:, b] * row_attention[:, b, None] for b in range(k))
        return of_lifted, of_expanded * lifted[:, None, :]

    if config.looped:

        def add(total, part):
            weights, lifted = part
            of_expanded = matmul(inner * weights[:, None], columns, (0, 0), config).reshape(s, k, -1)
            of_lifted, products = of_one(of_expanded, lifted)
            return total + products.sum(-1), of_lifted

        of_attention, of_lifted = jax.lax.scan(add, jnp.zeros_like(row_attention), (attention.T, lifted.swapaxes(0, 1)))
        return of_lifted.swapaxes(0, 1), of_attention
    of_expanded = matmul(_weighted(inner, attention), columns, (0, 0), config).reshape(k, s, k, -1)
    found = [of_one(of_expanded[a], lifted[:, a]) for a in range(k)]
    return jnp.stack([of_lifted for of_lifted, _ in found], 1), sum(products for _, products in found).sum(-1)


def _weighted(inner, attention):
    """`inner` times each weight of the columns: `[s, k s]`."""
    return (inner[:, None] * attention[:, :, None]).reshape(len(inner), -1)
