"""What the blocked form promises beyond its values: memory, work, derivatives, precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import gpldan_jax
from tests.losses.test_graph_pattern import batch


def compiled(function, n, k=4, h=256, d_i=4096, d_t=1024):
    shapes = ((n, k, h), (n, k, h), (n, k), (n, k), (n, d_i), (n, d_t))
    return jax.jit(function).lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).compile()


def loss(*arguments, **options):
    return gpldan_jax.graph_pattern_loss(*arguments, alpha=1.0, beta=0.1, **options)[0]


@pytest.mark.slow
@pytest.mark.optimized
def test_temporaries_do_not_grow_with_the_batch():
    value_and_gradient = functools.partial(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)), block_size=256)
    temporaries = [compiled(value_and_gradient, n).memory_analysis().temp_size_in_bytes for n in (1024, 4096)]
    assert max(temporaries) < 1.1 * min(temporaries)
    assert max(temporaries) < 60e6  # bytes; the dense form needs 550e6 for n = 1024


@pytest.mark.slow
@pytest.mark.optimized
def test_without_a_gradient_only_the_forward_work_is_done():
    n, k, h, d = 32, 4, 64, 16
    forward, both = (
        compiled(function, n, k, h, d, d).cost_analysis()["flops"]
        for function in (loss, jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    )
    product = 2 * (2 * n) ** 2 * h * k**2
    assert product < forward < 1.5 * product
    assert 2 * product < both < 2.7 * product  # of a block with itself, one side's gradient is enough


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [3, 4])
def test_blocks_that_overlap_and_a_mask(block_size):
    arguments = batch(0, n=10, k=3, h=8)
    where = np.array([True, False, True, True, True, False, True, True, True, True])

    def terms(features, **options):
        result = gpldan_jax.graph_pattern_loss(*features, *arguments[4:], alpha=2.0, beta=0.7, where=where, **options)
        return result[0], result

    with jax.enable_x64(True):
        expected_grads, expected = jax.grad(terms, has_aux=True)(arguments[:4], implementation="dense")
        grads, result = jax.grad(terms, has_aux=True)(arguments[:4], block_size=block_size)
    for one, other in zip(jax.tree.leaves((grads, result)), jax.tree.leaves((expected_grads, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_single_terms_and_weights_have_gradients():
    image, text, a, b, u, c = batch(1, n=5, k=2, h=6)

    def mixture(image, alpha, beta):
        loss, terms = gpldan_jax.graph_pattern_loss(image, text, a, b, u, c, alpha=alpha, beta=beta, block_size=2)
        return loss**2 + 3 * terms.pairwise + terms.unpaired * terms.mutual

    with jax.enable_x64(True):
        check_grads(jax.jit(mixture), (image, 0.5, 2.0), order=1, modes=("rev",), rtol=1e-6)


@pytest.mark.slow
def test_terms_that_are_only_reported_by_a_scan_leave_the_gradient_alone():
    arguments = [jnp.asarray(x) for x in batch(4, n=5, k=2, h=6, dtype=np.float32)]

    def over_two_batches(image):
        def one(total, scale):
            loss, terms = gpldan_jax.graph_pattern_loss(image * scale, *arguments[1:], alpha=1.0, beta=0.1)
            return total + loss, terms

        return jax.lax.scan(one, 0.0, jnp.array([1.0, 2.0]))

    gradient, terms = jax.grad(over_two_batches, has_aux=True)(arguments[0])
    assert terms.mutual.shape == (2,)
    # The loss does not depend on the length of an instance.
    np.testing.assert_allclose(gradient, 2 * jax.grad(loss)(*arguments), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_second_derivative_is_refused():
    image, text, a, b, u, c = batch(2, n=4, k=2, h=6, dtype=np.float32)
    with pytest.raises(NotImplementedError, match="implementation='dense' has derivatives of every order"):
        jax.grad(lambda x: jnp.sum(jax.grad(loss)(x, text, a, b, u, c) ** 2))(image)
    jax.grad(lambda x: jnp.sum(jax.grad(loss)(x, text, a, b, u, c, implementation="dense") ** 2))(image)


@functools.cache
def large_value_and_gradients(dtype, **options):
    arguments = batch(3, n=256, k=4, h=256, d_i=512, d_t=256)

    def value(features, inputs):
        return loss(*features, *inputs, **options)

    with jax.enable_x64(True):
        features, inputs = ([jnp.asarray(x, dtype) for x in part] for part in (arguments[:4], arguments[4:]))
        return jax.jit(jax.value_and_grad(value))(features, inputs)


# Of the loss, relative, and of the gradients, relative in L2: about twice what the docstring of the loss says.
@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize(
    "options, loss_error, gradient_error",
    [({}, 2e-7, 2e-6), ({"precision": "default"}, 2e-7, 2e-6), ({"compute_dtype": "bfloat16"}, 1e-5, 2e-2)],
    ids=["highest", "default", "bfloat16"],
)
@pytest.mark.parametrize("implementation", ["blocked", "dense"])
def test_precision_is_as_documented(implementation, options, loss_error, gradient_error):
    if options.get("precision") == "default" and jax.default_backend() != "cpu":
        pytest.skip("default precision is float32 on CPUs only")
    expected, expected_grads = large_value_and_gradients(jnp.float64, implementation="dense")
    with jax.enable_x64(True):
        value, grads = large_value_and_gradients(jnp.float32, implementation=implementation, **options)
        assert value.dtype == jnp.float32
        print(f"loss {abs(value - expected) / expected:.1e}")  # pytest -rP shows what is measured
        assert abs(value - expected) < loss_error * expected
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            print(f"gradient {jnp.linalg.norm(grad - expected_grad) / jnp.linalg.norm(expected_grad):.1e}")
            assert jnp.linalg.norm(grad - expected_grad) < gradient_error * jnp.linalg.norm(expected_grad)
            if "compute_dtype" in options:  # the option has an effect
                assert jnp.linalg.norm(grad - expected_grad) > 1e-4 * jnp.linalg.norm(expected_grad)
