"""A contrastive loss with soft targets: each pair is drawn to all pairs that a similarity graph says are near. Ours.

InfoNCE knows one partner for each pair and pushes all others away alike. Here the target of the softmax is a row of a
similarity graph, such as `neighbourhood_rows` makes from the inputs; the same target holds within each modality.
`soft_contrastive` computes it on one device, `sharded_soft_contrastive` for pairs that are spread over devices.

Letters: `n` pairs of the mini-batch; `k` representations of one instance, each `h` wide; `d` width of the rows.
"""

import functools
import numbers

import jax
import jax.numpy as jnp

from gpldan_jax.losses import _sweep, distances
from gpldan_jax.losses._soft_sweep import Graph, Weights, blocked_loss
from gpldan_jax.losses._tiles import Pairs
from gpldan_jax.losses.graph_pattern import checked_axes, make_plan


def soft_contrastive(
    image: jax.Array,
    text: jax.Array,
    image_attention: jax.Array | None = None,
    text_attention: jax.Array | None = None,
    *,
    similarity: jax.Array | None = None,
    similarity_rows: jax.Array | None = None,
    scale: float | jax.Array,
    within: float | jax.Array = 1.0,
    own: float | jax.Array = 1.0,
    where: jax.Array | None = None,
    groups: jax.Array | None = None,
    implementation: str | None = None,
    block_size: int | None = None,
    precision: str = "highest",
    compute_dtype: str | jax.typing.DTypeLike | None = None,
) -> jax.Array:
    """Returns the cross entropy of in-batch softmaxes with the rows of a similarity graph as targets.

    With the cosines `c = 1 - l` of the distances `l_vt`, `l_vv`, `l_tt` of `co_attention_distances` and a graph S:

        W_ij = max(S_ij, 0), but `own` where i = j or i and j are of one group
        Q_ij = W_ij / sum_j W_ij                  P_ij = W_ij / sum_{j!=i} W_ij, P_ii = 0
        cross_i  = -1/2 sum_j      Q_ij [log softmax_j(s c_vt(i, j)) + log softmax_j(s c_vt(j, i))]
        within_i = -1/2 sum_{j!=i} P_ij [log softmax_{j!=i}(s c_vv(i, j)) + log softmax_{j!=i}(s c_tt(i, j))]
        loss = 1/n sum_i cross_i + within * within_i

    Where a row of W sums to 0 the term is 0. With a graph of zeros, no groups and `within=0` this is InfoNCE.

    Args:
        image: `[n, k, h]` image representations of the n pairs, any float dtype; or plain embeddings `[n, H]`, k = 1.
        text: text representations, same shape; row i belongs to row i of `image`.
        image_attention: `[n, k]`, rows sum to 1; `None` for plain embeddings.
        text_attention: `[n, k]`, like `image_attention`.
        similarity: S, `[n, n]`, any real dtype; entries below 0 count as 0. It need not be symmetric. No gradient
            flows into it.
        similarity_rows: `[n, d]`, instead of `similarity`: S is the inner products of the rows.
        scale: s, positive; the temperature is 1 / s. A number or a traced scalar, like `within` and `own`.
        within: weight of the terms within each modality.
        own: weight in W of a pair itself and of its partners in `groups`, at least 0. No gradient flows into it.
        where: `[n]` bool; pairs where it is False (padding) are left out as if they were not there, whatever they hold.
        groups: `[n]` whole numbers, the same for pairs that belong together, such as five captions of an image. `None`
            where each pair stands alone.
        implementation: `"blocked"`, in tiles: memory linear in n where `similarity_rows` are given, and the gradient
            computed in the forward pass, once and in reverse only (the default, also as `None`); or `"dense"`, one
            matrix product for each distance matrix, differentiable in every way.
        block_size: pairs on a side of a tile of `"blocked"`, at most; default 512 on a CPU, 256 on a TPU and 2048 on a
            GPU.
        precision: of the large matrix products, as in `graph_pattern_loss`.
        compute_dtype: of their operands, as in `graph_pattern_loss`.

    Returns:
        A scalar, at least 0 but for rounding; float32, or float64 where an array is. Under a trace it is NaN where
        attention rows do not sum to 1.

    Raises:
        ValueError: both or neither of `similarity` and `similarity_rows`; shapes that do not fit; groups that are no
            whole numbers; options that are unknown or do not fit each other; a number below 0 as `own`; known
            attention values whose rows do not sum to 1.
        NotImplementedError: a second derivative of `"blocked"`.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.eye(3)  # three pairs, each with its own direction
        >>> alone = soft_contrastive(x, x, similarity=jnp.zeros((3, 3)), scale=1.0)  # log(1 + 2/e)
        >>> near = jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # the first two belong together
        >>> apart = soft_contrastive(x, x, similarity=near, scale=1.0)
        >>> x = x.at[1].set(x[0])
        >>> together = soft_contrastive(x, x, similarity=near, scale=1.0)
        >>> print(f"{alone:.3f} {apart:.3f} {together:.3f}")
        0.551 1.347 0.967
    """
    implementation = "blocked" if implementation is None else implementation
    if implementation not in ("blocked", "dense"):
        raise ValueError(f"implementation must be 'blocked' or 'dense', got {implementation!r}")
    if block_size is not None and implementation != "blocked":
        raise ValueError(f"block_size is for implementation='blocked', got {implementation!r}")
    if (similarity is None) == (similarity_rows is None):
        which = "neither" if similarity is None else "both"
        raise ValueError(f"give one of similarity [n, n] and similarity_rows [n, d], got {which}")
    plan = make_plan(None, block_size, precision, compute_dtype)
    pairs = Pairs(image, text, image_attention, text_attention, None, None, where)
    graph = Graph(similarity, similarity_rows, groups)
    return _checked_loss(pairs, graph, Weights(scale, within, own), implementation, plan)


