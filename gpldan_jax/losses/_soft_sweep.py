"""The soft contrastive loss in tiles: memory linear in the mini-batch, gradients in the forward pass.

A softmax needs the sum of its row before any of its gradients, so there are two sweeps over the tiles. The first finds,
for each instance and each modality of the others, the log-sum-exp of its logits, the sum of its targets and their mean
distance; the loss follows from these. The second has the derivative of each distance,

    dloss / dl(x, y) = s [target_x(y) - softmax_x(y) + target_y(x) - softmax_y(x)] weight,

and `_tiles.pull_back` takes it to the instances. Where a single tile holds all pairs, it is computed once.

Letters: as in `_tiles`. An array `[2, 2, n]` has the modality of the others first, then that of the instance itself.
The quadrants of a tile are `[t, t]`, by the modality of the column, then of the row. The logits are `-s l` instead of
`s c`; a softmax does not tell them apart.
"""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import _sweep, _tiles, distances
from gpldan_jax.losses._sweep import Side, SweepPlan
from gpldan_jax.losses._tiles import Pairs, Tiling


class Graph(NamedTuple):
    """What the targets are made from, of n pairs.

    Attributes:
        similarity: `[n, n]`; `None` where there are rows.
        rows: `[n, d]`, whose inner products are the similarity; or `None`.
        groups: `[n]` whole numbers, or `None`.
    """

    similarity: Any
    rows: Any
    groups: Any


class Weights(NamedTuple):
    """Scalars in the dtype of the loss."""

    scale: Any
    within: Any
    own: Any


class _Extra(NamedTuple):
    """What the loss knows of each pair; `shares` in the second sweep."""

    graph: Graph
    shares: Any = None


class _Sums(NamedTuple):
    """What the first sweep finds for each instance.

    Attributes:
        normalizer: `[2, 2, n]`, log-sum-exp of the logits.
        distance: `[2, 2, n]`, sum over the others of `W_ij l`.
        weight: `[n]`, sum over the others of `W_ij`, without j = i.
    """

    normalizer: jax.Array
    distance: jax.Array
    weight: jax.Array


class _Shares(NamedTuple):
    """What the derivatives of the loss need of each instance, all `[2, 2, n]`.

    Attributes:
        normalizer: as in `_Sums`.
        of_softmax: the weight of its term in the loss.
        of_target: the same over the sum of its `W_ij`.
    """

    normalizer: jax.Array
    of_softmax: jax.Array
    of_target: jax.Array


class _Entries(NamedTuple):
    """The targets of a tile, columns first, before the division by the sums of their rows.

    Attributes:
        across: `[t, t]` bool, what counts between modalities.
        within: `[t, t]` bool, what counts within a modality, where a pair does not meet itself.
        of_rows: `[t, t]`, `W_ij` with i the pair of the row of the tile; 0 where not counted.
        of_columns: `[t, t]`, with i the pair of the column.
    """

    across: jax.Array
    within: jax.Array
    of_rows: jax.Array
    of_columns: jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def blocked_loss(pairs: Pairs, graph: Graph, weights: Weights, plan: SweepPlan):
    """The loss, a scalar. Differentiable once, in reverse, in features, attention, `scale` and `within`."""
    return _loss_and_gradient(pairs, graph, weights, plan, False)[0]


def _forward(pairs, graph, weights, plan):
    return _loss_and_gradient(pairs, graph, weights, plan, True)


def _backward(plan, gradient, cotangent):
    of_features, of_scale, of_within = jax.tree.map(lambda x: cotangent * x, gradient)
    return Pairs(*of_features, None, None, None), None, Weights(of_scale, of_within, None)


blocked_loss.defvjp(_forward, _backward)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _loss_and_gradient(pairs, graph, weights, plan, has_gradient):
    """The loss and, if wanted, its gradients in features and attention, in `scale` and in `within`; else `None`."""
    sweep = functools.partial(_sweep_twice, plan=plan, has_gradient=has_gradient)
    if plan.mesh is None:
        return sweep(pairs, graph, weights)
    sharded, replicated = jax.sharding.PartitionSpec(plan.axis), jax.sharding.PartitionSpec()
    return jax.shard_map(
        sweep,
        mesh=plan.mesh,
        in_specs=(sharded, sharded, replicated),
        out_specs=(replicated, (sharded, replicated, replicated) if has_gradient else replicated),
        check_vma=False,
    )(pairs, graph, weights)


@_loss_and_gradient.defjvp
def _no_second_derivative(plan, has_gradient, primals, tangents):
    raise NotImplementedError(
        "this implementation of the soft contrastive loss has first derivatives only; "
        "implementation='dense' has derivatives of every order"
    )


