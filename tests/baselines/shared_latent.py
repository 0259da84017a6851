"""Pairs with a shared latent, and what a method learns of them."""

from unittest import mock

import jax
import numpy as np

from gpldan_jax.baselines import network_method
from gpldan_jax.baselines.network_method import LabelledBatch
from gpldan_jax.data import PairedSplit
from gpldan_jax.retrieval import evaluate

CHANCE = 10 / 60
"""Recall at 10 among the 60 pairs of `splits()[1]`, by random rankings."""


def splits():
    """300 training and 60 further pairs, 12 and 8 wide, of three latent factors; no labels."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(360, 3))
    images, texts = (np.tanh(latent @ rng.normal(size=(3, d))) + 0.1 * rng.normal(size=(360, d)) for d in (12, 8))
    return PairedSplit(images[:300], texts[:300]), PairedSplit(images[300:], texts[300:])


def recall(distances):
    """At 10, the average of both directions."""
    return evaluate(distances, None)["recall@10"]["average"]


def training_of(fit, module=network_method, **settings):
    """Recall at 10 among further pairs after a `fit`, and the loss of all training pairs before and after.

    `module` is where the fit takes `train_network` from.
    """
    losses = []
    train_network = module.train_network

    def watched(parameters, loss, distances, train, *others, hyperparameters, **options):
        end = train_network(parameters, loss, distances, train, *others, hyperparameters=hyperparameters, **options)
        batch = LabelledBatch(train.images, train.texts, None, jax.random.key(0), 0.0)
        compiled = jax.jit(loss)
        losses.extend(compiled(of, batch, hyperparameters).item() for of in (parameters, end))
        return end

    train, further = splits()
    with mock.patch.object(module, "train_network", watched):
        distances = fit(train, further, recall, seed=0, **settings)
    return recall(distances(further.images, further.texts)), *losses


def untrained(fit, module=network_method, **settings):
    """`Distances` of first parameters, and what a `fit` gives `train_network`."""
    train, further = splits()
    first = mock.patch.object(module, "train_network", side_effect=lambda parameters, *_, **__: parameters)
    with first as training:
        distances = fit(train, further, recall, seed=0, **settings)
    return distances, training.call_args.args


def parameters_of(fit, train, validation, **settings):
    """The trained parameters of a `fit` of which all scores are equal, so that it keeps the first."""
    found = []

    def watched(*of, train_network=network_method.train_network, **options):
        found.append(train_network(*of, **options))
        return found[-1]

    with mock.patch.object(network_method, "train_network", watched):
        fit(train, validation, lambda _: 0.0, seed=0, **settings)
    return found[0]
