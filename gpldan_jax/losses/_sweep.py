"""Losses in tiles: memory linear in the mini-batch, gradients in the forward pass, one device or many.

Images and texts of two blocks of t pairs make one tile of `[2 t, 2 t]` distances, which is symmetric as a whole, so
tiles on and above the diagonal suffice. `sweep_tiles` visits them, for a loss that says in a `Job` what to do there.
Here is the graph pattern loss; `_soft_sweep` has the soft contrastive loss. Given the mean of `d_ori` (a sweep of its
own) the graph pattern loss is a sum over pairs, and a tile's share of the loss and of every gradient is computed and
added in one sweep. The gradient is accumulated with respect to the lifted representations and their gram, in the arrays
that become the result, and taken back to the representations once at the end.

Over devices each device holds a block of the pairs (it is their host) and meets half of the other blocks as guests:
copies travel around a ring together with the gradients accumulated for them, which return to their host. No device
sees more than its own share, one guest, the next guest, which arrives meanwhile, and a tile.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import _products, _tiles, distances
from gpldan_jax.losses._ring import ring_order
from gpldan_jax.losses._tiles import Pairs, Statistics, TermSums, Tiling

_FULL = 1024  # pairs of a tile that keeps a GPU busy


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

    def tilings(self, n: int) -> tuple[Tiling, Tiling]:
        """Those of `_tiles.tilings`: on a CPU halved, elsewhere not, for half as many kinds of tiles compile sooner."""
        layout, size = self.matmul_config.layout, self.block_size
        if layout == "expanded":  # two blocks have fewer tiles with themselves, which are computed twice
            size = min(size, max(-(-n // 2), _FULL))
        return _tiles.tilings(n, size, halved=layout == "parts")


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


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def terms_and_gradient(pairs, weights, plan):
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


@terms_and_gradient.defjvp
def _no_second_derivative(plan, primals, tangents):
    raise NotImplementedError(
        "this implementation of the graph pattern loss has first derivatives only; "
        "implementation='dense' has derivatives of every order"
    )


class Side(NamedTuple):
    """A device's share of the pairs.

    Attributes:
        pairs: n of them.
        statistics: theirs.
        extra: what else a loss knows of each pair; it travels with them.
    """

    pairs: Pairs
    statistics: Statistics
    extra: Any = None


class Row(NamedTuple):
    """Block i of the host, as the rows of tiles."""

    i: jax.Array
    instances: _tiles.Instances
    expanded: jax.Array
    extra: Any  # what `Job.read` gives
    is_counted: jax.Array


class Job(NamedTuple):
    """What a sweep does with the tiles that it visits.

    Attributes:
        read: `(side, tiling, i)`; what all tiles with block i as their rows need beside its instances.
        start: `(tiling)`; the sums of a sweep before its first tile, a tuple of arrays.
        visit: `(sums, row, guest, tiling, j, columns, share, own)`; the sums with those of one tile, and what it finds
            for its rows and for its columns; for the columns only where the rows are the columns, `own`.
        empty: `(instances)`; what is found for a block before its first tile.
        merge: two findings for the same block or side, as one.
        put: `(found, of_block, tiling, i)`; what is found for a side, with the finding for block i merged into it.
        matmul_config: how to multiply.
    """

    read: Callable
    start: Callable
    visit: Callable
    empty: Callable
    merge: Callable
    put: Callable
    matmul_config: distances.MatmulConfig


class _Task(NamedTuple):
    """What stays the same during the sweep of the graph pattern loss.

    Attributes:
        target_scale: one over the mean of `d_ori`.
        weights: of the unpaired, mutual and pairwise sums; `None` where no gradient is wanted.
        plan: how to compute.
    """

    target_scale: jax.Array
    weights: tuple[jax.Array, jax.Array, jax.Array] | None
    plan: SweepPlan


def _sweep(pairs: Pairs, weights, plan: SweepPlan):
    """`terms_and_gradient` on one device, or on one of several with its share of the pairs."""
    tilings = halves, wholes = plan.tilings(len(pairs.image))
    host = Side(pairs, _tiles.instance_statistics(pairs, halves))
    number = number_present(pairs, plan)
    target_scale = _target_scale(host, number, wholes, plan)
    gradient = None
    if weights is not None:
        weights = (weights[1] / number**2, weights[2] / number**2, weights[0] / number)
        gradient = no_gradient(host)
    job = Job(
        read=lambda side, tiling, i: _tiles.read_unit_inputs(side.pairs, side.statistics, tiling, i),
        start=functools.partial(_no_terms, dtype=pairs.image.dtype),
        visit=functools.partial(_visit_tile, _Task(target_scale, weights, plan)),
        empty=lambda instances: None if weights is None else jax.tree.map(jnp.zeros_like, instances),
        merge=add,
        put=accumulate,
        matmul_config=plan.matmul_config,
    )
    sums, gradient = sweep_tiles(job, host, tilings, gradient, plan)
    pairwise, unpaired, mutual = sum_over_devices(sums, plan)
    terms = (pairwise / number, unpaired / number**2, mutual / number**2)
    return terms, None if gradient is None else unlift_gradient(gradient, host, halves)


def number_present(pairs: Pairs, plan: SweepPlan):
    """How many pairs there are on all devices, at least 1; as a float, for n^2 in 32 bits ends at n = 46,340."""
    is_present = jnp.ones(len(pairs.image), bool) if pairs.where is None else pairs.where
    return jnp.maximum(sum_over_devices(is_present.sum(dtype=pairs.image.dtype), plan), 1)


def sweep_tiles(job: Job, host: Side, tilings: tuple[Tiling, Tiling], found, plan: SweepPlan):
    """Visits each pair of blocks once.

    Args:
        job: what to do there.
        host: the device's own share.
        tilings: those of `_tiles.tilings`.
        found: for the host before the first tile; the guests begin with the same.
        plan: how to compute.

    Returns:
        The sums of this device, `[m]` for m arrays, and what is found for the host.
    """
    halves, wholes = tilings
    # A block with itself: its halves with themselves and with each other, for a tile with itself is computed twice.
    stop = None if halves == wholes else lambda i: jnp.minimum(i // 2 * 2 + 2, halves.count)
    sums, _, of_host = _meet(job, host, host, halves, (None, found), first=lambda i: i + 1, stop=stop, own=True)
    if halves != wholes and wholes.count > 1:
        others, _, of_host = _meet(job, host, host, wholes, (None, of_host), first=lambda i: i + 1)
        sums += others
    if devices_of(plan) > 1:
        sums, of_host = _meet_guests(job, host, wholes, sums, of_host, found, plan)
    return sums, of_host


def _meet_guests(job, host, tiling, sums, of_host, of_guest, plan):
    """The host's blocks with those of half of the other devices, which pass by in a ring."""
    devices = devices_of(plan)
    steps = devices // 2

    def step(r, carry):
        sums, of_host, guest, travelling = carry
        # Neither waits for this step: the guest goes on to the next one, and what earlier hosts found for it arrives.
        following, arrived = _shift((guest, travelling), 1, plan)
        each_once = 2 * r == devices  # opposite each other in the ring, both meet
        others, of_host, found = _meet(
            job,
            host,
            guest,
            tiling,
            (of_host, of_guest),
            first=lambda i: jnp.where(each_once, i, 0),
            each_once=each_once,
        )
        return sums + others, of_host, following, job.merge(arrived, found)

    carry = (sums, of_host, _shift(host, 1, plan), of_guest)
    sums, of_host, _, travelled = jax.lax.fori_loop(1, steps + 1, step, carry)
    return sums, job.merge(of_host, _shift(travelled, -steps, plan))


