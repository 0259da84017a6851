"""What a training run carries from step to step, its two optimisers (Sec. 3.2), and the state that a config describes.

The optimisers have the semantics of PyTorch's, which the authors used.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from gpldan_jax.config import default, with_newer_settings
from gpldan_jax.models import ModalityClassifier, Projector
from gpldan_jax.training.mesh import replicated

# Streams of the run's key. What is drawn depends on (seed, stream, epoch or step) only: a resumed run is the same run.
_INITIAL, _SHUFFLING, _DENOISING = range(3)


def adam_with_l2(
    learning_rate: float | jax.Array = default("optim.learning_rate"),
    weight_decay: float | jax.Array = default("optim.weight_decay"),
) -> optax.GradientTransformation:
    """Returns `torch.optim.Adam(lr, weight_decay=...)`, the optimiser of the projector.

    PyTorch's weight decay is L2: it is added to the gradient before the moments are taken, which is not what
    `optax.adamw` does.

    Args:
        learning_rate: above 0.
        weight_decay: at least 0.

    Returns:
        The optimiser.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = adam_with_l2(0.1)
        >>> updates, _ = optimizer.update(jnp.array([2.0, -3.0]), optimizer.init(jnp.ones(2)), jnp.ones(2))
        >>> print(updates.round(3))  # Adam's first step has the size of the learning rate
        [-0.1  0.1]

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 3.2.
    """
    adam = optax.chain(_scale_by_adam(), optax.scale_by_learning_rate(learning_rate))
    return optax.chain(optax.add_decayed_weights(weight_decay), adam)


def _scale_by_adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with its program and its state, also under `jax_numpy_dtype_promotion=strict`.

    optax 0.2.8 raises a Python float to the power of an int32 array, which jax refuses there.
    """

    def update(gradients, state, parameters=None):
        mean = jax.tree.map(lambda g, m: (1 - b1) * g + b1 * m, gradients, state.mu)
        square = jax.tree.map(lambda g, v: (1 - b2) * g**2 + b2 * v, gradients, state.nu)
        count = optax.safe_increment(state.count)

        def unbiased(moment, decay):
            correction = 1 - decay ** count.astype(jnp.result_type(float))
            return jax.tree.map(lambda of: of / correction.astype(of.dtype), moment)

        mean_hat, square_hat = unbiased(mean, b1), unbiased(square, b2)
        # Plus 0: optax's `eps_root`. Without it XLA makes another program of it.
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v + 0.0) + eps), mean_hat, square_hat)
        return updates, optax.ScaleByAdamState(count=count, mu=mean, nu=square)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2, eps).init, update)


def rmsprop(
    learning_rate: float | jax.Array = default("optim.classifier_learning_rate"),
) -> optax.GradientTransformation:
    """Returns `torch.optim.RMSprop(lr)`, the optimiser of the modality classifier.

    optax's own defaults differ from PyTorch's in the decay (0.9) and in where epsilon is added.

    Args:
        learning_rate: above 0.

    Returns:
        The optimiser.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = rmsprop(0.1)
        >>> updates, _ = optimizer.update(jnp.array([2.0, -3.0]), optimizer.init(jnp.ones(2)), jnp.ones(2))
        >>> print(updates.round(3))  # g / sqrt(0.01 g^2)
        [-1.  1.]

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 3.2.
    """
    return optax.rmsprop(learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)


class Hyperparameters(flax.struct.PyTreeNode):
    """The weights of Eq. 9 and 11 and the rates of the optimisers, float32 scalars.

    They are arrays, so that another value is not another compilation and many values can be trained in one program.

    Attributes:
        alpha: weight of the unpaired term.
        beta: weight of the mutual term.
        adversarial: lambda of Eq. 11.
        learning_rate: of the projector's optimiser.
        weight_decay: of the projector's optimiser.
        classifier_learning_rate: of the classifier's optimiser.
        contrastive: weight of the contrastive term, which is ours; `None` for none.
        temperature: of the contrastive term; `None` with none.
        soft_contrastive: weight of the contrastive term with soft targets, which is ours; `None` for none.
        soft_temperature: of that term; `None` with none.
        soft_within: weight in that term of its parts within each modality; `None` with none.
    """

    alpha: float | jax.Array
    beta: float | jax.Array
    adversarial: float | jax.Array
    learning_rate: float | jax.Array
    weight_decay: float | jax.Array
    classifier_learning_rate: float | jax.Array
    contrastive: float | jax.Array | None = None
    temperature: float | jax.Array | None = None
    soft_contrastive: float | jax.Array | None = None
    soft_temperature: float | jax.Array | None = None
    soft_within: float | jax.Array | None = None


