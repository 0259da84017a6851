"""The loss against a plain float64 loop over pairs, its gradients, and its behaviour at the extremes."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import gpldan_jax
from tests.losses import loop_reference

IMPLEMENTATIONS = [
    pytest.param({"implementation": "vmap"}, id="vmap"),
    pytest.param({"implementation": "dense"}, id="dense"),
    pytest.param({"implementation": "blocked"}, id="one block"),
    pytest.param({"implementation": "blocked", "block_size": 2}, id="blocks of 2"),
]
# Float32 against float64: the distances are O(1) and averaged, so rounding stays below this.
FLOAT32_TOLERANCE = 1e-5
# Both sides in float64; what is left is the order of summation.
FLOAT64_TOLERANCE = 1e-10


def batch(seed, n, k, h, d_i=7, d_t=5, dtype=np.float64):
    """Arguments of the loss for n random pairs; `k=None` gives plain embeddings without attention."""
    rng = np.random.default_rng(seed)
    if k is None:
        image, text, a, b = rng.normal(size=(n, h)), rng.normal(size=(n, h)), None, None
    else:
        image, text = rng.normal(size=(2, n, k, h))
        a, b = rng.dirichlet(np.ones(k), size=(2, n))
    u, c = rng.normal(size=(n, d_i)), rng.normal(size=(n, d_t))
    return tuple(x if x is None else x.astype(dtype) for x in (image, text, a, b, u, c))


# Few shapes, many values: every new shape is a compilation.
SHAPES = [(1, 2, 8), (3, 4, 8), (5, 1, 9), (6, 3, 12), (7, None, 8)]
batches = st.builds(
    lambda seed, shape: dict(zip(("seed", "n", "k", "h"), (seed, *shape), strict=True)),
    st.integers(0, 2**16),
    st.sampled_from(SHAPES),
)
options = st.fixed_dictionaries(
    {
        "alpha": st.floats(0, 3),
        "beta": st.floats(0, 3),
        "discrepancy": st.sampled_from(["absolute", "squared", "signed"]),
    }
)
generated = hypothesis.settings(max_examples=10, deadline=None, derandomize=True)


@generated
@hypothesis.given(shape=batches, option=options, mask=st.lists(st.booleans(), min_size=7, max_size=7))
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    "dtype, tolerance",
    [pytest.param(np.float32, FLOAT32_TOLERANCE, marks=pytest.mark.slow), (np.float64, FLOAT64_TOLERANCE)],
)
def test_agrees_with_a_float64_loop(implementation, dtype, tolerance, shape, option, mask):
    where = np.array(mask[: shape["n"]])
    arguments = batch(**shape, dtype=dtype)
    expected, expected_terms = loop_reference.graph_pattern_loss(*arguments, **option, where=where)
    with jax.enable_x64(dtype == np.float64):
        loss, terms = gpldan_jax.graph_pattern_loss(*arguments, **option, where=where, **implementation)
        assert loss.dtype == dtype
        np.testing.assert_allclose(terms, expected_terms, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(loss, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
@hypothesis.given(shape=batches, option=options, mask=st.lists(st.booleans(), min_size=7, max_size=7))
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_match_finite_differences(implementation, shape, option, mask):
    image, text, a, b, u, c = batch(**shape)
    attention = () if a is None else (np.log(a), np.log(b))  # logits keep the rows summing to one

    @jax.jit
    def loss(image, text, *logits):
        attention = [jax.nn.softmax(x) for x in logits] or [None, None]
        where = np.array(mask[: shape["n"]])
        return gpldan_jax.graph_pattern_loss(image, text, *attention, u, c, **option, where=where, **implementation)[0]

    with jax.enable_x64(True):
        check_grads(loss, (image, text, *attention), order=1, modes=("rev",), rtol=1e-5, atol=1e-6)


@functools.partial(jax.jit, static_argnames="options")
def jitted_value_and_grads(features, inputs, where, options):
    def loss(features):
        return gpldan_jax.graph_pattern_loss(
            *features,
            *inputs,
            alpha=1.0,
            beta=0.5,
            where=where,
            **dict(options),
        )[0]

    return jax.value_and_grad(loss)(features)


def value_and_grads(arguments, implementation=None, where=None, **options):
    options = tuple((options | (implementation or {})).items())
    return jitted_value_and_grads(arguments[:4], arguments[4:], where, options)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:])
def test_implementations_have_the_same_gradients(implementation):
    arguments = batch(0, n=16, k=4, h=32, dtype=np.float32)
    _, expected = value_and_grads(arguments, {"implementation": "vmap"})
    _, grads = value_and_grads(arguments, implementation)
    for one, other in zip(grads, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=FLOAT32_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_masked_pairs_leave_no_trace(implementation):
    arguments = batch(1, n=9, k=3, h=8, dtype=np.float32)
    where = np.arange(9) % 3 != 1
    padded = [x.copy() for x in arguments]
    for x in padded:
        x[~where] = np.nan
    alone, alone_grads = value_and_grads([x[where] for x in arguments], implementation)
    masked, masked_grads = value_and_grads(padded, implementation, where=where)
    np.testing.assert_allclose(masked, alone, rtol=1e-6)
    for one, other in zip(masked_grads, alone_grads, strict=True):
        np.testing.assert_allclose(one[where], other, atol=1e-6)
        assert not np.asarray(one[~where]).any()
    eager, _ = gpldan_jax.graph_pattern_loss(*padded, alpha=1.0, beta=0.5, where=where, **implementation)
    np.testing.assert_allclose(eager, alone, rtol=1e-6)


def zero_rows(x):
    return tuple(np.where((np.arange(len(y)) < 2).reshape(-1, *[1] * (y.ndim - 1)), 0, y) for y in x)


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("discrepancy", ["absolute", "squared", "signed"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda v, t, a, b, u, c: (*zero_rows((v, t)), a, b, *zero_rows((u, c))), id="zero rows"),
        pytest.param(lambda v, t, a, b, u, c: (v * 0, t * 0, a, b, u * 0, c * 0), id="all zero"),
        pytest.param(lambda *x: tuple(np.repeat(y[:1], len(y), 0) for y in x), id="identical rows: all targets zero"),
        pytest.param(lambda v, t, a, b, u, c: (v, v, a, a, u, u), id="image is text"),
        pytest.param(lambda v, t, a, b, u, c: (v, t, a, b, u[[0] * 6], c), id="identical image inputs"),
        pytest.param(lambda v, t, a, b, u, c: (v * 1e-20, t * 1e-20, a, b, u * 1e-20, c * 1e-20), id="times 1e-20"),
        pytest.param(lambda v, t, a, b, u, c: (v * 1e20, t * 1e20, a, b, u * 1e20, c * 1e20), id="times 1e20"),
        pytest.param(lambda v, t, a, b, u, c: (v * 1e20, t * 1e-20, a, b, u * 1e-20, c * 1e20), id="mixed scales"),
        pytest.param(
            lambda v, t, a, b, u, c: (np.stack([v[:, 0], -v[:, 0]], 1), t, a * 0 + 0.5, b * 0 + 0.5, u, c),
            id="fused representations cancel",
        ),
    ],
)
def test_finite_at_the_extremes(implementation, discrepancy, change):
    # Inputs of one width, so that images may stand for texts; every shape is a compilation.
    arguments = tuple(x.astype(np.float32) for x in change(*batch(2, n=6, k=2, h=8, d_i=5, d_t=5)))
    loss, grads = value_and_grads(arguments, implementation, discrepancy=discrepancy)
    assert np.isfinite(loss)
    for grad in grads:
        assert np.isfinite(grad).all()
    expected, _ = loop_reference.graph_pattern_loss(*arguments, alpha=1.0, beta=0.5, discrepancy=discrepancy)
    np.testing.assert_allclose(loss, expected, rtol=FLOAT32_TOLERANCE, atol=FLOAT32_TOLERANCE)


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_one_pair_alone_has_a_finite_loss(implementation):
    arguments = batch(2, n=1, k=2, h=8, dtype=np.float32)
    loss, grads = value_and_grads(arguments, implementation)
    assert all(np.isfinite(grad).all() for grad in grads)
    expected, _ = loop_reference.graph_pattern_loss(*arguments, alpha=1.0, beta=0.5)
    np.testing.assert_allclose(loss, expected, rtol=FLOAT32_TOLERANCE, atol=FLOAT32_TOLERANCE)


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_loss_does_not_depend_on_the_length_of_an_instance(implementation):
    v, t, a, b, u, c = batch(3, n=6, k=2, h=8, dtype=np.float32)
    length = np.logspace(-18, 18, 6, dtype=np.float32)
    loss, _ = value_and_grads((v, t, a, b, u, c), implementation)
    scaled, _ = value_and_grads(
        (v * length[:, None, None], t / length[:, None, None], a, b, u * length[:, None], c), implementation
    )
    np.testing.assert_allclose(scaled, loss, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_extreme_scales_survive_constant_folding(implementation):
    # As arguments the same arrays pass; as constants XLA may square them before it divides by their scale.
    v, t, a, b, u, c = (jnp.asarray(x) for x in batch(2, n=6, k=2, h=8, dtype=np.float32))
    loss, _ = value_and_grads((v, t, a, b, u, c), implementation)
    for scale in (1e20, 1e-20):
        arguments = (v * scale, t * scale, a, b, u * scale, c * scale)
        constant, _ = jax.jit(
            lambda x=arguments: gpldan_jax.graph_pattern_loss(*x, alpha=1.0, beta=0.5, **implementation)
        )()
        np.testing.assert_allclose(constant, loss, rtol=1e-6)


def test_hand_computed_case():
    # Two pairs, k = 1. Images (1,0), (0,1); texts (1,0), (-1,0). Inputs orthogonal, so the only d_ori is 1 and d = 1.
    # l_vt = [[0, 2], [1, 1]], l_vv = [[0, 1], [1, 0]], l_tt = [[0, 2], [2, 0]].
    image = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    text = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    inputs = jnp.eye(2)
    loss, terms = gpldan_jax.graph_pattern_loss(image, text, None, None, inputs, inputs, alpha=2.0, beta=3.0)
    np.testing.assert_allclose(terms.pairwise, (0 + 1) / 2)
    np.testing.assert_allclose(terms.unpaired, ((1 + 0) + (0 + 0) + (1 + 1)) / 4)  # vt, vv, tt
    np.testing.assert_allclose(terms.mutual, ((1 + 0 + 1) + (0 + 1 + 1)) / 4)  # (0, 1), then (1, 0)
    np.testing.assert_allclose(loss, 0.5 + 2 * 0.75 + 3 * 1.0)


@pytest.mark.slow
def test_inputs_carry_no_gradient():
    arguments = [jnp.asarray(x) for x in batch(4, n=4, k=2, h=8, dtype=np.float32)]

    def loss(u, c):
        return gpldan_jax.graph_pattern_loss(*arguments[:4], u, c, alpha=1.0, beta=1.0)[0]

    for grad in jax.grad(loss, argnums=(0, 1))(*arguments[4:]):
        assert not np.asarray(grad).any()


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_half_precision_and_integer_inputs_compute_in_float32(implementation):
    arguments = batch(5, n=4, k=2, h=8, dtype=np.float32)
    halved = [jnp.asarray(x, jnp.bfloat16) for x in arguments[:4]]
    counts = [np.abs(x * 3).astype(np.int32) for x in arguments[4:]]
    loss, _ = gpldan_jax.graph_pattern_loss(*halved, *counts, alpha=1.0, beta=1.0, **implementation)
    expected, _ = loop_reference.graph_pattern_loss(
        *(np.asarray(x, np.float64) for x in halved[:2]),
        *(np.asarray(x, np.float64) / np.asarray(x, np.float64).sum(-1, keepdims=True) for x in halved[2:]),
        *counts,
        alpha=1.0,
        beta=1.0,
    )
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=FLOAT32_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_attention_that_does_not_sum_to_one_is_rejected(implementation):
    v, t, a, b, u, c = batch(6, n=4, k=2, h=8, dtype=np.float32)
    a[1] = [0.5, 0.9]

    def loss(a):
        return gpldan_jax.graph_pattern_loss(v, t, a, b, u, c, alpha=1.0, beta=1.0, **implementation)[0]

    with pytest.raises(ValueError, match=r"image_attention rows must sum to 1, row 1 sums to 1\.4"):
        loss(a)
    assert np.isnan(jax.jit(loss)(a))


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda v, t, a, b, u, c: (v[:, :, :7], t, a, b, u, c),
            r"image and text must have the same \[n, k, h\], got \(4, 2, 7\)",
        ),
        (lambda v, t, a, b, u, c: (v, t, a, None, u, c), r"text of shape \(4, 2, 8\) needs text_attention"),
        (lambda v, t, a, b, u, c: (v, t, a[:, :1], b, u, c), r"image_attention \[n, k\], got \(4, 2, 8\) and \(4, 1\)"),
        (lambda v, t, a, b, u, c: (v[:, 0], t, a, b, u, c), r"image must be \[n, k, h\]"),
        (lambda v, t, a, b, u, c: (v, t, a, b, u[:3], c), r"image_inputs and text_inputs must be .* got \(3, 7\)"),
        (lambda v, t, a, b, u, c: (v, t, a, b, u[:3], c[:3]), r"image must have a row for each pair, 3, got 4"),
        (lambda v, t, a, b, u, c: (v, t, a, b, u + 1j, c), r"image_inputs must be real, got complex"),
    ],
)
def test_bad_shapes_name_both_sides(change, message):
    arguments = change(*batch(7, n=4, k=2, h=8, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        gpldan_jax.graph_pattern_loss(*arguments, alpha=1.0, beta=1.0)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"discrepancy": "abs"}, "discrepancy must be one of absolute, squared, signed, got 'abs'"),
        ({"implementation": "fast"}, "implementation must be 'blocked', 'dense' or 'vmap', got 'fast'"),
        ({"block_size": 1}, "block_size must be an int of at least 2, got 1"),
        ({"block_size": 4, "implementation": "dense"}, "block_size is for implementation='blocked', got 'dense'"),
        ({"precision": "tf32"}, "precision must be one of default, high, highest, got 'tf32'"),
        ({"compute_dtype": "float16"}, "compute_dtype must be one of float32, bfloat16, got 'float16'"),
        ({"compute_dtype": "bfloat16", "implementation": "vmap"}, "'vmap' has no precision or compute_dtype"),
        ({"where": np.ones(3, bool)}, r"where must be \[n\] = \(4,\), got \(3,\)"),
    ],
)
def test_bad_options_are_named(option, message):
    with pytest.raises(ValueError, match=message):
        gpldan_jax.graph_pattern_loss(*batch(8, n=4, k=2, h=8, dtype=np.float32), alpha=1.0, beta=1.0, **option)


@pytest.mark.slow
def test_weights_can_be_traced():
    arguments = batch(9, n=4, k=2, h=8, dtype=np.float32)
    alphas = jnp.array([0.0, 0.5, 2.0])
    losses = jax.vmap(lambda alpha: gpldan_jax.graph_pattern_loss(*arguments, alpha=alpha, beta=0.1)[0])(alphas)
    expected = [gpldan_jax.graph_pattern_loss(*arguments, alpha=alpha, beta=0.1)[0] for alpha in alphas]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("is_masked", [False, True])
def test_strict_promotion_gives_the_same(implementation, is_masked):
    image, text, a, b, u, c = batch(10, n=5, k=2, h=8, dtype=np.float32)
    where = np.arange(5) < 4 if is_masked else None

    def objective(image, text, a, b):
        return gpldan_jax.graph_pattern_loss(
            image, text, a, b, u, c, alpha=1.0, beta=0.1, where=where, **implementation
        )[0]

    program = jax.value_and_grad(objective, argnums=(0, 1, 2, 3))
    expected = program(image, text, a, b)
    with jax.numpy_dtype_promotion("strict"):
        found = jax.jit(program)(image, text, a, b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), found, expected)


def test_strict_promotion_takes_inputs_of_other_types():
    image, text, a, b, u, c = batch(11, n=3, k=2, h=8, dtype=np.float32)
    with jax.numpy_dtype_promotion("strict"):
        for inputs in (jnp.asarray(u, jnp.bfloat16), np.ones((3, 7), np.int32), np.ones((3, 7), bool)):
            loss, _ = gpldan_jax.graph_pattern_loss(image, text, a, b, inputs, c, alpha=1.0, beta=0.1)
            assert np.isfinite(loss) and loss.dtype == np.float32
