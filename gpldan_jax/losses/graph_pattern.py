"""The graph pattern loss, Eq. 4-9: all in-batch distances, paired, unpaired and mutual, tied to the input spaces.

`graph_pattern_loss` computes it on one device, `sharded_graph_pattern_loss` for pairs that are spread over devices.

Letters: `n` pairs in the mini-batch; `k` representations of one instance, each `h` wide; `d_i`, `d_t` widths of
the inputs.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpldan_jax.losses import _sweep, distances
from gpldan_jax.losses._tiles import Pairs

_PRECISIONS = ("default", "high", "highest")
_COMPUTE_DTYPES = ("float32", "bfloat16")
# On CPUs products of tiles of 512 pairs run at their limit, and larger tiles would leave the caches. Larger tiles take
# several times as long to compile for TPUs. A GPU takes microseconds to start each of the kernels of a tile.
_BLOCK_SIZES = {"cpu": 512, "tpu": 256}
_BLOCK_SIZE = 2048
_LAYOUTS = {"cpu": "parts", "tpu": "loop"}  # of the products, see `_products`
_LAYOUT = "expanded"


class GraphPatternTerms(NamedTuple):
    """The three terms of Eq. 9 before their weights, scalars.

    Attributes:
        pairwise: `L_pd`, Eq. 4, in [0, 2].
        unpaired: `L_ud`, Eq. 6-7.
        mutual: `L_md`, Eq. 8.
    """

    pairwise: jax.Array
    unpaired: jax.Array
    mutual: jax.Array


def graph_pattern_loss(
    image: jax.Array,
    text: jax.Array,
    image_attention: jax.Array | None,
    text_attention: jax.Array | None,
    image_inputs: jax.Array,
    text_inputs: jax.Array,
    *,
    alpha: float | jax.Array,
    beta: float | jax.Array,
    discrepancy: str = "absolute",
    where: jax.Array | None = None,
    implementation: str | None = None,
    block_size: int | None = None,
    precision: str = "highest",
    compute_dtype: str | jax.typing.DTypeLike | None = None,
) -> tuple[jax.Array, GraphPatternTerms]:
    """Returns the graph pattern loss of a mini-batch, Eq. 4-9: `L_pd + alpha L_ud + beta L_md`.

    With the distances `l_vt`, `l_vv`, `l_tt` of Eq. 5 and the target `d` of Eq. 6, over i, j of the mini-batch:

        L_pd = 1/n   sum_i      l_vt(i, i)
        L_ud = 1/n^2 sum_{i!=j} rho(l_vt - d) + rho(l_vv - d) + rho(l_tt - d)
        L_md = 1/n^2 sum_{i!=j} |l_vt - l_vv| + |l_vt - l_tt| + |l_vv - l_tt|

    Args:
        image: `[n, k, h]` image representations of the n pairs, any float dtype; or plain embeddings `[n, H]`, k = 1.
        text: text representations, same shape; row i belongs to row i of `image`.
        image_attention: `[n, k]`, rows sum to 1; `None` for plain embeddings.
        text_attention: `[n, k]`, like `image_attention`.
        image_inputs: `[n, d_i]`, the image inputs before denoising; no gradient flows into them.
        text_inputs: `[n, d_t]`, the text inputs before denoising.
        alpha: weight of the unpaired term; a number or a traced scalar.
        beta: weight of the mutual term.
        discrepancy: rho: `"absolute"` (ours and the default), `"squared"`, or `"signed"` (as printed in the paper).
        where: `[n]` bool; pairs where it is False (padding) are left out as if they were not there, whatever they hold.
        implementation: `"blocked"`, in tiles: memory linear in n, and the gradient computed in the forward pass, once
            and in reverse only (the default, also as `None`); `"dense"`, one matrix product for each distance matrix,
            differentiable in every way; or `"vmap"`, the formulas for one pair mapped over both axes: the
            definition, to read and to test against.
        block_size: pairs on a side of a tile of `"blocked"`, at most; default 512 on a CPU, 256 on a TPU and 2048 on a
            GPU.
        precision: of the large matrix products, as in `jax.lax.dot_general`: `"highest"` is float32 everywhere,
            `"default"` lets recent GPUs and TPUs round to TF32 or bfloat16. Not for `"vmap"`.
        compute_dtype: `"bfloat16"` rounds the operands of the large products; sums, norms and all that follows stay in
            the dtype of the loss. `None` leaves them. Not for `"vmap"`.

    Returns:
        The loss, a scalar, and its three unweighted terms. In float32, or float64 where an argument is. Under a trace
        the loss is NaN where attention rows do not sum to 1.

    Raises:
        ValueError: shapes that do not fit, options that are unknown or do not fit each other, known attention values
            whose rows do not sum to 1.
        NotImplementedError: a second derivative of `"blocked"`.

    Error against float64, of the loss relative and of the gradients relative in L2, on a CPU with n = 256, k = 4,
    h = 256, normal features: float32 3e-8 and 8e-7, `compute_dtype="bfloat16"` 5e-6 and 8e-3, printed by
    `pytest tests/losses/test_graph_pattern_tiles.py -k precision -n 0 -rP`. `precision="default"` is the same as
    `"highest"` on a CPU. The products of a TPU, emulated on a CPU: `"default"` 5e-6 and 7e-3, `"high"` 1e-7 and 1e-4,
    `"highest"` 1e-7 and 4e-7 (`pytest tests/losses/test_accelerator_programs.py -k precisions -n 0 -rP`).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> image, text = jax.random.normal(jax.random.key(0), (2, 8, 4, 16))
        >>> attention = jnp.full((8, 4), 0.25)
        >>> u, c = jax.random.normal(jax.random.key(1), (2, 8, 32))
        >>> loss, terms = graph_pattern_loss(image, text, attention, attention, u, c, alpha=1.0, beta=0.1)
        >>> bool(jnp.allclose(loss, terms.pairwise + terms.unpaired + 0.1 * terms.mutual))
        True

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.2.
    """
    implementation = "blocked" if implementation is None else implementation
    if implementation not in ("blocked", "dense", "vmap"):
        raise ValueError(f"implementation must be 'blocked', 'dense' or 'vmap', got {implementation!r}")
    if block_size is not None and implementation != "blocked":
        raise ValueError(f"block_size is for implementation='blocked', got {implementation!r}")
    plan = make_plan(discrepancy, block_size, precision, compute_dtype)
    if implementation == "vmap" and (precision != "highest" or compute_dtype is not None):
        raise ValueError("implementation='vmap' has no precision or compute_dtype; it is the definition")
    pairs = Pairs(image, text, image_attention, text_attention, image_inputs, text_inputs, where)
    return _checked_loss(pairs, alpha, beta, implementation, plan)


def sharded_graph_pattern_loss(
    image: jax.Array,
    text: jax.Array,
    image_attention: jax.Array | None,
    text_attention: jax.Array | None,
    image_inputs: jax.Array,
    text_inputs: jax.Array,
    *,
    mesh: jax.sharding.Mesh,
    axis: str | tuple[str, ...],
    alpha: float | jax.Array,
    beta: float | jax.Array,
    discrepancy: str = "absolute",
    where: jax.Array | None = None,
    block_size: int | None = None,
    precision: str = "highest",
    compute_dtype: str | jax.typing.DTypeLike | None = None,
) -> tuple[jax.Array, GraphPatternTerms]:
    """Returns `graph_pattern_loss` of a global mini-batch whose pairs are spread over the devices of a mesh.

    Each device holds an equal share of the pairs.

    All pairs meet, those on different devices too: shares travel around the ring of devices, half way, since distances
    are symmetric, and their gradients return to them. A device needs memory for its
    share, the share that it meets, the next one, which arrives meanwhile, and a tile. Value and
    gradient are those of `graph_pattern_loss` but for the order of summation. Call it with global arrays, inside
    `jax.jit` or outside, not inside `shard_map`.

    Args:
        image: `[n, k, h]` or `[n, H]`; n divides evenly among the devices (pad with `where`).
        text: as in `graph_pattern_loss`, like the following.
        image_attention: `[n, k]` or `None`.
        text_attention: `[n, k]` or `None`.
        image_inputs: `[n, d_i]`.
        text_inputs: `[n, d_t]`.
        mesh: the devices. Arrays that are not yet sharded over `axis` along their rows will be. A mesh with explicit
            axes (what `jax.make_mesh` makes unless told otherwise) wants to be entered with `jax.set_mesh`.
        axis: the name of the axis of the mesh that the pairs are spread over, or several names; over other axes the
            computation is repeated.
        alpha: weight of the unpaired term.
        beta: weight of the mutual term.
        discrepancy: rho of Eq. 6.
        where: `[n]` bool; pairs where it is False are left out.
        block_size: pairs in a tile, at most.
        precision: of the large matrix products.
        compute_dtype: of their operands.

    Returns:
        The loss and its three unweighted terms, replicated scalars.

    Raises:
        ValueError: as in `graph_pattern_loss`; an axis that the mesh does not have; n that does not divide.
        NotImplementedError: a second derivative.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> image, text = jax.random.normal(jax.random.key(0), (2, 8, 16))
        >>> u, c = jax.random.normal(jax.random.key(1), (2, 8, 32))
        >>> mesh = jax.make_mesh((jax.device_count(),), ("data",))
        >>> with jax.set_mesh(mesh):
        ...     loss, _ = sharded_graph_pattern_loss(
        ...         image, text, None, None, u, c, mesh=mesh, axis="data", alpha=1.0, beta=0.1
        ...     )
    """
    axes = checked_axes(mesh, axis, jnp.shape(image_inputs)[0])
    plan = make_plan(discrepancy, block_size, precision, compute_dtype, mesh, axes)
    pairs = Pairs(image, text, image_attention, text_attention, image_inputs, text_inputs, where)
    return _checked_loss(pairs, alpha, beta, "blocked", plan)


def checked_axes(mesh: jax.sharding.Mesh, axis: str | tuple[str, ...], n: int) -> tuple[str, ...]:
    """The axes of the mesh that n pairs are spread over; `ValueError` where it has none such or they do not divide."""
    axes = (axis,) if isinstance(axis, str) else tuple(axis)
    unknown = [name for name in axes if name not in mesh.shape]
    if unknown or not axes:
        raise ValueError(f"axis must name axes of the mesh, {', '.join(mesh.axis_names)}, got {axis!r}")
    devices = math.prod(mesh.shape[name] for name in axes)
    if n % devices:
        raise ValueError(f"{n} pairs do not divide among {devices} devices; pad them and leave them out with `where`")
    return axes


def make_plan(discrepancy, block_size, precision, compute_dtype, mesh=None, axis=None) -> _sweep.SweepPlan:
    """The static options of a loss in tiles, checked; `ValueError` names what is wrong.

    A loss without rho has the `discrepancy` `None`.
    """
    if discrepancy is not None and discrepancy not in distances.DISCREPANCIES:
        raise ValueError(f"discrepancy must be one of {', '.join(distances.DISCREPANCIES)}, got {discrepancy!r}")
    if block_size is None:
        block_size = _BLOCK_SIZES.get(jax.default_backend(), _BLOCK_SIZE)
    if not isinstance(block_size, int) or block_size < 2:
        raise ValueError(f"block_size must be an int of at least 2, got {block_size!r}")
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(_PRECISIONS)}, got {precision!r}")
    if compute_dtype is not None:
        compute_dtype = jnp.dtype(compute_dtype).name
        if compute_dtype not in _COMPUTE_DTYPES:
            raise ValueError(f"compute_dtype must be one of {', '.join(_COMPUTE_DTYPES)}, got {compute_dtype!r}")
    layout = _LAYOUTS.get(jax.default_backend(), _LAYOUT)
    matmul_config = distances.MatmulConfig(precision, compute_dtype, layout)
    return _sweep.SweepPlan(block_size, discrepancy, matmul_config, mesh, axis)


def _checked_loss(pairs: Pairs, alpha, beta, implementation: str, plan: _sweep.SweepPlan):
    """The loss; known attention values that do not sum to 1 raise `ValueError`."""
    loss_and_terms = _loss(pairs, alpha, beta, implementation=implementation, plan=plan)
    distances.check_attention(pairs.image_attention, "image", pairs.where)
    distances.check_attention(pairs.text_attention, "text", pairs.where)
    return loss_and_terms


@functools.partial(jax.jit, static_argnames=("implementation", "plan"))
def _loss(pairs, alpha, beta, *, implementation, plan):
    pairs, alpha, beta = _as_pairs(pairs, alpha, beta)
    if implementation == "blocked":
        loss, terms = _blocked_loss(_sweep.reshard(pairs, plan), alpha, beta, plan)
        return loss, GraphPatternTerms(*terms)

    where = jnp.ones(len(pairs.image), bool) if pairs.where is None else pairs.where
    names = ("image", "text", "image_inputs", "text_inputs")
    pairs = pairs._replace(where=where, **{name: distances.masked(getattr(pairs, name), where) for name in names})
    if implementation == "dense":
        l_vt, l_vv, l_tt, d = _dense_distances(pairs, plan.matmul_config)
    else:
        l_vt, l_vv, l_tt, d = _vmapped_distances(pairs)
    rho = distances.DISCREPANCIES[plan.discrepancy]
    unpaired = rho(l_vt - d) + rho(l_vv - d) + rho(l_tt - d)
    mutual = jnp.abs(l_vt - l_vv) + jnp.abs(l_vt - l_tt) + jnp.abs(l_vv - l_tt)
    n = jnp.maximum(where.sum(dtype=d.dtype), 1)
    not_paired = where[:, None] & where[None, :] & ~jnp.eye(where.shape[0], dtype=bool)
    terms = GraphPatternTerms(
        pairwise=jnp.where(where, jnp.diagonal(l_vt), 0).sum() / n,
        unpaired=jnp.where(not_paired, unpaired, 0).sum() / n**2,
        mutual=jnp.where(not_paired, mutual, 0).sum() / n**2,
    )
    return terms.pairwise + alpha * terms.unpaired + beta * terms.mutual, terms


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _blocked_loss(pairs: Pairs, alpha, beta, plan: _sweep.SweepPlan):
    """The loss of Eq. 9 and its three terms, scalars. Differentiable once, in reverse, in features and weights."""
    terms, _ = _sweep.terms_and_gradient(pairs, None, plan)
    return _weighted(terms, alpha, beta), terms


def _forward(pairs, alpha, beta, plan):
    pairs, alpha, beta = jax.tree.map(lambda x: x.value, (pairs, alpha, beta))
    terms, gradient = _sweep.terms_and_gradient(pairs, (1.0, alpha, beta), plan)
    return (_weighted(terms, alpha, beta), terms), (gradient, terms, pairs, alpha, beta)


def _backward(plan, residuals, cotangents):
    gradient, (_, unpaired, mutual), pairs, alpha, beta = residuals
    is_zero = [isinstance(x, jax.custom_derivatives.SymbolicZero) for x in jax.tree.leaves(cotangents)]
    of_loss, *of_terms = (0.0 if zero else x for zero, x in zip(is_zero, jax.tree.leaves(cotangents), strict=True))

    def of_the_loss():
        return jax.tree.map(lambda x: of_loss * x, gradient)

    def of_single_terms():  # one more sweep, with the weights that this gives
        weights = (of_loss + of_terms[0], of_loss * alpha + of_terms[1], of_loss * beta + of_terms[2])
        return _sweep.terms_and_gradient(pairs, weights, plan)[1]

    if all(is_zero[1:]):
        gradient = of_the_loss()
    else:  # the terms that a scan hands on come with zeros, too
        gradient = jax.lax.cond(jnp.any(jnp.stack(of_terms) != 0), of_single_terms, of_the_loss)
    return Pairs(*gradient, None, None, None), of_loss * unpaired, of_loss * mutual


_blocked_loss.defvjp(_forward, _backward, symbolic_zeros=True)


def _weighted(terms, alpha, beta):
    pairwise, unpaired, mutual = terms
    return pairwise + alpha * unpaired + beta * mutual


def _as_pairs(pairs, alpha, beta):
    """A caller's arrays in one dtype, and as `[n, k, h]`, `[n, k]` and `[n, d]`; `ValueError` where they do not fit."""
    image_inputs, text_inputs, where = distances.as_inputs(pairs.image_inputs, pairs.text_inputs, pairs.where)
    for name, representations in (("image", pairs.image), ("text", pairs.text)):
        if len(representations) != len(image_inputs):
            raise ValueError(f"{name} must have a row for each pair, {len(image_inputs)}, got {len(representations)}")
    image, image_attention = distances.as_representations(pairs.image, pairs.image_attention, "image", where)
    text, text_attention = distances.as_representations(pairs.text, pairs.text_attention, "text", where)
    if image.shape != text.shape:
        raise ValueError(f"image and text must have the same [n, k, h], got {image.shape} and {text.shape}")
    arrays = (image, text, image_attention, text_attention, image_inputs, text_inputs)
    dtype = distances.float_dtype(*arrays)
    *arrays, alpha, beta = (jnp.asarray(x, dtype) for x in (*arrays, alpha, beta))
    return Pairs(*arrays, where), alpha, beta