class TrainState(flax.struct.PyTreeNode):
    """The parameters, the optimiser states and the key of a run; and, outside the pytree, the networks and options.

    Attributes:
        step: int32 scalar, mini-batches seen.
        key: the run's `jax.random.key`; it is folded, never consumed.
        projector_parameters: of `projector`.
        classifier_parameters: of `classifier`.
        projector_optimizer_state: of `projector_optimizer`.
        classifier_optimizer_state: of `classifier_optimizer`.
        hyperparameters: of the losses and the optimisers.
        projector: the network G.
        classifier: the modality classifier D.
        projector_optimizer: makes the one for G of a learning rate and a weight decay.
        classifier_optimizer: makes the one for D of a learning rate.
        discrepancy: rho of Eq. 6, see `graph_pattern_loss`.
        image_denoising: share of the image columns set to zero, in [0, 1].
        text_denoising: share of the text columns set to zero, in [0, 1].
        neighbours: how many make the neighbourhoods that target distances come from, see `nearest_neighbours`; `None`
            for the distances of the inputs, Eq. 6.
        mesh: the devices that share each mini-batch, see `data_mesh`; `None` for one.
    """

    step: jax.Array
    key: jax.Array
    projector_parameters: Any
    classifier_parameters: Any
    projector_optimizer_state: Any
    classifier_optimizer_state: Any
    hyperparameters: Hyperparameters
    projector: Projector = flax.struct.field(pytree_node=False)
    classifier: ModalityClassifier = flax.struct.field(pytree_node=False)
    projector_optimizer: Callable[..., optax.GradientTransformation] = flax.struct.field(pytree_node=False)
    classifier_optimizer: Callable[..., optax.GradientTransformation] = flax.struct.field(pytree_node=False)
    discrepancy: str = flax.struct.field(pytree_node=False)
    image_denoising: float = flax.struct.field(pytree_node=False)
    text_denoising: float = flax.struct.field(pytree_node=False)
    neighbours: int | None = flax.struct.field(pytree_node=False)
    mesh: jax.sharding.Mesh | None = flax.struct.field(pytree_node=False)


def create_train_state(
    seed: int | jax.Array,
    image_dim: int,
    text_dim: int,
    *,
    projector: Projector,
    classifier: ModalityClassifier,
    alpha: float | jax.Array = default("loss.alpha"),
    beta: float | jax.Array = default("loss.beta"),
    adversarial: float | jax.Array = default("loss.adversarial"),
    learning_rate: float | jax.Array = default("optim.learning_rate"),
    weight_decay: float | jax.Array = default("optim.weight_decay"),
    classifier_learning_rate: float | jax.Array = default("optim.classifier_learning_rate"),
    projector_optimizer: Callable[..., optax.GradientTransformation] = adam_with_l2,
    classifier_optimizer: Callable[..., optax.GradientTransformation] = rmsprop,
    discrepancy: str = default("loss.discrepancy"),
    image_denoising: float = 0.0,
    text_denoising: float = 0.0,
    contrastive: float | jax.Array | None = None,
    temperature: float | jax.Array | None = None,
    soft_contrastive: float | jax.Array | None = None,
    soft_temperature: float | jax.Array | None = None,
    soft_within: float | jax.Array = default("loss.soft_within"),
    neighbours: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> TrainState:
    """Returns the state before the first step: a function of the seed, the same on any number of devices.

    Args:
        seed: from 0 to 2**32 - 1.
        image_dim: d_i, width of the image inputs.
        text_dim: d_t, width of the text inputs.
        projector: the network G.
        classifier: the modality classifier D.
        alpha: as in `Hyperparameters`, like the five that follow; defaults are those of `gpldan_jax.config`.
        beta: weight of the mutual term.
        adversarial: lambda of Eq. 11.
        learning_rate: of G's optimiser.
        weight_decay: of G's optimiser.
        classifier_learning_rate: of D's optimiser.
        projector_optimizer: makes the optimiser of G from a learning rate and a weight decay.
        classifier_optimizer: makes the optimiser of D from a learning rate.
        discrepancy: rho of Eq. 6.
        image_denoising: share of the image columns set to zero, in [0, 1].
        text_denoising: share of the text columns set to zero, in [0, 1].
        contrastive: weight of the InfoNCE term; `None` for none.
        temperature: of the InfoNCE term; `None` with none.
        soft_contrastive: weight of the contrastive term with soft targets; `None` for none. It needs `neighbours`.
        soft_temperature: of that term; `None` with none.
        soft_within: weight in that term of its parts within each modality.
        neighbours: pairs in a neighbourhood; `None` for the distances of the inputs.
        mesh: the devices that share each mini-batch; `None` for one.

    Returns:
        The state.

    Raises:
        ValueError: one of `contrastive` and `temperature`, or of `soft_contrastive` and `soft_temperature`, without the
            other; `soft_contrastive` without `neighbours`.

    Example:
        >>> state = create_train_state(
        ...     0, 10, 6, projector=Projector(hidden=8, width=8, parts=2), classifier=ModalityClassifier()
        ... )
        >>> int(state.step), state.projector_parameters["image_hidden"]["kernel"].shape
        (0, (10, 8))
    """
    if (contrastive is None) != (temperature is None):
        raise ValueError("contrastive and temperature belong together, got one of them")
    if (soft_contrastive is None) != (soft_temperature is None):
        raise ValueError("soft_contrastive and soft_temperature belong together, got one of them")
    if soft_contrastive is not None and neighbours is None:
        raise ValueError("soft_contrastive takes its targets from neighbourhoods, so it needs neighbours")
    hyperparameters = Hyperparameters(
        alpha=alpha,
        beta=beta,
        adversarial=adversarial,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        classifier_learning_rate=classifier_learning_rate,
        contrastive=contrastive,
        temperature=temperature,
        soft_contrastive=soft_contrastive,
        soft_temperature=soft_temperature,
        soft_within=None if soft_contrastive is None else soft_within,
    )
    # Arrays, so that 1 and 1.0 are the same program.
    hyperparameters = jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), hyperparameters)
    networks = (projector, classifier, projector_optimizer, classifier_optimizer)
    return TrainState(
        **_initial(jnp.asarray(seed, jnp.uint32), hyperparameters, image_dim, text_dim, *networks, mesh),
        projector=projector,
        classifier=classifier,
        projector_optimizer=projector_optimizer,
        classifier_optimizer=classifier_optimizer,
        discrepancy=discrepancy,
        image_denoising=image_denoising,
        text_denoising=text_denoising,
        neighbours=neighbours,
        mesh=mesh,
    )


