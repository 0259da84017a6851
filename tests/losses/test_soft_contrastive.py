"""The contrastive loss with soft targets: against a float64 loop, the dense form, InfoNCE and a case by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from gpldan_jax import losses
from tests.losses import loop_reference
from tests.losses.test_graph_pattern import batch
from tests.losses.test_graph_pattern_sharded import mesh_of

# Float32 against float64: distances are O(1), logits up to `scale`.
FLOAT32_TOLERANCE = 1e-5
# Both sides in float64; what is left is the order of summation.
FLOAT64_TOLERANCE = 1e-10

GROUPS = np.array([3, 1, 3, 2, 1, 3, 0])
WHERE = np.array([True, True, False, True, True, True, False])
CASES = {
    "plain": {"k": None, "scale": 4.0},
    "rows": {"k": 4, "scale": 4.0, "rows": True, "own": 0.6},
    "where": {"k": None, "scale": 4.0, "where": WHERE, "within": 0.4},
    "groups": {"k": 4, "scale": 7.0, "groups": GROUPS, "own": 2.0, "within": 0.0},
    "all": {"k": 4, "scale": 100.0, "groups": GROUPS, "where": WHERE, "rows": True, "within": 1.7, "own": 0.3},
    "no own": {"k": None, "scale": 4.0, "own": 0.0, "isolated": True},
    "nobody": {"k": None, "scale": 4.0, "where": np.zeros(7, bool)},
}


def problem(k, dtype=np.float64, n=7, rows=False, isolated=False, where=None, **options):
    """Features with attention, the loss's options, and the similarity that they mean; NaN where it is left out."""
    features = batch(0, n=n, k=k, h=6, dtype=dtype)[:4]
    random = np.random.default_rng(1)
    vectors = random.normal(size=(n, 5)).astype(dtype)
    similarity = vectors @ vectors.T if rows else random.normal(size=(n, n)).astype(dtype)  # not symmetric
    if isolated:
        similarity[3] = similarity[:, 3] = -1
    if where is not None:
        options["where"] = where
        for x in (*features, vectors):
            if x is not None:
                x[~where] = np.nan
        similarity[~where] = similarity[:, ~where] = np.nan
    given = {"similarity_rows": vectors} if rows else {"similarity": similarity}
    return features, options | given, similarity


def value_and_gradients(features, **options):
    present = [x for x in features if x is not None]

    def loss(*present):
        return losses.soft_contrastive(*present, **options)

    return jax.value_and_grad(loss, argnums=tuple(range(len(present))))(*present)


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_a_float64_loop(case):
    features, options, similarity = problem(**CASES[case])
    with_loop = {name: x for name, x in options.items() if not name.startswith("similarity")}
    expected = loop_reference.soft_contrastive(*features, similarity, **with_loop)
    with jax.enable_x64(True):
        found = losses.soft_contrastive(*features, **options, implementation="dense")
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=FLOAT64_TOLERANCE, atol=FLOAT64_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["dense", "blocked"])
def test_float32_agrees_with_the_float64_loop(implementation):
    features, options, similarity = problem(**CASES["all"])
    with_loop = {name: x for name, x in options.items() if not name.startswith("similarity")}
    expected = loop_reference.soft_contrastive(*features, similarity, **with_loop)
    features, options, _ = problem(dtype=np.float32, **CASES["all"])
    found = losses.soft_contrastive(*features, **options, implementation=implementation)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=FLOAT32_TOLERANCE)


@pytest.mark.slow
def test_gradients_of_the_dense_form_are_those_of_the_loop():
    (image, text, a, b), options, similarity = problem(3, n=4, scale=4.0, where=WHERE[:4], groups=GROUPS[:4])
    options.pop("similarity")
    _, (of_image, of_text, *_) = value_and_gradients((image, text, a, b), similarity=similarity, **options)
    step = 1e-5
    for which, found in ((0, of_image), (1, of_text)):
        for index in [(0, 0, 0), (1, 2, 3), (3, 1, 5), (2, 0, 0)]:
            sides = []
            for sign in (1, -1):
                moved = [image.copy(), text.copy()]
                moved[which][index] += sign * step
                sides.append(loop_reference.soft_contrastive(*moved, a, b, similarity, **options))
            expected = 0.0 if index[0] == 2 else (sides[0] - sides[1]) / (2 * step)  # 2 is left out
            np.testing.assert_allclose(found[index], expected, atol=1e-5)


