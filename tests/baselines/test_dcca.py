"""The objective of DCCA against NumPy, its gradient against finite differences, and what training makes of it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.baselines import dcca, ridge_cca
from gpldan_jax.baselines.dcca import dcca_loss, dccae_loss, total_correlation, trace_norm
from gpldan_jax.baselines.network_method import LabelledBatch
from gpldan_jax.baselines.perceptrons import initial_parameters
from tests.baselines import shared_latent

WIDTHS = {"image": (4, 5, 2), "text": (3, 5, 2), "image_decoder": (2, 5, 4), "text_decoder": (2, 5, 3)}


def views(n=40):
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n, 2))
    return tuple(latent @ rng.normal(size=(2, d)) + rng.normal(size=(n, d)) + 3 for d in (4, 3))


gradient_of = jax.jit(jax.value_and_grad(total_correlation))


def total_correlation_of(x, y, ridge):
    """As the paper states it, with symmetric roots, in float64."""

    def inverse_root(z):
        covariance = np.cov(z.T)
        values, vectors = np.linalg.eigh(
            covariance + ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        )
        return vectors / np.sqrt(values) @ vectors.T

    cross = (x - x.mean(0)).T @ (y - y.mean(0)) / (len(x) - 1)
    return np.linalg.svd(inverse_root(x) @ cross @ inverse_root(y))[1].sum()


def batch_of(x, y):
    return LabelledBatch(*(jnp.asarray(z, jnp.float32) for z in (x, y)), None, jax.random.key(0), 0.0)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.5])
def test_total_correlation_is_the_trace_norm_of_the_paper(ridge):
    x, y = views()
    expected = total_correlation_of(x, y, ridge)
    assert total_correlation(x, y, ridge) == pytest.approx(expected, abs=1e-5)
    assert total_correlation(y, x, ridge) == pytest.approx(expected, abs=1e-5)


def test_the_outputs_of_identity_networks_have_the_correlations_of_linear_cca():
    x, y = views()
    networks = {
        name: {"layer_0": {"kernel": jnp.eye(d), "bias": jnp.zeros(d)}} for name, d in (("image", 4), ("text", 3))
    }
    loss = dcca_loss(networks, batch_of(x, y), {"ridge": 0.01, "weight_decay": 0.0})
    assert -loss == pytest.approx(ridge_cca(x, y, ridge=0.01, components=3)[2].sum(), abs=1e-5)


def equal_eigenvalues():
    """Two white views with all three correlations equal, 1 / sqrt(2), from orthogonal columns of signs."""
    a, b, c = np.array(list(itertools.product((1.0, -1.0), repeat=3))).T
    return np.stack([a, b, c], axis=1), np.stack([a + a * b, b + b * c, c + c * a], axis=1)


@pytest.mark.parametrize("pairs", [views, equal_eigenvalues])
def test_its_gradient_is_that_of_finite_differences(pairs):
    rng = np.random.default_rng(0)
    x, y = pairs()
    dx, dy = rng.normal(size=x.shape), rng.normal(size=y.shape)

    def slope(dx, dy):
        ahead, behind = (total_correlation_of(x + step * dx, y + step * dy, 1e-3) for step in (1e-6, -1e-6))
        return (ahead - behind) / 2e-6

    with jax.enable_x64(True):
        gradients = jax.jit(jax.grad(total_correlation, (0, 1)))(jnp.asarray(x), jnp.asarray(y), 1e-3)
        assert (gradients[0] * dx).sum().item() == pytest.approx(slope(dx, 0 * dy), rel=1e-6)
        assert (gradients[1] * dy).sum().item() == pytest.approx(slope(0 * dx, dy), rel=1e-6)


def test_equal_eigenvalues_have_a_finite_gradient_in_float32():
    x, y = equal_eigenvalues()
    for other in (x, y):
        value, gradient = gradient_of(jnp.asarray(x, jnp.float32), jnp.asarray(other, jnp.float32), 1e-3)
        assert value == pytest.approx(total_correlation_of(x, other, 1e-3), rel=1e-6)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("x", [np.zeros((6, 2)), np.full((6, 2), 5.0), np.arange(6.0)[:, None] * [1.0, 1.0]])
def test_collapsed_outputs_have_a_finite_gradient(x):
    y = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    assert np.isfinite(gradient_of(jnp.asarray(x, jnp.float32), y, 1e-4)[1]).all()


def test_the_trace_norm_of_a_wide_matrix_has_the_gradient_of_a_tall_one():
    matrix = jnp.array([[3.0, 0.0, 4.0]])
    assert trace_norm(matrix) == pytest.approx(5)
    np.testing.assert_allclose(jax.grad(trace_norm)(matrix), matrix / 5, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(trace_norm)(matrix.T), matrix.T / 5, rtol=1e-6)


@pytest.mark.slow
def test_the_losses_are_those_of_numpy():
    x, y = views()
    parameters = initial_parameters(jax.random.key(0), WIDTHS)
    batch, exact = batch_of(x, y), jax.tree.map(lambda z: np.asarray(z, np.float64), parameters)

    def network(name, z):
        first, second = exact[name]["layer_0"], exact[name]["layer_1"]
        return np.maximum(z @ first["kernel"] + first["bias"], 0) @ second["kernel"] + second["bias"]

    image, text = network("image", x), network("text", y)
    correlation = total_correlation_of(image, text, 0.01)
    squares = {name: sum((layer["kernel"] ** 2).sum() for layer in exact[name].values()) for name in WIDTHS}
    hyperparameters = {"ridge": 0.01, "weight_decay": 0.3, "reconstruction": 0.2}

    encoders = {name: parameters[name] for name in ("image", "text")}
    expected = -correlation + 0.15 * (squares["image"] + squares["text"])
    assert jax.jit(dcca_loss)(encoders, batch, hyperparameters) == pytest.approx(expected, abs=1e-4)

    errors = sum(
        ((x[i] - network("image_decoder", image[i])) ** 2).sum()
        + ((y[i] - network("text_decoder", text[i])) ** 2).sum()
        for i in range(len(x))
    )
    expected = -correlation + 0.15 * sum(squares.values()) + 0.2 * errors / len(x)
    assert jax.jit(dccae_loss)(parameters, batch, hyperparameters) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", dcca.METHODS, ids=lambda method: method.name)
def test_training_lowers_the_loss_and_finds_partners(method):
    settings = {"hidden": (32,), "width": 3, "learning_rate": 1e-2, "epochs": 10}
    found, before, after = shared_latent.training_of(method.fit, dcca, **settings)
    assert after < before - 0.1
    assert found > 4 * shared_latent.CHANCE


@pytest.mark.slow
def test_inputs_are_standardised_and_outputs_fewer_than_the_pairs_of_a_batch():
    settings = {"hidden": (8,), "batch_size": 100, "width": 1000}
    distances, (parameters, _, inside, train, *_) = shared_latent.untrained(dcca.fit_dcca, dcca, **settings)
    assert parameters["image"]["layer_1"]["kernel"].shape == (8, 50)
    for inputs in (train.images, train.texts):
        np.testing.assert_allclose([inputs.mean(axis=0), inputs.std(axis=0) - 1], 0, atol=1e-5)
    raw, _ = shared_latent.splits()
    np.testing.assert_array_equal(distances(raw.images, raw.texts), inside(parameters)(train.images, train.texts))
