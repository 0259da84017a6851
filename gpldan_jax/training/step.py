"""One step and one epoch of adversarial training, Eq. 10-11."""

import functools

import jax
import jax.numpy as jnp
import optax

from gpldan_jax.losses import (
    adversarial_loss,
    co_attention_distances,
    graph_pattern_loss,
    infonce,
    modality_classifier_loss,
    sharded_graph_pattern_loss,
    sharded_soft_contrastive,
    soft_contrastive,
)
from gpldan_jax.training.batches import Batch, ResidentPairs, epoch_rows, steps_per_epoch, zero_columns
from gpldan_jax.training.mesh import AXIS, shares
from gpldan_jax.training.state import TrainState, denoising_key


@jax.jit(donate_argnames="state")
def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
    """Takes one step of the modality classifier D (Eq. 10), then one of the projector G (Eq. 11) against the new D.

    The projector gets denoised inputs. The target distances of Eq. 6 come from the clean inputs, or from neighbourhoods
    if `state.neighbours` is set. If `state.hyperparameters.contrastive` is set, `infonce` of the co-attention cosines
    is added to L_G; if `soft_contrastive` is set, the loss of this name, whose targets come from the neighbourhoods.

    Args:
        state: the state before the step; it is donated, so use the returned one.
        batch: n pairs; every batch of a run must have the same n.

    Returns:
        The next state, and scalars on the device: `loss` (L_G), its unweighted terms `pairwise`, `unpaired`, `mutual`
        and `adversarial` (and `contrastive` and `soft_contrastive`, if they are set), and `classifier` (L_D).

    Raises:
        ValueError: a state with `neighbours` and a batch without neighbourhoods, or the reverse; `soft_contrastive`
            without neighbourhoods.

    Example:
        See `train_epoch`, which takes such steps.

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.3.
    """
    if (state.neighbours is None) != (batch.neighbourhoods is None):
        raise ValueError(f"state.neighbours is {state.neighbours}, so the batch must be made with the same neighbours")
    hyperparameters = state.hyperparameters
    if hyperparameters.soft_contrastive is not None and batch.neighbourhoods is None:
        raise ValueError("soft_contrastive takes its targets from neighbourhoods, so the state must have neighbours")
    classifier_optimizer = state.classifier_optimizer(hyperparameters.classifier_learning_rate)
    projector_optimizer = state.projector_optimizer(hyperparameters.learning_rate, hyperparameters.weight_decay)
    pattern_loss, soft_loss = graph_pattern_loss, soft_contrastive
    if state.mesh:
        pattern_loss = functools.partial(sharded_graph_pattern_loss, mesh=state.mesh, axis=AXIS)
        soft_loss = functools.partial(sharded_soft_contrastive, mesh=state.mesh, axis=AXIS)

    image_key, text_key = jax.random.split(denoising_key(state.key, state.step))
    images = zero_columns(batch.images, image_key, state.image_denoising)
    texts = zero_columns(batch.texts, text_key, state.text_denoising)

    target_inputs = batch.images, batch.texts
    if batch.neighbourhoods is not None:
        target_inputs = (batch.neighbourhoods.rows(),) * 2

    def represent(parameters):
        return state.projector.apply({"params": parameters}, images, texts)

    def classify(parameters, image, text):  # both modalities in one product, as in the projector
        features = jnp.stack([image.features, text.features])
        image_logits, text_logits = state.classifier.apply({"params": parameters}, features)
        return image_logits, text_logits

    # XLA sees that this forward pass and the one inside the gradient of G are the same and computes it once.
    image, text = represent(state.projector_parameters)

    def classifier_objective(parameters):
        return modality_classifier_loss(*classify(parameters, image, text), where=batch.where)

    classifier_loss, gradients = jax.value_and_grad(classifier_objective)(state.classifier_parameters)
    updates, classifier_optimizer_state = classifier_optimizer.update(
        gradients, state.classifier_optimizer_state, state.classifier_parameters
    )
    classifier_parameters = optax.apply_updates(state.classifier_parameters, updates)

    def projector_objective(parameters):
        image, text = represent(parameters)
        loss, terms = pattern_loss(
            image.parts,
            text.parts,
            image.attention,
            text.attention,
            *target_inputs,
            alpha=hyperparameters.alpha,
            beta=hyperparameters.beta,
            discrepancy=state.discrepancy,
            where=batch.where,
        )
        adversarial = adversarial_loss(*classify(classifier_parameters, image, text), where=batch.where)
        loss, terms = loss + hyperparameters.adversarial * adversarial, terms._asdict() | {"adversarial": adversarial}
        if hyperparameters.contrastive is not None:
            distances = co_attention_distances(image.parts, text.parts, image.attention, text.attention)
            # Other captions of an image are no negatives. To draw each image once in an epoch was no better in a trial.
            terms["contrastive"] = infonce(
                1 - distances, 1 / hyperparameters.temperature, where=batch.where, groups=batch.groups
            )
            loss += hyperparameters.contrastive * terms["contrastive"]
        if hyperparameters.soft_contrastive is not None:
            terms["soft_contrastive"] = soft_loss(
                image.parts,
                text.parts,
                image.attention,
                text.attention,
                similarity_rows=target_inputs[0],
                scale=1 / hyperparameters.soft_temperature,
                within=hyperparameters.soft_within,
                where=batch.where,
                groups=batch.groups,
            )
            loss += hyperparameters.soft_contrastive * terms["soft_contrastive"]
        return loss, terms

    (loss, terms), gradients = jax.value_and_grad(projector_objective, has_aux=True)(state.projector_parameters)
    updates, projector_optimizer_state = projector_optimizer.update(
        gradients, state.projector_optimizer_state, state.projector_parameters
    )
    state = state.replace(
        step=state.step + 1,
        projector_parameters=optax.apply_updates(state.projector_parameters, updates),
        classifier_parameters=classifier_parameters,
        projector_optimizer_state=projector_optimizer_state,
        classifier_optimizer_state=classifier_optimizer_state,
    )
    return state, {"loss": loss, **terms, "classifier": classifier_loss}


