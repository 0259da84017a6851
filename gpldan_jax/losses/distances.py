"""Distances between instances (Eq. 2-5) and the target they are tied to (Eq. 6).

Letters: `n`, `m` instances; `k` representations of one instance, each `h` wide; `d_i`, `d_t` widths of the inputs.

All functions compute in float32, or in float64 where an argument is float64. A cosine with a zero vector is 0, so
its distance is 1 and its gradient 0.
"""

import jax
import jax.numpy as jnp

# A squared norm or a distance this many rounding errors from zero carries no information and counts as zero.
_ROUNDING_ERRORS = 16
# Smaller instances count as zero: the gradient of a cosine grows as the inverse of the norm and would overflow.
_SMALLEST_INSTANCE = 1e-30
# Rows of attention may miss 1 by this much, which covers bfloat16 rounding; they are scaled to sum to 1.
_ATTENTION_SUM_TOLERANCE = 1e-2


def co_attention_distances(
    x: jax.Array, y: jax.Array, x_attention: jax.Array | None = None, y_attention: jax.Array | None = None
) -> jax.Array:
    """Distances `l_p(x_i, y_j)` of all instances of x to all of y after diversified attention, Eq. 2-5.

    `l_p(x_i, y_j) = 1 - cos(Co(x_i, y_j), Co(y_j, x_i))` with `Co(x_i, y_j) = sum_a (a_ia + b_ja) x_ia`. Eq. 2 and 3
    are the same formula: with x and y of one modality this is the self-attention distance. The `k**2` inner products
    of the representations of a pair come from one matrix product; no array is larger than `[n, k, m, k]`.

    Args:
        x: `[n, k, h]`, any float dtype; or `[n, H]` with `x_attention=None`: plain embeddings, k = 1, for which the
            distance is one minus the cosine.
        y: `[m, k, h]` or `[m, H]`, like x.
        x_attention: `[n, k]`, each row sums to 1.
        y_attention: `[m, k]`, each row sums to 1.

    Returns:
        `[n, m]`, in [0, 2]. Rows and columns whose attention does not sum to 1 are NaN under a trace (`jax.jit`,
        `jax.grad`), where values cannot be inspected.

    Raises:
        ValueError: shapes that do not fit, or known attention values whose rows do not sum to 1.

    Source: Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.1-2.2.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])  # one instance, k = 2, h = 2
    >>> y = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
    >>> attention = jnp.array([[0.5, 0.5]])  # Co(x, y) = (1, 1), Co(y, x) = (2, 0)
    >>> print(co_attention_distances(x, y, attention, attention).round(3))
    [[0.293]]
    """
    result = _co_attention_distances(x, y, x_attention, y_attention)
    check_attention(x_attention, "x")
    check_attention(y_attention, "y")
    return result