def sharded_soft_contrastive(
    image: jax.Array,
    text: jax.Array,
    image_attention: jax.Array | None = None,
    text_attention: jax.Array | None = None,
    *,
    mesh: jax.sharding.Mesh,
    axis: str | tuple[str, ...],
    similarity_rows: jax.Array,
    scale: float | jax.Array,
    within: float | jax.Array = 1.0,
    own: float | jax.Array = 1.0,
    where: jax.Array | None = None,
    groups: jax.Array | None = None,
    block_size: int | None = None,
    precision: str = "highest",
    compute_dtype: str | jax.typing.DTypeLike | None = None,
) -> jax.Array:
    """Returns `soft_contrastive` of a global mini-batch whose pairs are spread over the devices of a mesh.

    Each device holds an equal share of the pairs. The shares travel around the ring of devices, as those of
    `sharded_graph_pattern_loss` do; twice, where there is a gradient. Value and gradient are those of
    `soft_contrastive` but for the order of summation. Call it with global arrays, inside `jax.jit` or outside, not
    inside `shard_map`.

    Args:
        image: `[n, k, h]` or `[n, H]`; n divides evenly among the devices (pad with `where`).
        text: as in `soft_contrastive`, like the following.
        image_attention: `[n, k]` or `None`.
        text_attention: `[n, k]` or `None`.
        mesh: the devices, as in `sharded_graph_pattern_loss`.
        axis: the name of the axis of the mesh that the pairs are spread over, or several names.
        similarity_rows: `[n, d]`. A matrix `similarity` is not for many devices: it has no share for each.
        scale: s, positive.
        within: weight of the terms within each modality.
        own: weight of a pair itself and of its partners.
        where: `[n]` bool; pairs where it is False are left out.
        groups: `[n]` whole numbers.
        block_size: pairs in a tile, at most.
        precision: of the large matrix products.
        compute_dtype: of their operands.

    Returns:
        The loss, a replicated scalar.

    Raises:
        ValueError: as in `soft_contrastive`; no `similarity_rows`; an axis that the mesh does not have; n that does not
            divide.
        NotImplementedError: a second derivative.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> image, text = jax.random.normal(jax.random.key(0), (2, 8, 16))
        >>> rows = jax.random.normal(jax.random.key(1), (8, 32))
        >>> mesh = jax.make_mesh((jax.device_count(),), ("data",))
        >>> with jax.set_mesh(mesh):
        ...     loss = sharded_soft_contrastive(image, text, similarity_rows=rows, scale=10.0, mesh=mesh, axis="data")
    """
    if similarity_rows is None:
        raise ValueError("over several devices the graph must come as similarity_rows [n, d], got None")
    axes = checked_axes(mesh, axis, jnp.shape(image)[0])
    plan = make_plan(None, block_size, precision, compute_dtype, mesh, axes)
    pairs = Pairs(image, text, image_attention, text_attention, None, None, where)
    return _checked_loss(pairs, Graph(None, similarity_rows, groups), Weights(scale, within, own), "blocked", plan)


def _checked_loss(pairs, graph, weights, implementation: str, plan: _sweep.SweepPlan):
    """The loss; known values that are out of range raise `ValueError`."""
    if isinstance(weights.own, numbers.Real) and not float(weights.own) >= 0:
        raise ValueError(f"own must be at least 0, got {weights.own!r}")
    loss = _loss(pairs, graph, weights, implementation=implementation, plan=plan)
    distances.check_attention(pairs.image_attention, "image", pairs.where)
    distances.check_attention(pairs.text_attention, "text", pairs.where)
    return loss


