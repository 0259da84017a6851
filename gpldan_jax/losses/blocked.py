"""The loss in tiles: memory linear in the mini-batch, gradients in the forward pass, one device or many.

Images and texts of two blocks of t pairs make one tile of `[2 t, 2 t]` distances, which is symmetric as a whole, so
tiles on and above the diagonal suffice. Given the mean of `d_ori` (a sweep of its own) the loss is a sum over
pairs, and a tile's share of the loss and of every gradient is computed and added in one sweep. The gradient is
collected with respect to the lifted representations and their grams, in the arrays that become the result, and taken
back to the representations once at the end.

Over devices each one holds a block of the pairs and meets half of the others: copies travel around a ring together
with the gradients collected for them, and the latter return to their owner. No device sees more than its own share,
one visitor and a tile.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import blocks, distances, tiles


class Plan(NamedTuple):
    """How to compute; hashable.

    Attributes:
        block_size: pairs in a tile, at most.
        discrepancy: rho of Eq. 6.
        products: precision of the large matrix products.
        mesh: devices that share the pairs, or `None`.
        axis: the axes of the mesh that the pairs are spread over.
    """

    block_size: int
    discrepancy: str
    products: distances.Products
    mesh: jax.sharding.Mesh | None = None
    axis: tuple[str, ...] | None = None


def over_mesh(arrays, plan: Plan):
    """The arrays with their rows over the axes of the plan, where the mesh wants that said; else XLA sees to it."""
    if plan.mesh is None or jax.sharding.AxisType.Explicit not in plan.mesh.axis_types:
        return arrays
    return jax.sharding.reshard(arrays, jax.sharding.NamedSharding(plan.mesh, jax.sharding.PartitionSpec(plan.axis)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def loss_and_terms(pairs: blocks.Pairs, alpha, beta, plan: Plan):
    """The loss of Eq. 9 and its three terms, scalars. Differentiable once, in reverse, in features and weights."""
    terms, _ = _run(pairs, None, plan)
    return _weighted(terms, alpha, beta), terms


def _forward(pairs, alpha, beta, plan):
    pairs, alpha, beta = jax.tree.map(lambda x: x.value, (pairs, alpha, beta))
    terms, gradient = _run(pairs, (1.0, alpha, beta), plan)
    return (_weighted(terms, alpha, beta), terms), (gradient, terms, pairs, alpha, beta)


def _backward(plan, residuals, cotangents):
    gradient, (_, unpaired, mutual), pairs, alpha, beta = residuals
    is_zero = [isinstance(x, jax.custom_derivatives.SymbolicZero) for x in jax.tree.leaves(cotangents)]
    of_loss, *of_terms = (0.0 if zero else x for zero, x in zip(is_zero, jax.tree.leaves(cotangents), strict=True))

    def of_the_loss():
        return jax.tree.map(lambda x: of_loss * x, gradient)

    def of_single_terms():  # one more sweep, with the weights that this gives
        weights = (of_loss + of_terms[0], of_loss * alpha + of_terms[1], of_loss * beta + of_terms[2])
        return _run(pairs, weights, plan)[1]

    if all(is_zero[1:]):
        gradient = of_the_loss()
    else:  # the terms that a scan hands on come with zeros, too
        gradient = jax.lax.cond(jnp.any(jnp.stack(of_terms) != 0), of_single_terms, of_the_loss)
    return blocks.Pairs(*gradient, None, None, None), of_loss * unpaired, of_loss * mutual


loss_and_terms.defvjp(_forward, _backward, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _run(pairs, weights, plan):
    """The terms, and the gradient of their weighted sum; `None` for no weights."""
    if plan.mesh is None:
        return _sweep(pairs, weights, plan)
    sharded = jax.sharding.PartitionSpec(plan.axis)
    replicated = jax.sharding.PartitionSpec()
    sweep = functools.partial(_sweep, plan=plan)
    return jax.shard_map(
        sweep,
        mesh=plan.mesh,
        in_specs=(sharded, replicated),
        out_specs=(replicated, sharded),
        check_vma=False,
    )(pairs, weights)


@_run.defjvp
def _run_jvp(plan, primals, tangents):
    raise NotImplementedError(
        "this implementation of the graph pattern loss has first derivatives only; "
        "implementation='dense' has derivatives of every order"
    )


def _weighted(terms, alpha, beta):
    pairwise, unpaired, mutual = terms
    return pairwise + alpha * unpaired + beta * mutual


def _sweep(pairs: blocks.Pairs, weights, plan: Plan):
    """`_run` on one device, or on one of several with its share of the pairs."""
    n, dtype = len(pairs.image), pairs.image.dtype
    rho = distances.DISCREPANCIES[plan.discrepancy]
    halves, wholes = blocks.tilings(n, plan.block_size)
    statistics = blocks.statistics_of(pairs, halves)
    # As floats: n^2 does not fit into 32 bits from n = 46,341 on.
    number = jnp.maximum(_over_devices(blocks.is_present(pairs).sum(dtype=dtype), plan), 1)
    target_scale = _target_scale(pairs, statistics, number, wholes, plan)
    if weights is not None:
        weights = (weights[1] / number**2, weights[2] / number**2, weights[0] / number)

    def meet(guest, tiling, gradients, first, stop=None, each_once=False, own=False):
        """Our blocks i, as rows, with the blocks `first(i)` to `stop(i)` of a guest, and with themselves for `own`.

        Gradients are added to those of the host and the guest; the host's are `None` where the guest is ourselves.
        """
        guest_pairs, guest_statistics = guest

        def row(i, carry):
            sums, of_host, of_guest = carry
            rows = blocks.instances(pairs, statistics, tiling, i)
            expanded = tiles.expand(rows.lifted, rows.attention)
            inputs = blocks.unit_inputs(pairs, statistics, tiling, i)
            is_counted = blocks.is_counted(pairs, tiling, i)

            def tile(j, columns, share, own=False):
                counted = blocks.counted(pairs, guest_pairs, tiling, i, j, own)
                originals = blocks.original_distances(
                    inputs, guest_pairs, guest_statistics, counted, tiling, j, plan.products
                )
                arguments = (expanded, rows, columns, originals * target_scale, counted, rho, plan.products)
                if weights is None:
                    return tiles.tile_sums(*arguments), None, None
                unpaired, mutual, pairwise = weights
                weights_here = (unpaired * share, mutual * share, jnp.where(is_counted, pairwise, 0))
                return tiles.tile_gradients(*arguments, weights_here, own)

            def column(j, carry):
                sums, of_guest, of_row = carry
                columns = blocks.instances(guest_pairs, guest_statistics, tiling, j)
                share = _share(each_once, i, j)
                of_tile, of_rows, of_columns = tile(j, columns, share)
                sums = sums._replace(
                    unpaired=sums.unpaired + share * of_tile.unpaired, mutual=sums.mutual + share * of_tile.mutual
                )
                return sums, blocks.collect(of_guest, of_columns, tiling, j), jax.tree.map(jnp.add, of_row, of_rows)

            of_row = None if weights is None else jax.tree.map(jnp.zeros_like, rows)
            if own:
                of_tile, _, of_row = tile(i, rows, share=1, own=True)
                sums = tiles.Sums(
                    pairwise=sums.pairwise + jnp.where(is_counted, of_tile.pairwise, 0),
                    unpaired=sums.unpaired + of_tile.unpaired / 2,
                    mutual=sums.mutual + of_tile.mutual / 2,
                )
            carry = (sums, of_guest, of_row)
            sums, of_guest, of_row = tiling.each(column, carry, first(i), None if stop is None else stop(i))
            if of_host is None:
                return sums, None, blocks.collect(of_guest, of_row, tiling, i)
            return sums, blocks.collect(of_host, of_row, tiling, i), of_guest

        quadrants = jnp.zeros((2, tiling.size, 2, tiling.size), dtype)
        sums = tiles.Sums(jnp.zeros(tiling.size, dtype), quadrants, quadrants)
        sums, of_host, of_guest = tiling.each(row, (sums, *gradients))
        return jnp.stack([x.sum() for x in sums]), of_host, of_guest

    ourselves = (pairs, statistics)
    gradient = None
    if weights is not None:
        zeros = (jnp.zeros_like(x) for x in (*pairs[:4], statistics.grams))
        gradient = blocks.Gradient(*zeros)
    # A block with itself: its halves with themselves and with each other, for a tile with itself is computed twice.
    sums, _, gradient = meet(
        ourselves,
        halves,
        (None, gradient),
        first=lambda i: i + 1,
        stop=lambda i: jnp.minimum(i // 2 * 2 + 2, halves.count),
        own=True,
    )
    if wholes.count > 1:
        others, _, gradient = meet(ourselves, wholes, (None, gradient), first=lambda i: i + 1)
        sums += others
    if _devices(plan) > 1:

        def step(r, carry):
            sums, gradient, guest, of_guest = carry
            guest, of_guest = _shift((guest, of_guest), 1, plan)
            each_once = 2 * r == _devices(plan)  # opposite each other in the ring, both meet
            others, gradient, of_guest = meet(
                guest, wholes, (gradient, of_guest), first=lambda i: jnp.where(each_once, i, 0), each_once=each_once
            )
            return sums + others, gradient, guest, of_guest

        steps = _devices(plan) // 2
        carry = (sums, gradient, ourselves, jax.tree.map(jnp.zeros_like, gradient))
        sums, gradient, _, of_guest = jax.lax.fori_loop(1, steps + 1, step, carry)
        gradient = jax.tree.map(jnp.add, gradient, _shift(of_guest, -steps, plan))
    pairwise, unpaired, mutual = _over_devices(sums, plan)
    terms = (pairwise / number, unpaired / number**2, mutual / number**2)
    return terms, None if gradient is None else blocks.lowered(gradient, pairs, statistics, halves)


def _target_scale(pairs, statistics, number, tiling, plan):
    """One over the mean of `d_ori` over i != j (Eq. 6); 1 where all are 0."""

    def meet(guest, is_own, each_once, total):
        guest_pairs, guest_statistics = guest

        def row(i, total):
            inputs = blocks.unit_inputs(pairs, statistics, tiling, i)

            def column(j, total):
                counted = blocks.counted(pairs, guest_pairs, tiling, i, j, is_own)
                original = blocks.original_distances(
                    inputs, guest_pairs, guest_statistics, counted, tiling, j, plan.products
                )
                return total + 2 * _share(each_once, i, j) * original

            return tiling.each(column, total, jnp.where(each_once, i, 0))

        return tiling.each(row, total)

    # The inputs alone travel.
    guest = (pairs._replace(image=None, text=None, image_attention=None, text_attention=None), statistics)
    total = meet(guest, True, True, jnp.zeros((tiling.size, tiling.size), pairs.image.dtype))
    if _devices(plan) > 1:

        def step(r, carry):
            total, guest = carry
            guest = _shift(guest, 1, plan)
            return meet(guest, False, 2 * r == _devices(plan), total), guest

        total, _ = jax.lax.fori_loop(1, _devices(plan) // 2 + 1, step, (total, guest))
    mean = _over_devices(total.sum(), plan) / jnp.maximum(number * (number - 1), 1)
    return 1 / jnp.where(mean > 0, mean, 1)


def _share(each_once, i, j):
    """A half for tiles that come up twice: a block with itself, or as the guest of the block that is its guest."""
    return jnp.where(each_once & (i == j), 0.5, 1.0)


def _devices(plan) -> int:
    if plan.mesh is None:
        return 1
    return math.prod(plan.mesh.shape[axis] for axis in plan.axis)


def _over_devices(x, plan):
    return x if plan.mesh is None else jax.lax.psum(x, plan.axis)


def _shift(tree, steps, plan):
    """Device i gets what device i + `steps` has."""
    size = _devices(plan)
    permutation = [(i, (i - steps) % size) for i in range(size)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, plan.axis, permutation), tree)