def _meet(job: Job, host: Side, guest: Side, tiling: Tiling, found, first, stop=None, each_once=False, own=False):
    """The host's blocks i, as rows, with the guest's blocks `first(i)` to `stop(i)`, and with themselves for `own`.

    What is found is merged into that for the host and the guest; the host's is `None` where the guest is the host.
    """

    def row(i, carry):
        stop_i = None if stop is None else stop(i)
        return _meet_row(job, host, guest, tiling, i, carry, (first(i), stop_i), each_once, own)

    sums, of_host, of_guest = tiling.each(row, (job.start(tiling), *found))
    return jnp.stack([x.sum() for x in sums]) if sums else jnp.zeros(0), of_host, of_guest


def _meet_row(job, host, guest, tiling, i, carry, columns, each_once, own):
    """Block i of the host with the guest's blocks from `columns[0]` to `columns[1]`."""
    sums, of_host, of_guest = carry
    row = read_row(host, tiling, i, job.read, job.matmul_config)

    def column(j, carry):
        sums, of_guest, of_row = carry
        instances = _tiles.read_instances(guest.pairs, guest.statistics, tiling, j)
        share = _share(each_once, i, j)
        sums, of_rows, of_columns = job.visit(sums, row, guest, tiling, j, instances, share, False)
        return sums, job.put(of_guest, of_columns, tiling, j), job.merge(of_row, of_rows)

    of_row = job.empty(row.instances)
    if own:
        sums, _, of_row = job.visit(sums, row, guest, tiling, i, row.instances, 1, True)
    sums, of_guest, of_row = tiling.each(column, (sums, of_guest, of_row), *columns)
    if of_host is None:
        return sums, None, job.put(of_guest, of_row, tiling, i)
    return sums, job.put(of_host, of_row, tiling, i), of_guest


