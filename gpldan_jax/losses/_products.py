"""The large matrix products of a tile, in the layout that is fastest on each kind of device.

With `E_ab(i) = a_ib x'_ia` of the rows and `C_ab(j) = b_ja y'_jb` of the columns, the inner product of a pair after
attention is `sum_ab C_ab(j) . E_ab(i)`. `MatmulConfig.layout` says which factors a product has inside:

- `"parts"`: `b_ja` stays outside, so a product has k parts `[s, s]`, which are summed. Tiles that fit the caches of a
  CPU are narrow, and the parts are smaller than `C`.
- `"loop"`: the same, in a loop over the k parts, and inputs in a loop over parts of their width. A compiler for TPUs
  takes most of its time for such products: the larger a product, the longer its program, and in float32 it is computed
  in six passes. A loop has one product of a part of the size.
- `"expanded"`: everything is inside. Arrays are `[s, s]` and `[s, k k h]` only, which is the least memory traffic where
  tiles are wide, as on GPUs.

Letters: as in `_tiles`. `inner: [s, s]`, columns first, is the derivative by the inner products; `expanded` is `expand`
of the rows; `kept` is what `inner_products` keeps for the derivatives.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gpldan_jax.losses.distances import MatmulConfig, matmul

_WIDTH = 1024  # of inputs that are multiplied at once in a loop
_MOST_SUMMED = 16  # terms of an inner product that is no matrix product


def of_inputs(columns, rows, config: MatmulConfig):
    """All inner products of inputs `[s, d]`: `[s, s]`, columns first."""
    count = columns.shape[1] // _WIDTH
    if config.layout != "loop" or count < 2:
        return matmul(columns, rows, (1, 1), config)

    def add(total, i):
        columns_i, rows_i = (jax.lax.dynamic_slice_in_dim(x, i * _WIDTH, _WIDTH, 1) for x in (columns, rows))
        return total + matmul(columns_i, rows_i, (1, 1), config), None

    rest = slice(count * _WIDTH, None)
    start = matmul(columns[:, rest], rows[:, rest], (1, 1), config)  # zeros where nothing is left
    return jax.lax.scan(add, start, jnp.arange(count))[0]


def of_few(columns, rows, config: MatmulConfig):
    """All inner products of short vectors `[g, s]`: `[s, s]`, columns first."""
    if config.layout == "expanded" and len(rows) <= _MOST_SUMMED:
        # XLA computes it inside of what reads it, where a product on a GPU would be written and read again.
        return sum(column[:, None] * row[None, :] for column, row in zip(columns, rows, strict=True))
    return matmul(columns, rows, (0, 0))


def expand(lifted, attention, config: MatmulConfig):
    """`E` of the rows: `[k, s, k h]`, a before i before b; in the layout `"expanded"` `[s, k k h]`."""
    s, k, h = lifted.shape
    if config.layout == "expanded":
        expanded = (lifted[:, :, None] * attention[:, None, :, None]).reshape(s, -1)
        return expanded if config.dtype is None else expanded.astype(config.dtype)
    return (lifted.swapaxes(0, 1)[:, :, None, :] * attention[None, :, :, None]).reshape(k, s, k * h)


def inner_products(lifted, attention, expanded, config: MatmulConfig):
    """The inner products after attention of all columns with all rows, and what their derivatives need.

    Args:
        lifted: `[s, k, h]`, of the columns.
        attention: `[s, k]`, of the columns.
        expanded: of the rows.
        config: how to multiply.

    Returns:
        `[s, s]`, columns first, and what is kept.
    """
    s, k, _ = lifted.shape
    if config.layout == "expanded":
        kept = (attention[:, :, None, None] * lifted[:, None]).reshape(s, -1)
        return matmul(kept, expanded, (1, 1), config), kept
    kept = _parts(lifted.reshape(s, -1), expanded, config)
    return sum(attention[:, a, None] * kept[a] for a in range(k)), kept


def _parts(columns, expanded, config: MatmulConfig) -> Sequence[jax.Array]:
    """The k products `sum_b a_ib x'_ia . y'_jb`: `[s, s]` each."""
    k, s, _ = expanded.shape
    if config.layout == "loop":
        return jax.lax.map(lambda part: matmul(columns, part, (1, 1), config), expanded)
    whole = matmul(columns, expanded.reshape(k * s, -1), (1, 1), config).reshape(s, k, s)
    return [whole[:, a] for a in range(k)]


def of_columns(inner, kept, lifted, attention, expanded, config: MatmulConfig):
    """The derivatives by the lifted representations of the columns `[s, k, h]` and by their attention `[s, k]`.

    Args:
        inner: `[s, s]`.
        kept: of `inner_products`.
        lifted: `[s, k, h]`, of the columns.
        attention: `[s, k]`, of the columns.
        expanded: of the rows.
        config: how to multiply.
    """
    s, k, h = lifted.shape
    if config.layout == "expanded":
        of_kept = matmul(inner, expanded, (1, 0), config).reshape(s, k, k, h)
        return _of_expanded(of_kept.swapaxes(1, 2), lifted, attention)
    of_attention = jnp.stack([(inner * part).sum(1) for part in kept], 1)
    if config.layout == "parts":
        of_lifted = matmul(_weighted(inner, attention), expanded.reshape(k * s, -1), (1, 0), config)
        return of_lifted.reshape(s, k, h), of_attention

    def add(total, part):
        weights, expanded = part
        return total + matmul(inner * weights[:, None], expanded, (1, 0), config), None

    of_lifted = jax.lax.scan(add, jnp.zeros_like(expanded[0]), (attention.T, expanded))[0]
    return of_lifted.reshape(s, k, h), of_attention


def of_rows(inner, kept, column_lifted, column_attention, lifted, attention, config: MatmulConfig):
    """The derivatives by the lifted representations of the rows `[s, k, h]` and by their attention `[s, k]`.

    Args:
        inner: `[s, s]`.
        kept: of `inner_products`.
        column_lifted: `[s, k, h]`.
        column_attention: `[s, k]`.
        lifted: `[s, k, h]`, of the rows.
        attention: `[s, k]`, of the rows.
        config: how to multiply.
    """
    s, k, h = lifted.shape
    if config.layout == "expanded":
        return _of_expanded(matmul(inner, kept, (0, 0), config).reshape(s, k, k, h), lifted, attention)
    columns = column_lifted.reshape(s, -1)

    def of_one(of_expanded, lifted):  # the derivative by one of `expanded`, `[s, k, h]`
        of_lifted = sum(of_expanded[:, b] * attention[:, b, None] for b in range(k))
        return of_lifted, of_expanded * lifted[:, None, :]

    if config.layout == "loop":

        def add(total, part):
            weights, lifted = part
            of_expanded = matmul(inner * weights[:, None], columns, (0, 0), config).reshape(s, k, -1)
            of_lifted, products = of_one(of_expanded, lifted)
            return total + products.sum(-1), of_lifted

        scanned = (column_attention.T, lifted.swapaxes(0, 1))
        of_attention, of_lifted = jax.lax.scan(add, jnp.zeros_like(attention), scanned)
        return of_lifted.swapaxes(0, 1), of_attention
    of_expanded = matmul(_weighted(inner, column_attention), columns, (0, 0), config).reshape(k, s, k, -1)
    found = [of_one(of_expanded[a], lifted[:, a]) for a in range(k)]
    return jnp.stack([of_lifted for of_lifted, _ in found], 1), sum(products for _, products in found).sum(-1)


def _of_expanded(gradient, lifted, attention):
    """The derivatives by both factors of `lifted_a attention_b`, given that of all products, `[s, k, k, h]`."""
    of_lifted = (gradient * attention[:, None, :, None]).sum(2)
    return of_lifted, (gradient * lifted[:, :, None]).sum((1, 3))


def _weighted(inner, attention):
    """`inner` times each weight of the columns: `[s, k s]`."""
    return (inner[:, None] * attention[:, :, None]).reshape(len(inner), -1)
