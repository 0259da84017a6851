"""DCCA and DCCAE: networks whose outputs correlate across modalities, then a linear CCA of the outputs.

Letters: `n` pairs, `d_i` and `d_t` widths of the inputs, `h` width of the outputs.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.baselines.cca import ridge_cca
from gpldan_jax.baselines.encoded_distances import CosineDistances
from gpldan_jax.baselines.method import Distances, Method, Score
from gpldan_jax.baselines.network_method import LabelledBatch, initial_key, train_network
from gpldan_jax.baselines.perceptrons import apply_mlp, initial_parameters
from gpldan_jax.data import PairedDataset, PairedSplit, standardize

EPOCHS = 60
# Outputs that do not vary at all must have a covariance that can be inverted.
_SMALLEST_VARIANCE = 1e-12


def total_correlation(x: jax.Array, y: jax.Array, ridge: float | jax.Array) -> jax.Array:
    """Returns the sum of the canonical correlations of two views: the trace norm of `S11^-1/2 S12 S22^-1/2`.

    The covariances `S11` and `S22` have the ridge on their diagonal. The Cholesky factors `L` take the place of the
    symmetric roots: `L1^-1 S12 L2^-T` has the same singular values. Together with the closed-form gradient of the trace
    norm, nothing here divides by the gap of two eigenvalues, so that equal ones are harmless.

    Args:
        x: `[n, h]`, n at least 2; it is centred here.
        y: `[n, h']`.
        ridge: at least 0; relative to the mean variance of each view. In float32, 1e-4 is safe.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> y = jnp.array([[2.0, 1.0], [2.0, -1.0], [-2.0, -1.0], [-2.0, 1.0]])  # one of two directions correlates
        >>> print(total_correlation(x, y, 0.0).round(3))
        1.0

    References:
        Andrew, Arora, Bilmes and Livescu, Deep canonical correlation analysis, ICML 2013.
    """
    x, y = (z - z.mean(axis=0) for z in (x, y))
    product = functools.partial(jnp.matmul, precision="highest")
    inverse_root = functools.partial(jax.scipy.linalg.solve_triangular, lower=True)
    x_root, y_root = (jnp.linalg.cholesky(_with_ridge(product(z.T, z) / (len(z) - 1), ridge)) for z in (x, y))
    half = inverse_root(x_root, product(x.T, y) / (len(x) - 1))
    return trace_norm(inverse_root(y_root, half.T))


@jax.custom_vjp
def trace_norm(matrix: jax.Array) -> jax.Array:
    """Returns the sum of the singular values of a matrix `U S V^T`; its gradient is `U V^T`.

    Where some are zero this is one of the subgradients. There is no forward-mode and no second derivative.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> print(jax.grad(trace_norm)(jnp.diag(jnp.array([2.0, -2.0]))).round(3))
        [[ 1.  0.]
         [ 0. -1.]]
    """
    return jnp.linalg.svd(matrix, compute_uv=False).sum()


def _trace_norm_forward(matrix):
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=False)
    return s.sum(), jnp.matmul(u, vt, precision="highest")


trace_norm.defvjp(_trace_norm_forward, lambda gradient, cotangent: (cotangent * gradient,))


def dcca_loss(parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array]) -> jax.Array:
    """Returns `-total_correlation(f(x), g(y)) + weight_decay / 2 |kernels|^2` of a mini-batch.

    `hyperparameters` has `ridge` and `weight_decay`.

    References:
        Andrew, Arora, Bilmes and Livescu, Deep canonical correlation analysis, ICML 2013.
    """
    return _loss(parameters, batch, hyperparameters)[0]


def dccae_loss(parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array]) -> jax.Array:
    """Returns `dcca_loss` plus `reconstruction` times the mean over the pairs of `|x - p(f(x))|^2 + |y - q(g(y))|^2`.

    References:
        Wang, Arora, Livescu and Bilmes, On deep multi-view representation learning, ICML 2015.
    """
    value, (image, text) = _loss(parameters, batch, hyperparameters)
    for name, code, inputs in (("image_decoder", image, batch.images), ("text_decoder", text, batch.texts)):
        errors = jnp.square(inputs - apply_mlp(parameters[name], code)).sum(axis=1)
        value += hyperparameters["reconstruction"] * errors.mean()
    return value


def fit_dcca(
    train: PairedSplit,
    validation: PairedSplit,
    score: Score,
    *,
    seed: int,
    hidden: Sequence[int] = (1024,),
    width: int = 10,
    learning_rate: float = 1e-3,
    ridge: float = 1e-3,
    weight_decay: float = 1e-4,
    reconstruction: float = 0.0,
    epochs: int = EPOCHS,
    batch_size: int = 800,
) -> Distances:
    """Trains the networks; returns cosine distances between the components of a linear CCA of their outputs.

    The inputs are standardised by the training split. The CCA is fitted on the training outputs, for each epoch that
    validation compares and then for the chosen one; its components count by their correlation.

    The hidden layers have the widths `hidden`, in the decoders the other way round. The width of the outputs is cut to
    half a mini-batch, since fewer pairs than outputs correlate whatever they are; mini-batches should be large against
    it. The ridge is that of the loss and of the CCA, relative to the mean variance of the outputs. The weight decay is
    that of half the squared kernels, `reconstruction` the weight lambda of the decoders' errors; 0 is DCCA.
    """
    train, validation, scaling = _standardized(train, validation)
    width = min(width, min(batch_size, len(train)) // 2)
    d_i, d_t = train.images.shape[1], train.texts.shape[1]
    widths = {"image": (d_i, *hidden, width), "text": (d_t, *hidden, width)}
    if reconstruction > 0:
        widths |= {"image_decoder": widths["image"][::-1], "text_decoder": widths["text"][::-1]}
    rates = {"learning_rate": learning_rate, "ridge": ridge}
    parameters = train_network(
        initial_parameters(initial_key(seed), widths),
        dccae_loss if reconstruction > 0 else dcca_loss,
        lambda parameters: _cca_distances(parameters, train, ridge),
        train,
        validation,
        score,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        hyperparameters=rates | {"weight_decay": weight_decay, "reconstruction": reconstruction},
    )
    of_standardized = _cca_distances(parameters, train, ridge)
    return CosineDistances(
        lambda images: of_standardized.encode_images(scaling.images(images)),
        lambda texts: of_standardized.encode_texts(scaling.texts(texts)),
    )


def _loss(parameters, batch, hyperparameters):
    image, text = apply_mlp(parameters["image"], batch.images), apply_mlp(parameters["text"], batch.texts)
    kernels = [leaf for leaf in jax.tree.leaves(parameters) if leaf.ndim == 2]
    decay = hyperparameters["weight_decay"] / 2 * sum(jnp.square(kernel).sum() for kernel in kernels)
    return decay - total_correlation(image, text, hyperparameters["ridge"]), (image, text)


def _cca_distances(parameters, train, ridge):
    """Returns distances of standardised inputs, from a CCA of the training outputs."""
    encode_image, encode_text = (functools.partial(apply_mlp, parameters[name]) for name in ("image", "text"))
    outputs = np.asarray(encode_image(train.images)), np.asarray(encode_text(train.texts))
    project_image, project_text, _ = ridge_cca(*outputs, ridge=ridge, components=outputs[0].shape[1])
    return CosineDistances(
        lambda images: project_image(np.asarray(encode_image(images))),
        lambda texts: project_text(np.asarray(encode_text(texts))),
    )


def _standardized(train, validation):
    dataset = PairedDataset("", train, validation, validation)
    dataset, scaling = standardize(dataset, image=True, text=True)
    return dataset.train, dataset.validation, scaling


def _with_ridge(covariance, ridge):
    mean_variance = jnp.maximum(jnp.trace(covariance) / len(covariance), _SMALLEST_VARIANCE)
    return covariance + ridge * mean_variance * jnp.eye(len(covariance), dtype=covariance.dtype)


# Both papers tune all of these for each dataset; ten outputs are those of Wang et al. on MNIST.
_SETTINGS: tuple[dict[str, Any], ...] = ({}, {"ridge": 1e-1})
METHODS = (
    Method(
        name="dcca",
        title="DCCA",
        supervision="unsupervised",
        source="Andrew, Arora, Bilmes and Livescu, Deep canonical correlation analysis, ICML 2013",
        fit=fit_dcca,
        settings=(*_SETTINGS, {"hidden": (1024, 1024)}),
        epochs=EPOCHS,
    ),
    Method(
        name="dccae",
        title="DCCAE",
        supervision="unsupervised",
        source="Wang, Arora, Livescu and Bilmes, On deep multi-view representation learning, ICML 2015",
        fit=functools.partial(fit_dcca, reconstruction=1e-3),
        settings=(*_SETTINGS, {"reconstruction": 1e-1}),
        epochs=EPOCHS,
    ),
)
