"""Distances between instances (Eq. 2-5) and the target they are tied to (Eq. 6).

Letters: `n`, `m` instances; `k` representations of one instance, each `h` wide; `d_i`, `d_t` widths of the inputs.

All functions compute in float32, or in float64 where an argument is float64. A cosine with a zero vector is 0, so
its distance is 1 and its gradient 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

# rho of Eq. 6. The printed formula is signed, but its minimum is the collapse of all distances, which Table 3
# rules out; "absolute" is how CDPAE, by the same authors, and Eq. 8 measure the difference.
DISCREPANCIES = {"absolute": jnp.abs, "squared": jnp.square, "signed": lambda difference: difference}
# A squared norm or a distance this many rounding errors from zero carries no information and counts as zero.
_ROUNDING_ERRORS = 16
# Smaller instances count as zero: the gradient of a cosine grows as the inverse of the norm and would overflow.
_SMALLEST_INSTANCE = 1e-30
# Rows of attention may miss 1 by this much, which covers bfloat16 rounding; they are scaled to sum to 1.
_ATTENTION_SUM_TOLERANCE = 1e-2


class MatmulConfig(NamedTuple):
    """How the large matrix products are computed; hashable.

    Attributes:
        precision: as in `jax.lax.dot_general`.
        dtype: the operands are rounded to it; `None` leaves them. Sums are kept in the dtype of the operands.
        layout: of the products of losses in tiles, `"parts"`, `"loop"` or `"expanded"`, see `_products`.
    """

    precision: str = "highest"
    dtype: str | None = None
    layout: str = "parts"


EXACT_MATMUL = MatmulConfig()


def co_attention_distances(
    x: jax.Array, y: jax.Array, x_attention: jax.Array | None = None, y_attention: jax.Array | None = None
) -> jax.Array:
    """Returns the distances `l_p(x_i, y_j)` of all instances of x to all of y after diversified attention, Eq. 2-5.

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

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])  # one instance, k = 2, h = 2
        >>> y = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
        >>> attention = jnp.array([[0.5, 0.5]])  # Co(x, y) = (1, 1), Co(y, x) = (2, 0)
        >>> print(co_attention_distances(x, y, attention, attention).round(3))
        [[0.293]]

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.1-2.2.
    """
    result = _co_attention_distances(x, y, x_attention, y_attention)
    check_attention(x_attention, "x")
    check_attention(y_attention, "y")
    return result


def target_distances(image_inputs: jax.Array, text_inputs: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Returns the target distances `d` of Eq. 6, from the input spaces of the mini-batch.

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

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # cosine distances 1, 1, 2
        >>> print(target_distances(u, u))  # over their mean, 4/3
        [[0.   0.75 0.75]
         [0.75 0.   1.5 ]
         [0.75 1.5  0.  ]]

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.2.
    """
    return _target_distances(image_inputs, text_inputs, where)


def as_representations(features, attention, name: str, where=None) -> tuple[jax.Array, jax.Array]:
    """A caller's features and attention as `[n, k, h]` and `[n, k]`; `ValueError` where they do not fit.

    What `where: [n]` leaves out may hold anything. Its attention becomes uniform; its features stay (see `masked`).
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


def as_inputs(image_inputs, text_inputs, where) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """The inputs of n pairs as floats without gradient, and `where` as `[n]` bool or `None`.

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
    if where is not None:
        where = jnp.asarray(where, bool)
        if where.shape != (n,):
            raise ValueError(f"where must be [n] = ({n},), got {where.shape}")
    return image_inputs, text_inputs, where


def masked(x: jax.Array, where: jax.Array | None) -> jax.Array:
    """Zeros, without gradient, in the rows that `where: [n]` leaves out, whatever they hold."""
    return x if where is None else jnp.where(where.reshape(-1, *[1] * (x.ndim - 1)), x, 0)


def matmul(x: jax.Array, y: jax.Array, contract: tuple[int, int], config: MatmulConfig = EXACT_MATMUL) -> jax.Array:
    """The product of two matrices over one axis of each, in the dtype of x."""
    result = x.dtype
    if config.dtype is not None:
        x, y = x.astype(config.dtype), y.astype(config.dtype)
    axes = (((contract[0],), (contract[1],)), ((), ()))
    return jax.lax.dot_general(x, y, axes, precision=config.precision, preferred_element_type=result)


