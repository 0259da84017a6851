"""One mini-batch of adversarial training, Eq. 10-11."""

import flax.struct
import jax
import optax

from gpldan_jax.data.denoising import zero_columns
from gpldan_jax.losses import adversarial_loss, graph_pattern_loss, modality_classifier_loss
from gpldan_jax.training.state import TrainState, denoising_key

TERMS = ("pairwise", "unpaired", "mutual", "adversarial", "classifier")


class Batch(flax.struct.PyTreeNode):
    """A mini-batch of n pairs.

    Attributes:
        images: `[n, d_i]` float32, scaled, not yet denoised.
        texts: `[n, d_t]` float32.
        where: `[n]` bool, False for padding; or `None`.
    """

    images: jax.Array
    texts: jax.Array
    where: jax.Array | None = None


@jax.jit(donate_argnames="state")
def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of the modality classifier D (Eq. 10), then one of the projector G (Eq. 11) against the new D.

    The projector sees denoised inputs; the target distances of Eq. 6 come from the clean ones.

    Args:
        state: it is donated: use the one returned.
        batch: n pairs; every batch of a run must have the same n.

    Returns:
        The next state, and scalars on the device: `loss` (L_G), its unweighted terms `pairwise`, `unpaired`, `mutual`
        and `adversarial`, and `classifier` (L_D).
    """
    image_key, text_key = jax.random.split(denoising_key(state.key, state.step))
    images = zero_columns(batch.images, image_key, state.image_denoising)
    texts = zero_columns(batch.texts, text_key, state.text_denoising)

    def represent(parameters):
        return state.projector.apply({"params": parameters}, images, texts)

    def classify(parameters, image, text):
        apply = state.classifier.apply
        return apply({"params": parameters}, image.features), apply({"params": parameters}, text.features)

    # XLA sees that this forward pass and the one inside the gradient of G are the same and computes it once.
    image, text = represent(state.projector_parameters)

    def classifier_objective(parameters):
        return modality_classifier_loss(*classify(parameters, image, text), where=batch.where)

    classifier_loss, gradients = jax.value_and_grad(classifier_objective)(state.classifier_parameters)
    updates, classifier_optimizer_state = state.classifier_optimizer.update(
        gradients, state.classifier_optimizer_state, state.classifier_parameters
    )
    classifier_parameters = optax.apply_updates(state.classifier_parameters, updates)

    def projector_objective(parameters):
        image, text = represent(parameters)
        loss, terms = graph_pattern_loss(
            image.parts,
            text.parts,
            image.attention,
            text.attention,
            batch.images,
            batch.texts,
            alpha=state.weights.alpha,
            beta=state.weights.beta,
            discrepancy=state.discrepancy,
            where=batch.where,
        )
        adversarial = adversarial_loss(*classify(classifier_parameters, image, text), where=batch.where)
        return loss + state.weights.adversarial * adversarial, terms._asdict() | {"adversarial": adversarial}

    (loss, terms), gradients = jax.value_and_grad(projector_objective, has_aux=True)(state.projector_parameters)
    updates, projector_optimizer_state = state.projector_optimizer.update(
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
