"""GPLDAN as a method of a comparison, and fitting methods with kept results: finished fits are skipped.

METHOD/settings.json   the settings that were tried on validation, with which seed, and the chosen ones
METHOD/seed-0.json     validation and test figures of the chosen settings with a seed, without and with a bank
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax import _checksums, _console, _files, retrieval, training
from gpldan_jax.baselines import Method
from gpldan_jax.baselines.encoded_distances import ProjectorDistances
from gpldan_jax.baselines.method import Distances
from gpldan_jax.config import RECIPES, default, with_values
from gpldan_jax.data import PairedDataset, PairedSplit, is_labelled
from gpldan_jax.data.paired import Pairs, split_from_checked
from gpldan_jax.retrieval.agreement import AGREEMENT
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies.grid_points import Config
from gpldan_jax.studies.significance import average_precisions_of
from gpldan_jax.studies.tables import DIRECTIONS

OURS = "ours"
GPLDAN_NAMES = ("gpldan", "ours-pattern", "ours-soft", "ours-attention", OURS)
"""GPLDAN as in the paper; our recipe without its contrastive term, with that term alone, with attention; the recipe."""

_SOURCE = "Chen, Zhang and Zhan, arXiv 2106.13552"
# Our recipe and what it is without one of its parts: one setting each, for every dataset.
_RECIPE = {**RECIPES[OURS], "retrieval.bank": 0}  # each method is evaluated without a bank and with one
_WITHOUT_PARTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ours-pattern": ("ours, graph pattern loss alone", {"loss.soft_contrastive": 0.0}),
    "ours-soft": ("ours, soft contrastive loss alone", {"loss.alpha": 0.0, "loss.beta": 0.0}),
    "ours-attention": ("ours with attention, k = 4", {"model.parts": 4}),
    OURS: ("ours", {}),
}
BANK: Mapping[str, Any] = {
    "pairs": RECIPES[OURS]["retrieval.bank"],
    "neighbours": default("retrieval.bank_neighbours"),
    "weight": default("retrieval.bank_weight"),
}
"""The bank of training pairs that each method is evaluated with; of a method without codes there is none."""
_DIGITS = 4  # of the figure of a query: the files would be many times as long
# How a fit may fail: bad settings, a loss that is not finite, a matrix that cannot be solved, memory.
_FAILURES = (ValueError, ArithmeticError, np.linalg.LinAlgError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Row:
    """The figures of a method with each seed, as `gpldan_jax.retrieval.evaluate` gives them.

    The trials are the settings that were tried, as settings.json has them: each with its value, or why it failed.
    """

    method: Method
    settings: Mapping[str, Any] | None  # the chosen ones; `None` where it failed
    trials: tuple[Mapping[str, Any], ...]
    figures: tuple[Mapping, ...]  # on test
    validation: tuple[Mapping, ...]
    seconds: float  # of fitting and of the test distances, the median over seeds
    failed: str = ""  # the reason why there are no figures
    banked: tuple[Mapping, ...] = ()  # on test, with a bank; empty for a method that cannot have one
    banked_validation: tuple[Mapping, ...] = ()
    queries: tuple[Mapping, ...] = ()  # the average precision at 50 of each test query, see `significance.PerQuery`
    banked_queries: tuple[Mapping, ...] = ()

    def values(self, metric: str, direction: str = "average", *, bank: bool = False) -> list[float]:
        """Returns a test figure of each seed."""
        return [figures[metric][direction] for figures in (self.banked if bank else self.figures)]

    def csv_lines(self, published: float | None, *, bank: bool = False) -> list[list[Any]]:
        """Returns for each seed and metric: the place of the seed, the metric, its directions, the published MAP@50."""
        return [
            [place, metric, *(found[direction] for direction in DIRECTIONS), published if metric == "map@50" else None]
            for place, figures in enumerate(self.banked if bank else self.figures)
            for metric, found in figures.items()
        ]


def gpldan_methods(config: Config, dataset: PairedDataset) -> dict[str, Method]:
    """Returns GPLDAN with the settings of a config, of which it tries three; and our recipe, whole and in parts."""
    alpha = config["loss"]["alpha"]
    tried: tuple[Mapping[str, Any], ...] = ({}, {"loss.alpha": alpha / 2}, {"loss.alpha": 2 * alpha})
    methods = {"gpldan": (gpldan_titles()["gpldan"], _SOURCE, tried)}
    for name, (title, changes) in _WITHOUT_PARTS.items():
        settings = {**_RECIPE, **changes, "train.selection": config["train"]["selection"]}
        methods[name] = (title, f"{_SOURCE}, with changes of our own", (settings,))
    return {
        name: Method(
            name=name,
            title=title,
            supervision="unsupervised",
            source=source,
            fit=functools.partial(_train_gpldan, config, dataset),
            settings=settings,
        )
        for name, (title, source, settings) in methods.items()
    }


def gpldan_titles() -> dict[str, str]:
    """Returns what GPLDAN and the variants of our recipe are called in a table, by name."""
    return {"gpldan": "GPLDAN"} | {name: title for name, (title, _) in _WITHOUT_PARTS.items()}


def load_comparable(config: Config) -> PairedDataset:
    """Loads the dataset of a config, on which settings can be chosen on validation and methods compared on test."""
    criterion = config["train"]["selection"]
    if criterion == "last":
        raise ValueError("train.selection=last chooses nothing on validation; use map, recall or agreement")
    dataset, _ = session.load(config["dataset"])
    training.check_fits(dataset, batch_size=config["train"]["batch_size"], criterion=criterion)
    if not len(dataset.test):
        raise ValueError(f"{dataset.title} has no test pairs to compare on")
    return dataset


def main_metric_of(dataset: PairedDataset) -> str:
    """Returns the metric that tables of a dataset are about."""
    return "map@50" if dataset.test.labels is not None else "recall@10"


def fit_all(
    methods: Sequence[Method],
    dataset: PairedDataset,
    seeds: Sequence[int],
    folder: Path,
    *,
    criterion: str,
    epochs: int = 0,
    report: Callable[[str], None],
    on_fits: Callable[[int], None] = lambda done: None,
) -> list[Row]:
    """Fits methods with each seed; a method that fails gets a row with the reason, and the others go on.

    The criterion (`"map"` or `"recall"`) chooses the settings, with the first seed, and the epoch of neural methods.
    Methods that have epochs train at least `epochs` of them, and longer where their default is higher. `report` takes a
    line for each finished fit; `on_fits` takes how many fits are done, and counts those of a method that failed.
    """
    rows, done = [], 0

    def on_fits_of_method(count: int) -> None:
        on_fits(done + count)

    for method in methods:
        task = _task(method, dataset, folder / method.name, criterion, epochs)
        try:
            rows.append(_row(task, seeds, report, on_fits_of_method))
        except workdirs.WorkdirError:
            raise  # a kept result is damaged, which is no failure of the method
        except _FAILURES as error:
            rows.append(Row(method, None, (), (), (), 0.0, _files.one_line(error)))
            report(f"{method.title}: failed: {_files.one_line(error)}")
        done += _fit_count(method, seeds)
        on_fits(done)
    return rows


def fit_and_show(
    methods: Sequence[Method], dataset: PairedDataset, seeds: Sequence[int], *args, **options
) -> list[Row]:
    """Calls `fit_all`, prints a line for each fit and, on a terminal, a progress bar."""
    console = _console.make_console()
    if line := dataset.empty.line():
        console.print(line)
    bar = _console.progress_bar(console, f"{dataset.title}  fits")
    task = bar.add_task("", total=sum(_fit_count(method, seeds) for method in methods))
    with bar:
        return fit_all(
            methods,
            dataset,
            seeds,
            *args,
            **options,
            report=lambda line: console.print(f"{dataset.title}  {line}"),
            on_fits=lambda done: bar.update(task, completed=done),
        )


def _fit_count(method: Method, seeds: Sequence[int]) -> int:
    """Returns how often a method is fitted: with each of its settings, then with each other seed."""
    return len(method.settings) + len(seeds) - 1


@dataclasses.dataclass(frozen=True)
class _Task:
    """A method, what it is fitted and scored on, and the folder of its finished fits.

    The two splits are made once: a method may keep what it computed from a split for its next settings.
    """

    method: Method
    dataset: PairedDataset  # with all labels, which only the scores see
    train: PairedSplit  # with labels if the method may see them, and then only the pairs with a label
    validation: PairedSplit  # without labels
    folder: Path
    criterion: str
    length: Mapping[str, int]  # the number of epochs as keyword argument, empty for a method without epochs
    relevance: Any  # of the validation pairs, for the criterion "agreement"; else `None`

    def score(self, distances: np.ndarray) -> float:
        """Returns the value of the criterion for the distances of the validation pairs."""
        figures = retrieval.evaluate_pairs(distances, self.dataset.validation)
        if self.relevance is not None:
            figures |= {AGREEMENT: retrieval.agreement(distances, self.relevance)}
        return training.criterion_value(self.criterion, figures, 0)


def _task(method, dataset, folder, criterion, epochs):
    train = dataset.train
    if method.supervision == "unsupervised":
        train = dataclasses.replace(train, labels=None)
    elif train.labels is not None and not (rows := is_labelled(train.labels)).all():
        train = split_from_checked(Pairs(train.images, train.texts, train.labels, train.groups).take(rows))
    validation = PairedSplit(dataset.validation.images, dataset.validation.texts)
    # A small dataset has few steps an epoch: no method should lose because it was trained less than GPLDAN.
    length = {} if method.epochs is None else {"epochs": max(method.epochs, epochs)}
    relevance = None
    if criterion == "agreement":
        relevance = retrieval.neighbourhood_relevance(dataset.validation, dataset.train)
    return _Task(method, dataset, train, validation, folder, criterion, length, relevance)


def _row(task: _Task, seeds: Sequence[int], report: Callable[[str], None], on_fits: Callable[[int], None]) -> Row:
    """Makes the fits of a method that are missing, and reads the results of all."""
    method = task.method
    task.folder.mkdir(parents=True, exist_ok=True)
    path = task.folder / "settings.json"
    if not path.exists():
        _choose_settings(task, seeds[0], path, report, on_fits)
    on_fits(len(method.settings))
    record = workdirs.read_json(path, {"chosen": dict, "tried": list})
    # JSON has no tuples, and settings that are static to a program must be hashable.
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in record["chosen"].items()}
    results = []
    for place, seed in enumerate(seeds):
        if not _seed_path(task, seed).exists():
            _evaluate(task, seed, *_fit(task, seed, settings))
        results.append(workdirs.read_json(_seed_path(task, seed), {"seconds": float, "test": dict}))
        if place:
            report(f"{method.title}  seed {seed}  {results[-1]['seconds']:.1f} s")
            on_fits(len(method.settings) + place)
    names = ("test", "validation", "test with bank", "validation with bank", "queries", "queries with bank")
    figures, validation, banked, banked_validation, queries, banked_queries = (
        tuple(result[name] for result in results if name in result) for name in names
    )
    seconds = statistics.median(result["seconds"] for result in results)
    return Row(
        method,
        settings,
        tuple(record["tried"]),
        figures,
        validation,
        seconds,
        banked=banked,
        banked_validation=banked_validation,
        queries=queries,
        banked_queries=banked_queries,
    )


def _choose_settings(task, seed, path, report, on_fits):
    """Fits each of the settings, evaluates the best fit on test, and writes the choice."""
    tried, best, failure = [], None, None
    for count, settings in enumerate(task.method.settings, start=1):
        name = f"{task.method.title}  {settings or 'defaults'}"
        try:
            distances, seconds = _fit(task, seed, settings)
        except _FAILURES as error:  # other settings may work
            failure = error
            tried.append({"settings": dict(settings), "failed": _files.one_line(error)})
            report(f"{name}  failed: {_files.one_line(error)}")
        else:
            value = task.score(distances(task.validation.images, task.validation.texts))
            tried.append({"settings": dict(settings), "value": value, "seconds": seconds})
            if best is None or value > best[0]:
                best = value, settings, distances, seconds
            report(f"{name}  validation {value:.4f}  {seconds:.1f} s")
        on_fits(count)
    if best is None:
        raise failure
    _, settings, distances, seconds = best
    # Before the choice is written, so that the best fit is evaluated and never repeated.
    _evaluate(task, seed, distances, seconds)
    _checksums.write_record(path, {"chosen": dict(settings), "seed": seed, "tried": tried})


def _fit(task: _Task, seed: int, settings: Mapping[str, Any]) -> tuple[Distances, float]:
    started = time.perf_counter()
    distances = task.method.fit(task.train, task.validation, task.score, seed=seed, **task.length, **settings)
    return distances, time.perf_counter() - started


def _evaluate(task: _Task, seed: int, distances: Distances, seconds: float) -> None:
    """Writes the figures of a fit on test and on validation."""
    test, started = task.dataset.test, time.perf_counter()
    found = distances(test.images, test.texts)
    record: dict[str, Any] = {"seconds": seconds + time.perf_counter() - started}
    record["test"] = retrieval.evaluate_pairs(found, test)
    on_validation = distances(task.validation.images, task.validation.texts)
    record["validation"] = retrieval.evaluate_pairs(on_validation, task.dataset.validation)
    if test.labels is not None:
        record |= _by_labels(*retrieval.different_items(found, test))
        record["queries"] = _each_query(found, test)
    if hasattr(distances, "with_bank"):
        banked = distances.with_bank(task.train, BANK)
        found, on_validation = banked(test.images, test.texts), banked(task.validation.images, task.validation.texts)
        record["test with bank"] = retrieval.evaluate_pairs(found, test)
        record["validation with bank"] = retrieval.evaluate_pairs(on_validation, task.dataset.validation)
        if test.labels is not None:
            record["queries with bank"] = _each_query(found, test)
    _checksums.write_record(_seed_path(task, seed), record)


def _by_labels(distances, labels) -> dict[str, Any]:
    return {
        "curves": retrieval.precision_recall(distances, labels),
        "classes": retrieval.map_per_class(distances, labels),
    }


def _each_query(distances, test):
    return average_precisions_of(*retrieval.different_items(distances, test), digits=_DIGITS)


def _seed_path(task, seed):
    return task.folder / f"seed-{seed}.json"


def _train_gpldan(config, dataset, train, validation, score, *, seed, **changes) -> Distances:
    settings = training.with_epochs(with_values(config, {"train.seed": seed, **changes}), len(dataset.train))
    state = session.initial_state(settings, dataset)
    options = training.train_options(settings)
    state, _ = training.train(state, dataset, training.CheckpointsInMemory(), **options)
    projector, parameters = state.projector, state.projector_parameters
    bank = training.make_bank_maker(dataset.train, options["bank"])(projector, parameters)
    return ProjectorDistances(projector, parameters, bank)
