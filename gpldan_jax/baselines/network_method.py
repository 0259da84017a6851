"""What the neural methods of the comparison share: perceptrons, and the distances that their codes are ranked by.

Letters: `n`, `m` items, `d` width of an input, `h` width of a code.

The training loop that the neural methods of the comparison share: an epoch as one program, selection on validation.

Letters: `n` training pairs, `b` pairs of a mini-batch, `d_i` and `d_t` widths of the inputs.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpldan_jax.baselines.method import Distances, Score
from gpldan_jax.data import PairedSplit
from gpldan_jax.models.projector import Linear
from gpldan_jax.training.batches import epoch_rows, steps_per_epoch


class Mlp(nn.Module):
    """Linear layers with an activation between them, none after the last: `[n, d] -> [n, features[-1]]`.

    Attributes:
        features: the width of each layer's output.
        activation: between layers.
        xavier: whether kernels start from Glorot and Bengio's uniform distribution and biases from zero, instead of
            both as in PyTorch (`gpldan_jax.models.projector.Linear`).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> parameters = Mlp((8, 3)).init(jax.random.key(0), jnp.ones((1, 5)))["params"]
        >>> jax.tree.map(jnp.shape, parameters["layer_1"])
        {'bias': (3,), 'kernel': (8, 3)}
    """

    features: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    xavier: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, width in enumerate(self.features):
            x = self.activation(x) if i else x
            if self.xavier:
                x = nn.Dense(width, kernel_init=nn.initializers.xavier_uniform(), name=f"layer_{i}")(x)
            else:
                x = Linear(width, name=f"layer_{i}")(x)
        return x


def initial_parameters(key: jax.Array, widths: Mapping[str, tuple[int, ...]], *, xavier: bool = False) -> dict:
    """First parameters of several `Mlp`, by name.

    Args:
        key: a `jax.random.key`; it is consumed.
        widths: of each, the width of its inputs and of its layers' outputs.
        xavier: as in `Mlp`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> parameters = initial_parameters(jax.random.key(0), {"image": (5, 8, 3), "text": (4, 3)})
        >>> jax.tree.map(jnp.shape, parameters["text"])
        {'layer_0': {'bias': (3,), 'kernel': (4, 3)}}
    """
    return _initial_parameters(key, tuple(widths.items()), xavier)


@functools.partial(jax.jit, static_argnames="activation")
def apply_mlp(parameters: Any, inputs: jax.Array, activation: Callable[[jax.Array], jax.Array] = nn.relu) -> jax.Array:
    """The output of the `Mlp` that the parameters belong to.

    Their shapes say how wide it is, so that a loss need not close over a network and compiles once for all of a width.

    Args:
        parameters: of an `Mlp`.
        inputs: `[n, d]`.
        activation: that of the `Mlp`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> output, variables = Mlp((8, 3)).init_with_output(jax.random.key(0), jnp.ones((2, 5)))
        >>> bool((apply_mlp(variables["params"], jnp.ones((2, 5))) == output).all())
        True
    """
    features = tuple(parameters[f"layer_{i}"]["kernel"].shape[1] for i in range(len(parameters)))
    return Mlp(features, activation).apply({"params": parameters}, inputs)


def cosine_distances_between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`1 - cos` of all items of x `[n, h]` to all of y `[m, h]`: `[n, m]`; 1 where an item is zero.

    Example:
        >>> import numpy as np
        >>> print(cosine_distances_between(np.array([[3.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [-2.0, 0.0]])))
        [[0. 2.]
         [1. 1.]]
    """
    x, y = (np.asarray(z) for z in (x, y))
    x, y = (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12) for z in (x, y))
    return 1 - x @ y.T


# Compiled, since the draws of so many layers, one by one, would each be compiled by themselves.
@functools.partial(jax.jit, static_argnums=(1, 2))
def _initial_parameters(key, widths, xavier):
    return {
        name: Mlp(tuple(features), xavier=xavier).init(of, jnp.zeros((1, d)))["params"]
        for of, (name, (d, *features)) in zip(jax.random.split(key, len(widths)), widths, strict=True)
    }


# Streams of the seed's key, beside the one that `epoch_rows` shuffles with.
_INITIAL, _DRAWS = 10, 11