def state_from_config(
    config: Mapping[str, Mapping[str, Any]], image_dim: int, text_dim: int, mesh: jax.sharding.Mesh | None = None
) -> TrainState:
    """Returns the state before the first step that a config describes.

    Args:
        config: as `gpldan_jax.config.default_config` returns it.
        image_dim: d_i, width of the image inputs.
        text_dim: d_t, width of the text inputs.
        mesh: the devices that share each mini-batch; `None` for one.

    Returns:
        The state.

    Example:
        >>> from gpldan_jax.config import default_config, with_values
        >>> small = {"model.hidden": 8, "model.width": 8, "train.seed": 3}
        >>> state = state_from_config(with_values(default_config(), small), 10, 6)
        >>> state.projector
        Projector(
            # attributes
            hidden = 8
            width = 8
            parts = 4
        )
    """
    config = with_newer_settings(config)
    loss, optim = config["loss"], config["optim"]
    return create_train_state(
        config["train"]["seed"],
        image_dim,
        text_dim,
        projector=projector_from_config(config),
        classifier=ModalityClassifier(hidden=config["model"]["classifier_hidden"]),
        **{name: loss[name] for name in ("alpha", "beta", "adversarial", "discrepancy")},
        **{name: optim[name] for name in ("learning_rate", "weight_decay", "classifier_learning_rate")},
        contrastive=loss["contrastive"] or None,
        temperature=loss["temperature"] if loss["contrastive"] else None,
        soft_contrastive=loss["soft_contrastive"] or None,
        soft_temperature=loss["soft_temperature"] if loss["soft_contrastive"] else None,
        soft_within=loss["soft_within"],
        neighbours=loss["neighbours"] if loss["target"] == "neighbours" else None,
        image_denoising=config["denoise"]["image"],
        text_denoising=config["denoise"]["text"],
        mesh=mesh,
    )


def projector_from_config(config: Mapping[str, Mapping[str, Any]]) -> Projector:
    """Returns the network G that a config describes.

    Args:
        config: with the group `model`.

    Returns:
        The network, without parameters.

    Example:
        >>> projector_from_config({"model": {"hidden": 8, "width": 8, "parts": 2}}).width
        8
    """
    model = config["model"]
    return Projector(hidden=model["hidden"], width=model["width"], parts=model["parts"])


@jax.jit(static_argnums=range(2, 9))
def _initial(
    seed, hyperparameters, image_dim, text_dim, projector, classifier, projector_optimizer, classifier_optimizer, mesh
):
    key = jax.random.key(seed)
    projector_key, classifier_key = jax.random.split(jax.random.fold_in(key, _INITIAL))
    images, texts = jnp.zeros((1, image_dim)), jnp.zeros((1, text_dim))
    projector_parameters = projector.init(projector_key, images, texts)["params"]
    features = jnp.zeros((1, projector.width))
    classifier_parameters = classifier.init(classifier_key, features)["params"]
    arrays = {
        "step": jnp.zeros((), jnp.int32),
        "key": key,
        "projector_parameters": projector_parameters,
        "classifier_parameters": classifier_parameters,
        # What an optimiser starts with does not depend on its rate.
        "projector_optimizer_state": projector_optimizer(0.0, 0.0).init(projector_parameters),
        "classifier_optimizer_state": classifier_optimizer(0.0).init(classifier_parameters),
        "hyperparameters": hyperparameters,
    }
    return jax.lax.with_sharding_constraint(arrays, replicated(mesh)) if mesh else arrays


def shuffling_key(key: jax.Array, epoch: int | jax.Array) -> jax.Array:
    """Returns the key that orders the pairs of an epoch."""
    return jax.random.fold_in(jax.random.fold_in(key, _SHUFFLING), epoch)


def denoising_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Returns the key that draws the zeroed columns of a step."""
    return jax.random.fold_in(jax.random.fold_in(key, _DENOISING), step)
