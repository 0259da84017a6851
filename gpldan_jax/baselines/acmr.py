"""ACMR: codes that tell classes apart, bring items of a class together, and hide their modality from a classifier.

Letters: `b` pairs of a mini-batch, `d_i` and `d_t` widths of the inputs, `h` width of a code, `C` classes.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gpldan_jax.baselines import ucal
from gpldan_jax.baselines.class_labels import class_targets, count_classes, share_a_class
from gpldan_jax.baselines.network_method import LabelledBatch, NetworkMethod
from gpldan_jax.baselines.perceptrons import apply_mlp
from gpldan_jax.baselines.ucal import IMAGE_LAYERS, TEXT_LAYERS, code_distances, encode


def acmr_loss(parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array]) -> jax.Array:
    """Returns `label_loss + invariance * triplet_loss` plus the reversed loss of the modality classifier.

    The published demo gives the adversarial term to an optimiser that does not train the codes; here, as in the paper,
    it reaches them. The paper's penalty on the norm of the weights is left out: its weight is unpublished.

    The parameters are those of `adversarial_parameters` with a linear classifier `label`; the hyperparameters
    `invariance`, the weight of `triplet_loss`, its `margin` and `negative`, and `adversarial`, the weight of the
    reversed gradient before its schedule.

    References:
        Wang, Yang, Xu, Hanjalic and Shen, Adversarial cross-modal retrieval, ACM MM 2017.
    """
    image, text = encode(parameters["image"], batch.images), encode(parameters["text"], batch.texts)
    discrimination = label_loss(parameters["label"], image, text, batch.labels)
    of_triplets = {name: hyperparameters[name] for name in ("margin", "negative")}
    invariance = triplet_loss(image, text, batch.labels, **of_triplets)
    weight = hyperparameters["adversarial"] * ucal.adversarial_schedule(batch.progress)
    adversarial = ucal.reversed_modality_loss(parameters["modality"], image, text, weight)
    return discrimination + hyperparameters["invariance"] * invariance + adversarial


def label_loss(parameters: Any, image: jax.Array, text: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `ce(P(v), y) + ce(P(t), y)`, means over the pairs, of one linear classifier P for both modalities.

    P is an `Mlp` with one layer, `h` to C; codes are `[b, h]`, labels `[b]`, in 0..C-1. For labels `[b, C]`, which the
    paper does not have, ce is the sum of the binary cross-entropies of the classes.
    """
    logits = (apply_mlp(parameters, of) for of in (image, text))
    if labels.ndim == 2:
        targets = class_targets(labels, labels.shape[1])
        return sum(optax.sigmoid_binary_cross_entropy(of, targets).sum(1).mean() for of in logits)
    return sum(optax.softmax_cross_entropy_with_integer_labels(of, labels).mean() for of in logits)


def triplet_loss(
    image: jax.Array, text: jax.Array, labels: jax.Array, *, margin: float | jax.Array, negative: float | jax.Array
) -> jax.Array:
    """Returns `|v - t+| + negative * max(0, margin - |v - t-|)` plus the same with texts as anchors; Euclidean norms.

    The mean over all items of the mini-batch as anchors; for an anchor, means over the items of the other modality that
    have its label (+), and over those that do not (-). A norm of 0 has the gradient 0. Codes are `[b, h]`, labels
    `[b]`; at the distance `margin` an item of another class is far enough.

    Example:
        >>> import jax.numpy as jnp
        >>> v, t = jnp.array([[0.0], [3.0]]), jnp.array([[1.0], [5.0]])  # distances [[1, 5], [2, 2]]
        >>> print(triplet_loss(v, t, jnp.array([0, 1]), margin=4.0, negative=0.5))  # 2 * (3 / 2 + 0.5 * 2 / 2)
        4.0
    """
    # Differences, not inner products: these cancel where items are close, as they are meant to become.
    distances = optax.safe_norm(image[:, None] - text, 0.0, axis=-1)
    same = share_a_class(labels)
    hinge = jnp.maximum(margin - distances, 0)

    def over_anchors(of, where, axis):
        return (jnp.where(where, of, 0).sum(axis) / jnp.maximum(where.sum(axis), 1)).mean()

    return sum(over_anchors(distances, same, axis) + negative * over_anchors(hinge, ~same, axis) for axis in (0, 1))


def _initialize(key, train, settings):
    widths = {
        "image": (train.images.shape[1], *IMAGE_LAYERS),
        "text": (train.texts.shape[1], *TEXT_LAYERS),
        "label": (IMAGE_LAYERS[-1], count_classes(train.labels)),
    }
    return ucal.adversarial_parameters(key, widths)


ACMR = NetworkMethod(
    initialize=_initialize,
    loss=acmr_loss,
    distances=code_distances,
    settings={
        "invariance": 1.0,  # weight of `triplet_loss`
        "margin": 4.0,  # of `triplet_loss`; codes are at most 2 sqrt(40) apart
        "negative": 1.0,  # of `triplet_loss`
        "adversarial": 1.0,  # weight of the reversed gradient
        "b1": 0.5,  # as in the published demo
        "learning_rate": 1e-4,
        "epochs": 150,
        "batch_size": 64,
    },
    hyperparameters=("learning_rate", "b1", "invariance", "margin", "negative", "adversarial"),
    needs_labels=True,
)
METHODS = (
    ACMR.as_method(
        name="acmr",
        title="ACMR",
        supervision="supervised",
        source="Wang et al., Adversarial cross-modal retrieval, ACM MM 2017",
        # The paper searches a grid for its weights and names no values; ours: on validation (CUB, Wikipedia 128/100).
        choices=({}, {"margin": 1.0}, {"learning_rate": 1e-3}),
    ),
)
