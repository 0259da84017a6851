"""UCAL: two networks whose codes agree for partners and hide their modality from a classifier.

Letters: `b` pairs of a mini-batch, `n` and `m` items, `d_i` and `d_t` widths of the inputs, `h` width of a code.
"""

from collections.abc import Mapping
from typing import Any

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
    reverse_gradient,
    train_network,
)
from gpldan_jax.data import PairedSplit
from gpldan_jax.losses import modality_classifier_loss
from gpldan_jax.models import ModalityClassifier

# The layers of ACMR, by the same group, whose released code grew out of UCAL's.
IMAGE_LAYERS, TEXT_LAYERS = (512, 100, 40), (100, 40)
CLASSIFIER_HIDDEN = 64


def ucal_loss(parameters: Any, batch: LabelledBatch, numbers: Mapping[str, jax.Array]) -> jax.Array:
    """`mean |v - t|^2` plus the modality classifier's loss, which the codes v and t maximise by gradient reversal.

    Args:
        parameters: those of `adversarial_parameters`.
        batch: b pairs; its labels are not looked at.
        numbers: `adversarial`, the weight of the reversed gradient before its schedule.

    References:
        He, Xu, Lu, Yang, Shen and Shen, Unsupervised cross-modal retrieval through adversarial learning, ICME 2017.
    """
    image, text = encode(parameters["image"], batch.images), encode(parameters["text"], batch.texts)
    weight = numbers["adversarial"] * adversarial_schedule(batch.progress)
    return jnp.square(image - text).sum(1).mean() + reversed_modality_loss(parameters["modality"], image, text, weight)


def adversarial_schedule(progress: float | jax.Array) -> jax.Array:
    """`2 / (1 + exp(-10 p)) - 1`: from 0 to 1 over training, so that the codes settle before the classifier counts.

    Example:
        >>> print(f"{adversarial_schedule(0.1):.4f}")
        0.4621

    References:
        Ganin and Lempitsky, Unsupervised domain adaptation by backpropagation, ICML 2015.
    """
    return jnp.tanh(5 * progress)  # the same function


def reversed_modality_loss(parameters: Any, image: jax.Array, text: jax.Array, weight: float | jax.Array) -> jax.Array:
    """What the modality classifier minimises (`modality_classifier_loss`), reversed on its way to the codes.

    Args:
        parameters: of a `ModalityClassifier`; their gradient is that of the loss.
        image: `[b, h]`; its gradient is `-weight` times that of the loss.
        text: `[b, h]`, likewise.
        weight: 0 or more.
    """
    classifier = ModalityClassifier(hidden=parameters["hidden_layer"]["kernel"].shape[1])
    logits = (classifier.apply({"params": parameters}, reverse_gradient(of, weight)) for of in (image, text))
    return modality_classifier_loss(*logits)


def encode(parameters: Any, inputs: jax.Array) -> jax.Array:
    """The codes `[n, h]`, in (-1, 1), of inputs `[n, d]`: a tanh after every layer, the last one included."""
    return jnp.tanh(apply_mlp(parameters, inputs, jnp.tanh))


def adversarial_parameters(key: jax.Array, widths: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """First parameters of networks, and of a modality classifier of `image`'s codes; the key is consumed.

    Args:
        key: a `jax.random.key`.
        widths: of each network, the width of its inputs and of its layers' outputs; `image` must be among them.

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


def code_distances(parameters: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Euclidean distances `[n, m]` between the codes of images `[n, d_i]` and of texts `[m, d_t]`."""
    x = np.asarray(_encode(parameters["image"], images), np.float64)
    y = np.asarray(_encode(parameters["text"], texts), np.float64)
    squared = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    return np.sqrt(np.maximum(squared, 0))


def fit_ucal(
    train: PairedSplit,
    validation: PairedSplit,
    score: Score,
    *,
    seed: int,
    adversarial: float = 1.0,
    image_layers: tuple[int, ...] = IMAGE_LAYERS,
    text_layers: tuple[int, ...] = TEXT_LAYERS,
    learning_rate: float = 1e-4,
    epochs: int = 60,
    batch_size: int = 64,
) -> Distances:
    """Trains UCAL and ranks by the Euclidean distance of codes.

    Nothing in the objective keeps codes apart, so that they end in one point; validation picks an epoch before.

    Args:
        train: the training pairs; their labels are not looked at.
        validation: the validation pairs.
        score: of validation distances.
        seed: of the parameters and the mini-batches.
        adversarial: the weight of the reversed gradient.
        image_layers: widths, the last one h.
        text_layers: likewise.
        learning_rate: of Adam.
        epochs: to train.
        batch_size: pairs of a mini-batch.
    """
    widths = {"image": (train.images.shape[1], *image_layers), "text": (train.texts.shape[1], *text_layers)}
    parameters = train_network(
        adversarial_parameters(initial_key(seed), widths),
        ucal_loss,
        code_distances,
        train,
        validation,
        score,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        numbers={"learning_rate": learning_rate, "b1": 0.5, "adversarial": adversarial},
    )
    return network_distances(parameters, code_distances)


_encode = jax.jit(encode)
METHODS = (
    Method(
        name="ucal",
        title="UCAL",
        supervision="unsupervised",
        source="He et al., Unsupervised cross-modal retrieval through adversarial learning, ICME 2017",
        fit=fit_ucal,
        settings=(
            {},
            {"adversarial": 10.0},
            {"image_layers": (1024,), "text_layers": (1024,)},
        ),
    ),
)