def _sweep_twice(pairs, graph, weights, plan, has_gradient):
    """`_loss_and_gradient` on one device, or on one of several with its share of the pairs."""
    n = len(pairs.image)
    is_one_tile = _sweep.devices_of(plan) == 1 and n <= plan.block_size
    tilings = (Tiling(n, n, 1),) * 2 if is_one_tile else plan.tilings(n)
    host = Side(pairs, _tiles.instance_statistics(pairs, tilings[0]), _Extra(graph))
    if is_one_tile:
        loss, inner, gradient, of_scale = _one_tile(host, tilings[0], weights, plan, has_gradient)
    else:
        sums = _first_sweep(host, tilings, weights, plan)
        loss, inner, shares = _loss_of_sums(sums, pairs, weights, plan)
        if has_gradient:
            host = host._replace(extra=_Extra(graph, shares))
            gradient, of_scale = _second_sweep(host, tilings, weights, plan)
    if not has_gradient:
        return loss, None
    return loss, (_sweep.unlift_gradient(gradient, host, tilings[0]), of_scale, inner)


def _one_tile(host, tiling, weights, plan, has_gradient):
    row = _sweep.read_row(host, tiling, 0, _read_extra, plan.matmul_config)
    entries = _entries(row, host, tiling, 0, weights, plan, own=True)
    tile = _tiles.tile_distances(row.expanded, row.instances, row.instances, plan.matmul_config)
    quadrants = _quadrants(tile.distance)
    sums = _sums(quadrants, entries, weights, over=0)
    loss, inner, shares = _loss_of_sums(sums, host.pairs, weights, plan)
    if not has_gradient:
        return loss, inner, None, None
    slope = _slope(quadrants, entries, shares, None, weights)
    _, of_block = _tiles.pull_back(
        weights.scale * slope,
        tile,
        row.expanded,
        row.instances,
        row.instances,
        plan.matmul_config,
        own=True,
    )
    gradient = _sweep.accumulate(_sweep.no_gradient(host), of_block, tiling, 0)
    return loss, inner, gradient, (slope * tile.distance).sum() / 2