# Seven pairs, in one tile, or in blocks of two the last of which overlaps the one before.
@pytest.mark.slow
@pytest.mark.parametrize(
    "case, block_size", [("all", None), ("all", 4), ("plain", 4), ("no own", None), ("nobody", None)]
)
def test_gradients_of_the_blocked_form_are_those_of_the_dense(case, block_size):
    features, options, _ = problem(**CASES[case])
    weights = {"scale": options.pop("scale"), "within": options.pop("within", 1.0)}

    def loss(features, weights, **implementation):
        return losses.soft_contrastive(*features, **options, **weights, **implementation)

    with jax.enable_x64(True):
        expected = jax.value_and_grad(loss, argnums=(0, 1))(features, weights, implementation="dense")
        found = jax.value_and_grad(loss, argnums=(0, 1))(features, weights, block_size=block_size)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10), found, expected)


def test_two_pairs_by_hand():
    image, text = np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[::-1]  # each text lies on the other image
    found = losses.soft_contrastive(
        image, text, similarity=jnp.array([[5.0, 3.0], [-2.0, 5.0]]), scale=2.0, within=10.0, own=1.0
    )
    # Targets (1/4, 3/4) and (0, 1) against the softmax of (0, 2) and (2, 0), with the same normalizer.
    normalizer = math.log(1 + math.exp(2))
    first, second = normalizer - 3 / 4 * 2, normalizer
    # Within, a pair has one other, whose softmax is 1.
    np.testing.assert_allclose(found, (first + second) / 2, rtol=FLOAT32_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("where", [None, np.arange(6) != 2])
def test_without_a_graph_it_is_infonce(where):
    image, text = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    cosines = 1 - losses.co_attention_distances(image, text)
    found = losses.soft_contrastive(image, text, similarity=np.zeros((6, 6)), within=0.0, scale=20.0, where=where)
    np.testing.assert_allclose(found, losses.infonce(cosines, 20.0, where=where), rtol=FLOAT32_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["dense", "blocked"])
def test_no_gradient_flows_into_the_target(implementation):
    features, options, _ = problem(None, np.float32, rows=True, scale=4.0)

    def loss(own, rows):
        return losses.soft_contrastive(
            *features, **options | {"similarity_rows": rows}, own=own, implementation=implementation
        )

    of_own, of_rows = jax.grad(loss, argnums=(0, 1))(1.0, options["similarity_rows"])
    assert of_own == 0 and not of_rows.any()


@pytest.mark.slow
def test_second_derivatives_are_for_the_dense_form():
    features, options, _ = problem(None, np.float32, scale=2.0)

    def loss(image, **implementation):
        return losses.soft_contrastive(image, features[1], **options, **implementation)

    def second(implementation):
        return jax.grad(lambda x: (jax.grad(loss)(x, implementation=implementation) ** 2).sum())(features[0])

    assert jnp.isfinite(second("dense")).all()
    with pytest.raises(NotImplementedError, match="implementation='dense' has derivatives of every order"):
        second("blocked")


@pytest.mark.slow
def test_zero_vectors_and_duplicates_have_finite_gradients():
    (image, text, a, b), options, _ = problem(2, np.float32, scale=100.0)
    image[1] = text[1] = text[4] = 0
    image[3], a[3] = image[5], a[5]
    text[3], b[3] = image[3], a[3]
    value, gradients = value_and_gradients((image, text, a, b), **options)
    assert jnp.isfinite(value) and all(jnp.isfinite(x).all() for x in gradients)
    assert not gradients[0][1].any() and not gradients[1][4].any()


@pytest.mark.slow
def test_many_scales_and_parameters_side_by_side():
    features, options, _ = problem(None, np.float32, rows=True)
    images = np.stack([features[0], features[0][::-1]])
    scales = jnp.array([1.0, 100.0])

    def loss(image, scale, **implementation):
        return losses.soft_contrastive(image, *features[1:], **options, scale=scale, **implementation)

    found = jax.vmap(jax.value_and_grad(functools.partial(loss, block_size=4)))(images, scales)
    for i, each in enumerate(zip(images, scales, strict=True)):
        value, gradient = jax.value_and_grad(loss)(*each, implementation="dense")
        np.testing.assert_allclose(found[0][i], value, rtol=FLOAT32_TOLERANCE)
        np.testing.assert_allclose(found[1][i], gradient, rtol=1e-4, atol=1e-4)


def compiled(n, k, h=64, d=32, **options):
    shapes = ((n, k, h), (n, k, h), (n, k), (n, k), (n, d))

    def loss(*arrays):
        return losses.soft_contrastive(*arrays[:4], similarity_rows=arrays[4], scale=20.0, **options)

    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3))).lower(*arguments).compile()


@pytest.mark.slow
def test_bfloat16_products_are_near():
    image, text, rows = np.random.default_rng(0).normal(size=(3, 32, 64)).astype(np.float32)
    exact, rounded = (
        losses.soft_contrastive(image, text, similarity_rows=rows, scale=100.0, compute_dtype=dtype)
        for dtype in (None, "bfloat16")
    )
    assert 0 < abs(rounded - exact) < 1e-2 * exact


