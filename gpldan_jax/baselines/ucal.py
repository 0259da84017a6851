"""UCAL: two networks whose codes agree for partners and hide their modality from a classifier.

Letters: `b` pairs of a mini-batch, `n` and `m` items, `d_i` and `d_t` widths of the inputs, `h` width of a code.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpldan_jax.baselines.method import Distances
from gpldan_jax.baselines.network_method import LabelledBatch, NetworkMethod
from gpldan_jax.baselines.perceptrons import (
    apply_mlp,
    euclidean_distances_between,
    initial_parameters,
    reverse_gradient,
)
from gpldan_jax.losses import modality_classifier_loss
from gpldan_jax.models import ModalityClassifier

# The layers of ACMR, by the same group, whose released code grew out of UCAL's.
IMAGE_LAYERS, TEXT_LAYERS = (512, 100, 40), (100, 40)
CLASSIFIER_HIDDEN = 64


def ucal_loss(parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array]) -> jax.Array:
    """Returns `mean |v - t|^2` plus the reversed loss of the modality classifier, which the codes v and t maximise.

    The hyperparameter `adversarial` is the weight of the reversed gradient before its schedule.

    References:
        He, Xu, Lu, Yang, Shen and Shen, Unsupervised cross-modal retrieval through adversarial learning, ICME 2017.
    """
    image, text = encode(parameters["image"], batch.images), encode(parameters["text"], batch.texts)
    weight = hyperparameters["adversarial"] * adversarial_schedule(batch.progress)
    return jnp.square(image - text).sum(1).mean() + reversed_modality_loss(parameters["modality"], image, text, weight)


def adversarial_schedule(progress: float | jax.Array) -> jax.Array:
    """Returns `2 / (1 + exp(-10 p)) - 1`, from 0 to 1 over training: the codes settle before the classifier counts.

    Example:
        >>> print(f"{adversarial_schedule(0.1):.4f}")
        0.4621

    References:
        Ganin and Lempitsky, Unsupervised domain adaptation by backpropagation, ICML 2015.
    """
    return jnp.tanh(5 * progress)  # the same function


def reversed_modality_loss(parameters: Any, image: jax.Array, text: jax.Array, weight: float | jax.Array) -> jax.Array:
    """Returns the loss of the modality classifier, whose gradient is reversed on its way to the codes.

    The gradient of the parameters, of a `ModalityClassifier`, is that of the loss; the gradients of the codes `[b, h]`
    are `-weight` times those of the loss.
    """
    classifier = ModalityClassifier(hidden=parameters["hidden_layer"]["kernel"].shape[1])
    image_logits: Any = classifier.apply({"params": parameters}, reverse_gradient(image, weight))
    text_logits: Any = classifier.apply({"params": parameters}, reverse_gradient(text, weight))
    return modality_classifier_loss(image_logits, text_logits)


def encode(parameters: Any, inputs: jax.Array) -> jax.Array:
    """Returns the codes `[n, h]`, in (-1, 1), of inputs `[n, d]`: a tanh after every layer, the last one included."""
    return jnp.tanh(apply_mlp(parameters, inputs, jnp.tanh))


def adversarial_parameters(key: jax.Array, widths: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Returns first parameters of networks and of a classifier of their codes' modality; the key is consumed.

    Each network, `image` among them, has the width of its inputs and of its layers' outputs.

    Example:
        >>> import jax
        >>> sorted(adversarial_parameters(jax.random.key(0), {"image": (5, 3), "text": (4, 3)}))
        ['image', 'modality', 'text']
    """
    key, classifier_key = jax.random.split(key)
    # Kernels start as those of the released code of ACMR.
    parameters = initial_parameters(key, widths, xavier=True)
    codes = jnp.zeros((1, widths["image"][-1]))
    return parameters | {"modality": ModalityClassifier(CLASSIFIER_HIDDEN).init(classifier_key, codes)["params"]}


def code_distances(parameters: Any) -> Distances:
    """Returns the Euclidean distances between the codes of images and those of texts."""
    return lambda images, texts: euclidean_distances_between(
        _encode(parameters["image"], images), _encode(parameters["text"], texts)
    )


def _initialize(key, train, settings):
    widths = {
        "image": (train.images.shape[1], *settings["image_layers"]),
        "text": (train.texts.shape[1], *settings["text_layers"]),
    }
    return adversarial_parameters(key, widths)


_encode = jax.jit(encode)
# Nothing in the objective keeps codes apart, so that they end in one point; validation picks an epoch before.
UCAL = NetworkMethod(
    initialize=_initialize,
    loss=ucal_loss,
    distances=code_distances,
    settings={
        "adversarial": 1.0,  # weight of the reversed gradient
        "b1": 0.5,
        "image_layers": IMAGE_LAYERS,  # widths, the last one h
        "text_layers": TEXT_LAYERS,
        "learning_rate": 1e-4,
        "epochs": 60,
        "batch_size": 64,
    },
    hyperparameters=("learning_rate", "b1", "adversarial"),
)
METHODS = (
    UCAL.as_method(
        name="ucal",
        title="UCAL",
        supervision="unsupervised",
        source="He et al., Unsupervised cross-modal retrieval through adversarial learning, ICME 2017",
        choices=({}, {"adversarial": 10.0}, {"image_layers": (1024,), "text_layers": (1024,)}),
    ),
)
