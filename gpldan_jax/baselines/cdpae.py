"""CDPAE: comprehensive distance-preserving autoencoders, by the authors of GPLDAN; the method closest to it.

Letters: `n`, `m` items, `d` width of an input, `h` width of a code.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gpldan_jax.baselines.encoded_distances import CosineDistances
from gpldan_jax.baselines.network_method import LabelledBatch, NetworkMethod
from gpldan_jax.baselines.perceptrons import apply_mlp, initial_parameters
from gpldan_jax.losses import co_attention_distances


def cdpae_loss(parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array]) -> jax.Array:
    """Returns `comprehensive_loss` under the published denoising.

    References:
        Zhan, Yu, Yu, Zhang, Tao and Tian, Comprehensive distance-preserving autoencoders for cross-modal retrieval,
        ACM MM 2018.
    """
    return comprehensive_loss(parameters, batch.images, batch.texts, *batch.denoised(), hyperparameters)


def cdpae_loss_without_denoising(
    parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array]
) -> jax.Array:
    """Returns `cdpae_loss` of whole inputs, for features with few columns to lose."""
    return comprehensive_loss(parameters, batch.images, batch.texts, batch.images, batch.texts, hyperparameters)


def comprehensive_loss(
    parameters: Any,
    images: jax.Array,
    texts: jax.Array,
    noisy_images: jax.Array,
    noisy_texts: jax.Array,
    hyperparameters: Mapping[str, jax.Array],
) -> jax.Array:
    """Returns `L_pair + l1 (L_heter + L_homo) + l2 L_recon`, the mean over all i != j of the mini-batch.

    The paper states it for two pairs i and j. With `D` the cosine distance of codes, `C` that of inputs, and
    `d = sqrt(C(v_i, v_j) C(t_i, t_j))`:

        L_pair  = D(v_i, t_i) + D(v_j, t_j)
        L_heter = |D(v_i, t_j) - d| + |D(v_j, t_i) - d|
        L_homo  = |D(v_i, v_j) - d| + |D(t_i, t_j) - d|
        L_recon = |x - x'| summed over v_i, v_j, t_i and t_j

    Codes are those of noisy inputs; `d` and what is reconstructed are clean. All inputs are `[n, d]`, n at least 2.
    `hyperparameters` has `distance` and `reconstruction`, the weights l1 and l2.
    """
    image, text = encode(parameters["image"], noisy_images), encode(parameters["text"], noisy_texts)
    n = len(images)
    across = co_attention_distances(image, text)
    target = jnp.sqrt(co_attention_distances(images, images) * co_attention_distances(texts, texts))

    def departure(distances):
        return jnp.where(jnp.eye(n, dtype=bool), 0, jnp.abs(distances - target)).sum() / (n * (n - 1))

    within = departure(co_attention_distances(image, image)) + departure(co_attention_distances(text, text))
    errors = _norms(images - apply_mlp(parameters["image_decoder"], image))
    errors += _norms(texts - apply_mlp(parameters["text_decoder"], text))
    return (
        2 * jnp.diagonal(across).mean()
        + hyperparameters["distance"] * (2 * departure(across) + within)
        + hyperparameters["reconstruction"] * 2 * errors.mean()
    )


def encode(parameters: Any, inputs: jax.Array) -> jax.Array:
    """Returns the codes `[n, h]`, in (-1, 1), of inputs `[n, d]`: one tanh layer."""
    return jnp.tanh(apply_mlp(parameters, inputs))


def _initialize(key, train, settings):
    d_i, d_t, width = train.images.shape[1], train.texts.shape[1], settings["width"]
    widths = {"image": (d_i, width), "text": (d_t, width), "image_decoder": (width, d_i), "text_decoder": (width, d_t)}
    return initial_parameters(key, widths, xavier=True)


def _distances(parameters):
    return CosineDistances(*(functools.partial(_encode, parameters[name]) for name in ("image", "text")))


def _norms(x):
    # The gradient of a norm is not defined at zero.
    return optax.safe_norm(x, 1e-12, axis=1)


_encode = jax.jit(encode)
# Codes are ranked without the paper's optional re-ranking by training neighbours.
CDPAE = NetworkMethod(
    initialize=_initialize,
    choose_loss=lambda settings: cdpae_loss if settings["denoising"] else cdpae_loss_without_denoising,
    distances=_distances,
    settings={
        "width": 1024,  # h
        "distance": 0.3,  # l1
        "reconstruction": 0.001,  # l2
        "denoising": True,  # whether columns are zeroed in training
        "learning_rate": 1e-4,
        "epochs": 100,
        "batch_size": 64,
    },
    hyperparameters=("learning_rate", "distance", "reconstruction"),
)
METHODS = (
    CDPAE.as_method(
        name="cdpae",
        title="CDPAE",
        supervision="unsupervised",
        source="Zhan et al., Comprehensive distance-preserving autoencoders for cross-modal retrieval, ACM MM 2018",
        # Beside the published ones: for few mini-batches a larger rate, for few columns no denoising.
        choices=({}, {"denoising": False}, {"learning_rate": 1e-3, "denoising": False}),
    ),
)
