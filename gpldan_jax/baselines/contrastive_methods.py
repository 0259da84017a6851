"""InfoNCE and the sigmoid loss on GPLDAN's projector, as in CLIP and SigLIP: partners against all other pairs.

Letters: `b` pairs of a mini-batch, `d_i` and `d_t` widths of the inputs, `H` width of the features.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpldan_jax.baselines.dscmr import project, projected_distances, projector_parameters
from gpldan_jax.baselines.network_method import LabelledBatch, NetworkMethod
from gpldan_jax.losses import co_attention_distances, infonce, pairwise_sigmoid

LARGEST_SCALE = 100.0


def bounded(x: float | jax.Array, limit: float) -> jax.Array:
    """Returns `x`, mirrored at the limit where it exceeds it: a parameter that is pushed above the limit comes back.

    CLIP clips the parameter after each step to the same effect; a minimum inside the loss would hold it for good.

    Example:
        >>> bounded(2.0, 3.0).item(), bounded(3.25, 3.0).item()
        (2.0, 2.75)
    """
    return limit - jnp.abs(limit - x)


def infonce_loss(
    parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array], *, denoising: bool = False
) -> jax.Array:
    """Returns `infonce` of the features of a mini-batch; the scale is learned, and at most 100 as in CLIP.

    The parameters are `projector`, those of `projector_parameters`, and `log_scale`.
    """
    scale = jnp.exp(bounded(parameters["log_scale"], math.log(LARGEST_SCALE)))
    return infonce(_cosines(parameters, batch, denoising), scale, groups=batch.groups)


def siglip_loss(
    parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array], *, denoising: bool = False
) -> jax.Array:
    """Returns `pairwise_sigmoid` of the features of a mini-batch; its parameters have `bias`, too."""
    scale = jnp.exp(parameters["log_scale"])
    return pairwise_sigmoid(_cosines(parameters, batch, denoising), scale, parameters["bias"], groups=batch.groups)


def _initialize_infonce(key, train, settings):
    log_scale = jnp.float32(-math.log(settings["temperature"]))
    return {"projector": _initial_projector(key, train, settings), "log_scale": log_scale}


def _initialize_siglip(key, train, settings):
    log_scale, bias = jnp.float32(math.log(settings["scale"])), jnp.float32(settings["bias"])
    return {"projector": _initial_projector(key, train, settings), "log_scale": log_scale, "bias": bias}


def _initial_projector(key, train, settings):
    dims = train.images.shape[1], train.texts.shape[1]
    return projector_parameters(key, *dims, hidden=settings["hidden"], width=settings["width"])


def _cosines(parameters, batch, denoising):
    images, texts = batch.denoised() if denoising else (batch.images, batch.texts)
    return 1 - co_attention_distances(*project(parameters["projector"], images, texts))


# One object each, so that they compile once.
_denoised_infonce_loss = functools.partial(infonce_loss, denoising=True)
_denoised_siglip_loss = functools.partial(siglip_loss, denoising=True)
_PROJECTOR = {
    "denoising": False,  # whether columns are zeroed in training
    "hidden": 2048,  # width of the modality's own layer
    "width": 1024,  # H
    "learning_rate": 1e-4,
    "epochs": 30,
    "batch_size": 64,
}
INFONCE = NetworkMethod(
    initialize=_initialize_infonce,
    choose_loss=lambda settings: _denoised_infonce_loss if settings["denoising"] else infonce_loss,
    distances=projected_distances,
    # The temperature is where training starts. It is learned, but moves by a factor of about exp(learning_rate) a step:
    # in a short training its start is a choice.
    settings={"temperature": 0.07, **_PROJECTOR},
    hyperparameters=("learning_rate",),
)
SIGLIP = NetworkMethod(
    initialize=_initialize_siglip,
    choose_loss=lambda settings: _denoised_siglip_loss if settings["denoising"] else siglip_loss,
    distances=projected_distances,
    # Where training starts: both are learned, but do not go far in a short training. The published bias of -10 is for
    # mini-batches of thousands.
    settings={"scale": 10.0, "bias": -10.0, **_PROJECTOR},
    hyperparameters=("learning_rate",),
)
METHODS = (
    INFONCE.as_method(
        name="infonce",
        title="InfoNCE",
        supervision="unsupervised",
        source="Radford et al., Learning transferable visual models from natural language supervision, ICML 2021",
        choices=({}, {"temperature": 0.5}, {"denoising": True}),
    ),
    SIGLIP.as_method(
        name="siglip",
        title="sigmoid loss",
        supervision="unsupervised",
        source="Zhai et al., Sigmoid loss for language image pre-training, ICCV 2023",
        choices=({}, {"scale": 2.0, "bias": -4.0}, {"denoising": True}),
    ),
)
