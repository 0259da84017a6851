"""Markdown tables of several finished workdirs: of runs the mean over seeds, of comparisons a column for each."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies.run_summaries import FinishedRun, Table, read_run, table_of_runs
from gpldan_jax.studies.tables import main_metric, markdown_table, mean_and_sd

_OURS = ("gpldan", "ours")  # with which the names of GPLDAN and of our recipe begin
_BANK = ", with a bank"  # the end of the name and of the title of such a row


def overview_tables(folders: Sequence[Path], table: Table = markdown_table) -> list[str]:
    """Returns the tables of runs and of comparisons, whichever there are.

    Args:
        folders: finished workdirs, at least one.
        table: makes the lines of a table: `markdown_table` or `latex_table` of `gpldan_jax.studies.tables`.

    Returns:
        Lines of text; those that begin with "- " are no part of a table.

    Raises:
        ValueError: no folder, one that holds neither a finished run nor a finished comparison, or a damaged file.
    """
    if not folders:
        raise ValueError("there is nothing to summarize: expected folders of finished runs or comparisons, got none")
    (runs, comparisons), lines = read_folders(folders), []
    if runs:
        lines += table_of_runs(runs, table)
    if comparisons:
        lines += [""] if lines else []
        lines += [*_table_of_comparisons(comparisons, table), "", *_table_of_trials(comparisons, table)]
    return lines


def read_folders(folders: Sequence[Path]) -> tuple[list[FinishedRun], list[Mapping[str, Any]]]:
    """Reads the results of finished runs and comparisons.

    Args:
        folders: their workdirs.

    Returns:
        The runs, and the content of `table2.json` of the comparisons, each with a title of its own as `"dataset"`.

    Raises:
        ValueError: as `overview_tables`.
    """
    runs: list[FinishedRun] = []
    comparisons: list[tuple[Path, dict[str, Any]]] = []
    for folder in folders:
        if (folder / "results.json").exists():
            runs.append(read_run(folder))
        elif (folder / "table2.json").exists():
            found = workdirs.read_json(folder / "table2.json")
            try:
                _check_comparison(found)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{folder / 'table2.json'} is damaged: a comparison leaves something else") from error
            comparisons.append((folder, found))
        else:
            raise ValueError(
                f"{folder} holds no results.json and no table2.json: not a run or a comparison, or not finished"
            )
    titles = [found["dataset"] for _, found in comparisons]
    return runs, [
        found | {"dataset": f"{found['dataset']} ({folder.name})"} if titles.count(found["dataset"]) > 1 else found
        for folder, found in comparisons
    ]


def _table_of_comparisons(comparisons: Sequence[Mapping[str, Any]], table: Table) -> list[str]:
    """Returns a table of averages on test, and where GPLDAN stands among the unsupervised methods.

    The best unsupervised method of each dataset is bold. The last column is the mean over datasets on validation. Each
    of our changes is ranked as if it stood in the place of GPLDAN.
    """
    titles: dict[str, tuple[str, str]] = {}
    for of in (of for found in comparisons for of in found["methods"]):
        titles[of["name"]] = (of["title"], of["supervision"])
        if of.get("banked"):
            titles[of["name"] + _BANK] = (of["title"] + _BANK, of["supervision"])
    metrics = [_metric(found) for found in comparisons]
    tests = [_averages(found, "figures", metric) for found, metric in zip(comparisons, metrics, strict=True)]
    validations = [_averages(found, "validation", metric) for found, metric in zip(comparisons, metrics, strict=True)]
    rankings = [_ranked(averages, titles) for averages in tests]
    rows = []
    for name, (title, supervision) in titles.items():
        cells = [str(mean_and_sd(averages[name])) if name in averages else "" for averages in tests]
        bold = [ranking[:1] == [name] for ranking in rankings]
        cells = [f"**{cell}**" if is_best else cell for cell, is_best in zip(cells, bold, strict=True)]
        everywhere = len(set(metrics)) == 1 and all(name in averages for averages in validations)
        means = [statistics.mean(averages[name]) for averages in validations] if everywhere else []
        rows.append([title, supervision, *cells, f"{statistics.mean(means):.3f}" if means else ""])
    headings = [found["dataset"] for found in comparisons]
    if len(set(metrics)) > 1:
        headings = [f"{heading}, {metric}" for heading, metric in zip(headings, metrics, strict=True)]
    average = f"average {metrics[0]}" if len(set(metrics)) == 1 else "average"
    columns = [average, "supervision", *headings, "on validation, mean"]
    lines = [*table(columns, rows, "ll" + "r" * (len(comparisons) + 1)), ""]
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


def _table_of_trials(comparisons: Sequence[Mapping[str, Any]], table: Table) -> list[str]:
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
    return table(columns, rows, "ll" + "r" * (len(comparisons) + 1))


def _check_comparison(found):
    """Fails as a table of it would."""
    str(found["dataset"])
    for split in ("figures", "validation"):
        for values in _averages(found, split, _metric(found)).values():
            statistics.mean(values)
    for of in found["methods"]:
        str(of["title"] + of["supervision"] + of["name"])
        for trial in of["trials"] if of["name"].startswith(_OURS) else ():
            dict(trial["settings"])


def _metric(comparison):
    """Returns the metric that a comparison is about; map@50 where every method failed."""
    found = [figures for of in comparison["methods"] for figures in of["figures"]]
    return main_metric(found[0]) if found else "map@50"


def _averages(comparison, split, metric):
    """Returns the average of each seed, for each method that did not fail, and for it with a bank."""
    found = {}
    for of in comparison["methods"]:
        banked = {"figures": "banked", "validation": "banked_validation"}[split]
        for name, figures in ((of["name"], of[split]), (of["name"] + _BANK, of.get(banked))):
            if figures and metric in figures[0]:
                found[name] = [one[metric]["average"] for one in figures]
    return found


def _ranked(averages, titles):
    """Returns the names of the unsupervised methods, the best first."""
    names = [name for name in averages if titles[name][1] == "unsupervised" and name != "chance"]
    return sorted(names, key=lambda name: -statistics.mean(averages[name]))
