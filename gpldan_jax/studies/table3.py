"""The rows of the paper's Table 3: what of GPLDAN each one has, and what its authors report (arXiv 2106.13552).

Its features (VGG-19 and BERT) are not those that circulate, so the figures are for orientation.

The table of an ablation in Markdown, CSV and JSON, as Table 3 of the paper has it, and what it shows in words.
"""

import csv
import dataclasses
import io
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from gpldan_jax import _files, retrieval
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies import fitting
from gpldan_jax.studies.fitting import Row
from gpldan_jax.studies.table2 import DIRECTIONS, spread, values

TERMS = {"unpaired": "loss.alpha", "mutual": "loss.beta", "classifier": "loss.adversarial", "attention": "model.parts"}
"""What GPLDAN adds to L_pd: L_ud, L_md, the modality classifier, diversified attention; and the config key of each."""

TABLES, FIGURE = ("table3.md", "table3.csv", "table3.json"), "table3.png"
_WITHOUT = {"loss.alpha": 0.0, "loss.beta": 0.0, "loss.adversarial": 0.0, "model.parts": 1}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of Table 3.

    Attributes:
        name: the folder of its runs.
        title: what the table calls it.
        adds: what it has and `extends` has not.
        extends: the name of the row that it is compared with.
        terms: what it has beside L_pd, of `TERMS`.
        published: average MAP@50 on the paper's Wikipedia.
    """

    name: str
    title: str
    adds: str | None
    extends: str | None
    terms: tuple[str, ...]
    published: float

    def settings(self) -> dict[str, float]:
        """The config keys that it changes.

        Example:
            >>> VARIANTS["classifier"].settings()
            {'model.parts': 1}
        """
        return {key: _WITHOUT[key] for term, key in TERMS.items() if term not in self.terms}


_PATTERN = ("unpaired", "mutual")
_ROWS = (
    Variant("pairwise", "L_pd alone", None, None, (), 0.202),
    Variant("mutual", "+ L_md", "L_md", "pairwise", ("mutual",), 0.233),
    Variant("unpaired", "+ L_ud", "L_ud", "pairwise", ("unpaired",), 0.481),
    Variant("pattern", "+ L_md + L_ud", "L_md", "unpaired", _PATTERN, 0.487),
    Variant("classifier", "+ modality classifier", "the classifier", "pattern", (*_PATTERN, "classifier"), 0.496),
    Variant("attention", "+ diversified attention", "diversified attention", "classifier", tuple(TERMS), 0.513),
)
VARIANTS = {row.name: row for row in _ROWS}
"""Every row by its name, in the order of the table."""


def number(name: str) -> int:
    """Which row of the table it is, from 1.

    Example:
        >>> number("pairwise"), number("attention")
        (1, 6)
    """
    return [*VARIANTS].index(name) + 1


def check(config: Mapping[str, Mapping[str, Any]]) -> None:
    """`ValueError` where a config lacks a term already, so that leaving it out changes nothing, or has one of ours."""
    for key in TERMS.values():
        group, name = key.split(".")
        if config[group][name] == _WITHOUT[key]:
            raise ValueError(f"config.{key} is {config[group][name]}, so two rows of Table 3 would be the same")
    if weight := config["loss"]["contrastive"]:
        raise ValueError(f"config.loss.contrastive is {weight}, a term that no row of Table 3 has; leave it 0")


def published(name: str, dataset: Mapping[str, Any]) -> float | None:
    """The average MAP@50 that the paper reports for a row, `None` but for its dataset.

    Args:
        name: of the row.
        dataset: the group of the config.

    Example:
        >>> published("unpaired", {"name": "wikipedia", "synthetic": False})
        0.481
    """
    return VARIANTS[name].published if dataset["name"] == "wikipedia" and not dataset["synthetic"] else None


_HEADINGS = "L_pd | L_md | L_ud | classifier | attention | image to text | text to image | average | step"
_MARKED = ("mutual", "unpaired", "classifier", "attention")  # as the columns stand
_ERRORS = 2  # standard errors that a difference must exceed to be shown
_SELECTION = {"map": "average map@50", "recall": "mean of recall@1, @5 and @10"}


def ablate(
    config: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], directory: Path, *, fresh: bool, command: str
) -> int:
    """Trains the rows, writes the tables and the figure, and prints one table.

    Args:
        config: a valid config, of all of GPLDAN.
        seeds: of the runs.
        directory: the workdir.
        fresh: whether to delete the ablation found there.
        command: what was called.

    Returns:
        The exit status: 0, or 1 where a row failed.

    Raises:
        ValueError: bad input; nothing was written.
    """
    check(config)
    dataset, _ = session.load(config["dataset"])
    criterion = config["train"]["selection"]
    fitting.check_comparable(dataset, config["train"]["batch_size"], criterion)
    whole = fitting.methods(config, dataset)["gpldan"]
    methods = [
        dataclasses.replace(whole, name=row.name, title=row.title, settings=(row.settings(),))
        for row in VARIANTS.values()
    ]
    description = session.describe(config, dataset)
    with workdirs.opened(directory, description, fresh=fresh, holds=(*TABLES, FIGURE, *VARIANTS)):
        rows = fitting.fit_showing(methods, dataset, seeds, directory, criterion=criterion)
        metric = "map@50" if dataset.test.labels is not None else "recall@10"
        averages = {name: published(name, config["dataset"]) for name in VARIANTS}
        shown = {
            "dataset": dataset.title,
            "metric": metric,
            "chance": retrieval.chance(len(dataset.test), dataset.test.labels)[metric],
            "published": averages,
        }
        text = markdown(rows, seeds=seeds, criterion=criterion, command=command, **shown)
        about = {key: description[key] for key in ("dataset", "versions")}
        about |= {"synthetic": dataset.synthetic, "metric": metric, "seeds": seeds, "command": command}
        contents = (text, table_csv(rows, seeds=seeds, published=averages), record(rows, about, published=averages))
        for table, content in zip(TABLES, contents, strict=True):
            _files.write_text(directory / table, content)
        has_figure = _draw(rows, directory / FIGURE, **shown)
    print(f"\n{text}\nwritten to {directory}: {', '.join(TABLES)}{f', {FIGURE}' if has_figure else ''}")
    if not has_figure:
        print(f"{FIGURE} needs matplotlib: pip install 'gpldan_jax[plots]', then the same command", file=sys.stderr)
    return int(any(row.failed for row in rows))


def _draw(rows, path, **shown):
    try:
        from gpldan_jax.studies import figures  # matplotlib takes a second to import
    except ImportError:
        path.unlink(missing_ok=True)  # it would not be of these tables
        return False
    figures.draw_ablation(rows, path, **shown)
    return True


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

    Example:
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
