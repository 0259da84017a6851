"""GPLDAN as a method of the comparison, trained by the code that trains it everywhere, and what we made of it.

Fits the methods of the comparison; what is finished is not done again.

METHOD/settings.json   the settings that were tried on validation, with which seed, and the chosen ones
METHOD/seed-0.json     validation and test figures of the chosen settings with a seed
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich.console

from gpldan_jax import _files, retrieval, training
from gpldan_jax.baselines import Method
from gpldan_jax.baselines.method import Distances
from gpldan_jax.data import PairedDataset, PairedSplit
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs

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


# What a method may come to: bad settings, a loss that is not finite, a matrix that cannot be solved, memory.
_FAILURES = (ValueError, ArithmeticError, np.linalg.LinAlgError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of a method.

    Attributes:
        method: the method.
        settings: the chosen ones; `None` where it failed.
        trials: what there was to choose from, as settings.json has it: settings, their value, or why they failed.
        figures: test figures of each seed, as `gpldan_jax.retrieval.evaluate` gives them.
        validation: likewise on validation.
        seconds: of fitting and ranking the test items, the median over seeds.
        failed: why there are no figures; empty where there are.
    """

    method: Method
    settings: Mapping[str, Any] | None
    trials: tuple[Mapping[str, Any], ...]
    figures: tuple[Mapping, ...]
    validation: tuple[Mapping, ...]
    seconds: float
    failed: str = ""


def check_comparable(dataset: PairedDataset, batch_size: int, criterion: str) -> None:
    """`ValueError` where methods cannot be chosen on validation or compared on test."""
    if criterion == "last":
        raise ValueError("train.selection=last chooses nothing on validation; use map or recall")
    training.check_fits(dataset, batch_size=batch_size, criterion=criterion)
    if not len(dataset.test):
        raise ValueError(f"{dataset.title} has no test pairs to compare on")


def fit_all(
    methods: Sequence[Method],
    dataset: PairedDataset,
    seeds: Sequence[int],
    directory: Path,
    *,
    criterion: str,
    epochs: int = 0,
    report: Callable[[str], None],
    on_fits: Callable[[int], None] = lambda count: None,
) -> list[Row]:
    """A row for each method; one that fails says why in its row and stops no other.

    Args:
        methods: in the order of the table.
        dataset: scaled features.
        seeds: of each method's fits.
        directory: where finished fits are kept.
        criterion: `"map"` or `"recall"`, see `criterion_value`; of settings and, in neural methods, of epochs.
        epochs: that methods which have epochs are trained at least; more than this where their own default is more.
        report: takes a line for each finished fit.
        on_fits: takes how many of the `fits` of a method were just finished, found finished, or given up.
    """
    rows = []
    for method in methods:
        done = []

        def count(number, done=done):
            done.append(number)
            on_fits(number)

        rows.append(_row(method, dataset, seeds, directory, criterion, epochs, report, count))
        on_fits(fits(method, seeds) - sum(done))
    return rows


def fit_showing(methods: Sequence[Method], dataset: PairedDataset, seeds: Sequence[int], *args, **options) -> list[Row]:
    """`fit_all`, printing a line for each fit and, on a terminal, a bar."""
    console = rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    bar = session.progress_bar(console, f"{dataset.title}  fits")
    task = bar.add_task("fits", total=sum(fits(method, seeds) for method in methods))
    with bar:
        return fit_all(
            methods,
            dataset,
            seeds,
            *args,
            **options,
            report=lambda line: console.print(f"{dataset.title}  {line}"),
            on_fits=lambda count: bar.advance(task, count),
        )


def fits(method: Method, seeds: Sequence[int]) -> int:
    """How often a method is fitted: with each of its settings, and with the chosen ones and each other seed."""
    return len(method.settings) + len(seeds) - 1


def _row(method, dataset, seeds, directory, criterion, epochs, report, count):
    try:
        return _fitted(method, dataset, seeds, directory / method.name, criterion, epochs, report, count)
    except _FAILURES as error:
        why = _reason(error)
        report(f"{method.title}: failed: {why}")
        return Row(method, None, (), (), (), 0.0, why)


def _reason(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _fitted(method, dataset, seeds, directory, criterion, epochs, report, count):
    # Made once: methods may keep what they computed from a split for the next settings.
    train = dataset.train
    if method.supervision == "unsupervised":
        train = PairedSplit(train.images, train.texts)
    validation = PairedSplit(dataset.validation.images, dataset.validation.texts)

    def score(distances):
        return training.criterion_value(criterion, retrieval.evaluate(distances, dataset.validation.labels), 0)

    # A small dataset has few steps an epoch: no method is to lose because it was trained less than GPLDAN.
    length = {} if method.epochs is None else {"epochs": max(method.epochs, epochs)}

    def fitted(seed, settings):
        started = time.perf_counter()
        distances = method.fit(train, validation, score, seed=seed, **length, **settings)
        return distances, time.perf_counter() - started

    def tested(seed, distances, seconds):
        started = time.perf_counter()
        found = distances(dataset.test.images, dataset.test.texts)
        record = {"seconds": seconds + time.perf_counter() - started}
        record["test"] = retrieval.evaluate(found, dataset.test.labels)
        chosen_by = distances(validation.images, validation.texts)
        record["validation"] = retrieval.evaluate(chosen_by, dataset.validation.labels)
        if dataset.test.labels is not None:
            record["curves"] = retrieval.precision_recall(found, dataset.test.labels)
            record["classes"] = retrieval.map_per_class(found, dataset.test.labels)
        _files.write_json(directory / f"seed-{seed}.json", record)

    directory.mkdir(parents=True, exist_ok=True)
    chosen = directory / "settings.json"
    if not chosen.exists():
        tried, best, failure = [], None, None
        for settings in method.settings:
            try:
                distances, seconds = fitted(seeds[0], settings)
            except _FAILURES as error:  # other settings may do
                failure = error
                tried.append({"settings": dict(settings), "failed": _reason(error)})
                report(f"{method.title}  {settings or 'defaults'}  failed: {_reason(error)}")
                count(1)
                continue
            value = score(distances(validation.images, validation.texts))
            tried.append({"settings": dict(settings), "value": value, "seconds": seconds})
            if best is None or value > best[0]:
                best = value, settings, distances, seconds
            report(f"{method.title}  {settings or 'defaults'}  validation {value:.4f}  {seconds:.1f} s")
            count(1)
        if best is None:
            raise failure
        _, settings, *fit = best
        # Before the choice is written: a fit that was judged best is tested, not repeated.
        tested(seeds[0], *fit)
        _files.write_json(chosen, {"chosen": dict(settings), "seed": seeds[0], "tried": tried})
    else:
        count(len(method.settings))
    record = workdirs.read_json(chosen)
    # JSON has no tuples, and settings that are static to a program must be hashable.
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in record["chosen"].items()}
    results = []
    for seed in seeds:
        path = directory / f"seed-{seed}.json"
        if not path.exists():
            tested(seed, *fitted(seed, settings))
        results.append(workdirs.read_json(path))
        if seed != seeds[0]:
            report(f"{method.title}  seed {seed}  {results[-1]['seconds']:.1f} s")
            count(1)
    figures, judged = (tuple(result[split] for result in results) for split in ("test", "validation"))
    seconds = statistics.median(result["seconds"] for result in results)
    return Row(method, settings, tuple(record["tried"]), figures, judged, seconds)
