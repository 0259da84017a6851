"""Reads the workdirs of `run.py`, `sweep.py`, `compare.py` and `ablate.py`; a damaged one is one clear line.

Everything is read and converted here, so that the page is made from values that are known to be right.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpldan_jax.baselines import published

DIRECTIONS = ("image_to_text", "text_to_image", "average")
Figures = Mapping[str, Mapping[str, float]]
_NOT_LOSSES = ("epoch", "step", "seconds", "selected", "synthetic", "validation")


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A line of `metrics.jsonl`: the mean of each loss term, and validation figures where it was evaluated."""

    number: int
    terms: Mapping[str, float]
    validation: Figures | None


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run of `run.py`; figures as `gpldan_jax.retrieval.evaluate` gives them, `None` of an empty split."""

    folder: Path
    dataset: str
    synthetic: bool
    config: Mapping[str, Mapping[str, Any]]
    fingerprint: str
    versions: Mapping[str, str]
    seed: int
    criterion: str
    epoch: int
    value: float
    test: Figures | None
    validation: Figures | None
    chance: Mapping[str, float]
    epochs: tuple[Epoch, ...]


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of a comparison or an ablation.

    Attributes:
        name: of its folder, or of the variant.
        title: what it is called.
        details: further columns, heading to text.
        figures: test figures of each seed; none where it failed.
        validation: likewise on validation; none where they were not kept.
        seconds: of one fit.
        failed: why there are no figures; empty where there are.
        published: the published figures as text, empty where there are none.
        curves: precision at the levels of `precision_recall` in each direction, the mean over seeds; `None` of
            comparisons made before it was kept.
        classes: likewise MAP@50 of each class.
    """

    name: str
    title: str
    details: Mapping[str, str]
    figures: tuple[Figures, ...]
    validation: tuple[Figures, ...]
    seconds: float
    failed: str
    published: str = ""
    curves: Mapping[str, tuple[float, ...]] | None = None
    classes: Mapping[str, Mapping[str, float]] | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A table of `compare.py`, where `config` and `fingerprint` name the data, or of `ablate.py` with its picture."""

    folder: Path
    dataset: str
    synthetic: bool
    seeds: tuple[int, ...]
    command: str
    versions: Mapping[str, str]
    methods: tuple[Method, ...]
    metric: str
    is_ablation: bool = False
    config: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
    picture: Path | None = None


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of a sweep: (mean, standard deviation or `None`) of its figures, `None` where a seed failed."""

    title: str
    value: tuple[float, float | None] | None
    epochs: tuple[int, ...]
    test: Mapping[str, Mapping[str, tuple[float, float | None]]] | None
    failed: str


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A finished sweep; `selected` is the title of a point, empty where every point failed."""

    folder: Path
    dataset: str
    synthetic: bool
    criterion: str
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    selected: str
    chance: Mapping[str, float]
    command: str
    versions: Mapping[str, str]
    picture: Path | None


def read(folder: Path) -> Run | Sweep | Comparison:
    """What a folder holds, recognised by its files.

    Raises:
        ValueError: no folder, none of ours, not finished, or a damaged file; the message names it.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}")
    for name, reader in _READERS.items():
        if (folder / name).exists():
            return reader(folder)
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} is not finished: it holds config.json, but none of {', '.join(_READERS)}")
    raise ValueError(f"{folder} is no workdir of run.py, sweep.py, compare.py or ablate.py: no {', '.join(_READERS)}")


def main_metric(figures: Figures) -> str:
    """What a report is about: map@50, or recall@10 where pairs have no labels; `ValueError` where it is not there.

    Example:
        >>> main_metric({"recall@10": {}}), main_metric({"recall@10": {}, "map@50": {}})
        ('recall@10', 'map@50')
    """
    found = [metric for metric in ("map@50", "recall@10") if metric in figures]
    if not found:
        raise ValueError("figures have neither map@50 nor recall@10")
    return found[0]


def _run(folder):
    with _reading(folder / "config.json") as described:
        config = {str(group): dict(keys) for group, keys in described["config"].items()}
        fingerprint, versions = str(described["data"]), _texts(described["versions"])
    with _reading(folder / "metrics.jsonl", lines=True) as records:
        epochs = tuple(
            Epoch(
                int(record["epoch"]),
                {str(name): _number(value) for name, value in record.items() if name not in _NOT_LOSSES},
                _figures(record.get("validation")),
            )
            for record in records
        )
    with _reading(folder / "results.json") as results:
        selection = results["selection"]
        return Run(
            folder=folder,
            dataset=str(results["dataset"]),
            synthetic=bool(results["synthetic"]),
            config=config,
            fingerprint=fingerprint,
            versions=versions,
            seed=int(results["seed"]),
            criterion=str(selection["criterion"]),
            epoch=int(selection["epoch"]),
            value=_number(selection["value"]),
            test=_figures(results["test"]),
            validation=_figures(results["validation"]),
            chance=_numbers(results["chance"] or {}),
            epochs=epochs,
        )


def _sweep(folder):
    with _reading(folder / "sweep.json") as record:
        points = tuple(
            Point(
                title=str(point["title"]),
                value=_spread(point["value"]),
                epochs=tuple(int(epoch) for epoch in point["epochs"]),
                test=_spreads(point["test"]),
                failed="; ".join(f"seed {failed['seed']}: {failed['why']}" for failed in point["failed"]),
            )
            for point in record["points"]
        )
        return Sweep(
            folder=folder,
            dataset=str(record["dataset"]),
            synthetic=bool(record["synthetic"]),
            criterion=str(record["criterion"]),
            seeds=tuple(int(seed) for seed in record["seeds"]),
            points=points,
            selected=str(record["selected"]["title"]) if record["selected"] else "",
            chance=_numbers(record["chance"] or {}),
            command=str(record["command"]),
            versions=_texts(record["versions"]),
            picture=_existing(folder / "figure2.png"),
        )


