"""What comes out of a sweep: the figures of each point over its seeds, the point they select, and the files of both."""

import csv
import dataclasses
import json
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import rich.box
import rich.console
import rich.table

from gpldan_jax import _files
from gpldan_jax.config import default_config, with_values
from gpldan_jax.studies import grid_points as points
from gpldan_jax.studies.grid_points import Grid, Member, Point

DIRECTIONS = ("image_to_text", "text_to_image", "average")
CRITERIA = {"map": "map@50", "recall": "recall", "last": "last epoch"}
"""What each criterion of `train.selection` is called beside the figures that it comes from."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one run.

    Attributes:
        member: the run.
        epoch: the epoch selected on validation.
        value: what the criterion says of that epoch, finite; `None` where the run failed.
        validation: figures of that epoch as `gpldan_jax.retrieval.evaluate` gives them, where there are any.
        test: likewise, where they were asked for.
        failed: why there is no result, such as "the pairwise loss is nan at step 11"; empty where there is one.
    """

    member: Member
    epoch: int
    value: float | None
    validation: Mapping[str, Mapping[str, float]] | None
    test: Mapping[str, Mapping[str, float]] | None
    failed: str = ""


@dataclasses.dataclass(frozen=True)
class Spread:
    """The mean of a figure over seeds and its sample standard deviation, `None` for a single seed.

    Example:
        >>> str(Spread(0.5, 0.01)), str(Spread(0.5, None))
        ('0.500 ± 0.010', '0.500')
    """

    mean: float
    sd: float | None

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if self.sd is None else f" ± {self.sd:.3f}")


@dataclasses.dataclass(frozen=True)
class PointSummary:
    """The figures of a point over its seeds.

    Attributes:
        point: the point.
        seeds: its seeds.
        epochs: the epoch selected for each seed, none where one failed.
        value: the criterion; `None` where a seed failed.
        validation: metric -> direction -> spread, `None` where a seed failed or has none. `"recall"` among the metrics
            is the mean of recall@1, 5 and 10, as the criterion of this name takes it.
        test: likewise.
        failed: (seed, why) of each seed that failed.
    """

    point: Point
    seeds: tuple[int, ...]
    epochs: tuple[int, ...]
    value: Spread | None
    validation: dict[str, dict[str, Spread]] | None
    test: dict[str, dict[str, Spread]] | None
    failed: tuple[tuple[int, str], ...] = ()


def summarize(results: Sequence[Result]) -> tuple[PointSummary, ...]:
    """The summary of each point, in the order in which the points first appear."""
    groups: dict[Point, list[Result]] = {}
    for result in results:
        groups.setdefault(result.member.point, []).append(result)
    return tuple(_summary(point, group) for point, group in groups.items())


def select(summaries: Sequence[PointSummary], criterion: str) -> PointSummary:
    """The point of the highest mean on validation; a tie keeps the earlier one.

    Raises:
        ValueError: every point failed, or the criterion is `"last"`, whose value is the epoch, and there is a choice.
    """
    points.check_criterion(criterion, len(summaries))
    whole = [summary for summary in summaries if summary.value is not None]
    if not whole:
        point, (seed, why) = points.title(summaries[0].point), summaries[0].failed[0]
        raise ValueError(f"no point can be selected, a seed of each failed; {point}, seed {seed}: {why}")
    return max(whole, key=lambda summary: summary.value.mean)


def describe(selected: PointSummary, criterion: str) -> str:
    """A point's figure as the configs give theirs.

    Example:
        >>> describe(PointSummary((), (0, 1), (3, 4), Spread(0.5, 0.01), None, None), "map")
        'average validation map@50 0.500 ± 0.010 over 2 seeds'
        >>> describe(PointSummary((), (0,), (20,), Spread(20.0, None), None, None), "last")
        'the last epoch, nothing chosen on validation, 1 seed'
    """
    seeds = f"{len(selected.seeds)} seed" + "s" * (len(selected.seeds) > 1)
    if criterion == "last":
        return f"the last epoch, nothing chosen on validation, {seeds}"
    return f"average validation {CRITERIA[criterion]} {selected.value} over {seeds}"


def failed_seeds(summary: PointSummary) -> str:
    """Which seeds failed.

    Example:
        >>> failed_seeds(PointSummary((), (0, 1, 2), (), None, None, None, ((0, "nan"), (2, "nan"))))
        'seeds 0, 2'
    """
    return "seed" + "s" * (len(summary.failed) > 1) + " " + ", ".join(str(seed) for seed, _ in summary.failed)


