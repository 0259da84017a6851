"""The base of the neural methods: first parameters, a loss and distances make a method of the comparison.

A neural method is trained by Adam on mini-batches, an epoch as one program, and keeps the epoch with the best score on
validation.

Letters: `n` training pairs, `b` pairs of a mini-batch, `d_i` and `d_t` widths of the inputs.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import numpy as np
import optax

from gpldan_jax.baselines.method import Distances, Method, Score
from gpldan_jax.data import PairedSplit
from gpldan_jax.training.batches import epoch_rows, steps_per_epoch, zero_columns
from gpldan_jax.training.epochs import train_epochs

IMAGE_DENOISING, TEXT_DENOISING = 0.5, 0.7
"""The share of columns that are zero in denoised inputs, as published for CDPAE and used for GPLDAN."""

# Streams of the seed's key, beside the one that `epoch_rows` shuffles with.
_INITIAL, _DRAWS = 10, 11
_TRAINING = ("learning_rate", "epochs", "batch_size")  # settings that every neural method has

Settings = Mapping[str, Any]


class LabelledBatch(flax.struct.PyTreeNode):
    """What a loss gets in one step."""

    images: jax.Array  # [b, d_i] float32
    texts: jax.Array  # [b, d_t] float32
    labels: Any  # [b] int32, or `None` for a method without labels
    key: jax.Array  # of this step; it is consumed
    progress: jax.Array  # scalar, the share of training that is done, in [0, 1)
    groups: Any = None  # [b] int32, the same for pairs that belong together; or `None`

    def denoised(self) -> tuple[jax.Array, jax.Array]:
        """Returns images and texts with randomly drawn columns set to zero; consumes the key."""
        image_key, text_key = jax.random.split(self.key)
        images = zero_columns(self.images, image_key, IMAGE_DENOISING)
        return images, zero_columns(self.texts, text_key, TEXT_DENOISING)


Loss = Callable[[Any, LabelledBatch, Mapping[str, jax.Array]], jax.Array]
"""Takes parameters, a mini-batch and hyperparameters; returns a scalar. A function of a module, not a closure."""

DistancesOf = Callable[[Any], Distances]
"""Takes parameters; returns the distances that they give."""


@dataclasses.dataclass(frozen=True)
class NetworkMethod:
    """A neural method.

    `initialize` takes a `jax.random.key` (consumed), the training split and the settings; it returns first parameters.
    """

    initialize: Callable[[jax.Array, PairedSplit, Settings], Any]
    distances: DistancesOf
    settings: Settings  # all with their defaults; `learning_rate`, `epochs` and `batch_size` are among them
    hyperparameters: tuple[str, ...]  # the settings that the loss and Adam take as numbers: all compile once
    loss: Loss | None = None
    choose_loss: Callable[[Settings], Loss] | None = None  # takes the place of `loss` where the settings choose it
    needs_labels: bool = False

    def fit(
        self, train: PairedSplit, validation: PairedSplit, score: Score, *, seed: int, **settings: Any
    ) -> Distances:
        """Trains the networks and returns the distances of the best epoch."""
        if unknown := settings.keys() - self.settings.keys():
            raise ValueError(f"unknown setting {min(unknown)!r}; expected one of {', '.join(self.settings)}")
        if self.needs_labels and train.labels is None:
            raise ValueError("the method needs the labels of the training pairs")
        settings = {**self.settings, **settings}
        loss = self.choose_loss(settings) if self.choose_loss else self.loss
        if loss is None:
            raise ValueError("the method has neither loss nor choose_loss")
        parameters = train_network(
            self.initialize(initial_key(seed), train, settings),
            loss,
            self.distances,
            train,
            validation,
            score,
            seed=seed,
            epochs=settings["epochs"],
            batch_size=settings["batch_size"],
            hyperparameters={name: settings[name] for name in self.hyperparameters},
        )
        return self.distances(parameters)

    def as_method(
        self, name: str, title: str, supervision: str, source: str, choices: tuple[Settings, ...], **defaults: Any
    ) -> Method:
        """Returns the method of the comparison; validation chooses among `choices`, a variant has its own defaults."""
        method = dataclasses.replace(self, settings={**self.settings, **defaults})
        return Method(name, title, supervision, source, method.fit, choices, epochs=method.settings["epochs"])


def train_network(
    parameters: Any,
    loss: Loss,
    distances: DistancesOf,
    train: PairedSplit,
    validation: PairedSplit,
    score: Score,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    hyperparameters: Mapping[str, float],
) -> Any:
    """Trains by Adam on mini-batches; returns the parameters of the epoch with the best score on validation.

    The pairs that do not fill a mini-batch are left out, other ones each epoch; a batch size above the training pairs
    is cut to them. The hyperparameters have `learning_rate` and, where it is not 0.9, Adam's `b1`. The loss must be a
    function of a module, not a closure, so that it compiles once for all seeds and settings.
    """
    batch_size = min(batch_size, len(train))
    scalars = {name: np.float32(value) for name, value in {"b1": 0.9, **hyperparameters}.items()}
    pairs = jax.device_put((train.images, train.texts, train.labels, train.groups))
    state = (parameters, _optimizer(scalars).init(parameters))
    key = jax.random.key(np.uint32(seed))  # of an int it would take 31 bits

    def train_epoch(epoch):
        nonlocal state
        counts = np.int32(epoch), np.int32(epochs)
        state, losses = _epoch(state, pairs, key, *counts, scalars, loss, batch_size)
        return {"loss": np.asarray(losses)[None]}

    def evaluate(member, epoch):
        return score(distances(state[0])(validation.images, validation.texts)), None

    best = parameters
    for result in train_epochs(train_epoch, evaluate, epochs=epochs):
        if result.members[0].failed:
            raise FloatingPointError(f"the loss is not finite in epoch {result.epoch}")
        if result.improved()[0]:
            best = state[0]
    return best


def initial_key(seed: int) -> jax.Array:
    """Returns the key that a method's first parameters are drawn with."""
    return jax.random.fold_in(jax.random.key(np.uint32(seed)), _INITIAL)


def _optimizer(hyperparameters):
    return optax.adam(hyperparameters["learning_rate"], b1=hyperparameters["b1"])


@functools.partial(jax.jit, static_argnames=("loss", "batch_size"))
def _epoch(state, pairs, key, epoch, epochs, hyperparameters, loss, batch_size):
    images, texts, labels, groups = pairs
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
            None if groups is None else groups[rows],
        )
        value, gradients = jax.value_and_grad(loss)(parameters, batch, hyperparameters)
        updates, moments = _optimizer(hyperparameters).update(gradients, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments), value

    return jax.lax.scan(step, state, (rows, epoch * steps + jax.numpy.arange(steps)))