def read_row(host: Side, tiling: Tiling, i, read: Callable, matmul_config: distances.MatmulConfig) -> Row:
    """Block i of the host; `read` and `matmul_config` as in `Job`."""
    instances = _tiles.read_instances(host.pairs, host.statistics, tiling, i)
    return Row(
        i,
        instances,
        _products.expand(instances.lifted, instances.attention, matmul_config),
        read(host, tiling, i),
        _tiles.is_counted(host.pairs, tiling, i),
    )


def _no_terms(tiling, dtype):
    of_tile = jnp.zeros((tiling.size, tiling.size), dtype)
    return TermSums(jnp.zeros(tiling.size, dtype), of_tile, of_tile)


def _visit_tile(task, sums, row, guest, tiling, j, columns, share, own):
    """`Job.visit` of the graph pattern loss: what is found are gradients, where the task has weights."""
    matmul_config, discrepancy = task.plan.matmul_config, distances.DISCREPANCIES[task.plan.discrepancy]
    counted = _counted(row.is_counted, row.i, guest.pairs, tiling, j, own)
    original = _tiles.original_distances(row.extra, guest.pairs, guest.statistics, counted, tiling, j, matmul_config)
    target = original * task.target_scale
    arguments = (row.expanded, row.instances, columns, target, counted, discrepancy, matmul_config)
    of_rows = of_columns = None
    if task.weights is None:
        tile = _tiles.tile_terms(*arguments)
    else:
        unpaired, mutual, pairwise = task.weights
        weights = (unpaired * share, mutual * share, jnp.where(row.is_counted, pairwise, 0))
        tile, of_rows, of_columns = _tiles.tile_gradients(*arguments, weights, own)
    if own:
        sums = TermSums(
            pairwise=sums.pairwise + jnp.where(row.is_counted, tile.pairwise, 0),
            unpaired=sums.unpaired + tile.unpaired / 2,
            mutual=sums.mutual + tile.mutual / 2,
        )
    else:
        sums = sums._replace(unpaired=sums.unpaired + share * tile.unpaired, mutual=sums.mutual + share * tile.mutual)
    return sums, of_rows, of_columns


