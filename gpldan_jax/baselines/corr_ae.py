"""Correspondence autoencoders: a code for each modality, near its partner's, from which the inputs are reconstructed.

Letters: `n`, `m` items, `d` width of an input, `h` width of a code.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.baselines.method import Distances, Method, Score
from gpldan_jax.baselines.network_method import (
    LabelledBatch,
    apply_mlp,
    initial_key,
    initial_parameters,
    network_distances,
    train_network,
)
from gpldan_jax.data import PairedSplit

MODALITIES = ("image", "text")
VARIANTS = {
    "corr": (("image", "image"), ("text", "text")),
    "cross": (("image", "text"), ("text", "image")),
    "full": (("image", "image"), ("image", "text"), ("text", "image"), ("text", "text")),
}
"""Which decoders a variant has: from the code of the first modality to the inputs of the second."""

_TO = "_to_"


def correspondence_loss(parameters: Any, batch: LabelledBatch, numbers: Mapping[str, jax.Array]) -> jax.Array:
    """`(1 - a) (sum of |reconstruction - input|^2 over the decoders) + a |h_x - h_y|^2`, the mean over the pairs.

    Which decoders there are, named like `"image_to_text"`, makes it the loss of Corr-AE, Cross-AE or Full-AE. `numbers`
    has `correspondence`, the weight a.

    References:
        Feng, Wang and Li, Cross-modal retrieval with correspondence autoencoder, ACM MM 2014.
    """
    inputs = {"image": batch.images, "text": batch.texts}
    codes = {name: encode(parameters[name], inputs[name]) for name in MODALITIES}
    weight = numbers["correspondence"]
    value = weight * _squared_error(codes["image"], codes["text"])
    for decoder in parameters:
        if decoder not in MODALITIES:
            code, name = decoder.split(_TO)
            value += (1 - weight) * _squared_error(apply_mlp(parameters[decoder], codes[code]), inputs[name])
    return value


def encode(parameters: Any, inputs: jax.Array) -> jax.Array:
    """The codes `[n, h]`, in (0, 1), of inputs `[n, d]`: one logistic layer."""
    return nn.sigmoid(apply_mlp(parameters, inputs))


def fit_correspondence(
    train: PairedSplit,
    validation: PairedSplit,
    score: Score,
    *,
    seed: int,
    variant: str = "corr",
    width: int = 1024,
    correspondence: float = 0.8,
    learning_rate: float = 1e-3,
    epochs: int = 50,
    batch_size: int = 64,
) -> Distances:
    """Trains the autoencoders and ranks by the Euclidean distance of codes.

    Args:
        train: the training pairs; their labels are not looked at.
        validation: the validation pairs.
        score: of validation distances.
        seed: of the parameters and the mini-batches.
        variant: one of `VARIANTS`.
        width: h.
        correspondence: the weight a, in [0, 1].
        learning_rate: of Adam.
        epochs: to train.
        batch_size: pairs of a mini-batch.

    Raises:
        ValueError: another variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    inputs = dict(zip(MODALITIES, (train.images.shape[1], train.texts.shape[1]), strict=True))
    widths = {name: (d, width) for name, d in inputs.items()}
    widths |= {f"{code}{_TO}{name}": (width, inputs[name]) for code, name in VARIANTS[variant]}
    parameters = train_network(
        initial_parameters(initial_key(seed), widths),
        correspondence_loss,
        _distances,
        train,
        validation,
        score,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        numbers={"learning_rate": learning_rate, "correspondence": correspondence},
    )
    return network_distances(parameters, _distances)


def _distances(parameters, images, texts):
    # In float64: of codes that are close, float32 would leave a difference of rounded squares.
    x, y = (np.asarray(_encode(parameters[name], z), np.float64) for name, z in (("image", images), ("text", texts)))
    squared = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2 * x @ y.T
    return np.sqrt(np.maximum(squared, 0))


def _squared_error(x, y):
    return jnp.square(x - y).sum(axis=1).mean()


_encode = jax.jit(encode)
METHODS = tuple(
    Method(
        name=f"{variant}-ae",
        title=f"{variant.capitalize()}-AE",
        supervision="unsupervised",
        source="Feng, Wang and Li, Cross-modal retrieval with correspondence autoencoder, ACM MM 2014",
        fit=functools.partial(fit_correspondence, variant=variant),
        # a = 0.8 and 1,024 units are published, the learning rate of Adam is ours.
        settings=({}, {"correspondence": 0.2}, {"learning_rate": 1e-4}),
    )
    for variant in VARIANTS
)
