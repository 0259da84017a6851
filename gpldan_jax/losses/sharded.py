"""The graph pattern loss of a mini-batch whose pairs are spread over devices."""

import math

import jax
import jax.numpy as jnp

from gpldan_jax.losses.graph_pattern import GraphPatternTerms, make_plan, planned_loss


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
    """`graph_pattern_loss` of the global mini-batch, each device of a mesh holding an equal share of its pairs.

    All pairs meet, those on different devices too: shares travel around the ring of devices, half way, since distances
    are symmetric, and their gradients return to them. A device needs memory for two shares and a tile. Value and
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

    >>> import jax, jax.numpy as jnp
    >>> image, text = jax.random.normal(jax.random.key(0), (2, 8, 16))
    >>> u, c = jax.random.normal(jax.random.key(1), (2, 8, 32))
    >>> mesh = jax.make_mesh((jax.device_count(),), ("data",))
    >>> with jax.set_mesh(mesh):
    ...     loss, _ = sharded_graph_pattern_loss(
    ...         image, text, None, None, u, c, mesh=mesh, axis="data", alpha=1.0, beta=0.1
    ...     )
    """
    axes = (axis,) if isinstance(axis, str) else tuple(axis)
    unknown = [name for name in axes if name not in mesh.shape]
    if unknown or not axes:
        raise ValueError(f"axis must name axes of the mesh, {', '.join(mesh.axis_names)}, got {axis!r}")
    devices = math.prod(mesh.shape[name] for name in axes)
    n = jnp.shape(image_inputs)[0]
    if n % devices:
        raise ValueError(f"{n} pairs do not divide among {devices} devices; pad them and leave them out with `where`")
    plan = make_plan(discrepancy, block_size, precision, compute_dtype, mesh, axes)
    features = (image, text, image_attention, text_attention)
    return planned_loss(*features, image_inputs, text_inputs, where, alpha, beta, implementation="blocked", plan=plan)