@functools.partial(jax.jit, static_argnames=("implementation", "plan"))
def _loss(pairs, graph, weights, *, implementation, plan):
    pairs, graph, weights = _as_arrays(pairs, graph, weights)
    if implementation == "blocked":
        pairs, graph = _sweep.reshard((pairs, graph), plan)
        return blocked_loss(pairs, graph, weights, plan)
    return _dense_loss(pairs, graph, weights, plan.matmul_config)


def _as_arrays(pairs, graph, weights):
    """A caller's arguments in one dtype, features as `[n, k, h]` and `[n, k]`; `ValueError` where they do not fit."""
    n = jnp.shape(pairs.image)[0] if jnp.ndim(pairs.image) else 0
    where = pairs.where
    if where is not None:
        where = jnp.asarray(where, bool)
        _check_shape("where", where, (n,), "[n]")
    image, image_attention = distances.as_representations(pairs.image, pairs.image_attention, "image", where)
    text, text_attention = distances.as_representations(pairs.text, pairs.text_attention, "text", where)
    if image.shape != text.shape:
        raise ValueError(f"image and text must have the same [n, k, h], got {image.shape} and {text.shape}")
    similarity, rows, groups = (None if x is None else jnp.asarray(x) for x in graph)
    if similarity is not None:
        _check_shape("similarity", similarity, (n, n), "[n, n]")
    elif rows.ndim != 2 or len(rows) != n:
        raise ValueError(f"similarity_rows must be [n, d] with n = {n}, got {rows.shape}")
    if groups is not None:
        _check_shape("groups", groups, (n,), "[n]")
        if not jnp.issubdtype(groups.dtype, jnp.integer):
            raise ValueError(f"groups must be whole numbers, got {groups.dtype}")
    source = rows if similarity is None else similarity
    if jnp.issubdtype(source.dtype, jnp.complexfloating):
        name = "similarity_rows" if similarity is None else "similarity"
        raise ValueError(f"{name} must be real, got {source.dtype}")
    dtype = distances.float_dtype(image, text, image_attention, text_attention, source)
    arrays = (x.astype(dtype) for x in (image, text, image_attention, text_attention))
    similarity, rows = (None if x is None else jax.lax.stop_gradient(x.astype(dtype)) for x in (similarity, rows))
    weights = Weights(*(jnp.asarray(x, dtype) for x in weights))
    weights = weights._replace(own=jax.lax.stop_gradient(weights.own))
    return Pairs(*arrays, None, None, where), Graph(similarity, rows, groups), weights


def _check_shape(name, array, shape, letters):
    if array.shape != shape:
        raise ValueError(f"{name} must be {letters} = {shape}, got {array.shape}")


def _dense_loss(pairs, graph, weights, matmul_config):
    n = len(pairs.image)
    where = jnp.ones(n, bool) if pairs.where is None else pairs.where
    image, text = (distances.masked(x, where) for x in (pairs.image, pairs.text))
    image, text = (image, pairs.image_attention), (text, pairs.text_attention)
    l_vt, l_vv, l_tt = (
        distances.dense_distances(x[0], y[0], x[1], y[1], matmul_config)
        for x, y in ((image, text), (image, image), (text, text))
    )
    similarity = graph.similarity
    if similarity is None:
        similarity = distances.matmul(graph.rows, graph.rows, (1, 1), matmul_config)
    is_self = jnp.eye(n, dtype=bool)
    is_partner = is_self if graph.groups is None else is_self | (graph.groups[:, None] == graph.groups[None, :])
    counts = where[:, None] & where[None, :]
    targets = jnp.where(counts, jnp.where(is_partner, weights.own, jnp.maximum(similarity, 0)), 0)

    def entropies(distance, targets, counts):  # of each row
        logits = jnp.where(counts, -weights.scale * distance, jnp.finfo(distance.dtype).min)
        total = targets.sum(1)
        mean = jnp.where(counts, targets * distance, 0).sum(1) / jnp.where(total > 0, total, 1)
        return jnp.where(total > 0, jax.nn.logsumexp(logits, axis=1) + weights.scale * mean, 0)

    cross = entropies(l_vt, targets, counts) + entropies(l_vt.T, targets, counts)
    targets, counts = jnp.where(is_self, 0, targets), counts & ~is_self
    within = entropies(l_vv, targets, counts) + entropies(l_tt, targets, counts)
    return (cross + weights.within * within).sum() / (2 * jnp.maximum(where.sum(dtype=l_vt.dtype), 1))