def _counted(rows_counted, i, guest_pairs, tiling, j, own):
    """The pairs of a tile that count: present, in no tile before and, among our own, not of an instance with itself."""
    counted = _tiles.is_counted(guest_pairs, tiling, j)[:, None] & rows_counted[None, :]
    if own:
        counted &= tiling.rows(j)[:, None] != tiling.rows(i)[None, :]
    return counted


def no_gradient(host: Side) -> Gradient:
    """Zeros, to add gradients to."""
    return Gradient(*(jnp.zeros_like(x) for x in (*host.pairs[:4], host.statistics.gram)))


def add(found, other):
    """The sum of two gradients, or `None` for none."""
    return jax.tree.map(jnp.add, found, other)


def accumulate(gradient, of_block, tiling, i):
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


def unlift_gradient(gradient, host, tiling):
    """The gradient with respect to images, texts and their attention, of what `accumulate` has added up."""

    def block(i, gradient):
        representations, attention = _tiles.read_representations(host.pairs, tiling, i)
        magnitudes = tiling.take(host.statistics.magnitudes, i, 1).reshape(-1)
        lifted = distances.lift(representations, attention, magnitudes)
        of_gram = tiling.take(gradient.gram, i, 2).reshape(len(gradient.gram), -1)
        of_lifted = jnp.concatenate([tiling.take(gradient.image, i), tiling.take(gradient.text, i)])
        of_lifted += _tiles.representation_gram_gradient(of_gram, lifted)
        of_features, of_attention = distances.lift_gradient(of_lifted, representations, attention, magnitudes)
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
    guest = Side(inputs, host.statistics)
    total = jnp.zeros((tiling.size, tiling.size), host.pairs.image.dtype)
    total = _add_original_distances(total, host, guest, tiling, plan, own=True, each_once=True)
    if devices_of(plan) > 1:

        def step(r, carry):
            total, guest = carry
            following = _shift(guest, 1, plan)  # while this step computes
            each_once = 2 * r == devices_of(plan)
            total = _add_original_distances(total, host, guest, tiling, plan, own=False, each_once=each_once)
            return total, following

        total, _ = jax.lax.fori_loop(1, devices_of(plan) // 2 + 1, step, (total, _shift(guest, 1, plan)))
    mean = sum_over_devices(total.sum(), plan) / jnp.maximum(number * (number - 1), 1)
    return 1 / jnp.where(mean > 0, mean, 1)


def _add_original_distances(total, host, guest, tiling, plan, *, own, each_once):
    """`total` plus twice `d_ori` of the host's and the guest's blocks, tile upon tile: `[t, t]`."""

    def row(i, total):
        inputs = _tiles.read_unit_inputs(host.pairs, host.statistics, tiling, i)
        rows_counted = _tiles.is_counted(host.pairs, tiling, i)

        def column(j, total):
            counted = _counted(rows_counted, i, guest.pairs, tiling, j, own)
            original = _tiles.original_distances(
                inputs, guest.pairs, guest.statistics, counted, tiling, j, plan.matmul_config
            )
            return total + 2 * _share(each_once, i, j) * original

        return tiling.each(column, total, jnp.where(each_once, i, 0))

    return tiling.each(row, total)


def _share(each_once, i, j):
    """A half for tiles that come up twice: a block with itself, or as the guest of the block that is its guest."""
    return jnp.where(each_once & (i == j), 0.5, 1.0)


def devices_of(plan) -> int:
    """How many devices share the pairs."""
    if plan.mesh is None:
        return 1
    return math.prod(plan.mesh.shape[axis] for axis in plan.axis)


def sum_over_devices(x, plan: SweepPlan):
    """The sum of what all devices have."""
    return x if plan.mesh is None else jax.lax.psum(x, plan.axis)


def _shift(tree, steps, plan):
    """Each device gets what the device has that is `steps` further in the ring."""
    ring = ring_order(plan.mesh, plan.axis)
    permutation = [(sender, ring[(place - steps) % len(ring)]) for place, sender in enumerate(ring)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, plan.axis, permutation), tree)
