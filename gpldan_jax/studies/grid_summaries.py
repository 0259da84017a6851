"""What comes out of a sweep: the figures of each point over its seeds, the selected point, and the files of both."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table

from gpldan_jax import _checksums, _files
from gpldan_jax.runs import session
from gpldan_jax.studies.grid_points import AXIS_NAMES, Grid, Member, Point, check_criterion, point_title
from gpldan_jax.studies.tables import DIRECTIONS, MeanSd, csv_text, mean_and_sd

CRITERIA = {"map": "map@50", "recall": "recall", "agreement": "agreement@50", "last": "last epoch"}
"""The figure that each criterion of `train.selection` looks at."""

# Without its edges, so that four means with their standard deviations fit the 80 columns of a pipe.
_TABLE: dict[str, Any] = {"box": rich.box.SIMPLE_HEAD, "collapse_padding": True, "pad_edge": False, "show_edge": False}


@dataclasses.dataclass(frozen=True)
class Result:
    """The figures of one run in the epoch selected on validation, as `gpldan_jax.retrieval.evaluate` gives them."""

    member: Member
    epoch: int
    value: float | None  # of the criterion, finite; `None` where the run failed
    validation: Mapping[str, Mapping[str, float]] | None  # `None` without such pairs
    test: Mapping[str, Mapping[str, float]] | None  # `None` where the point was not evaluated there
    failed: str = ""  # the reason, such as "the pairwise loss is nan at step 11"


@dataclasses.dataclass(frozen=True)
class PointSummary:
    """The figures of a point over its seeds: metric -> direction -> mean, `None` where a seed failed or has none.

    The metric `"recall"` is the mean of recall@1, 5 and 10, as the criterion of this name takes it.
    """

    point: Point
    seeds: tuple[int, ...]
    epochs: tuple[int, ...]  # selected for each seed; none where a seed failed
    value: MeanSd | None  # of the criterion; `None` where a seed failed
    validation: dict[str, dict[str, MeanSd]] | None
    test: dict[str, dict[str, MeanSd]] | None
    failed: tuple[tuple[int, str], ...] = ()  # (seed, reason)


def summarize(results: Sequence[Result]) -> tuple[PointSummary, ...]:
    """Returns the summary of each point, in the order in which the points first appear."""
    groups: dict[Point, list[Result]] = {}
    for result in results:
        groups.setdefault(result.member.point, []).append(result)
    return tuple(_summary(point, group) for point, group in groups.items())


def select(summaries: Sequence[PointSummary], criterion: str) -> PointSummary:
    """Returns the point with the highest mean on validation; of equal points the first."""
    check_criterion(criterion, len(summaries))
    complete = [(summary.value.mean, summary) for summary in summaries if summary.value is not None]
    if not complete:
        point, (seed, why) = point_title(summaries[0].point), summaries[0].failed[0]
        raise ValueError(f"no point can be selected, a seed of each failed; {point}, seed {seed}: {why}")
    return max(complete, key=lambda pair: pair[0])[1]


def describe(selected: PointSummary, criterion: str) -> str:
    """Returns the figure of a point in words, as the files in `configs/` give theirs.

    Example:
        >>> describe(PointSummary((), (0, 1), (3, 4), MeanSd(0.5, 0.01), None, None), "map")
        'average validation map@50 0.500 ± 0.010 over 2 seeds'
        >>> describe(PointSummary((), (0,), (20,), MeanSd(20.0, None), None, None), "last")
        'the last epoch, nothing chosen on validation, 1 seed'
    """
    seeds = f"{len(selected.seeds)} seed{'s' * (len(selected.seeds) > 1)}"
    if criterion == "last":
        return f"the last epoch, nothing chosen on validation, {seeds}"
    return f"average validation {CRITERIA[criterion]} {selected.value} over {seeds}"


def failed_seeds(summary: PointSummary) -> str:
    """Returns in words which seeds of a point failed, at least one.

    Example:
        >>> failed_seeds(PointSummary((), (0, 1, 2), (), None, None, None, ((0, "nan"), (2, "nan"))))
        'seeds 0, 2'
    """
    return f"seed{'s' * (len(summary.failed) > 1)} {', '.join(str(seed) for seed, _ in summary.failed)}"


def write_csv(path: Path, results: Sequence[Result], *, criterion: str, synthetic: bool = False) -> None:
    """Writes one row for each run; the same results give the same bytes.

    The columns: swept keys, seed, epoch, the criterion, `validation/map@50` (the average),
    `validation/map@50/image_to_text` and so on for each metric, the same for test where some run has test figures,
    failed; with synthetic data also `synthetic`. A cell is empty where a run has no such value.
    """
    rows = []
    for result in results:
        row: dict[str, Any] = {AXIS_NAMES[key]: value for key, value in result.member.point}
        row |= {"seed": result.member.seed, "epoch": result.epoch, criterion: result.value}
        rows.append(row | _columns("validation", result.validation) | _columns("test", result.test))
    # A run that failed has no figures, and some runs have none on test: the columns are those of all runs.
    names = [*dict.fromkeys(name for row in rows for name in row), "failed", *["synthetic"] * synthetic]
    for row, result in zip(rows, results, strict=True):
        row |= {"failed": result.failed, "synthetic": synthetic}
    _files.write_text(path, csv_text(names, ([row.get(name) for name in names] for row in rows)))


def write_json(
    path: Path,
    summaries: Sequence[PointSummary],
    selected: PointSummary | None,
    *,
    grid: Grid,
    about: Mapping[str, Any],
) -> None:
    """Writes the figures of every point and of the selected one, if any.

    `about` has what else goes into the file: `dataset`, `synthetic`, `criterion`, `chance`, `command`, `versions`.
    """
    record = {
        **{name: about[name] for name in ("dataset", "synthetic", "criterion")},
        "axes": dict(grid.axes),
        "seeds": grid.seeds,
        "selected": selected and _record(selected),
        "chance": about["chance"],
        "points": [_record(summary) for summary in summaries],
        **{name: about[name] for name in ("command", "versions")},
    }
    _checksums.write_record(path, record)


def show(
    summaries: Sequence[PointSummary],
    selected: PointSummary | None,
    console: rich.console.Console,
    *,
    criterion: str,
    dataset: str,
    chance: Mapping[str, float] | None = None,
) -> None:
    """Prints every point with its figure on validation, and all figures of the selected one, beside those of chance."""
    n = max(len(summary.seeds) for summary in summaries)
    has_value = criterion != "last"
    title = f"{dataset}: {n} seed{'s' * (n > 1)}{' each' * (len(summaries) > 1)}"
    table = rich.table.Table("point", title=title, **_TABLE)
    for heading in (*[f"validation {CRITERIA[criterion]}"] * has_value, "epoch"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for summary in summaries:
        cells = [point_title(summary.point), *[str(summary.value or "-")] * has_value, _range(summary.epochs)]
        is_selected = summary == selected
        note = f"{failed_seeds(summary)} failed" if summary.failed else "selected" * is_selected
        table.add_row(*cells, note, style="bold" if is_selected else None)
    console.print(table)
    for summary in summaries:
        for seed, why in summary.failed:
            console.print(f"{point_title(summary.point)}, seed {seed}: {why}")
    if selected and (selected.test or selected.validation):
        console.print(_figures_table(selected, criterion, dataset, dict(chance or {})))


def _summary(point, results):
    failed = tuple((result.member.seed, result.failed) for result in results if result.failed)
    seeds = tuple(result.member.seed for result in results)
    if failed:
        return PointSummary(point, seeds, (), None, None, None, failed)
    return PointSummary(
        point,
        seeds,
        tuple(result.epoch for result in results),
        mean_and_sd([result.value for result in results]),
        _means([result.validation for result in results]),
        _means([result.test for result in results]),
    )


def _means(figures):
    if not all(figures):
        return None
    figures = [_with_recall(one) for one in figures]
    return {
        metric: {direction: mean_and_sd([one[metric][direction] for one in figures]) for direction in DIRECTIONS}
        for metric in figures[0]
    }


def _with_recall(figures):
    # The standard deviation of a mean of metrics is not the mean of their standard deviations.
    recalls = [values for metric, values in figures.items() if metric.startswith("recall@")]
    if not recalls:
        return figures
    return {**figures, "recall": {d: sum(values[d] for values in recalls) / len(recalls) for d in DIRECTIONS}}


def _columns(split, figures):
    columns = {}
    for metric, values in (figures or {}).items():
        columns[f"{split}/{metric}"] = values["average"]
        columns |= {f"{split}/{metric}/{direction}": values[direction] for direction in DIRECTIONS[:2]}
    return columns


def _record(summary):
    record = dataclasses.asdict(summary) | {"point": dict(summary.point), "title": point_title(summary.point)}
    return record | {"failed": [{"seed": seed, "why": why} for seed, why in summary.failed]}


def _range(epochs):
    if not epochs:
        return "-"
    low, high = min(epochs), max(epochs)
    return str(low) if low == high else f"{low} to {high}"


def _figures_table(selected, criterion, dataset, chance):
    on_test = " on test" if selected.test else ""
    title = f"{dataset}{on_test}: {point_title(selected.point)}, {describe(selected, criterion)}"
    recalls = [value for metric, value in chance.items() if metric.startswith("recall@")]
    if recalls:
        chance["recall"] = sum(recalls) / len(recalls)
    test, validation = (
        {metric: found for metric, found in (figures or {}).items() if metric != "recall" or criterion == "recall"}
        for figures in (selected.test, selected.validation)
    )
    return session.figures_table(title, test, validation, chance, **_TABLE)
