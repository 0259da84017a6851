"""The contrastive loss with soft targets: against a float64 loop, the dense form, InfoNCE and a case by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gpldan_jax import losses
from tests.losses import loop_reference
from tests.losses.test_graph_pattern import batch

IMPLEMENTATIONS = [
    pytest.param({"implementation": "dense"}, id="dense"),
    pytest.param({"implementation": "blocked"}, id="one block"),
    pytest.param({"implementation": "blocked", "block_size": 4}, id="blocks of 4"),
]
# Float32 against float64: distances are O(1), logits up to `scale`.
FLOAT32_TOLERANCE = 1e-5
# Both sides in float64; what is left is the order of summation.
FLOAT64_TOLERANCE = 1e-10

GROUPS = np.array([3, 1, 3, 2, 1, 3, 0])
WHERE = np.array([True, True, False, True, True, True, False])
CASES = {
    "plain": {"scale": 4.0},
    "rows": {"scale": 4.0, "rows": True, "own": 0.6},
    "where": {"scale": 4.0, "where": WHERE, "within": 0.4},
    "groups": {"scale": 7.0, "groups": GROUPS, "own": 2.0, "within": 0.0},
    "all": {"scale": 100.0, "groups": GROUPS, "where": WHERE, "rows": True, "within": 1.7, "own": 0.3},
    "no own": {"scale": 4.0, "own": 0.0, "isolated": True},
    "nobody": {"scale": 4.0, "where": np.zeros(7, bool)},
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


@pytest.mark.parametrize("k", [None, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_agrees_with_a_float64_loop(implementation, case, k):
    features, options, similarity = problem(k, **CASES[case])
    with_loop = {name: x for name, x in options.items() if not name.startswith("similarity")}
    expected = loop_reference.soft_contrastive(*features, similarity, **with_loop)
    with jax.enable_x64(True):
        found = losses.soft_contrastive(*features, **options, **implementation)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=FLOAT64_TOLERANCE, atol=FLOAT64_TOLERANCE)
    features, options, _ = problem(k, np.float32, **CASES[case])
    found = losses.soft_contrastive(*features, **options, **implementation)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=FLOAT32_TOLERANCE, atol=FLOAT32_TOLERANCE * options["scale"])


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


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [None, 2, 5, 6])
@pytest.mark.parametrize("k, case", [(None, "all"), (4, "all"), (4, "plain"), (2, "no own"), (2, "groups")])
def test_gradients_of_the_blocked_form_are_those_of_the_dense(k, case, block_size):
    with jax.enable_x64(True):
        features, options, _ = problem(k, **CASES[case])
        expected = value_and_gradients(features, **options, implementation="dense")
        found = value_and_gradients(features, **options, block_size=block_size)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * options["scale"])


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


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_without_a_graph_it_is_infonce(implementation):
    image, text = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    cosines = 1 - losses.co_attention_distances(image, text)
    options = {"similarity": np.zeros((6, 6)), "within": 0.0, "scale": 20.0, **implementation}
    found = losses.soft_contrastive(image, text, **options)
    np.testing.assert_allclose(found, losses.infonce(cosines, 20.0), rtol=FLOAT32_TOLERANCE)
    where = np.arange(6) != 2
    found = losses.soft_contrastive(image, text, where=where, **options)
    np.testing.assert_allclose(found, losses.infonce(cosines, 20.0, where=where), rtol=FLOAT32_TOLERANCE)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_flow_into_scale_and_within_and_not_into_the_target(implementation):
    features, options, _ = problem(2, np.float32, scale=4.0, rows=True)
    rows = options["similarity_rows"]

    def loss(scale, within, own, rows):
        return losses.soft_contrastive(
            *features, similarity_rows=rows, scale=scale, within=within, own=own, **implementation
        )

    check_grads(lambda scale, within: loss(scale, within, 1.0, rows), (4.0, 0.7), 1, modes=["rev"], rtol=1e-2)
    of_own, of_rows = jax.grad(loss, argnums=(2, 3))(4.0, 0.7, 1.0, rows)
    assert of_own == 0 and not of_rows.any()


def test_the_dense_form_has_second_derivatives():
    features, options, _ = problem(None, np.float32, scale=2.0)
    hessian = jax.hessian(lambda image: losses.soft_contrastive(image, features[1], **options, implementation="dense"))
    assert jnp.isfinite(hessian(features[0])).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_zero_vectors_and_duplicates_have_finite_gradients(implementation):
    (image, text, a, b), options, _ = problem(2, np.float32, scale=100.0)
    image[1] = text[1] = text[4] = 0
    image[3], a[3] = image[5], a[5]
    text[3], b[3] = image[3], a[3]
    value, gradients = value_and_gradients((image, text, a, b), **options, **implementation)
    assert jnp.isfinite(value) and all(jnp.isfinite(x).all() for x in gradients)
    assert not gradients[0][1].any() and not gradients[1][4].any()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_batches_of_scales(implementation):
    features, options, _ = problem(2, np.float32, rows=True)
    scales = jnp.array([1.0, 10.0, 100.0])

    def loss(image, scale):
        return losses.soft_contrastive(image, *features[1:], **options, scale=scale, **implementation)

    expected = [jax.value_and_grad(loss)(features[0], scale) for scale in scales]
    found = jax.vmap(jax.value_and_grad(loss), in_axes=(None, 0))(features[0], scales)
    for i, one in enumerate(expected):
        np.testing.assert_allclose(found[0][i], one[0], rtol=FLOAT32_TOLERANCE)
        np.testing.assert_allclose(found[1][i], one[1], rtol=1e-4, atol=FLOAT32_TOLERANCE)


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


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_strict_promotion_and_half_precision(implementation):
    features, options, _ = problem(2, np.float32, scale=4, rows=True, where=WHERE, groups=GROUPS)
    features = [jnp.asarray(x, jnp.bfloat16) for x in features]
    expected = value_and_gradients(features, **options, **implementation)
    assert expected[0].dtype == np.float32 and expected[1][0].dtype == jnp.bfloat16
    with jax.numpy_dtype_promotion("strict"):
        found = value_and_gradients(features, **options, **implementation)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
