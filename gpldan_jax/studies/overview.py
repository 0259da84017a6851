"""Markdown tables of several finished workdirs: of runs the mean over seeds, of comparisons a column for each."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies.tables import DIRECTIONS, TITLES, main_metric, markdown_table, mean_and_sd

_OURS = ("gpldan", "ours")  # with which the names of GPLDAN and of our recipe begin
_BANK = ", with a bank"  # the end of the name and of the title of such a row


def overview_tables(folders: Sequence[Path]) -> list[str]:
    """Returns the tables of runs and of comparisons, whichever there are.

    Args:
        folders: finished workdirs.

    Returns:
        Lines of Markdown.

    Raises:
        ValueError: a folder holds neither a finished run nor a finished comparison, or a file is damaged.
    """
    (runs, comparisons), lines = read_folders(folders), []
    if runs:
        lines += _table_of_runs(runs)
    if comparisons:
        lines += [*_table_of_comparisons(comparisons), "", *_table_of_trials(comparisons)]
    return lines


def read_folders(folders: Sequence[Path]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Reads the results of finished runs and comparisons.

    Args:
        folders: their workdirs.

    Returns:
        Those of the runs, and those of the comparisons.

    Raises:
        ValueError: as `overview_tables`.
    """
    runs, comparisons = [], []
    for folder in folders:
        if (folder / "results.json").exists():
            runs.append(workdirs.read_json(folder / "results.json"))
            if not runs[-1]["test"]:
                raise ValueError(f"{folder} has no test figures: its dataset has no test pairs")
        elif (folder / "table2.json").exists():
            comparisons.append(workdirs.read_json(folder / "table2.json"))
        else:
            raise ValueError(
                f"{folder} holds no results.json and no table2.json: not a run or a comparison, or not finished"
            )
    return runs, comparisons


def _table_of_runs(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a table of runs: a row for each dataset, with the mean over its runs."""
    groups: dict[str, list[Mapping]] = {}
    for run in runs:
        groups.setdefault(run["dataset"], []).append(run)
    rows = []
    for dataset, found in groups.items():
        metric = main_metric(found[0]["test"])
        means = [str(mean_and_sd([run["test"][metric][direction] for run in found])) for direction in DIRECTIONS]
        rows.append([dataset, metric, str(len(found)), *means, f"{found[0]['chance'][metric]:.3f}"])
    return markdown_table(["dataset", "metric", "runs", *TITLES.values(), "chance"], rows, "lllllll")


def _table_of_comparisons(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a table of average map@50 on test, and where GPLDAN stands among the unsupervised methods.

    The best unsupervised method of each dataset is bold. The last column is the mean over datasets on validation. Each
    of our changes is ranked as if it stood in the place of GPLDAN.
    """
    titles: dict[str, tuple[str, str]] = {}
    for of in (of for found in comparisons for of in found["methods"]):
        titles[of["name"]] = (of["title"], of["supervision"])
        if of.get("banked"):
            titles[of["name"] + _BANK] = (of["title"] + _BANK, of["supervision"])
    tests = [_averages(found, "figures") for found in comparisons]
    validations = [_averages(found, "validation") for found in comparisons]
    rankings = [_ranked(averages, titles) for averages in tests]
    rows = []
    for name, (title, supervision) in titles.items():
        cells = [str(mean_and_sd(averages[name])) if name in averages else "" for averages in tests]
        bold = [ranking[:1] == [name] for ranking in rankings]
        cells = [f"**{cell}**" if is_best else cell for cell, is_best in zip(cells, bold, strict=True)]
        everywhere = all(name in averages for averages in validations)
        means = [statistics.mean(averages[name]) for averages in validations] if everywhere else []
        rows.append([title, supervision, *cells, f"{statistics.mean(means):.3f}" if means else ""])
    columns = ["average map@50", "supervision", *(found["dataset"] for found in comparisons), "on validation, mean"]
    lines = [*markdown_table(columns, rows, "ll" + "r" * (len(comparisons) + 1)), ""]
    for found, averages, ranking in zip(comparisons, tests, rankings, strict=True):
        others = [name for name in ranking if not name.startswith(_OURS)]
        for name in sorted(set(ranking) - set(others)):
            place = [of for of in ranking if of in others or of == name].index(name) + 1
            stands = f"{titles[name][0]} is number {place} of {len(others) + 1} unsupervised methods"
            if others:
                beside = "the best other one" if place == 1 else "the first"
                best = f"{titles[others[0]][0]}, has {mean_and_sd(averages[others[0]])}"
                stands += f", {mean_and_sd(averages[name])}; {beside}, {best}"
            lines.append(f"- {found['dataset']}: {stands}.")
    return lines


def _table_of_trials(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a table of the settings tried for GPLDAN and our changes: the value on validation with the first seed.

    Settings that were tried on every dataset have a mean, and the best mean is bold.
    """
    titles: dict[str, str] = {}
    values: dict[tuple[str, str], list[float | None]] = {}
    for place, found in enumerate(comparisons):
        for method in found["methods"]:
            for trial in method["trials"] if method["name"].startswith(_OURS) else ():
                settings = ", ".join(f"{key}={value}" for key, value in trial["settings"].items()) or "as in the config"
                titles[method["name"]] = method["title"]
                row = values.setdefault((method["name"], settings), [None] * len(comparisons))
                row[place] = trial.get("value")
    complete = {key: [value for value in row if value is not None] for key, row in values.items()}
    means = {key: statistics.mean(row) for key, row in complete.items() if len(row) == len(comparisons)}
    rows = []
    for key, row in values.items():
        mean = f"{means[key]:.4f}" if key in means else ""
        mean = f"**{mean}**" if mean and means[key] == max(means.values()) else mean
        rows.append([titles[key[0]], key[1], *("" if value is None else f"{value:.4f}" for value in row), mean])
    columns = ["on validation", "settings", *(found["dataset"] for found in comparisons), "mean"]
    return markdown_table(columns, rows, "ll" + "r" * (len(comparisons) + 1))


def _averages(comparison, split):
    """Returns the average map@50 of each seed, for each method that did not fail, and for it with a bank."""
    found = {}
    for of in comparison["methods"]:
        banked = {"figures": "banked", "validation": "banked_validation"}[split]
        for name, figures in ((of["name"], of[split]), (of["name"] + _BANK, of.get(banked))):
            if figures and "map@50" in figures[0]:
                found[name] = [one["map@50"]["average"] for one in figures]
    return found


def _ranked(averages, titles):
    """Returns the names of the unsupervised methods, the best first."""
    names = [name for name in averages if titles[name][1] == "unsupervised" and name != "chance"]
    return sorted(names, key=lambda name: -statistics.mean(averages[name]))
