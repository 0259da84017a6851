"""The table of an ablation in Markdown, CSV and JSON, as Table 3 of the paper has it, and what it shows in words."""

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from experiments.ablating.rows import TERMS, VARIANTS, number
from experiments.comparing.running import Row
from experiments.comparing.tables import DIRECTIONS, spread, values

_HEADINGS = "L_pd | L_md | L_ud | classifier | attention | image to text | text to image | average | step"
_MARKED = ("mutual", "unpaired", "classifier", "attention")  # as the columns stand
_ERRORS = 2  # standard errors that a difference must exceed to be shown
_SELECTION = {"map": "average map@50", "recall": "mean of recall@1, @5 and @10"}


def steps(rows: Sequence[Row], metric: str) -> dict[str, list[float]]:
    """By how much each row's average differs from that of the row it extends, with each seed.

    Args:
        rows: in the order of the table; those that failed, and those that extend them, have no step.
        metric: such as `"map@50"`.
    """
    averages = {row.method.name: values(row, metric, "average") for row in rows if not row.failed}
    return {
        name: [new - old for new, old in zip(found, averages[VARIANTS[name].extends], strict=True)]
        for name, found in averages.items()
        if VARIANTS[name].extends in averages
    }


def verdict(differences: Sequence[float]) -> str:
    """Whether the mean of two or more differences exceeds twice its standard error.

    >>> verdict([0.02, 0.03]), verdict([-0.02, -0.03])
    ('shows (+0.025 ± 0.007)', 'shows, as a drop (−0.025 ± 0.007)')
    >>> verdict([0.02, -0.03])
    'does not show (−0.005 ± 0.035)'
    """
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    shows = abs(mean) > _ERRORS * error
    found = "does not show" if not shows else "shows" if mean > 0 else "shows, as a drop"
    return f"{found} ({_signed(differences)})"


def findings(rows: Sequence[Row], metric: str, seeds: Sequence[int]) -> str:
    """In words: which steps show, and whether every row with L_ud is above those without it."""
    n = len(seeds)
    if n == 1:
        lines = ["With one seed nothing can be said about single steps; --seeds=5 trains five."]
    else:
        by_chance = float(jax.scipy.special.betainc((n - 1) / 2, 0.5, (n - 1) / (n - 1 + _ERRORS**2)))  # Student's t
        lines = [
            f"A step shows where the mean of its differences exceeds {_ERRORS} standard errors in size (sd / √{n}). Of "
            f"steps that change nothing, {by_chance:.0%} would pass with {n} seeds.",
            "",
        ]
        found = steps(rows, metric)
        for variant in [VARIANTS[row.method.name] for row in rows if VARIANTS[row.method.name].extends]:
            said = verdict(found[variant.name]) if variant.name in found else "cannot be said, since a row failed"
            lines.append(f"- Row {number(variant.name)}, {variant.adds} added to row {number(variant.extends)}: {said}")
    return "\n".join([*lines, "", _with_and_without(rows, metric), ""])


def markdown(
    rows: Sequence[Row],
    *,
    dataset: str,
    metric: str,
    seeds: Sequence[int],
    criterion: str,
    chance: float,
    published: Mapping[str, float | None],
    command: str,
) -> str:
    """A table for a paper or an issue: mean ± standard deviation over seeds; below it, what it shows in words.

    Args:
        rows: in the order of the table.
        dataset: its title.
        metric: such as `"map@50"`.
        seeds: of the runs.
        criterion: `"map"` or `"recall"`, which selected the epochs.
        chance: what random rankings give.
        published: the average of each row, `None` where there is none.
        command: what was called.
    """
    with_published = any(published.values())
    last = " | published | seconds |" if with_published else " | seconds |"
    columns = _HEADINGS.count("|") + last.count("|")
    lines = [f"| {dataset}, {metric} | {_HEADINGS}{last}", "|---" + "|:-:" * 5 + "|---:" * (columns - 5) + "|"]
    found = steps(rows, metric)
    for row in rows:
        variant = VARIANTS[row.method.name]
        cells = [f"{number(variant.name)}. {variant.title}", "✓"]
        cells += ["✓" if term in variant.terms else "" for term in _MARKED]
        if row.failed:
            cells += [f"failed: {row.failed.replace('|', '/')}", "", "", ""]
        else:
            cells += [spread(values(row, metric, direction)) for direction in DIRECTIONS]
            cells.append(_signed(found[variant.name]) if variant.name in found else "")
        if with_published:
            cells.append(f"{published[variant.name]:.3f}")
        cells.append("" if row.failed else f"{row.seconds:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    over = ("mean ± standard deviation over seeds " if len(seeds) > 1 else "seed ") + ", ".join(map(str, seeds))
    notes = [
        f"On test; {over}. Chance is {chance:.3f}. The epoch of each run was chosen on validation by "
        f"{_SELECTION[criterion]}. Terms without a mark are left out (without attention k = 1), all else is as in the "
        "config. A step is the difference of the average to that of row 1 (rows 2 and 3), row 3 (row 4) or the row "
        "above, with the same seed. Seconds are of one run and its test distances, compilation included."
    ]
    if with_published:
        notes.append("The published averages are of other features (VGG-19 and BERT).")
    return "\n".join([*lines, "", " ".join(notes), "", findings(rows, metric, seeds), f"    {command}", ""])


def table_csv(rows: Sequence[Row], *, seeds: Sequence[int], published: Mapping[str, float | None]) -> str:
    """A line for each row, seed and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "seed", "metric", *DIRECTIONS, "published_average"])
    for row in rows:
        name = row.method.name
        for seed, figures in zip(seeds if row.figures else (), row.figures, strict=True):
            for metric, found in figures.items():
                cells = [repr(float(found[direction])) for direction in DIRECTIONS]
                writer.writerow([name, seed, metric, *cells, published[name] if metric == "map@50" else None])
    return text.getvalue()


def record(rows: Sequence[Row], about: Mapping[str, Any], *, published: Mapping[str, float | None]) -> str:
    """All of it as JSON.

    Args:
        rows: in the order of the table.
        about: what else the file says.
        published: the average of each row, `None` where there is none.
    """
    found = [
        {
            "name": row.method.name,
            "title": row.method.title,
            "terms": {term: term in VARIANTS[row.method.name].terms for term in TERMS},
            "settings": VARIANTS[row.method.name].settings(),
            "figures": row.figures,
            "published": published[row.method.name],
            "seconds": row.seconds,
            "failed": row.failed,
        }
        for row in rows
    ]
    return json.dumps({**about, "rows": found}, indent=2) + "\n"


def _signed(differences):
    return spread(differences, "+").replace("-", "\N{MINUS SIGN}")


def _with_and_without(rows, metric):
    if any(row.failed for row in rows):
        return "Whether L_ud makes the difference cannot be said, since a row failed."
    means = {True: [], False: []}
    for row in rows:
        mean = statistics.mean(values(row, metric, "average"))
        means["unpaired" in VARIANTS[row.method.name].terms].append(mean)
    worst, best = min(means[True]), max(means[False])
    between = f"the least mean with it is {worst:.3f}, the greatest without {best:.3f}"
    if worst > best:
        return f"L_pd alone and L_pd + L_md are below every row with L_ud, by {worst - best:.3f} or more: {between}."
    return f"L_pd alone and L_pd + L_md are not both below every row with L_ud: {between}."
