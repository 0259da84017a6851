"""Ridge CCA against scikit-learn and against the covariance formula."""

import numpy as np
from sklearn.cross_decomposition import CCA

from gpldan_jax.baselines import ridge_cca


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