def _comparison(folder):
    with _reading(folder / "config.json") as described:
        config = {str(group): dict(keys) for group, keys in described["config"].items()}
        fingerprint, name = str(described["data"]), str(described["config"]["dataset"]["name"])
    with _reading(folder / "table2.json") as record:
        methods = []
        for row in record["methods"]:
            transductive = ", transductive" if row["transductive"] else ""
            details = {"supervision": f"{row['supervision']}{transductive}", "settings tried": str(int(row["tried"]))}
            methods.append(_method(row, details))
        metrics = {main_metric(figures) for method in methods for figures in (*method.figures, *method.validation)}
        if len(metrics) > 1:
            raise ValueError("some figures have map@50, others have not")
        about = _about(folder, record) | {"metric": min(metrics, default="map@50")}
    name = "" if about["synthetic"] else name  # nothing is published of generated features
    known = {of.name: published.row(name, of.name) or () for of in methods}
    known = {of: " / ".join(f"{figure:.3f}" for figure in figures) for of, figures in known.items()}
    methods = [dataclasses.replace(of, published=known[of.name]) for of in methods]
    paths = {of.name: [folder / of.name / f"seed-{seed}.json" for seed in about["seeds"]] for of in methods}
    methods = tuple(_with_curves(method, paths[method.name] if method.figures else []) for method in methods)
    return Comparison(methods=methods, config=config, fingerprint=fingerprint, **about)


def _ablation(folder):
    with _reading(folder / "table3.json") as record:
        methods = []
        for row in record["rows"]:
            details = {str(name): _term(value) for name, value in row["terms"].items()}
            known = "" if row["published"] is None else f"{_number(row['published']):.3f}"
            methods.append(dataclasses.replace(_method(row, details), published=known))
        metric = str(record["metric"])
        if any(metric not in figures for method in methods for figures in (*method.figures, *method.validation)):
            raise ValueError(f"some figures lack {metric}")
        about = _about(folder, record) | {"metric": metric, "picture": _existing(folder / "table3.png")}
    return Comparison(methods=tuple(methods), is_ablation=True, **about)


_READERS = {"table3.json": _ablation, "table2.json": _comparison, "sweep.json": _sweep, "results.json": _run}


def _about(folder, record):
    return {
        "folder": folder,
        "dataset": str(record["dataset"]),
        "synthetic": bool(record["synthetic"]),
        "seeds": tuple(int(seed) for seed in record["seeds"]),
        "command": str(record["command"]),
        "versions": _texts(record["versions"]),
    }


def _method(row, details):
    return Method(
        name=str(row["name"]),
        title=str(row["title"]),
        details=details,
        figures=tuple(_figures(figures) for figures in row["figures"]),
        validation=tuple(_figures(figures) for figures in row.get("validation") or ()),  # older tables have none
        seconds=_number(row["seconds"]),
        failed=str(row["failed"]),
    )


def _with_curves(method, paths):
    curves, classes = [], []
    for path in paths:
        with _reading(path) as record:
            if record.get("curves"):  # comparisons made before these were kept have none
                curves.append({direction: _levels(record["curves"][direction]) for direction in DIRECTIONS})
            if record.get("classes"):
                classes.append({direction: _numbers(record["classes"][direction]) for direction in DIRECTIONS})
            names = [set(of[direction]) for of in classes for direction in DIRECTIONS]
            if any(of != names[0] for of in names):
                raise ValueError("its classes are not those of the other seeds")
    if len(curves) == len(paths) > 0:
        means = {d: tuple(_mean(level) for level in zip(*(of[d] for of in curves), strict=True)) for d in DIRECTIONS}
        method = dataclasses.replace(method, curves=means)
    if len(classes) == len(paths) > 0:
        means = {d: {name: _mean(of[d][name] for of in classes) for name in classes[0][d]} for d in DIRECTIONS}
        method = dataclasses.replace(method, classes=means)
    return method


@contextlib.contextmanager
def _reading(path: Path, *, lines: bool = False) -> Iterator[Any]:
    """The content of a JSON file, and one line for all that is wrong with it, found here or by who converts it."""
    try:
        text = path.read_text(encoding="utf-8")
        yield [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except KeyError as error:
        raise ValueError(f"{path} is damaged: it lacks {error}") from error
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r:.50}")
    return float(value)


def _numbers(values):
    return {str(name): _number(value) for name, value in values.items()}


def _levels(values):
    from gpldan_jax.retrieval.curves import RECALL_LEVELS  # with it comes jax, which takes seconds to import

    if len(values) != len(RECALL_LEVELS):
        raise ValueError(f"expected precision at {len(RECALL_LEVELS)} levels of recall, got {len(values)}")
    return tuple(_number(value) for value in values)


def _figures(found):
    if found is None:
        return None
    figures = {str(metric): {d: _number(values[d]) for d in DIRECTIONS} for metric, values in found.items()}
    main_metric(figures)
    return figures


def _spread(found):
    return None if found is None else (_number(found["mean"]), None if found["sd"] is None else _number(found["sd"]))


def _spreads(found):
    if found is None:
        return None
    return {str(metric): {d: _spread(values[d]) for d in DIRECTIONS} for metric, values in found.items()}


def _texts(values):
    return {str(name): str(value) for name, value in values.items()}


def _term(value):
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _mean(values):
    values = list(values)
    return sum(values) / len(values)


def _existing(path):
    return path if path.exists() else None
