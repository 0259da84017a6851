"""Reads finished workdirs: runs, sweeps, comparisons and ablations; a damaged file is an error of one line.

All values are checked and converted here, so that the page is made from values that are known to be right.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpldan_jax import _checksums
from gpldan_jax._files import one_line
from gpldan_jax.retrieval.metrics import RECALL_LEVELS
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies import table2
from gpldan_jax.studies.tables import DIRECTIONS, MeanSd, main_metric

Figures = Mapping[str, Mapping[str, float]]
_NOT_LOSSES = ("epoch", "step", "seconds", "selected", "synthetic", "validation")


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A line of `metrics.jsonl`: the mean of each loss term, and the validation figures where there are some."""

    number: int
    terms: Mapping[str, float]
    validation: Figures | None


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run; figures as `gpldan_jax.retrieval.evaluate` gives them, `None` for an empty split."""

    folder: Path
    dataset: str
    synthetic: bool
    config: Mapping[str, Mapping[str, Any]]
    versions: str
    seed: int
    criterion: str
    epoch: int
    value: float
    test: Figures | None
    validation: Figures | None
    chance: Mapping[str, float]
    epochs: tuple[Epoch, ...]
    data_path: Path | None = None  # where its data lie now; `None` looks where they were


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of a comparison or an ablation.

    The curves (direction -> precision at `RECALL_LEVELS`) and the classes (direction -> class -> MAP@50) are means over
    seeds; they are empty where they were not kept.
    """

    name: str  # its folder, or the name of the row of Table 3
    title: str
    details: Mapping[str, str]  # further columns, heading -> text
    figures: tuple[Figures, ...]  # test figures of each seed; none where it failed
    validation: tuple[Figures, ...]  # none where they were not kept
    seconds: float  # of one fit
    failed: str  # the reason why there are no figures; empty where there are some
    published: str = ""
    curves: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A comparison with the config that names its data, or an ablation with its picture."""

    folder: Path
    dataset: str
    synthetic: bool
    seeds: tuple[int, ...]
    command: str
    versions: str
    methods: tuple[Method, ...]
    metric: str
    is_ablation: bool = False
    config: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    picture: Path | None = None
    data_path: Path | None = None  # as of a run


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of a sweep; `value` and `test` are `None` where a seed failed or there are none."""

    title: str
    value: MeanSd | None
    epochs: tuple[int, ...]
    test: Mapping[str, Mapping[str, MeanSd]] | None
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
    versions: str
    picture: Path | None


def read(folder: Path) -> Run | Sweep | Comparison:
    """Reads a workdir; its files say what it is."""
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}")
    for name, reader in _READERS.items():
        if (folder / name).exists():
            return reader(folder)
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} is not finished: it holds config.json, but none of {', '.join(_READERS)}")
    raise ValueError(
        f"{folder} is not the workdir of a run, a sweep, a comparison or an ablation: no {', '.join(_READERS)}"
    )


def _run(folder):
    with _reading(folder / "config.json") as described:
        config, versions = _config(described), _versions(described["versions"])
    with _reading(folder / "results.json") as results:
        known = dict(results)
    with _reading(folder / "metrics.jsonl", lambda path: workdirs.read_records(path, known)) as records:
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
                value=_mean_sd(point["value"]),
                epochs=tuple(int(epoch) for epoch in point["epochs"]),
                test=_means(point["test"]),
                failed="; ".join(f"seed {failed['seed']}: {failed['why']}" for failed in point["failed"]),
            )
            for point in record["points"]
        )
        return Sweep(
            criterion=str(record["criterion"]),
            points=points,
            selected=str(record["selected"]["title"]) if record["selected"] else "",
            chance=_numbers(record["chance"] or {}),
            picture=_existing(folder / "figure2.png"),
            **_about(folder, record),
        )


def _comparison(folder):
    with _reading(folder / "config.json") as described:
        config, name = _config(described), str(described["config"]["dataset"]["name"])
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
    name = "" if about["synthetic"] else name  # nothing is published for generated features
    for place, method in enumerate(methods):
        paths = [folder / method.name / f"seed-{seed}.json" for seed in about["seeds"] if method.figures]
        known = table2.published_text(name, method.name)
        methods[place] = dataclasses.replace(_with_curves(method, paths), published=known)
    return Comparison(methods=tuple(methods), config=config, **about)


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


def _config(described):
    str(described["data"])  # the fingerprint, by which the data are found again
    return {str(group): dict(keys) for group, keys in described["config"].items()}


def _about(folder, record):
    return {
        "folder": folder,
        "dataset": str(record["dataset"]),
        "synthetic": bool(record["synthetic"]),
        "seeds": tuple(int(seed) for seed in record["seeds"]),
        "command": str(record["command"]),
        "versions": _versions(record["versions"]),
    }


def _method(row, details):
    return Method(
        name=str(row["name"]),
        title=str(row["title"]),
        details=details,
        figures=tuple(_figures(figures) for figures in row["figures"]),
        validation=tuple(_figures(figures) for figures in row.get("validation") or ()),  # old tables have none
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
def _reading(path: Path, read: Callable[[Path], Any] = _checksums.read_record) -> Iterator[Any]:
    """Yields what `read` makes of a file; an error here or in the block that converts it becomes one line."""
    try:
        yield read(path)
    except _checksums.DamagedError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except KeyError as error:
        raise ValueError(f"{path} is damaged: it lacks {error}") from error
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {one_line(error)}") from error


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r:.50}")
    return float(value)


def _numbers(values):
    return {str(name): _number(value) for name, value in values.items()}


def _levels(values):
    if len(values) != len(RECALL_LEVELS):
        raise ValueError(f"expected precision at {len(RECALL_LEVELS)} levels of recall, got {len(values)}")
    return tuple(_number(value) for value in values)


def _figures(found):
    if found is None:
        return None
    figures = {str(metric): {d: _number(values[d]) for d in DIRECTIONS} for metric, values in found.items()}
    main_metric(figures)
    return figures


def _mean_sd(found):
    if found is None:
        return None
    return MeanSd(_number(found["mean"]), None if found["sd"] is None else _number(found["sd"]))


def _means(found):
    if found is None:
        return None
    return {str(metric): {d: _mean_sd(values[d]) for d in DIRECTIONS} for metric, values in found.items()}


def _versions(values):
    """Returns versions as text, the device last: `jax 0.10.2, numpy 2.4.6, on cpu`."""
    named = [f"{name} {version}" for name, version in values.items() if name != "device"]
    return ", ".join(named) + (f", on {values['device']}" if "device" in values else "")


def _term(value):
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _mean(values):
    values = list(values)
    return sum(values) / len(values)


def _existing(path):
    return path if path.exists() else None