def write_csv(path: Path, results: Sequence[Result], *, criterion: str, synthetic: bool = False) -> None:
    """Writes one row for each run, whole or not at all; the same results give the same bytes.

    The columns: swept keys, seed, epoch, the criterion, `validation/map@50` (the average),
    `validation/map@50/image_to_text` and so on for each metric, the same for test where some run has test figures,
    failed; with synthetic data one that says so. What a run does not have is empty.

    Args:
        path: where to.
        results: in the order of `Grid.members`.
        criterion: its name, the heading of its column.
        synthetic: whether the data were.
    """
    rows = []
    for result in results:
        row = {points.name(key): value for key, value in result.member.point}
        row |= {"seed": result.member.seed, "epoch": result.epoch, criterion: result.value}
        rows.append(row | _columns("validation", result.validation) | _columns("test", result.test))
    # A run that failed has no figures, and not every run those of test: the columns are those of all runs.
    names = [*dict.fromkeys(name for row in rows for name in row), "failed", *["synthetic"] * synthetic]
    for row, result in zip(rows, results, strict=True):
        row |= {"failed": result.failed, "synthetic": synthetic}

    with _files.replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(row.get(name)) for name in names] for row in rows)


def write_json(
    path: Path,
    summaries: Sequence[PointSummary],
    selected: PointSummary | None,
    *,
    grid: Grid,
    criterion: str,
    dataset: str,
    synthetic: bool,
    command: str,
    versions: Mapping[str, str],
    chance: Mapping[str, float] | None = None,
) -> None:
    """Writes the figures of every point and of the selected one, whole or not at all.

    Args:
        path: where to.
        summaries: all points.
        selected: one of them, `None` where none could be selected.
        grid: what was swept.
        criterion: what selected it.
        dataset: its title.
        synthetic: whether the data were.
        command: what was called.
        versions: of what computed.
        chance: what random rankings give on test.
    """
    record = {
        "dataset": dataset,
        "synthetic": synthetic,
        "criterion": criterion,
        "axes": dict(grid.axes),
        "seeds": grid.seeds,
        "selected": selected and _record(selected),
        "chance": chance,
        "points": [_record(summary) for summary in summaries],
        "command": command,
        "versions": versions,
    }
    _files.write_text(path, json.dumps(record, indent=2) + "\n")


def best_config_source(
    config: Mapping[str, Mapping], point: Point, grid: Grid, *, title: str, command: str, run: str, figure: str
) -> str:
    """The source of a config file with what a sweep chose.

    Args:
        config: the config that was swept.
        point: the selected point; its values go before those of `config`.
        grid: what was swept; keys with a single value were not chosen, and are not said to be.
        title: of the dataset.
        command: the sweep as it was called.
        run: the command that trains with this file.
        figure: the expected figure, from `describe`.

    Returns:
        Python as in `configs/`: `get_config` sets each key that was chosen or differs from `configs.default`.
    """
    known, chosen = default_config(), grid.varied()
    lines = []
    for group, keys in with_values(config, dict(point)).items():
        for name, value in keys.items():
            key = f"{group}.{name}"
            if key in chosen or value != known[group][name]:
                comment = "  # ours: chosen on validation by a sweep" if key in chosen else ""
                lines.append(f"    config.{key} = {_literal(value)}{comment}\n")
    about = _fill(f"{title}: {points.title(point)}{', chosen on validation by a sweep' * bool(chosen)}.")
    expected = _fill(f"Expected: {figure}, as found by")
    docstring = f"{about}\n\nModel and loss: arXiv 2106.13552.\n\n    {run}\n\n{expected}\n\n    {command}\n"
    return (
        f'"""{_in_docstring(docstring)}"""\n\n'
        "from ml_collections import config_dict\n\n"
        "from gpldan_jax.config import default_config\n\n\n"
        "def get_config():\n"
        '    """The settings of the sweep, at the point it selected."""\n'
        "    config = config_dict.ConfigDict(default_config())\n" + "".join(lines) + "    return config\n"
    )


