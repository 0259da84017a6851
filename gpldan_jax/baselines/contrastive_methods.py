"""Contrastive learning on GPLDAN's projector, as in CLIP and SigLIP: partners against the rest of the mini-batch.

Letters: `b` pairs of a mini-batch, `d_i` and `d_t` widths of the inputs, `H` width of the features.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpldan_jax.baselines.dscmr import project, projected_distances, projector_parameters
from gpldan_jax.baselines.method import Distances, Method, Score
from gpldan_jax.baselines.network_method import LabelledBatch, initial_key, network_distances, train_network
from gpldan_jax.data import PairedSplit
from gpldan_jax.losses import co_attention_distances, infonce, pairwise_sigmoid
from gpldan_jax.training.batches import zero_columns

IMAGE_DENOISING, TEXT_DENOISING = 0.5, 0.7
"""The share of columns that are zero in training with `denoising`, as for GPLDAN."""
LARGEST_SCALE = 100.0


def bounded(x: float | jax.Array, limit: float) -> jax.Array:
    """`x`, folded back where it exceeds the limit: an `x` that the gradient pushes up stays there, and can return.

    CLIP clips the parameter after each step to the same effect; a minimum inside the loss would hold it for good.

    Example:
        >>> bounded(2.0, 3.0).item(), bounded(3.25, 3.0).item()
        (2.0, 2.75)
    """
    return limit - jnp.abs(limit - x)


def infonce_loss(
    parameters: Any, batch: LabelledBatch, numbers: Mapping[str, jax.Array], *, denoising: bool = False
) -> jax.Array:
    """`infonce` of the features of a mini-batch; the scale is learned, and at most 100 as in CLIP.

    Args:
        parameters: `projector`, those of `projector_parameters`, and `log_scale`.
        batch: b pairs; its labels are not looked at.
        numbers: none is looked at.
        denoising: whether columns of the inputs are zeroed.
    """
    scale = jnp.exp(bounded(parameters["log_scale"], math.log(LARGEST_SCALE)))
    return infonce(_cosines(parameters, batch, denoising), scale)


def siglip_loss(
    parameters: Any, batch: LabelledBatch, numbers: Mapping[str, jax.Array], *, denoising: bool = False
) -> jax.Array:
    """`pairwise_sigmoid` of the features of a mini-batch.

    Args:
        parameters: `projector`, those of `projector_parameters`, `log_scale` and `bias`.
        batch: b pairs; its labels are not looked at.
        numbers: none is looked at.
        denoising: whether columns of the inputs are zeroed.
    """
    scale = jnp.exp(parameters["log_scale"])
    return pairwise_sigmoid(_cosines(parameters, batch, denoising), scale, parameters["bias"])


def fit_infonce(
    train: PairedSplit,
    validation: PairedSplit,
    score: Score,
    *,
    seed: int,
    temperature: float = 0.07,
    denoising: bool = False,
    hidden: int = 2048,
    width: int = 1024,
    learning_rate: float = 1e-4,
    epochs: int = 30,
    batch_size: int = 64,
) -> Distances:
    """Trains a projector with `infonce_loss` and ranks by the cosine distance of features.

    Args:
        train: the training pairs; their labels are not looked at.
        validation: the validation pairs.
        score: of validation distances.
        seed: of the parameters, the mini-batches and the denoising.
        temperature: where it starts. It is learned, but moves by a factor of about `exp(learning_rate)` a step: in a
            short training its start is a choice.
        denoising: whether columns are zeroed in training.
        hidden: width of the modality's own layer.
        width: H.
        learning_rate: of Adam.
        epochs: to train.
        batch_size: pairs of a mini-batch.
    """
    parameters = train_network(
        {
            "projector": _first_projector(train, seed, hidden, width),
            "log_scale": jnp.float32(-math.log(temperature)),
        },
        _denoised_infonce_loss if denoising else infonce_loss,
        projected_distances,
        train,
        validation,
        score,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        numbers={"learning_rate": learning_rate},
    )
    return network_distances(parameters, projected_distances)


def fit_siglip(
    train: PairedSplit,
    validation: PairedSplit,
    score: Score,
    *,
    seed: int,
    scale: float = 10.0,
    bias: float = -10.0,
    denoising: bool = False,
    hidden: int = 2048,
    width: int = 1024,
    learning_rate: float = 1e-4,
    epochs: int = 30,
    batch_size: int = 64,
) -> Distances:
    """Trains a projector with `siglip_loss` and ranks by the cosine distance of features.

    Args:
        train: the training pairs; their labels are not looked at.
        validation: the validation pairs.
        score: of validation distances.
        seed: of the parameters, the mini-batches and the denoising.
        scale: where it starts; it and the bias are learned, but do not go far in a short training.
        bias: where it starts. The published -10 is for mini-batches of thousands.
        denoising: whether columns are zeroed in training.
        hidden: width of the modality's own layer.
        width: H.
        learning_rate: of Adam.
        epochs: to train.
        batch_size: pairs of a mini-batch.
    """
    parameters = train_network(
        {
            "projector": _first_projector(train, seed, hidden, width),
            "log_scale": jnp.float32(math.log(scale)),
            "bias": jnp.float32(bias),
        },
        _denoised_siglip_loss if denoising else siglip_loss,
        projected_distances,
        train,
        validation,
        score,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        numbers={"learning_rate": learning_rate},
    )
    return network_distances(parameters, projected_distances)


def _first_projector(train, seed, hidden, width):
    dims = train.images.shape[1], train.texts.shape[1]
    return projector_parameters(initial_key(seed), *dims, hidden=hidden, width=width)


def _cosines(parameters, batch, denoising):
    images, texts = batch.images, batch.texts
    if denoising:
        image_key, text_key = jax.random.split(batch.key)
        images = zero_columns(images, image_key, IMAGE_DENOISING)
        texts = zero_columns(texts, text_key, TEXT_DENOISING)
    return 1 - co_attention_distances(*project(parameters["projector"], images, texts))


# One object each, so that they compile once.
_denoised_infonce_loss = functools.partial(infonce_loss, denoising=True)
_denoised_siglip_loss = functools.partial(siglip_loss, denoising=True)
METHODS = (
    Method(
        name="infonce",
        title="InfoNCE",
        supervision="unsupervised",
        source="Radford et al., Learning transferable visual models from natural language supervision, ICML 2021",
        fit=fit_infonce,
        settings=({}, {"temperature": 0.5}, {"denoising": True}),
    ),
    Method(
        name="siglip",
        title="sigmoid loss",
        supervision="unsupervised",
        source="Zhai et al., Sigmoid loss for language image pre-training, ICCV 2023",
        fit=fit_siglip,
        settings=({}, {"scale": 2.0, "bias": -4.0}, {"denoising": True}),
    ),
)