def _first_sweep(host, tilings, weights, plan):
    def visit(sums, row, guest, tiling, j, columns, share, own):
        entries = _entries(row, guest, tiling, j, weights, plan, own)
        tile = _tiles.tile_distances(row.expanded, row.instances, columns, plan.matmul_config)
        quadrants = _quadrants(tile.distance)
        of_rows = _sums(quadrants, entries, weights, share, over=0)
        if own:  # which as columns find the same
            return sums, None, of_rows
        return sums, of_rows, _sums(quadrants, entries, weights, share, over=1)

    dtype, n = host.pairs.image.dtype, len(host.pairs.image)
    job = _sweep.Job(
        read=_read_extra,
        start=lambda tiling: (),
        visit=visit,
        empty=lambda instances: _no_sums(len(instances.lifted) // 2, dtype),
        merge=_merge,
        put=_put,
        matmul_config=plan.matmul_config,
    )
    return _sweep.sweep_tiles(job, host, tilings, _no_sums(n, dtype), plan)[1]


def _second_sweep(host, tilings, weights, plan):
    """The gradient, still of lifted representations, and the derivative by `scale`."""

    def visit(sums, row, guest, tiling, j, columns, share, own):
        entries = _entries(row, guest, tiling, j, weights, plan, own)
        tile = _tiles.tile_distances(row.expanded, row.instances, columns, plan.matmul_config)
        of_columns = None if own else _take_shares(guest, tiling, j)
        slope = _slope(_quadrants(tile.distance), entries, row.extra.shares, of_columns, weights) * share
        found = _tiles.pull_back(
            weights.scale * slope,
            tile,
            row.expanded,
            row.instances,
            columns,
            plan.matmul_config,
            own,
        )
        each_pair = 0.5 if own else 1.0
        return (sums[0] + each_pair * slope * tile.distance,), *found

    job = _sweep.Job(
        read=_read_extra,
        start=lambda tiling: (jnp.zeros((2 * tiling.size, 2 * tiling.size), host.pairs.image.dtype),),
        visit=visit,
        empty=lambda instances: jax.tree.map(jnp.zeros_like, instances),
        merge=_sweep.add,
        put=_sweep.accumulate,
        matmul_config=plan.matmul_config,
    )
    sums, gradient = _sweep.sweep_tiles(job, host, tilings, _sweep.no_gradient(host), plan)
    return gradient, _sweep.sum_over_devices(sums[0], plan)


def _quadrants(distance):
    """The quadrants of a tile `[s, s]`."""
    image, text = jnp.split(distance, 2)
    return jnp.split(image, 2, 1), jnp.split(text, 2, 1)


def _read_extra(side, tiling, i) -> _Extra:
    """Block i of what is known of each pair, as far as it has a row for each."""
    rows, groups = (None if x is None else tiling.take(x, i) for x in (side.extra.graph.rows, side.extra.graph.groups))
    return _Extra(Graph(None, rows, groups), _take_shares(side, tiling, i))


def _take_shares(side, tiling, i):
    return jax.tree.map(lambda x: tiling.take(x, i, 2), side.extra.shares)


def _entries(row, guest, tiling, j, weights, plan, own) -> _Entries:
    """The targets of the tile of a row of blocks with block j of the guest; `own` where they are the same block."""
    graph = guest.extra.graph
    if graph.similarity is None:
        of_rows = distances.matmul(tiling.take(graph.rows, j), row.extra.graph.rows, (1, 1), plan.matmul_config)
        of_columns = None  # the same
    else:  # there are no guests from other devices then
        of_rows = tiling.take(tiling.take(graph.similarity, row.i, 0), j, 1).T
        of_columns = tiling.take(tiling.take(graph.similarity, j, 0), row.i, 1)
    counted = _tiles.is_counted(guest.pairs, tiling, j)[:, None] & row.is_counted[None, :]
    is_self = jnp.eye(tiling.size, dtype=bool) & own
    is_partner = is_self
    if graph.groups is not None:
        is_partner = is_self | (tiling.take(graph.groups, j)[:, None] == row.extra.graph.groups[None, :])

    def weight(similarity):
        return jnp.where(counted, jnp.where(is_partner, weights.own, jnp.maximum(similarity, 0)), 0)

    of_rows = weight(of_rows)
    return _Entries(counted, counted & ~is_self, of_rows, of_rows if of_columns is None else weight(of_columns))


def _sums(quadrants, entries, weights, share=1.0, *, over) -> _Sums:
    """The sums of the rows, over the columns (0), or of the columns, over the rows (1), as often as `share` says."""
    targets = (entries.of_rows, entries.of_columns)[over]
    normalizers, sums = [], []
    for others, own in itertools.product(range(2), repeat=2):
        distance = quadrants[own][others] if over else quadrants[others][own]
        counted = entries.within if others == own else entries.across
        logits = jnp.where(counted, -weights.scale * distance, jnp.finfo(distance.dtype).min)
        highest = logits.max(over, keepdims=True)
        normalizers.append(highest.squeeze(over) + jnp.log(jnp.exp(logits - highest).sum(over)))
        sums.append(jnp.where(counted, targets * distance, 0).sum(over))
    normalizer, distance = (jnp.stack(x).reshape(2, 2, -1) for x in (normalizers, sums))
    weight = jnp.where(entries.within, targets, 0).sum(over)
    return _Sums(normalizer + jnp.log(jnp.asarray(share, distance.dtype)), share * distance, share * weight)


def _loss_of_sums(sums: _Sums, pairs, weights, plan):
    """The loss, its terms within modalities before their weight, and what the second sweep needs."""
    is_cross = ~jnp.eye(2, dtype=bool)[:, :, None]
    is_present = jnp.ones(len(pairs.image), bool) if pairs.where is None else pairs.where
    of_pair = 1 / (2 * _sweep.number_present(pairs, plan))
    total = sums.weight + jnp.where(is_cross, weights.own, 0)
    has_target = (total > 0) & is_present
    total = jnp.where(has_target, total, 1)
    entropy = of_pair * jnp.where(has_target, sums.normalizer + weights.scale * sums.distance / total, 0)
    cross, inner = (
        _sweep.sum_over_devices(jnp.where(which, entropy, 0).sum(), plan) for which in (is_cross, ~is_cross)
    )
    of_softmax = jnp.where(has_target, of_pair * jnp.where(is_cross, 1, weights.within), 0)
    return cross + weights.within * inner, inner, _Shares(sums.normalizer, of_softmax, of_softmax / total)


def _slope(quadrants, entries, of_rows: _Shares, of_columns: _Shares | None, weights):
    """The derivative of the loss by the distances over `scale`, `[s, s]`; no `of_columns` where they are the rows."""

    def halves(targets, shares, axis):
        def half(column, row):
            others, own = (row, column) if axis else (column, row)
            normalizer, of_softmax, of_target = (jnp.expand_dims(share[others, own], axis) for share in shares)
            softmax = jnp.exp(-weights.scale * quadrants[column][row] - normalizer)
            return of_target * targets - of_softmax * softmax

        return [[half(column, row) for row in range(2)] for column in range(2)]

    rows = halves(entries.of_rows, of_rows, 0)
    if of_columns is None:
        columns = [[rows[row][column].T for row in range(2)] for column in range(2)]
    else:
        columns = halves(entries.of_columns, of_columns, 1)

    def slope(column, row):
        counted = entries.within if column == row else entries.across
        return jnp.where(counted, rows[column][row] + columns[column][row], 0)

    return jnp.block([[slope(column, row) for row in range(2)] for column in range(2)])


def _no_sums(n, dtype) -> _Sums:
    return _Sums(jnp.full((2, 2, n), jnp.finfo(dtype).min, dtype), jnp.zeros((2, 2, n), dtype), jnp.zeros(n, dtype))


def _merge(found: _Sums, other: _Sums) -> _Sums:
    return _Sums(
        jnp.logaddexp(found.normalizer, other.normalizer),
        found.distance + other.distance,
        found.weight + other.weight,
    )


def _put(found: _Sums, of_block: _Sums, tiling, i) -> _Sums:
    block = _merge(_Sums(*(tiling.take(x, i, x.ndim - 1) for x in found)), of_block)
    return _Sums(*(tiling.put(x, new, i, x.ndim - 1) for x, new in zip(found, block, strict=True)))