def show(
    summaries: Sequence[PointSummary],
    selected: PointSummary | None,
    console: rich.console.Console,
    *,
    criterion: str,
    dataset: str,
    chance: Mapping[str, float] | None = None,
) -> None:
    """Prints every point with its figure on validation, and all figures of the selected one.

    Args:
        summaries: all points.
        selected: one of them, `None` where none could be selected.
        console: where to.
        criterion: what selected it.
        dataset: its title.
        chance: what random rankings give on test.
    """
    seeds = max(len(summary.seeds) for summary in summaries)
    over = f"{seeds} seed{'s' * (seeds > 1)}{' each' * (len(summaries) > 1)}"
    table = _table(f"{dataset}: {over}")
    table.add_column("point")
    if criterion != "last":
        table.add_column(f"validation {CRITERIA[criterion]}", justify="right")
    table.add_column("epoch", justify="right")
    table.add_column("")
    for summary in summaries:
        cells = [points.title(summary.point)]
        if criterion != "last":
            cells.append(str(summary.value or "-"))
        cells.append(_range(summary.epochs))
        is_selected = summary == selected
        note = f"{failed_seeds(summary)} failed" if summary.failed else "selected" * is_selected
        table.add_row(*cells, note, style="bold" if is_selected else None)
    console.print(table)
    for summary in summaries:
        for seed, why in summary.failed:
            console.print(f"{points.title(summary.point)}, seed {seed}: {why}")
    if selected and (selected.test or selected.validation):
        console.print(_table_of(selected, criterion, dataset, dict(chance or {})))


def _summary(point, results):
    failed = tuple((result.member.seed, result.failed) for result in results if result.failed)
    seeds = tuple(result.member.seed for result in results)
    if failed:
        return PointSummary(point, seeds, (), None, None, None, failed)
    return PointSummary(
        point,
        seeds,
        tuple(result.epoch for result in results),
        _spread([result.value for result in results]),
        _spreads([result.validation for result in results]),
        _spreads([result.test for result in results]),
    )


def _spread(values):
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def _spreads(figures):
    if not all(figures):
        return None
    figures = [_with_recall(one) for one in figures]
    return {
        metric: {direction: _spread([one[metric][direction] for one in figures]) for direction in DIRECTIONS}
        for metric in figures[0]
    }


def _with_recall(figures):
    # The criterion on test and in plots needs a spread of its own: that of a mean is not the mean of the spreads.
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


def _cell(value):
    # `repr` so that a float survives; of a plain one, since numpy's says its type.
    return "" if value is None else repr(float(value)) if isinstance(value, float) else value


def _record(summary):
    record = dataclasses.asdict(summary) | {"point": dict(summary.point), "title": points.title(summary.point)}
    return record | {"failed": [{"seed": seed, "why": why} for seed, why in summary.failed]}


def _literal(value):
    text = repr(value)
    is_plain = isinstance(value, str) and not set(text[1:-1]) & {"'", '"'}
    return f'"{text[1:-1]}"' if is_plain else text  # quotes as in the other configs


def _fill(text):
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _in_docstring(text):
    # File names may hold anything, bytes that are not UTF-8 included.
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return text.encode(errors="backslashreplace").decode()


def _range(epochs):
    if not epochs:
        return "-"
    low, high = min(epochs), max(epochs)
    return str(low) if low == high else f"{low} to {high}"


def _table(title):
    # Without its edges, so that four figures with their spread fit the 80 columns of a pipe.
    style = {"collapse_padding": True, "pad_edge": False, "show_edge": False}
    return rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, **style)


def _table_of(selected, criterion, dataset, chance):
    on_test = " on test" if selected.test else ""
    table = _table(f"{dataset}{on_test}: {points.title(selected.point)}, {describe(selected, criterion)}")
    table.add_column("metric")
    headings = ("image to text", "text to image", "average", "chance", "validation")
    for heading in headings:
        table.add_column(heading, justify="right")
    test, validation = selected.test or {}, selected.validation or {}
    recalls = [value for metric, value in chance.items() if metric.startswith("recall@")]
    if recalls:
        chance["recall"] = sum(recalls) / len(recalls)
    for metric in test or validation:
        if metric == "recall" and criterion != "recall":
            continue
        found = [test.get(metric, {}).get(direction) for direction in DIRECTIONS]
        by_chance = f"{chance[metric]:.3f}" if metric in chance else None
        cells = [*found, by_chance, validation.get(metric, {}).get("average")]
        table.add_row(metric, *("-" if cell is None else str(cell) for cell in cells))
    return table