def target_distances(image_inputs: jax.Array, text_inputs: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Target distances `d` of Eq. 6, from the input spaces of the mini-batch.

    `d_ori_ij = sqrt(dcos(u_i, u_j) dcos(c_i, c_j))`, divided by its mean over the pairs i != j.

    Args:
        image_inputs: `[n, d_i]`, the image inputs before denoising, any real dtype.
        text_inputs: `[n, d_t]`, the text inputs before denoising.
        where: `[n]` bool; pairs where it is False are left out of the mean and get distance 0.

    Returns:
        `[n, n]`, symmetric, at least 0, diagonal 0; all zeros where every `d_ori` is 0 or n = 1. It carries no
        gradient.

    Raises:
        ValueError: shapes that do not fit.

    >>> import jax.numpy as jnp
    >>> u = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # cosine distances 1, 1, 2
    >>> print(target_distances(u, u))  # over their mean, 4/3
    [[0.   0.75 0.75]
     [0.75 0.   1.5 ]
     [0.75 1.5  0.  ]]
    """
    return _target_distances(image_inputs, text_inputs, where)


def as_instances(features, attention, name: str, where=None) -> tuple[jax.Array, jax.Array]:
    """A caller's features and attention as `[n, k, h]` and `[n, k]`; `ValueError` where they do not fit.

    What `where: [n]` leaves out may hold anything; it becomes zeros with uniform attention, which get no gradient.
    """
    features = _as_float(features, name)
    if attention is None:
        if features.ndim != 2:
            raise ValueError(
                f"{name} of shape {features.shape} needs {name}_attention; only plain embeddings [n, H] go without"
            )
        features = features[:, None, :]
        attention = jnp.ones(features.shape[:2], features.dtype)
    attention = _as_float(attention, f"{name}_attention")
    if features.ndim != 3 or attention.shape != features.shape[:2]:
        raise ValueError(
            f"{name} must be [n, k, h] with {name}_attention [n, k], got {features.shape} and {attention.shape}"
        )
    if where is not None:
        if features.shape[0] != where.shape[0]:
            raise ValueError(f"{name} must have a row for each pair, {where.shape[0]}, got {features.shape[0]}")
        features = jnp.where(where[:, None, None], features, 0)
        attention = jnp.where(where[:, None], attention, 1 / attention.shape[1])
    # The matrix form needs rows that sum to 1 exactly. NaN is how a traced row that does not is refused.
    sums = attention.sum(-1, keepdims=True)
    is_valid = jnp.abs(sums - 1) < _ATTENTION_SUM_TOLERANCE
    return features, jnp.where(is_valid, attention / jnp.where(is_valid, sums, 1), jnp.nan)


def check_attention(attention, name: str, where=None) -> None:
    """`ValueError` for known attention values whose rows do not sum to 1; a trace has no values to look at."""
    if attention is None or isinstance(attention, jax.core.Tracer) or isinstance(where, jax.core.Tracer):
        return
    with jax.ensure_compile_time_eval():  # known values stay known inside a trace
        sums = jnp.asarray(attention, jnp.float32).sum(-1)
        is_valid = jnp.abs(sums - 1) < _ATTENTION_SUM_TOLERANCE
        if where is not None:
            is_valid |= ~jnp.asarray(where, bool)
        if not is_valid.all():
            row = int(jnp.argmin(is_valid))
            raise ValueError(f"{name}_attention rows must sum to 1, row {row} sums to {float(sums[row]):.4g}")


def as_inputs(image_inputs, text_inputs, where) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The inputs of n pairs as floats without gradient, zeros where left out, and `where` as `[n]` bool.

    `ValueError` if they do not fit.
    """
    image_inputs = jax.lax.stop_gradient(_as_float(image_inputs, "image_inputs"))
    text_inputs = jax.lax.stop_gradient(_as_float(text_inputs, "text_inputs"))
    if image_inputs.ndim != 2 or text_inputs.ndim != 2 or image_inputs.shape[0] != text_inputs.shape[0]:
        raise ValueError(
            "image_inputs and text_inputs must be [n, d_i] and [n, d_t], "
            f"got {image_inputs.shape} and {text_inputs.shape}"
        )
    n = image_inputs.shape[0]
    where = jnp.ones(n, bool) if where is None else jnp.asarray(where, bool)
    if where.shape != (n,):
        raise ValueError(f"where must be [n] = ({n},), got {where.shape}")
    return jnp.where(where[:, None], image_inputs, 0), jnp.where(where[:, None], text_inputs, 0), where


def cosine_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """`1 - cos(a, b)` of two vectors `[h]`: the definition that the matrix forms below have to match."""
    return 1 - jnp.dot(a * _inverse_root(jnp.dot(a, a), 1), b * _inverse_root(jnp.dot(b, b), 1))


def unit_scale(x: jax.Array) -> jax.Array:
    """Each instance (leading axis) divided by its largest magnitude, so that squares neither over- nor underflow.

    A cosine does not change with the length of its arguments, so no gradient flows through the divisor.
    """
    axes = tuple(range(1, x.ndim))
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=axes, keepdims=True, initial=0))
    # Where x is a compile-time constant XLA would otherwise turn the square of the quotient into a quotient of squares.
    return jax.lax.optimization_barrier(x / jnp.where(largest > _SMALLEST_INSTANCE, largest, 1))


