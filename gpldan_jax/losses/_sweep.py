"""The loss in tiles: memory linear in the mini-batch, gradients in the forward pass, one device or many.

Images and texts of two blocks of t pairs make one tile of `[2 t, 2 t]` distances, which is symmetric as a whole, so
tiles on and above the diagonal suffice. Given the mean of `d_ori` (a sweep of its own) the loss is a sum over pairs,
and a tile's share of the loss and of every gradient is computed and added in one sweep. The gradient is accumulated
with respect to the lifted representations and their gram, in the arrays that become the result, and taken back to the
representations once at the end.

Over devices each device holds a block of the pairs (it is their host) and meets half of the other blocks as guests:
copies travel around a ring together with the gradients accumulated for them, which return to their host. No device
sees more than its own share, one guest and a tile.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import _tiles, distances
from gpldan_jax.losses._tiles import Pairs, Statistics, TermSums, Tiling


class SweepPlan(NamedTuple):
    """How to compute; hashable.

    Attributes:
        block_size: pairs in a tile, at most.
        discrepancy: rho of Eq. 6; `None` for a loss without it.
        matmul_config: of the large matrix products.
        mesh: devices that share the pairs, or `None`.
        axis: the axes of the mesh that the pairs are spread over.
    """

    block_size: int
    discrepancy: str | None
    matmul_config: distances.MatmulConfig
    mesh: jax.sharding.Mesh | None = None
    axis: tuple[str, ...] | None = None


class Gradient(NamedTuple):
    """Gradients while they are accumulated: those of `image` and `text` are of the lifted representations.

    Attributes:
        image: `[n, k, h]`.
        text: `[n, k, h]`.
        image_attention: `[n, k]`.
        text_attention: `[n, k]`.
        gram: `[g, 2, n]`.
    """

    image: jax.Array
    text: jax.Array
    image_attention: jax.Array
    text_attention: jax.Array
    gram: jax.Array


def reshard(arrays, plan: SweepPlan):
    """The arrays with their rows over the axes of the plan, where the mesh wants that said; else XLA sees to it."""
    if plan.mesh is None or jax.sharding.AxisType.Explicit not in plan.mesh.axis_types:
        return arrays
    return jax.sharding.reshard(arrays, jax.sharding.NamedSharding(plan.mesh, jax.sharding.PartitionSpec(plan.axis)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def loss_and_terms(pairs: Pairs, alpha, beta, plan: SweepPlan):
    """The loss of Eq. 9 and its three terms, scalars. Differentiable once, in reverse, in features and weights."""
    terms, _ = _terms_and_gradient(pairs, None, plan)
    return _weighted(terms, alpha, beta), terms


def _forward(pairs, alpha, beta, plan):
    pairs, alpha, beta = jax.tree.map(lambda x: x.value, (pairs, alpha, beta))
    terms, gradient = _terms_and_gradient(pairs, (1.0, alpha, beta), plan)
    return (_weighted(terms, alpha, beta), terms), (gradient, terms, pairs, alpha, beta)


def _backward(plan, residuals, cotangents):
    gradient, (_, unpaired, mutual), pairs, alpha, beta = residuals
    is_zero = [isinstance(x, jax.custom_derivatives.SymbolicZero) for x in jax.tree.leaves(cotangents)]
    of_loss, *of_terms = (0.0 if zero else x for zero, x in zip(is_zero, jax.tree.leaves(cotangents), strict=True))

    def of_the_loss():
        return jax.tree.map(lambda x: of_loss * x, gradient)

    def of_single_terms():  # one more sweep, with the weights that this gives
        weights = (of_loss + of_terms[0], of_loss * alpha + of_terms[1], of_loss * beta + of_terms[2])
        return _terms_and_gradient(pairs, weights, plan)[1]

    if all(is_zero[1:]):
        gradient = of_the_loss()
    else:  # the terms that a scan hands on come with zeros, too
        gradient = jax.lax.cond(jnp.any(jnp.stack(of_terms) != 0), of_single_terms, of_the_loss)
    return Pairs(*gradient, None, None, None), of_loss * unpaired, of_loss * mutual


loss_and_terms.defvjp(_forward, _backward, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _terms_and_gradient(pairs, weights, plan):
    """The terms, and the gradient of their weighted sum; `None` for no weights."""
    if plan.mesh is None:
        return _sweep(pairs, weights, plan)
    sharded = jax.sharding.PartitionSpec(plan.axis)
    replicated = jax.sharding.PartitionSpec()
    return jax.shard_map(
        functools.partial(_sweep, plan=plan),
        mesh=plan.mesh,
        in_specs=(sharded, replicated),
        out_specs=(replicated, sharded),
        check_vma=False,
    )(pairs, weights)


@_terms_and_gradient.defjvp
def _no_second_derivative(plan, primals, tangents):
    raise NotImplementedError(
        "this implementation of the graph pattern loss has first derivatives only; "
        "implementation='dense' has derivatives of every order"
    )


def _weighted(terms, alpha, beta):
    pairwise, unpaired, mutual = terms
    return pairwise + alpha * unpaired + beta * mutual


class _Side(NamedTuple):
    """A device's share of the pairs."""

    pairs: Pairs
    statistics: Statistics


