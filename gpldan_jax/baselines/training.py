"""The training loop that the neural methods of the comparison share: an epoch as one program, selection on validation.

Letters: `n` training pairs, `b` pairs of a mini-batch, `d_i` and `d_t` widths of the inputs.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import numpy as np
import optax

from gpldan_jax.baselines.method import Distances, Score
from gpldan_jax.data import PairedSplit
from gpldan_jax.training.batches import epoch_rows, steps_per_epoch

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

    Source: Ganin and Lempitsky, Unsupervised domain adaptation by backpropagation, ICML 2015.

    >>> jax.grad(lambda x: reverse_gradient(x, 0.5) ** 2)(3.0).item()
    -3.0
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