def _dense_distances(pairs, matmul_config):
    """`l_vt`, `l_vv`, `l_tt` and `d`, all `[n, n]`, by matrix products."""
    image, text = (pairs.image, pairs.image_attention), (pairs.text, pairs.text_attention)

    def l_p(x, y):
        return distances.dense_distances(x[0], y[0], x[1], y[1], matmul_config)

    l_vt, l_vv, l_tt = l_p(image, text), l_p(image, image), l_p(text, text)
    # After the others: with the targets first, XLA schedules a program that is an eighth slower on a CPU (n = 256).
    d = distances.dense_targets(pairs.image_inputs, pairs.text_inputs, pairs.where, matmul_config)
    return l_vt, l_vv, l_tt, d


def _vmapped_distances(pairs):
    """The same by the formulas: one pair of instances, then `vmap` over both axes."""

    def pair_distance(x, y, a, b):  # Eq. 2-5; x, y: [k, h]; a, b: [k]
        return distances.cosine_distance((a + b) @ x, (a + b) @ y)

    def original_distance(u_i, c_i, u_j, c_j):  # d_ori of Eq. 6
        image, text = distances.cosine_distance(u_i, u_j), distances.cosine_distance(c_i, c_j)
        return jnp.sqrt(distances.without_rounding(image) * distances.without_rounding(text))

    def over_all_pairs(function, x, y):
        return jax.vmap(lambda x_i: jax.vmap(lambda y_j: function(x_i, y_j))(y))(x)

    def l_p(x, y):
        return over_all_pairs(lambda x_i, y_j: pair_distance(x_i[0], y_j[0], x_i[1], y_j[1]), x, y)

    image = (distances.unit_scale(pairs.image), pairs.image_attention)
    text = (distances.unit_scale(pairs.text), pairs.text_attention)
    inputs = tuple(distances.unit_scale(x) for x in (pairs.image_inputs, pairs.text_inputs))
    original = over_all_pairs(lambda i, j: original_distance(*i, *j), inputs, inputs)
    return l_p(image, text), l_p(image, image), l_p(text, text), distances.mean_normalized(original, pairs.where)