class _Task(NamedTuple):
    """What stays the same during a sweep.

    Attributes:
        host: the device's own share.
        target_scale: one over the mean of `d_ori`.
        weights: of the unpaired, mutual and pairwise sums; `None` where no gradient is wanted.
        plan: how to compute.
    """

    host: _Side
    target_scale: jax.Array
    weights: tuple[jax.Array, jax.Array, jax.Array] | None
    plan: SweepPlan


class _Row(NamedTuple):
    """Block i of the host, as the rows of tiles."""

    i: jax.Array
    instances: _tiles.Instances
    expanded: jax.Array
    unit_inputs: list[jax.Array]
    is_counted: jax.Array


def _sweep(pairs: Pairs, weights, plan: SweepPlan):
    """`_terms_and_gradient` on one device, or on one of several with its share of the pairs."""
    n, dtype = len(pairs.image), pairs.image.dtype
    halves, wholes = _tiles.tilings(n, plan.block_size)
    host = _Side(pairs, _tiles.instance_statistics(pairs, halves))
    is_present = jnp.ones(n, bool) if pairs.where is None else pairs.where
    # As floats: n^2 does not fit into 32 bits from n = 46,341 on.
    number = jnp.maximum(_sum_over_devices(is_present.sum(dtype=dtype), plan), 1)
    target_scale = _target_scale(host, number, wholes, plan)
    gradient = None
    if weights is not None:
        weights = (weights[1] / number**2, weights[2] / number**2, weights[0] / number)
        gradient = Gradient(*(jnp.zeros_like(x) for x in (*pairs[:4], host.statistics.gram)))
    task = _Task(host, target_scale, weights, plan)
    # A block with itself: its halves with themselves and with each other, for a tile with itself is computed twice.
    sums, _, gradient = _meet(
        task,
        host,
        halves,
        (None, gradient),
        first=lambda i: i + 1,
        stop=lambda i: jnp.minimum(i // 2 * 2 + 2, halves.count),
        own=True,
    )
    if wholes.count > 1:
        others, _, gradient = _meet(task, host, wholes, (None, gradient), first=lambda i: i + 1)
        sums += others
    if _devices(plan) > 1:
        sums, gradient = _meet_guests(task, wholes, sums, gradient)
    pairwise, unpaired, mutual = _sum_over_devices(sums, plan)
    terms = (pairwise / number, unpaired / number**2, mutual / number**2)
    return terms, None if gradient is None else _unlift_gradient(gradient, host, halves)


def _meet_guests(task, tiling, sums, gradient):
    """The host's blocks with those of half of the other devices, which pass by in a ring."""
    devices = _devices(task.plan)
    steps = devices // 2

    def step(r, carry):
        sums, gradient, guest, of_guest = carry
        guest, of_guest = _shift((guest, of_guest), 1, task.plan)
        each_once = 2 * r == devices  # opposite each other in the ring, both meet
        others, gradient, of_guest = _meet(
            task, guest, tiling, (gradient, of_guest), first=lambda i: jnp.where(each_once, i, 0), each_once=each_once
        )
        return sums + others, gradient, guest, of_guest

    carry = (sums, gradient, task.host, jax.tree.map(jnp.zeros_like, gradient))
    sums, gradient, _, of_guest = jax.lax.fori_loop(1, steps + 1, step, carry)
    return sums, jax.tree.map(jnp.add, gradient, _shift(of_guest, -steps, task.plan))


def _meet(task: _Task, guest: _Side, tiling: Tiling, gradients, first, stop=None, each_once=False, own=False):
    """The host's blocks i, as rows, with the guest's blocks `first(i)` to `stop(i)`, and with themselves for `own`.

    Gradients are added to those of the host and the guest; the host's are `None` where the guest is the host itself.
    """
    dtype = task.host.pairs.image.dtype

    def row(i, carry):
        stop_i = None if stop is None else stop(i)
        return _meet_row(task, guest, tiling, i, carry, (first(i), stop_i), each_once, own)

    quadrants = jnp.zeros((2, tiling.size, 2, tiling.size), dtype)
    sums = TermSums(jnp.zeros(tiling.size, dtype), quadrants, quadrants)
    sums, of_host, of_guest = tiling.each(row, (sums, *gradients))
    return jnp.stack([x.sum() for x in sums]), of_host, of_guest


def _meet_row(task, guest, tiling, i, carry, columns, each_once, own):
    """Block i of the host with the guest's blocks from `columns[0]` to `columns[1]`."""
    sums, of_host, of_guest = carry
    row = _read_row(task.host, tiling, i)

    def column(j, carry):
        sums, of_guest, of_row = carry
        instances = _tiles.read_instances(*guest, tiling, j)
        share = _share(each_once, i, j)
        tile, of_rows, of_columns = _compute_tile(task, guest, tiling, row, j, instances, share)
        sums = sums._replace(unpaired=sums.unpaired + share * tile.unpaired, mutual=sums.mutual + share * tile.mutual)
        return sums, _accumulate(of_guest, of_columns, tiling, j), jax.tree.map(jnp.add, of_row, of_rows)

    of_row = None if task.weights is None else jax.tree.map(jnp.zeros_like, row.instances)
    if own:
        tile, _, of_row = _compute_tile(task, guest, tiling, row, i, row.instances, 1, own=True)
        sums = TermSums(
            pairwise=sums.pairwise + jnp.where(row.is_counted, tile.pairwise, 0),
            unpaired=sums.unpaired + tile.unpaired / 2,
            mutual=sums.mutual + tile.mutual / 2,
        )
    sums, of_guest, of_row = tiling.each(column, (sums, of_guest, of_row), *columns)
    if of_host is None:
        return sums, None, _accumulate(of_guest, of_row, tiling, i)
    return sums, _accumulate(of_host, of_row, tiling, i), of_guest


def _read_row(host, tiling, i):
    instances = _tiles.read_instances(*host, tiling, i)
    return _Row(
        i,
        instances,
        _tiles.expand(instances.lifted, instances.attention),
        _tiles.read_unit_inputs(*host, tiling, i),
        _tiles.is_counted(host.pairs, tiling, i),
    )


def _compute_tile(task, guest, tiling, row, j, columns, share, own=False):
    """The terms of one tile and, where the task has weights, the gradients of its rows and columns."""
    matmul_config, discrepancy = task.plan.matmul_config, distances.DISCREPANCIES[task.plan.discrepancy]
    counted = _counted(row.is_counted, row.i, guest.pairs, tiling, j, own)
    original = _tiles.original_distances(row.unit_inputs, *guest, counted, tiling, j, matmul_config)
    target = original * task.target_scale
    arguments = (row.expanded, row.instances, columns, target, counted, discrepancy, matmul_config)
    if task.weights is None:
        return _tiles.tile_terms(*arguments), None, None
    unpaired, mutual, pairwise = task.weights
    weights = (unpaired * share, mutual * share, jnp.where(row.is_counted, pairwise, 0))
    return _tiles.tile_gradients(*arguments, weights, own)


def _counted(rows_counted, i, guest_pairs, tiling, j, own):
    """The pairs of a tile that count: present, in no tile before and, among our own, not of an instance with itself."""
    counted = _tiles.is_counted(guest_pairs, tiling, j)[:, None] & rows_counted[None, :]
    if own:
        counted &= tiling.rows(j)[:, None] != tiling.rows(i)[None, :]
    return counted


def _accumulate(gradient, of_block, tiling, i):
    """The gradient with that of the instances of block i added."""
    if gradient is None:
        return None

    def add(x, new, axis=0):
        return tiling.put(x, tiling.take(x, i, axis) + new, i, axis)

    (image, text), (image_attention, text_attention) = jnp.split(of_block.lifted, 2), jnp.split(of_block.attention, 2)
    return Gradient(
        add(gradient.image, image),
        add(gradient.text, text),
        add(gradient.image_attention, image_attention),
        add(gradient.text_attention, text_attention),
        add(gradient.gram, of_block.gram.reshape(-1, 2, tiling.size), axis=2),
    )


def _unlift_gradient(gradient, host, tiling):
    """The gradient with respect to images, texts and their attention, of what `_accumulate` has added up."""

    def block(i, gradient):
        representations, attention = _tiles.read_representations(host.pairs, tiling, i)
        magnitudes = tiling.take(host.statistics.magnitudes, i, 1).reshape(-1)
        lifted, pull = jax.vjp(lambda x, a: distances.lift(x, a, magnitudes), representations, attention)
        of_gram = tiling.take(gradient.gram, i, 2).reshape(len(gradient.gram), -1)
        of_lifted = jnp.concatenate([tiling.take(gradient.image, i), tiling.take(gradient.text, i)])
        of_features, of_attention = pull(of_lifted + _tiles.representation_gram_gradient(of_gram, lifted))
        of_attention += jnp.concatenate(
            [tiling.take(gradient.image_attention, i), tiling.take(gradient.text_attention, i)]
        )

        def put(x, new):  # rows of the block before are done
            is_new = tiling.is_new(i).reshape(-1, *[1] * (x.ndim - 1))
            return tiling.put(x, jnp.where(is_new, new, tiling.take(x, i)), i)

        news = (*jnp.split(of_features, 2), *jnp.split(of_attention, 2))
        return Gradient(*(put(x, new) for x, new in zip(gradient[:4], news, strict=True)), gradient.gram)

    return tuple(tiling.each(block, gradient)[:4])


def _target_scale(host, number, tiling, plan):
    """One over the mean of `d_ori` over i != j (Eq. 6); 1 where all are 0."""
    # The inputs alone travel.
    inputs = host.pairs._replace(image=None, text=None, image_attention=None, text_attention=None)
    guest = _Side(inputs, host.statistics)
    total = jnp.zeros((tiling.size, tiling.size), host.pairs.image.dtype)
    total = _add_original_distances(total, host, guest, tiling, plan, own=True, each_once=True)
    if _devices(plan) > 1:

        def step(r, carry):
            total, guest = carry
            guest = _shift(guest, 1, plan)
            each_once = 2 * r == _devices(plan)
            return _add_original_distances(total, host, guest, tiling, plan, own=False, each_once=each_once), guest

        total, _ = jax.lax.fori_loop(1, _devices(plan) // 2 + 1, step, (total, guest))
    mean = _sum_over_devices(total.sum(), plan) / jnp.maximum(number * (number - 1), 1)
    return 1 / jnp.where(mean > 0, mean, 1)


def _add_original_distances(total, host, guest, tiling, plan, *, own, each_once):
    """`total` plus twice `d_ori` of the host's and the guest's blocks, tile upon tile: `[t, t]`."""

    def row(i, total):
        inputs = _tiles.read_unit_inputs(*host, tiling, i)
        rows_counted = _tiles.is_counted(host.pairs, tiling, i)

        def column(j, total):
            counted = _counted(rows_counted, i, guest.pairs, tiling, j, own)
            original = _tiles.original_distances(inputs, *guest, counted, tiling, j, plan.matmul_config)
            return total + 2 * _share(each_once, i, j) * original

        return tiling.each(column, total, jnp.where(each_once, i, 0))

    return tiling.each(row, total)


def _share(each_once, i, j):
    """A half for tiles that come up twice: a block with itself, or as the guest of the block that is its guest."""
    return jnp.where(each_once & (i == j), 0.5, 1.0)


def _devices(plan) -> int:
    if plan.mesh is None:
        return 1
    return math.prod(plan.mesh.shape[axis] for axis in plan.axis)


def _sum_over_devices(x, plan):
    return x if plan.mesh is None else jax.lax.psum(x, plan.axis)


def _shift(tree, steps, plan):
    """Device i gets what device i + `steps` has."""
    size = _devices(plan)
    permutation = [(i, (i - steps) % size) for i in range(size)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, plan.axis, permutation), tree)
