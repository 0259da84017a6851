"""The table of finished runs: those with the same data and settings are the seeds of one row."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies.tables import DIRECTIONS, TITLES, main_metric, mean_and_sd

_SEED = "train.seed"
Table = Callable[[Sequence[str], Sequence[Sequence[str]], str], list[str]]
"""Columns, rows and alignment to the lines of a table, such as `gpldan_jax.studies.tables.markdown_table`."""


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What a table says of a finished run.

    Attributes:
        folder: its workdir.
        dataset: the title of its data.
        data: their fingerprint.
        settings: `group.name` -> value, without the seed and the places where the run and its data lie.
        seed: of the run.
        split: which pairs the figures are of, `"test"` or, where there are no test pairs, `"validation"`.
        figures: metric -> direction -> number.
        chance: metric -> number, of the test pairs.
    """

    folder: Path
    dataset: str
    data: str
    settings: Mapping[str, Any]
    seed: int
    split: str
    figures: Mapping[str, Mapping[str, float]]
    chance: Mapping[str, float]


def read_run(folder: Path) -> FinishedRun:
    """Reads a finished run.

    Args:
        folder: its workdir, with `results.json` and `config.json`.

    Returns:
        The run.

    Raises:
        ValueError: a file is damaged or lacks something, or the run has no figures.
    """
    results = workdirs.read_json(folder / workdirs.RESULTS)
    described = workdirs.read_json(folder / workdirs.CONFIG)
    try:
        split = "test" if results["test"] else "validation"
        figures = results[split]
        if not figures:
            raise ValueError(f"{folder} has no figures: its dataset has neither test nor validation pairs")
        settings = workdirs.settings_of_run(described["config"])
        seed = settings.pop(_SEED)
        chance = results["chance"] or {}
        return FinishedRun(folder, results["dataset"], described["data"], settings, seed, split, figures, chance)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is damaged: results.json or config.json lacks {error}") from error


def table_of_runs(runs: Sequence[FinishedRun], table: Table) -> list[str]:
    """Returns a table with a row for the runs that differ in nothing but their seed; the best of a dataset comes first.

    Args:
        runs: the runs, in any order.
        table: makes the lines.

    Returns:
        The table, then a line for each run that it leaves out because another one is the same.
    """
    rows: dict[tuple, dict[int, FinishedRun]] = {}
    twice = []
    for run in runs:
        key = run.dataset, run.data, run.split, *sorted((name, repr(value)) for name, value in run.settings.items())
        first = rows.setdefault(key, {}).setdefault(run.seed, run)
        if first is not run:
            twice.append(f"- {run.folder} is left out: {first.folder} has the same data, settings and seed.")
    groups = [list(row.values()) for row in rows.values()]
    metrics = {id(group): main_metric(group[0].figures) for group in groups}

    def mean(group):
        return mean_and_sd([run.figures[metrics[id(group)]]["average"] for run in group]).mean

    groups.sort(key=lambda group: (group[0].dataset, group[0].data, -mean(group)))
    lines = []
    for group in groups:
        one, metric = group[0], metrics[id(group)]
        beside = [other[0] for other in groups if other[0].dataset == one.dataset]
        same_data = [other for other in beside if other.data == one.data]
        data = workdirs.short(one.data) if len(same_data) < len(beside) else ""
        means = [str(mean_and_sd([run.figures[metric][direction] for run in group])) for direction in DIRECTIONS]
        chance = f"{one.chance[metric]:.3f}" if one.split == "test" and metric in one.chance else ""
        lines.append(
            [one.dataset, data, _differences(one, same_data), one.split, metric, str(len(group)), *means, chance]
        )
    columns = ["dataset", "data", "settings", "split", "metric", "runs", *TITLES.values(), "chance"]
    shown = [place for place, _ in enumerate(columns) if any(line[place] for line in lines)]
    if all(line[columns.index("split")] == "test" for line in lines):
        shown.remove(columns.index("split"))
    alignment = "".join("llllllrrrr"[place] for place in shown)
    cells = [[line[place] for place in shown] for line in lines]
    return [*table([columns[place] for place in shown], cells, alignment), *([""] if twice else []), *twice]


def _differences(run, others):
    """The settings in which some of these runs differ, as this one has them."""
    names = sorted({name for other in others for name in other.settings})
    differing = [name for name in names if len({repr(other.settings.get(name)) for other in others}) > 1]
    return ", ".join(f"{name}={run.settings[name]}" for name in differing if name in run.settings)