def without_rounding(distance: jax.Array) -> jax.Array:
    """Distances with those that are no more than rounding set to 0: a square root would make 3e-4 of 1e-7."""
    return jnp.where(distance < _ROUNDING_ERRORS * jnp.finfo(distance.dtype).eps, 0, distance)


def mean_normalized(original: jax.Array, where: jax.Array) -> jax.Array:
    """`d = d_ori / mean(d_ori)` over the pairs i != j that are both in `where` (Eq. 6), 0 elsewhere."""
    pairs = where[:, None] & where[None, :] & ~jnp.eye(where.shape[0], dtype=bool)
    original = jnp.where(pairs, original, 0)
    mean = original.sum() / jnp.maximum(pairs.sum(), 1)
    return original / jnp.where(mean > 0, mean, 1)


@jax.jit
def _co_attention_distances(x, y, x_attention, y_attention):
    x, x_attention = as_instances(x, x_attention, "x")
    y, y_attention = as_instances(y, y_attention, "y")
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"x and y must agree in [k, h], got {x.shape[1:]} and {y.shape[1:]}")
    return dense_distances(x, y, x_attention, y_attention)


def dense_distances(x, y, x_attention, y_attention):
    """`co_attention_distances` of instances that `as_instances` has made."""
    x = _lifted(unit_scale(x), x_attention)
    y = _lifted(unit_scale(y), y_attention)
    products = jnp.einsum("iah,jbh->iajb", x, y, precision="highest")
    products = jnp.einsum("iajb,ib,ja->ij", products, x_attention, y_attention, precision="highest")
    cosines = products * _inverse_fused_norms(x, y_attention) * _inverse_fused_norms(y, x_attention).T
    return jnp.clip(1 - cosines, 0, 2)


@jax.jit
def _target_distances(image_inputs, text_inputs, where):
    image_inputs, text_inputs, where = as_inputs(image_inputs, text_inputs, where)
    return dense_targets(image_inputs, text_inputs, where)


def dense_targets(image_inputs, text_inputs, where):
    """`target_distances` of inputs that `as_inputs` has made."""
    return mean_normalized(jnp.sqrt(_input_distances(image_inputs) * _input_distances(text_inputs)), where)


def _input_distances(inputs):
    inputs = unit_scale(inputs)
    inputs = inputs * _inverse_root(jnp.square(inputs).sum(-1, keepdims=True), 1)
    return without_rounding(1 - jnp.matmul(inputs, inputs.T, precision="highest"))


def _lifted(x, attention):
    # Attention that sums to one lets the own share p_i = sum_a a_ia x_ia move into each representation:
    # Co(x_i, y_j) = p_i + sum_a b_ja x_ia = sum_a b_ja (x_ia + p_i), linear in the other side's attention alone.
    return x + jnp.einsum("ia,iah->ih", attention, x, precision="highest")[:, None, :]


def _inverse_fused_norms(lifted, other_attention):
    """`1 / |Co(x_i, y_j)|`, `[n, m]`, from the inner products of the lifted representations of x: `[n, k, h]`."""
    grams = jnp.einsum("iah,ibh->iab", lifted, lifted, precision="highest")
    squared = jnp.einsum("iab,ja,jb->ij", grams, other_attention, other_attention, precision="highest")
    return _inverse_root(squared, jnp.trace(grams, axis1=1, axis2=2)[:, None])


def _inverse_root(squared, scale):
    # The inner `where` keeps the unused branch of the gradient finite.
    is_zero = squared <= _ROUNDING_ERRORS * jnp.finfo(squared.dtype).eps * scale
    return jnp.where(is_zero, 0, jax.lax.rsqrt(jnp.where(is_zero, 1, squared)))


def _as_float(array, name: str) -> jax.Array:
    array = jnp.asarray(array)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real, got {array.dtype}")
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