def lift(x: jax.Array, attention: jax.Array, magnitudes: jax.Array | None = None) -> jax.Array:
    """Lifted representations `x'_ia = x_ia + sum_c a_ic x_ic`, divided by `magnitudes` where they are given.

    Attention rows sum to 1, so `Co(x_i, y_j) = sum_a (a_ia + b_ja) x_ia = sum_a b_ja x'_ia` (Eq. 2-3): the fused
    instance is linear in the attention of the other side alone.

    Args:
        x: `[n, k, h]` representations.
        attention: `[n, k]`, rows sum to 1.
        magnitudes: `[n]`, above 0; `None` for 1.

    Returns:
        `[n, k, h]`.

    Example:
        >>> print(lift(jnp.array([[[1.0], [3.0]]]), jnp.array([[0.5, 0.5]])).ravel())
        [3. 5.]
    """
    if magnitudes is None:
        return x + jnp.einsum("ia,iah->ih", attention, x, precision="highest")[:, None, :]
    magnitudes = magnitudes[:, None]
    # Divided on its own, XLA computes the sum once and not again for every representation that it is added to.
    own = sum(attention[:, a, None] * x[:, a] for a in range(x.shape[1])) / magnitudes
    return x / magnitudes[:, None] + own[:, None]


def lift_gradient(
    gradient: jax.Array, x: jax.Array, attention: jax.Array, magnitudes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The gradients with respect to `x` and `attention` of `lift(x, attention, magnitudes)`, given that of its result.

    Written out, for autodiff pads the gradient of each representation to all k and adds them.

    Args:
        gradient: `[n, k, h]`.
        x: `[n, k, h]`.
        attention: `[n, k]`.
        magnitudes: `[n]`.

    Returns:
        `[n, k, h]` and `[n, k]`.

    Example:
        >>> x, attention, ones = jnp.array([[[1.0], [3.0]]]), jnp.array([[0.5, 0.5]]), jnp.ones(1)
        >>> of_x, of_attention = lift_gradient(jnp.ones((1, 2, 1)), x, attention, ones)
        >>> print(of_x.ravel(), of_attention.ravel())
        [2. 2.] [2. 6.]
    """
    own = sum(gradient[:, a] for a in range(x.shape[1])) / magnitudes[:, None]
    of_x = gradient / magnitudes[:, None, None] + attention[:, :, None] * own[:, None]
    return of_x, jnp.stack([(x[:, a] * own).sum(-1) for a in range(x.shape[1])], 1)


def cosine_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """`1 - cos(a, b)` of two vectors `[h]`: the definition that the matrix forms below have to match."""
    return 1 - jnp.dot(a * inverse_root(jnp.dot(a, a), 1), b * inverse_root(jnp.dot(b, b), 1))


def unit_scale(x: jax.Array) -> jax.Array:
    """Each instance (leading axis) divided by its largest magnitude, so that squares neither over- nor underflow.

    A cosine does not change with the length of its arguments, so no gradient flows through the divisor.
    """
    # Where x is a compile-time constant XLA would otherwise turn the square of the quotient into a quotient of squares.
    return jax.lax.optimization_barrier(x / magnitude(x).reshape(-1, *[1] * (x.ndim - 1)))


def magnitude(x: jax.Array) -> jax.Array:
    """The largest magnitude in each instance (leading axis), `[n]`; 1 for an instance that counts as zero."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=tuple(range(1, x.ndim)), initial=0))
    return jnp.where(largest > _SMALLEST_INSTANCE, largest, 1)


def without_rounding(distance: jax.Array) -> jax.Array:
    """Distances with those that are no more than rounding set to 0: a square root would make 3e-4 of 1e-7."""
    return jnp.where(distance < _ROUNDING_ERRORS * jnp.finfo(distance.dtype).eps, 0, distance)


def without_cancellation(squared: jax.Array, scale: jax.Array) -> jax.Array:
    """Squared lengths with those that are no more than rounding at this scale set to infinity: their cosine is 0."""
    return jnp.where(squared <= _ROUNDING_ERRORS * jnp.finfo(squared.dtype).eps * scale, jnp.inf, squared)


def mean_normalized(original: jax.Array, where: jax.Array) -> jax.Array:
    """`d = d_ori / mean(d_ori)` over the pairs i != j that are both in `where` (Eq. 6), 0 elsewhere."""
    pairs = where[:, None] & where[None, :] & ~jnp.eye(where.shape[0], dtype=bool)
    original = jnp.where(pairs, original, 0)
    mean = original.sum() / jnp.maximum(pairs.sum(), 1).astype(original.dtype)
    return original / jnp.where(mean > 0, mean, 1)


@jax.jit
def _co_attention_distances(x, y, x_attention, y_attention):
    x, x_attention = as_representations(x, x_attention, "x")
    y, y_attention = as_representations(y, y_attention, "y")
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"x and y must agree in [k, h], got {x.shape[1:]} and {y.shape[1:]}")
    return dense_distances(x, y, x_attention, y_attention)