@pytest.mark.slow
def test_memory_is_linear_in_the_batch():
    temporaries = [compiled(n, k=1, block_size=64).memory_analysis().temp_size_in_bytes for n in (1024, 2048)]
    assert temporaries[1] < 2.1 * temporaries[0]
    assert temporaries[1] < 4 * 2048**2  # bytes; one matrix of all cosines is as large


@pytest.mark.slow
def test_a_single_tile_is_computed_once():
    n, k, h = 32, 4, 64
    product = 2 * (2 * n) ** 2 * h * k**2  # all instances with all
    assert 2 * product < compiled(n, k, h, d=1).cost_analysis()["flops"] < 2.7 * product


ERRORS = [
    ({"similarity": None}, "give one of similarity .* got neither"),
    ({"similarity_rows": np.ones((5, 2))}, "give one of similarity .* got both"),
    ({"similarity": np.ones((5, 4))}, r"similarity must be \[n, n\] = \(5, 5\), got \(5, 4\)"),
    ({"similarity": None, "similarity_rows": np.ones((4, 2))}, r"similarity_rows must be \[n, d\] with n = 5"),
    ({"similarity": np.ones((5, 5), complex)}, "similarity must be real, got complex64"),
    ({"where": np.ones(4, bool)}, r"where must be \[n\] = \(5,\), got \(4,\)"),
    ({"groups": np.ones(4, int)}, r"groups must be \[n\] = \(5,\), got \(4,\)"),
    ({"groups": np.ones(5)}, "groups must be whole numbers, got float32"),
    ({"own": -1.0}, "own must be at least 0, got -1.0"),
    ({"implementation": "vmap"}, "implementation must be 'blocked' or 'dense', got 'vmap'"),
    ({"implementation": "dense", "block_size": 4}, "block_size is for implementation='blocked'"),
    ({"block_size": 1}, "block_size must be an int of at least 2"),
    ({"text": np.ones((5, 2, 4))}, "needs text_attention"),
    ({"text": np.ones((6, 3))}, r"image and text must have the same \[n, k, h\]"),
]


@pytest.mark.parametrize("changes, message", ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_what_does_not_fit_is_named(changes, message):
    arguments = {"image": np.ones((5, 3)), "text": np.ones((5, 3)), "similarity": np.zeros((5, 5)), "scale": 1.0}
    with pytest.raises(ValueError, match=message):
        losses.soft_contrastive(**arguments | changes)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["dense", "blocked"])
def test_strict_promotion_and_half_precision(implementation):
    features, options, _ = problem(2, np.float32, scale=4, rows=True, where=WHERE, groups=GROUPS)
    features = [jnp.asarray(x, jnp.bfloat16) for x in features]

    def value_and_gradient():
        function = jax.value_and_grad(lambda x: losses.soft_contrastive(x, *features[1:], **options))
        return function(features[0])

    options["implementation"] = implementation
    expected = value_and_gradient()
    assert expected[0].dtype == np.float32 and expected[1].dtype == jnp.bfloat16
    with jax.numpy_dtype_promotion("strict"):
        found = value_and_gradient()
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("devices, k, block_size", [(2, 2, None), (4, None, 2)])
def test_over_devices_it_is_the_same(devices, k, block_size):
    mesh = mesh_of(devices)
    where, groups = np.arange(16) != 9, np.arange(16) % 7
    features, options, _ = problem(k, np.float32, n=16, rows=True, where=where, groups=groups, scale=10.0, within=0.7)
    weights = {"scale": options.pop("scale"), "within": options.pop("within")}

    def value_and_gradients(loss, **more):
        function = jax.value_and_grad(lambda x, weights: loss(*x, **options, **weights, **more), argnums=(0, 1))
        return jax.jit(function)(features, weights)

    expected = value_and_gradients(losses.soft_contrastive, implementation="dense")
    sharded = functools.partial(losses.sharded_soft_contrastive, mesh=mesh, axis="data")
    found = value_and_gradients(sharded, block_size=block_size)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=FLOAT32_TOLERANCE), found, expected)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    assert all(x.sharding.is_equivalent_to(rows, x.ndim) for x in jax.tree.leaves(found[1][0]))


@pytest.mark.parametrize(
    "rows, message", [(None, r"must come as similarity_rows \[n, d\]"), (np.ones((5, 2)), "5 pairs do not divide")]
)
def test_what_does_not_fit_the_mesh_is_named(rows, message):
    x = np.ones((5, 3), np.float32)
    with pytest.raises(ValueError, match=message):
        losses.sharded_soft_contrastive(x, x, similarity_rows=rows, scale=1.0, mesh=mesh_of(2), axis="data")
