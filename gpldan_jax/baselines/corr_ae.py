"""Corr-AE, Cross-AE, Full-AE: autoencoders whose codes of an image and of its text are near each other.

Letters: `n`, `m` items, `d` width of an input, `h` width of a code.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpldan_jax.baselines.network_method import LabelledBatch, NetworkMethod
from gpldan_jax.baselines.perceptrons import apply_mlp, euclidean_distances_between, initial_parameters

MODALITIES = ("image", "text")
VARIANTS = {
    "corr": (("image", "image"), ("text", "text")),
    "cross": (("image", "text"), ("text", "image")),
    "full": (("image", "image"), ("image", "text"), ("text", "image"), ("text", "text")),
}
"""Which decoders a variant has: from the code of the first modality to the inputs of the second."""

_TO = "_to_"


def correspondence_loss(parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array]) -> jax.Array:
    """Returns `(1 - a) (sum of |reconstruction - input|^2 over the decoders) + a |h_x - h_y|^2`, the mean over pairs.

    The decoders in `parameters`, named like `"image_to_text"`, make it the loss of Corr-AE, Cross-AE or Full-AE.
    `hyperparameters` has `correspondence`, the weight a.

    References:
        Feng, Wang and Li, Cross-modal retrieval with correspondence autoencoder, ACM MM 2014.
    """
    inputs = {"image": batch.images, "text": batch.texts}
    codes = {name: encode(parameters[name], inputs[name]) for name in MODALITIES}
    weight = hyperparameters["correspondence"]
    value = weight * _squared_error(codes["image"], codes["text"])
    for decoder in parameters:
        if decoder not in MODALITIES:
            code, name = decoder.split(_TO)
            value += (1 - weight) * _squared_error(apply_mlp(parameters[decoder], codes[code]), inputs[name])
    return value


def encode(parameters: Any, inputs: jax.Array) -> jax.Array:
    """Returns the codes `[n, h]`, in (0, 1), of inputs `[n, d]`: one logistic layer."""
    return nn.sigmoid(apply_mlp(parameters, inputs))


def _initialize(key, train, settings):
    if settings["variant"] not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {settings['variant']!r}")
    inputs = dict(zip(MODALITIES, (train.images.shape[1], train.texts.shape[1]), strict=True))
    width = settings["width"]
    widths = {name: (d, width) for name, d in inputs.items()}
    widths |= {f"{code}{_TO}{name}": (width, inputs[name]) for code, name in VARIANTS[settings["variant"]]}
    return initial_parameters(key, widths)


def _distances(parameters):
    return lambda images, texts: euclidean_distances_between(
        _encode(parameters["image"], images), _encode(parameters["text"], texts)
    )


def _squared_error(x, y):
    return jnp.square(x - y).sum(axis=1).mean()


_encode = jax.jit(encode)
# a = 0.8 and 1,024 units are published, the learning rate of Adam is ours.
CORRESPONDENCE = NetworkMethod(
    initialize=_initialize,
    loss=correspondence_loss,
    distances=_distances,
    settings={
        "variant": "corr",  # of `VARIANTS`
        "width": 1024,  # h
        "correspondence": 0.8,  # a, in [0, 1]
        "learning_rate": 1e-3,
        "epochs": 50,
        "batch_size": 64,
    },
    hyperparameters=("learning_rate", "correspondence"),
)
METHODS = tuple(
    CORRESPONDENCE.as_method(
        name=f"{variant}-ae",
        title=f"{variant.capitalize()}-AE",
        supervision="unsupervised",
        source="Feng, Wang and Li, Cross-modal retrieval with correspondence autoencoder, ACM MM 2014",
        choices=({}, {"correspondence": 0.2}, {"learning_rate": 1e-4}),
        variant=variant,
    )
    for variant in VARIANTS
)
