"""Ridge CCA against scikit-learn, the covariance formula and the generalised eigenproblem."""

import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA

from gpldan_jax.baselines import cca, ridge_cca
from gpldan_jax.data import PairedSplit
from tests.baselines.test_chance import CLASSES, average_map

PLAIN, RIDGE = cca.METHODS


def views(n=200):
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n, 3))
    x = latent @ rng.normal(size=(3, 6)) + rng.normal(size=(n, 6))
    y = latent @ rng.normal(size=(3, 4)) + rng.normal(size=(n, 4))
    return x, y


def test_without_ridge_it_agrees_with_scikit_learn():
    x, y = views()
    project_x, project_y, correlations = ridge_cca(x, y, ridge=0.0, components=2)
    theirs = CCA(n_components=2, max_iter=5000, tol=1e-12).fit(x, y)
    for ours, other in zip((project_x(x), project_y(y)), theirs.transform(x, y), strict=True):
        for i in range(2):
            assert abs(np.corrcoef(ours[:, i], other[:, i])[0, 1]) > 1 - 1e-6
    found = [np.corrcoef(project_x(x)[:, i], project_y(y)[:, i])[0, 1] for i in range(2)]
    np.testing.assert_allclose(found, correlations, atol=1e-8)


def test_with_ridge_it_is_the_svd_of_the_whitened_cross_covariance():
    x, y = views()
    x, y = x - x.mean(0), y - y.mean(0)

    def inverse_root(z):
        covariance = z.T @ z / len(z)
        covariance += 0.3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        return vectors / np.sqrt(values) @ vectors.T

    expected = np.linalg.svd(inverse_root(x) @ (x.T @ y / len(x)) @ inverse_root(y))[1]
    np.testing.assert_allclose(ridge_cca(x, y, ridge=0.3, components=4)[2], expected, atol=1e-10)


def test_more_columns_than_pairs_and_constant_columns_are_fine():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(10, 40)), rng.normal(size=(10, 30))
    x[:, 3] = 5.0
    project_x, _, correlations = ridge_cca(x, y, ridge=1.0, components=50)
    assert np.isfinite(project_x(x)).all() and (correlations <= 1).all()


def eigenproblem_distances(x, y, given_x, given_y, ridge, components):
    """Cosine distances of what `[0, Sxy; Syx, 0] w = rho [Sxx + a I, 0; 0, Syy + b I] w` projects to, times rho."""
    x, y, given_x, given_y = (np.asarray(z, np.float64) for z in (x, y, given_x, given_y))
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    n, d_x = x.shape
    x, y = x - mean_x, y - mean_y
    within = scipy.linalg.block_diag(
        *(s + ridge * np.trace(s) / len(s) * np.eye(len(s)) for s in (x.T @ x / n, y.T @ y / n))
    )
    across = np.zeros_like(within)
    across[:d_x, d_x:] = x.T @ y / n
    rho, w = scipy.linalg.eigh(across + across.T, within)
    rho, w = rho[::-1][:components], w[:, ::-1][:, :components]
    p, q = (given_x - mean_x) @ (w[:d_x] * rho), (given_y - mean_y) @ (w[d_x:] * rho)
    return scipy.spatial.distance.cdist(p, q, "cosine")


@pytest.mark.parametrize(
    ("method", "settings", "ridge", "components"),
    (
        (PLAIN, {}, 0.0, 4),
        (RIDGE, {"ridge": 0.1, "components": (3,)}, 0.1, 3),
        (RIDGE, {"ridge": 0.1, "components": (2,)}, 0.1, 2),
        (RIDGE, {"ridge": 5.0, "components": (2,)}, 5.0, 2),
    ),
)
def test_distances_are_those_of_the_generalised_eigenproblem(method, settings, ridge, components):
    train, given = PairedSplit(*views()), PairedSplit(*views(30))
    found = method.fit(train, given, lambda distances: 0.0, seed=0, **settings)(given.images, given.texts[:20])
    expected = eigenproblem_distances(
        train.images, train.texts, given.images, given.texts[:20], ridge=ridge, components=components
    )
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_the_number_of_components_is_chosen_by_the_score():
    train, given = PairedSplit(*views()), PairedSplit(*views(30))

    def fitted(components, score):
        return RIDGE.fit(train, given, score, seed=0, ridge=0.1, components=components)(given.images, given.texts)

    expected = fitted((2,), lambda distances: 0.0)
    chosen = fitted((3, 2, 1), lambda distances: -np.abs(distances - expected).max())
    np.testing.assert_array_equal(chosen, expected)
    assert np.abs(fitted((3,), lambda distances: 0.0) - expected).max() > 1e-3


@pytest.mark.parametrize(("method", "settings"), ((PLAIN, {}), (RIDGE, {"ridge": 0.1})))
def test_it_beats_chance_by_far(method, settings):
    assert average_map(method, **settings) > 3 / CLASSES
