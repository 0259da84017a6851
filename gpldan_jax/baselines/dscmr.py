"""DSCMR: features that one linear map turns into labels, alike for the items of a class and for partners.

Letters: `b` pairs of a mini-batch, `n` and `m` items, `d_i` and `d_t` widths of the inputs, `H` width of the features,
`C` classes.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gpldan_jax.baselines.class_labels import class_targets, count_classes, share_a_class
from gpldan_jax.baselines.encoded_distances import ProjectorDistances
from gpldan_jax.baselines.network_method import LabelledBatch, NetworkMethod
from gpldan_jax.losses import co_attention_distances
from gpldan_jax.models import Linear, Projector


def dscmr_loss(parameters: Any, batch: LabelledBatch, hyperparameters: Mapping[str, jax.Array]) -> jax.Array:
    """Returns `mean |P v - y| + mean |P t - y| + alpha * discrimination_loss + beta * mean |v - t|`, Euclidean norms.

    `P` is a linear map that both modalities share, `y` the one-hot label, or the row of 0 and 1 of several. A norm of 0
    has the gradient 0.

    The parameters are `projector`, those of `projector_parameters`, and `classifier`, `{"kernel": [H, C]}`.

    References:
        Zhen, Hu, Wang and Peng, Deep supervised cross-modal retrieval, CVPR 2019.
    """
    image, text = project(parameters["projector"], batch.images, batch.texts)
    kernel = parameters["classifier"]["kernel"]
    target = class_targets(batch.labels, kernel.shape[1])
    labelling = _norms(image @ kernel - target).mean() + _norms(text @ kernel - target).mean()
    discrimination = discrimination_loss(image, text, batch.labels)
    return labelling + hyperparameters["alpha"] * discrimination + hyperparameters["beta"] * _norms(image - text).mean()


def discrimination_loss(image: jax.Array, text: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the sum over (v, t), (v, v) and (t, t) of `mean_ij [log(1 + exp(q_ij)) - S_ij q_ij]`, `q = cos / 2`.

    `S_ij` is 1 where i and j share a class, else 0: minus the log-likelihood of S where `sigmoid(q)` says how
    likely that is. An item counts as a partner of itself. Features are `[b, H]`, labels `[b]` or `[b, C]`.

    Example:
        >>> import jax.numpy as jnp
        >>> v, t = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]])  # cosines 0, 1 and 1
        >>> print(f"{discrimination_loss(v, t, jnp.array([0])):.4f}")  # log 2 + 2 (log(1 + e^0.5) - 0.5)
        1.6413
    """
    same = share_a_class(labels)

    def over_pairs(x, y):
        q = (1 - co_attention_distances(x, y)) / 2
        return (jax.nn.softplus(q) - jnp.where(same, q, 0)).mean()

    return over_pairs(image, text) + over_pairs(image, image) + over_pairs(text, text)


@functools.partial(jax.jit, static_argnums=(1, 2), static_argnames=("hidden", "width"))
def projector_parameters(key: jax.Array, image_dim: int, text_dim: int, *, hidden: int, width: int) -> Any:
    """Returns first parameters of GPLDAN's projector with k = 1, which is the network of DSCMR.

    Example:
        >>> import jax
        >>> parameters = projector_parameters(jax.random.key(0), 5, 4, hidden=8, width=3)
        >>> parameters["shared"]["kernel"].shape
        (8, 3)
    """
    projector = Projector(hidden=hidden, width=width, parts=1)
    return projector.init(key, jnp.zeros((1, image_dim)), jnp.zeros((1, text_dim)))["params"]


def project(parameters: Any, images: jax.Array, texts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the features `[b, H]` of images `[b, d_i]` and texts `[b, d_t]` under the parameters of a projector."""
    image, text = _projector(parameters).apply({"params": parameters}, images, texts)
    return image.features, text.features


def projected_distances(parameters: Any) -> ProjectorDistances:
    """Returns the cosine distances between the features of images and those of texts."""
    return ProjectorDistances(_projector(parameters["projector"]), parameters["projector"])


def _initialize(key, train, settings):
    hidden, width = settings["hidden"], settings["width"]
    dims = train.images.shape[1], train.texts.shape[1]
    classifier = Linear(count_classes(train.labels), use_bias=False)
    key, classifier_key = jax.random.split(key)
    return {
        "projector": projector_parameters(key, *dims, hidden=hidden, width=width),
        "classifier": classifier.init(classifier_key, jnp.zeros((1, width)))["params"],
    }


def _projector(parameters):
    hidden, width = (parameters[layer]["kernel"].shape[1] for layer in ("image_hidden", "shared"))
    return Projector(hidden=hidden, width=width, parts=1)


def _norms(x):
    return optax.safe_norm(x, 0.0, axis=1)


DSCMR = NetworkMethod(
    initialize=_initialize,
    loss=dscmr_loss,
    distances=projected_distances,
    settings={
        "alpha": 1e-3,  # weight of `discrimination_loss`
        "beta": 0.1,  # weight of the distance between partners
        "hidden": 2048,  # width of the modality's own layer
        "width": 1024,  # H
        "b1": 0.5,
        "learning_rate": 1e-4,
        "epochs": 40,  # the published code takes 500
        "batch_size": 100,
    },
    hyperparameters=("learning_rate", "b1", "alpha", "beta"),
    needs_labels=True,
)
METHODS = (
    DSCMR.as_method(
        name="dscmr",
        title="DSCMR",
        supervision="supervised",
        source="Zhen et al., Deep supervised cross-modal retrieval, CVPR 2019",
        choices=({}, {"alpha": 0.1}, {"beta": 1.0}),
    ),
)
