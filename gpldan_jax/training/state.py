"""Everything a training run carries from step to step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from gpldan_jax.models import ModalityClassifier, Projector

# Streams of the run's key. What is drawn depends on (seed, stream, epoch or step) only: a resumed run is the same run.
_INITIAL, _SHUFFLING, _DENOISING = range(3)


class LossWeights(flax.struct.PyTreeNode):
    """Weights of Eq. 9 and 11, float32 scalars; arrays, so that another value is not another compilation.

    Attributes:
        alpha: of the unpaired term.
        beta: of the mutual term.
        adversarial: lambda of Eq. 11.
    """

    alpha: jax.Array
    beta: jax.Array
    adversarial: jax.Array


class TrainState(flax.struct.PyTreeNode):
    """Parameters, optimiser states and the run's key; and, outside the pytree, what `train_step` applies to them.

    Attributes:
        step: int32 scalar, mini-batches seen.
        key: the run's `jax.random.key`; it is folded, never consumed.
        projector_parameters: of `projector`.
        classifier_parameters: of `classifier`.
        projector_optimizer_state: of `projector_optimizer`.
        classifier_optimizer_state: of `classifier_optimizer`.
        weights: of the losses.
        projector: the network G.
        classifier: the modality classifier D.
        projector_optimizer: for G.
        classifier_optimizer: for D.
        discrepancy: rho of Eq. 6, see `graph_pattern_loss`.
        image_denoising: share of the image columns set to zero, in [0, 1].
        text_denoising: share of the text columns set to zero, in [0, 1].
    """

    step: jax.Array
    key: jax.Array
    projector_parameters: Any
    classifier_parameters: Any
    projector_optimizer_state: Any
    classifier_optimizer_state: Any
    weights: LossWeights
    projector: Projector = flax.struct.field(pytree_node=False)
    classifier: ModalityClassifier = flax.struct.field(pytree_node=False)
    projector_optimizer: optax.GradientTransformation = flax.struct.field(pytree_node=False)
    classifier_optimizer: optax.GradientTransformation = flax.struct.field(pytree_node=False)
    discrepancy: str = flax.struct.field(pytree_node=False)
    image_denoising: float = flax.struct.field(pytree_node=False)
    text_denoising: float = flax.struct.field(pytree_node=False)


def create_train_state(
    seed: int,
    image_dim: int,
    text_dim: int,
    *,
    projector: Projector,
    classifier: ModalityClassifier,
    projector_optimizer: optax.GradientTransformation,
    classifier_optimizer: optax.GradientTransformation,
    alpha: float,
    beta: float,
    adversarial: float,
    discrepancy: str = "absolute",
    image_denoising: float = 0.0,
    text_denoising: float = 0.0,
) -> TrainState:
    """The state before the first step, a function of the seed.

    >>> from gpldan_jax.training import adam_with_l2, rmsprop
    >>> state = create_train_state(
    ...     0, 10, 6, projector=Projector(hidden=8, width=8, parts=2), classifier=ModalityClassifier(),
    ...     projector_optimizer=adam_with_l2(), classifier_optimizer=rmsprop(), alpha=1.0, beta=0.1, adversarial=0.01,
    ... )
    >>> int(state.step), state.projector_parameters["image_hidden"]["kernel"].shape
    (0, (10, 8))
    """
    key = jax.random.key(seed)
    projector_key, classifier_key = jax.random.split(jax.random.fold_in(key, _INITIAL))

    @jax.jit
    def initial():
        images, texts = jnp.zeros((1, image_dim)), jnp.zeros((1, text_dim))
        projector_parameters = projector.init(projector_key, images, texts)["params"]
        features = jnp.zeros((1, projector.width))
        classifier_parameters = classifier.init(classifier_key, features)["params"]
        return (
            projector_parameters,
            classifier_parameters,
            projector_optimizer.init(projector_parameters),
            classifier_optimizer.init(classifier_parameters),
        )

    projector_parameters, classifier_parameters, projector_optimizer_state, classifier_optimizer_state = initial()
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        projector_parameters=projector_parameters,
        classifier_parameters=classifier_parameters,
        projector_optimizer_state=projector_optimizer_state,
        classifier_optimizer_state=classifier_optimizer_state,
        weights=LossWeights(*(jnp.asarray(weight, jnp.float32) for weight in (alpha, beta, adversarial))),
        projector=projector,
        classifier=classifier,
        projector_optimizer=projector_optimizer,
        classifier_optimizer=classifier_optimizer,
        discrepancy=discrepancy,
        image_denoising=image_denoising,
        text_denoising=text_denoising,
    )


def shuffling_key(key: jax.Array, epoch: int) -> jax.Array:
    """The key that orders the pairs of an epoch."""
    return jax.random.fold_in(jax.random.fold_in(key, _SHUFFLING), epoch)


def denoising_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """The key that draws the zeroed columns of a step."""
    return jax.random.fold_in(jax.random.fold_in(key, _DENOISING), step)
