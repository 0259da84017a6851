"""Canonical correlation analysis (CCA) without and with a ridge, the classical unsupervised method of Table 2.

Letters: `n` training pairs, `d_i` and `d_t` widths of the inputs, `r` components.
"""

from collections.abc import Callable, Sequence

import numpy as np

from gpldan_jax.baselines.encoded_distances import CosineDistances
from gpldan_jax.baselines.method import Distances, Method, Score
from gpldan_jax.data import PairedSplit

_RIDGES = (1e-3, 1.0, 10.0)


def ridge_cca(
    images: np.ndarray, texts: np.ndarray, *, ridge: float, components: int
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Finds the directions of largest correlation between two views: the SVD of `(Sxx + aI)^-1/2 Sxy (Syy + bI)^-1/2`.

    Args:
        images: `[n, d_i]` training inputs.
        texts: `[n, d_t]` their partners.
        ridge: at least 0; a and b are `ridge` times the mean variance of their view.
        components: r; cut to what the data have.

    Returns:
        Two functions that project images and texts, `[m, d] -> [m, r]` with each component weighted by its correlation,
        and the correlations `[r]`, largest first, in [0, 1].

    Example:
        >>> import numpy as np
        >>> x = np.array([[-1.0, 1.0], [1.0, 2.0], [-2.0, -3.0], [2.0, 0.0]])
        >>> _, _, correlations = ridge_cca(x, 3 * x[:, :1], ridge=0.0, components=1)
        >>> print(correlations.round(6))
        [1.]

    References:
        Hotelling, Relations between two sets of variates, Biometrika 1936; ridge: Vinod, J. Econometrics 1976.
    """
    image_mean, image_basis, image_coordinates = _whitened(images, ridge)
    text_mean, text_basis, text_coordinates = _whitened(texts, ridge)
    left, correlations, right = np.linalg.svd(image_coordinates.T @ text_coordinates, full_matrices=False)
    correlations = correlations[:components]
    image_map = image_basis @ left[:, :components] * correlations
    text_map = text_basis @ right[:components].T * correlations
    return lambda x: (x - image_mean) @ image_map, lambda y: (y - text_mean) @ text_map, correlations


def fit_cca(train: PairedSplit, validation: PairedSplit, score: Score, *, seed: int) -> Distances:
    """Returns cosine distances between all components of `ridge_cca` without a ridge.

    Where a modality has n - 1 independent columns or more, all training correlations are 1 and say nothing.
    """
    components = min(train.images.shape[1], train.texts.shape[1])
    return _distances(*ridge_cca(train.images, train.texts, ridge=0.0, components=components))


def fit_ridge_cca(
    train: PairedSplit,
    validation: PairedSplit,
    score: Score,
    *,
    seed: int,
    ridge: float,
    components: Sequence[int] = (5, 9, 16, 32, 64),
) -> Distances:
    """Returns cosine distances between the first components of `ridge_cca`; the best number of them on validation.

    One decomposition has them all, as one training of a network has all its epochs.
    """
    project_images, project_texts, _ = ridge_cca(train.images, train.texts, ridge=ridge, components=max(components))

    def first(r):
        return _distances(lambda x: project_images(x)[:, :r], lambda y: project_texts(y)[:, :r])

    return max(map(first, components), key=lambda distances: score(distances(validation.images, validation.texts)))


def _distances(project_images, project_texts, *_):
    return CosineDistances(project_images, project_texts)


def _whitened(inputs, ridge):
    """Returns the mean, the map that whitens, and the whitened training inputs over sqrt(n), from a thin SVD."""
    inputs = np.asarray(inputs, np.float64)
    n, d = inputs.shape
    mean = inputs.mean(axis=0)
    u, s, vt = np.linalg.svd(inputs - mean, full_matrices=False)
    kept = s > 1e-10 * s.max(initial=1e-300)
    u, s, vt = u[:, kept], s[kept] / np.sqrt(n), vt[kept]
    scale = 1 / np.sqrt(s**2 + ridge * np.sum(s**2) / d)
    return mean, vt.T * scale, u * (s * scale)


METHODS = (
    Method(
        name="cca",
        title="CCA",
        supervision="unsupervised",
        source="Hotelling, Relations between two sets of variates, Biometrika 1936",
        fit=fit_cca,
    ),
    Method(
        name="cca-ridge",
        title="Ridge CCA",
        supervision="unsupervised",
        source="Vinod, Canonical ridge and econometrics of joint production, Journal of Econometrics 1976",
        fit=fit_ridge_cca,
        # None is published.
        settings=tuple({"ridge": ridge} for ridge in _RIDGES),
    ),
)
