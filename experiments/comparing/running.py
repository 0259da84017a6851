"""Fits the methods of the comparison; what is finished is not done again.

METHOD/settings.json   the settings that were tried on validation, with the first seed, and the chosen ones
METHOD/seed-0.json     test figures of the chosen settings with a seed
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax import retrieval, training
from gpldan_jax.baselines import Method
from gpldan_jax.data import PairedDataset, PairedSplit
from gpldan_jax.training import workdir as workdirs


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of a method.

    Attributes:
        method: the method.
        settings: the chosen ones; `None` where it failed.
        tried: how many there were to choose from.
        figures: test figures of each seed, as `gpldan_jax.retrieval.evaluate` gives them.
        seconds: of fitting and ranking the test items, the mean over seeds.
        failed: why there are no figures; empty where there are.
    """

    method: Method
    settings: Mapping[str, Any] | None
    tried: int
    figures: tuple[Mapping, ...]
    seconds: float
    failed: str = ""


def fit_all(
    methods: Sequence[Method],
    dataset: PairedDataset,
    seeds: Sequence[int],
    directory: Path,
    *,
    criterion: str,
    report: Callable[[str], None],
) -> list[Row]:
    """A row for each method; one that fails says why in its row and stops no other.

    Args:
        methods: in the order of the table.
        dataset: scaled features.
        seeds: of each method's fits.
        directory: where finished fits are kept.
        criterion: `"map"` or `"recall"`, see `criterion_value`; of settings and, in neural methods, of epochs.
        report: takes a line for each finished fit.
    """
    return [_row(method, dataset, seeds, directory, criterion, report) for method in methods]


def _row(method, dataset, seeds, directory, criterion, report):
    try:
        return _fitted(method, dataset, seeds, directory / method.name, criterion, report)
    # What a method may come to: bad settings, a loss that is not finite, a matrix that cannot be solved, memory.
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, MemoryError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        report(f"{method.title}: failed: {why}")
        return Row(method, None, len(method.settings), (), 0.0, why)


def _fitted(method, dataset, seeds, directory, criterion, report):
    # Made once: methods may keep what they computed from a split for the next settings.
    train = dataset.train
    if method.supervision == "unsupervised":
        train = PairedSplit(train.images, train.texts)
    validation = PairedSplit(dataset.validation.images, dataset.validation.texts)

    def score(distances):
        return training.criterion_value(criterion, retrieval.evaluate(distances, dataset.validation.labels), 0)

    directory.mkdir(parents=True, exist_ok=True)
    chosen = directory / "settings.json"
    if not chosen.exists():
        tried = []
        for settings in method.settings:
            started = time.perf_counter()
            distances = method.fit(train, validation, score, seed=seeds[0], **settings)
            value = score(distances(validation.images, validation.texts))
            seconds = time.perf_counter() - started
            tried.append({"settings": dict(settings), "value": value, "seconds": seconds})
            report(f"{method.title}  {settings or 'defaults'}  validation {value:.4f}  {seconds:.1f} s")
        best = max(tried, key=lambda of: of["value"])
        workdirs.write_json(chosen, {"chosen": best["settings"], "tried": tried})
    record = workdirs.read_json(chosen)
    # JSON has no tuples, and settings that are static to a program must be hashable.
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in record["chosen"].items()}
    results = []
    for seed in seeds:
        path = directory / f"seed-{seed}.json"
        if not path.exists():
            started = time.perf_counter()
            distances = method.fit(train, validation, score, seed=seed, **settings)
            figures = retrieval.evaluate(distances(dataset.test.images, dataset.test.texts), dataset.test.labels)
            workdirs.write_json(path, {"test": figures, "seconds": time.perf_counter() - started})
        results.append(workdirs.read_json(path))
        report(f"{method.title}  seed {seed}  {results[-1]['seconds']:.1f} s")
    figures = tuple(result["test"] for result in results)
    seconds = sum(result["seconds"] for result in results) / len(results)
    return Row(method, settings, len(record["tried"]), figures, seconds)