@jax.jit(static_argnames=("batch_size", "remainder"), donate_argnames="state")
def train_epoch(
    state: TrainState, pairs: ResidentPairs, *, batch_size: int, remainder: str = "drop"
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Takes all steps of an epoch in one program, without the host.

    They are the steps that `train_step` takes on the mini-batches of `epoch_batches`.

    Args:
        state: at the start of an epoch, `state.step` being a multiple of its steps; it is donated.
        pairs: the training pairs, on the devices of `state.mesh`.
        batch_size: pairs of a mini-batch.
        remainder: as in `steps_per_epoch`.

    Returns:
        The next state, and what `train_step` returns of each step, `[steps]` on the device.

    Example:
        >>> import numpy as np
        >>> from gpldan_jax import data, models, training
        >>> state = training.create_train_state(
        ...     0, 10, 6, projector=models.Projector(hidden=8, width=8, parts=2), classifier=models.ModalityClassifier()
        ... )
        >>> rng = np.random.default_rng(0)
        >>> split = data.PairedSplit(rng.normal(size=(40, 10)), rng.normal(size=(40, 6)))
        >>> state, metrics = train_epoch(state, training.resident_pairs(split), batch_size=8)
        >>> int(state.step), metrics["loss"].shape
        (5, (5,))
    """
    epoch = state.step // steps_per_epoch(pairs.count, batch_size, remainder)
    batches = epoch_rows(
        state.key, epoch, pairs.count, batch_size=batch_size, remainder=remainder, multiple=shares(state.mesh)
    )
    return jax.lax.scan(lambda state, batch: train_step(state, pairs.take(*batch)), state, batches)
