"""GPLDAN as a method of the comparison, trained by the code that trains it everywhere, and what we made of it."""

import functools

from experiments import session
from gpldan_jax import retrieval, training
from gpldan_jax.baselines import Method
from gpldan_jax.baselines.method import Distances
from gpldan_jax.data import PairedDataset

_SOURCE = "Chen, Zhang and Zhan, arXiv 2106.13552"
NAMES = ("gpldan", "gpldan-neighbours", "gpldan-infonce", "gpldan-both")
_NEIGHBOURS = {"loss.target": "neighbours", "loss.neighbours": 20}
_CONTRASTIVE = (
    {"loss.contrastive": 0.3, "loss.temperature": 0.5},
    {"loss.contrastive": 1.0, "loss.temperature": 0.5},
    {"loss.contrastive": 0.3, "loss.temperature": 0.2},
)


def methods(config: dict, dataset: PairedDataset) -> dict[str, Method]:
    """GPLDAN with the settings of a config, and with our changes: each has the same budget of settings.

    Args:
        config: as `run.py` takes it.
        dataset: its dataset, scaled; `training.train` selects on its validation pairs as in `run.py`.
    """
    alpha = config["loss"]["alpha"]
    of_paper = {}, {"loss.alpha": alpha / 2}, {"loss.alpha": 2 * alpha}
    of_neighbours = tuple(_NEIGHBOURS | change for change in ({}, {"loss.neighbours": 60}, {"loss.alpha": 2 * alpha}))
    of_both = tuple(_NEIGHBOURS | change for change in _CONTRASTIVE)
    titles = "GPLDAN", "GPLDAN, neighbours", "GPLDAN, InfoNCE", "GPLDAN, both"
    settings = of_paper, of_neighbours, _CONTRASTIVE, of_both
    fit = functools.partial(_fit, config, dataset)
    return {
        name: Method(
            name=name,
            title=title if name == "gpldan" else f"{title} (ours)",
            supervision="unsupervised",
            source=_SOURCE if name == "gpldan" else f"{_SOURCE}, with changes of our own",
            fit=fit,
            settings=of_method,
        )
        for name, title, of_method in zip(NAMES, titles, settings, strict=True)
    }


def _fit(config, dataset, train, validation, score, *, seed, **changes) -> Distances:
    settings = {group: dict(keys) for group, keys in config.items()}
    settings["train"]["seed"] = seed
    for key, value in changes.items():
        group, name = key.split(".")
        settings[group][name] = value
    options = settings["train"]
    state, _ = training.train(
        session.initial_state(settings, dataset),
        dataset,
        training.CheckpointsInMemory(),
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        remainder=options["remainder"],
        criterion=options["selection"],
        evaluate_every=options["evaluate_every"],
        patience=options["patience"],
    )
    return lambda images, texts: retrieval.retrieval_distances(
        state.projector, state.projector_parameters, images, texts
    )
