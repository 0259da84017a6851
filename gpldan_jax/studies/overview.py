"""Tables of several finished workdirs: of runs the mean over seeds, of comparisons a column for each."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

_DIRECTIONS = ("image_to_text", "text_to_image", "average")
_OF_INTEREST = "gpldan"


def overview(folders: Sequence[Path]) -> list[str]:
    """The lines of the tables of runs and of comparisons, whichever there are.

    Args:
        folders: finished workdirs.

    Returns:
        Lines of Markdown.

    Raises:
        ValueError: a folder holds neither a finished run nor a finished comparison.
    """
    runs, comparisons, lines = [], [], []
    for folder in folders:
        if (folder / "results.json").exists():
            runs.append(json.loads((folder / "results.json").read_text(encoding="utf-8")))
        elif (folder / "table2.json").exists():
            comparisons.append(json.loads((folder / "table2.json").read_text(encoding="utf-8")))
        else:
            raise ValueError(
                f"{folder} holds no results.json and no table2.json: not a run or a comparison, or not finished"
            )
    if runs:
        lines += of_runs(runs)
    if comparisons:
        lines += [*of_comparisons(comparisons), "", *of_trials(comparisons)]
    return lines


def of_runs(runs: Sequence[dict]) -> list[str]:
    """The lines of a table of runs, those of the same dataset together."""
    groups: dict[str, list[dict]] = {}
    for run in runs:
        groups.setdefault(run["dataset"], []).append(run)
    lines = [
        "| dataset | metric | runs | image to text | text to image | average | chance |",
        "|---|---|---|---|---|---|---|",
    ]
    for dataset, found in groups.items():
        metric = "map@50" if "map@50" in found[0]["test"] else "recall@10"
        cells = [_cell([run["test"][metric][direction] for run in found]) for direction in _DIRECTIONS]
        lines.append(
            f"| {dataset} | {metric} | {len(found)} | {' | '.join(cells)} | {found[0]['chance'][metric]:.3f} |"
        )
    return lines


def of_comparisons(comparisons: Sequence[dict]) -> list[str]:
    """The lines of a table of average map@50 on test, and where GPLDAN stands among the unsupervised methods.

    The best unsupervised method of each dataset is bold. The last column is the mean over datasets on validation. The
    place of each of our changes is that which it would have in GPLDAN's stead.
    """
    titles = {of["name"]: (of["title"], of["supervision"]) for found in comparisons for of in found["methods"]}
    tests = [_averages(found, "figures") for found in comparisons]
    validations = [_averages(found, "validation") for found in comparisons]
    headings = ["average map@50", "supervision", *(found["dataset"] for found in comparisons), "on validation, mean"]
    lines = [f"| {' | '.join(headings)} |", "|---|---|" + "---:|" * (len(comparisons) + 1)]
    rankings = [_ranked(averages, titles) for averages in tests]
    for name, (title, supervision) in titles.items():
        cells = [_cell(averages[name]) if name in averages else "" for averages in tests]
        cells = [
            f"**{cell}**" if ranking[:1] == [name] else cell for cell, ranking in zip(cells, rankings, strict=True)
        ]
        everywhere = all(name in averages for averages in validations)
        means = [statistics.mean(averages[name]) for averages in validations] if everywhere else []
        cells.append(f"{statistics.mean(means):.3f}" if means else "")
        lines.append(f"| {title} | {supervision} | {' | '.join(cells)} |")
    lines.append("")
    for found, averages, ranking in zip(comparisons, tests, rankings, strict=True):
        others = [name for name in ranking if not name.startswith(_OF_INTEREST)]
        for name in sorted(set(ranking) - set(others)):
            place = [of for of in ranking if of in others or of == name].index(name) + 1
            line = (
                f"- {found['dataset']}: {titles[name][0]} is number {place} of {len(others) + 1} unsupervised methods"
            )
            if others:
                beside = "the best other one" if place == 1 else "the first"
                line += f", {_cell(averages[name])}; {beside}, {titles[others[0]][0]}, has {_cell(averages[others[0]])}"
            lines.append(f"{line}.")
    return lines


def of_trials(comparisons: Sequence[dict]) -> list[str]:
    """The lines of a table of what was tried for GPLDAN and our changes of it: the value on validation, the first seed.

    Settings that were tried on every dataset have a mean, and the best mean is bold.
    """
    titles, values = {}, {}
    for place, found in enumerate(comparisons):
        for method in found["methods"]:
            if not method["name"].startswith(_OF_INTEREST):
                continue
            for trial in method["trials"]:
                settings = ", ".join(f"{key}={value}" for key, value in trial["settings"].items()) or "as in the config"
                titles[method["name"], settings] = f"{method['title']} | {settings}"
                values.setdefault((method["name"], settings), {})[place] = trial.get("value")
    cells = {of: [by_place.get(place) for place in range(len(comparisons))] for of, by_place in values.items()}
    means = {of: statistics.mean(found) for of, found in cells.items() if None not in found}
    headings = ["on validation", "settings", *(found["dataset"] for found in comparisons), "mean"]
    lines = [f"| {' | '.join(headings)} |", "|---|---|" + "---:|" * (len(comparisons) + 1)]
    for of, found in cells.items():
        mean = f"{means[of]:.4f}" if of in means else ""
        mean = f"**{mean}**" if mean and means[of] == max(means.values()) else mean
        shown = ["" if value is None else f"{value:.4f}" for value in found]
        lines.append(f"| {titles[of]} | {' | '.join(shown)} | {mean} |")
    return lines


def _averages(comparison, split):
    """Of each method that did not fail, the average map@50 of each seed."""
    return {
        of["name"]: [figures["map@50"]["average"] for figures in of[split]]
        for of in comparison["methods"]
        if of[split] and "map@50" in of[split][0]
    }


def _ranked(averages, titles):
    names = [name for name in averages if titles[name][1] == "unsupervised" and name != "chance"]
    return sorted(names, key=lambda name: -statistics.mean(averages[name]))


def _cell(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"