def dense_distances(x, y, x_attention, y_attention, matmul_config: MatmulConfig = EXACT_MATMUL):
    """`co_attention_distances` of instances that `as_representations` has made."""
    (n, k, h), m = x.shape, len(y)
    x = lift(unit_scale(x), x_attention)
    y = lift(unit_scale(y), y_attention)
    inner = matmul(x.reshape(n * k, h), y.reshape(m * k, h), (1, 1), matmul_config).reshape(n, k, m, k)
    inner = jnp.einsum("iajb,ib,ja->ij", inner, x_attention, y_attention, precision="highest")
    cosines = inner * _inverse_fused_norms(x, y_attention) * _inverse_fused_norms(y, x_attention).T
    return jnp.clip(1 - cosines, 0, 2)


@jax.jit
def _target_distances(image_inputs, text_inputs, where):
    image_inputs, text_inputs, where = as_inputs(image_inputs, text_inputs, where)
    return dense_targets(image_inputs, text_inputs, jnp.ones(len(image_inputs), bool) if where is None else where)


def dense_targets(image_inputs, text_inputs, where, matmul_config: MatmulConfig = EXACT_MATMUL):
    """`target_distances` of inputs that `as_inputs` has made, with a `where`."""
    image, text = (_input_distances(masked(x, where), matmul_config) for x in (image_inputs, text_inputs))
    dtype = float_dtype(image, text)
    return mean_normalized(jnp.sqrt(image.astype(dtype) * text.astype(dtype)), where)


def unit_length(inputs: jax.Array) -> jax.Array:
    """Each row of `[n, d]` divided by its length; a zero row stays zero."""
    inputs = unit_scale(inputs)
    return inputs * inverse_root(jnp.square(inputs).sum(-1, keepdims=True), 1)


def _input_distances(inputs, matmul_config):
    inputs = unit_length(inputs)
    # In bfloat16 a cosine may pass 1, and the square root has no use for negative distances.
    return jnp.maximum(without_rounding(1 - matmul(inputs, inputs, (1, 1), matmul_config)), 0)


def _inverse_fused_norms(lifted, other_attention):
    """`1 / |Co(x_i, y_j)|`, `[n, m]`, from the inner products of the lifted representations of x: `[n, k, h]`."""
    grams = jnp.einsum("iah,ibh->iab", lifted, lifted, precision="highest")
    squared = jnp.einsum("iab,ja,jb->ij", grams, other_attention, other_attention, precision="highest")
    return inverse_root(squared, jnp.trace(grams, axis1=1, axis2=2)[:, None])


def inverse_root(squared, scale):
    """`squared ** -0.5`, 0 where it is no more than rounding at this scale."""
    # The inner `where` keeps the unused branch of the gradient finite.
    is_zero = squared <= _ROUNDING_ERRORS * jnp.finfo(squared.dtype).eps * scale
    return jnp.where(is_zero, 0, jax.lax.rsqrt(jnp.where(is_zero, 1, squared)))


def _as_float(array, name: str) -> jax.Array:
    array = jnp.asarray(array)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real, got {array.dtype}")
    return array.astype(float_dtype(array))


def float_dtype(*arrays: jax.Array) -> jnp.dtype:
    """The dtype in which the losses compute with some real arrays: float64 where one of them is, float32 otherwise.

    `jnp.result_type` says the same, but not under `jax_numpy_dtype_promotion=strict`.

    Example:
        >>> float_dtype(jnp.ones(2, jnp.bfloat16), jnp.ones(2, int)).name
        'float32'
    """
    return jnp.dtype(jnp.float64 if any(array.dtype == jnp.float64 for array in arrays) else jnp.float32)