class LabelledBatch(flax.struct.PyTreeNode):
    """What a loss sees of a step.

    Attributes:
        images: `[b, d_i]` float32.
        texts: `[b, d_t]` float32.
        labels: `[b]` int32, or `None` for a method without labels.
        key: a `jax.random.key` of this step; it is consumed.
        progress: scalar, the share of training that is done, in [0, 1).
    """

    images: jax.Array
    texts: jax.Array
    labels: jax.Array | None
    key: jax.Array
    progress: jax.Array


def train_network(
    parameters: Any,
    loss: Callable[[Any, LabelledBatch, Mapping[str, jax.Array]], jax.Array],
    distances: Callable[[Any, np.ndarray, np.ndarray], np.ndarray],
    train: PairedSplit,
    validation: PairedSplit,
    score: Score,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    numbers: Mapping[str, float],
) -> Any:
    """Adam on mini-batches; the parameters of the epoch with the best score on validation.

    The pairs that do not fill a mini-batch are left out, other ones each epoch.

    Args:
        parameters: a pytree; where training starts.
        loss: a function of a module, not a closure, so that it compiles once for all seeds and settings: takes
            parameters, a mini-batch and `numbers`, gives a scalar.
        distances: takes parameters, images and texts, gives distances `[n, m]`.
        train: the training pairs; their labels reach the loss.
        validation: the validation pairs.
        score: of validation distances.
        seed: of the mini-batches and of what the loss draws.
        epochs: to train.
        batch_size: at most the training pairs; more is cut to them.
        numbers: hyperparameters, `learning_rate` among them and, where it is not 0.9, Adam's `b1`.

    Raises:
        FloatingPointError: the loss became NaN or infinite; says in which epoch.
    """
    batch_size = min(batch_size, len(train))
    numbers = {"b1": 0.9, **numbers}
    numbers = {name: np.float32(value) for name, value in numbers.items()}
    pairs = jax.device_put((train.images, train.texts, train.labels))
    state = (parameters, _optimizer(numbers).init(parameters))
    key = jax.random.key(np.uint32(seed))  # of an int it would take 31 bits
    best, best_value = parameters, -np.inf
    for epoch in range(epochs):
        state, losses = _epoch(state, pairs, key, np.int32(epoch), np.int32(epochs), numbers, loss, batch_size)
        if not np.isfinite(losses).all():
            raise FloatingPointError(f"the loss is not finite in epoch {epoch + 1}")
        value = score(distances(state[0], validation.images, validation.texts))
        if value > best_value:
            best, best_value = state[0], value
    return best


def initial_key(seed: int) -> jax.Array:
    """The key that a method's first parameters are drawn with."""
    return jax.random.fold_in(jax.random.key(np.uint32(seed)), _INITIAL)


def network_distances(parameters: Any, distances: Callable[[Any, np.ndarray, np.ndarray], np.ndarray]) -> Distances:
    """`Distances` under given parameters."""
    return functools.partial(distances, parameters)


def reverse_gradient(x: jax.Array, weight: float | jax.Array) -> jax.Array:
    """`x`, through which the gradient goes back times `-weight`: what minimises behind it is maximised before it.

    Example:
        >>> jax.grad(lambda x: reverse_gradient(x, 0.5) ** 2)(3.0).item()
        -3.0

    References:
        Ganin and Lempitsky, Unsupervised domain adaptation by backpropagation, ICML 2015.
    """
    return jax.lax.stop_gradient((1 + weight) * x) - weight * x


def _optimizer(numbers):
    return optax.adam(numbers["learning_rate"], b1=numbers["b1"])


@functools.partial(jax.jit, static_argnames=("loss", "batch_size"))
def _epoch(state, pairs, key, epoch, epochs, numbers, loss, batch_size):
    images, texts, labels = pairs
    steps = steps_per_epoch(len(images), batch_size, "drop")
    rows, _ = epoch_rows(key, epoch, len(images), batch_size=batch_size, remainder="drop")

    def step(state, of):
        parameters, moments = state
        rows, number = of
        batch = LabelledBatch(
            images[rows],
            texts[rows],
            None if labels is None else labels[rows],
            jax.random.fold_in(jax.random.fold_in(key, _DRAWS), number),
            number / (epochs * steps),
        )
        value, gradients = jax.value_and_grad(loss)(parameters, batch, numbers)
        updates, moments = _optimizer(numbers).update(gradients, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments), value

    return jax.lax.scan(step, state, (rows, epoch * steps + jax.numpy.arange(steps)))
