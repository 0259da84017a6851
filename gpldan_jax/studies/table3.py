"""The ablation: GPLDAN without its parts, as Table 3 of the paper has it, in Markdown, CSV and JSON, and in words.

The published averages are of features (VGG-19, BERT) that do not circulate, so they are for orientation.
"""

import dataclasses
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from gpldan_jax import retrieval
from gpldan_jax._extras import install_command
from gpldan_jax._figure_style import write_figure
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies import fitting, tables
from gpldan_jax.studies.fitting import Row
from gpldan_jax.studies.grid_points import Config
from gpldan_jax.studies.tables import DIRECTIONS, TITLES, seeds_in_words

TERMS = {"unpaired": "loss.alpha", "mutual": "loss.beta", "classifier": "loss.adversarial", "attention": "model.parts"}
"""The parts that GPLDAN adds to L_pd: L_ud, L_md, the modality classifier, diversified attention; their config keys."""

TABLES, FIGURE = ("table3.md", "table3.csv", "table3.json"), "table3.png"

_WITHOUT = {"loss.alpha": 0.0, "loss.beta": 0.0, "loss.adversarial": 0.0, "model.parts": 1}
_PARTS = ("mutual", "unpaired", "classifier", "attention")  # in the order of their columns
_COLUMNS = ("L_pd", "L_md", "L_ud", "classifier", "attention", *TITLES.values(), "step")
_ERRORS = 2  # standard errors that a difference must exceed to be shown


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of Table 3."""

    number: int  # from 1
    name: str  # of the folder of its runs
    title: str
    adds: str | None  # the part that it has and `extends` has not
    extends: str | None  # the name of the row that it is compared with
    terms: tuple[str, ...]  # its parts besides L_pd, of `TERMS`
    published: float  # average MAP@50 on the paper's Wikipedia

    def settings(self) -> dict[str, float]:
        """Returns the config keys that it changes.

        Example:
            >>> VARIANTS["classifier"].settings()
            {'model.parts': 1}
        """
        return {key: _WITHOUT[key] for term, key in TERMS.items() if term not in self.terms}


_PATTERN = ("unpaired", "mutual")
_ROWS = (
    Variant(1, "pairwise", "L_pd alone", None, None, (), 0.202),
    Variant(2, "mutual", "+ L_md", "L_md", "pairwise", ("mutual",), 0.233),
    Variant(3, "unpaired", "+ L_ud", "L_ud", "pairwise", ("unpaired",), 0.481),
    Variant(4, "pattern", "+ L_md + L_ud", "L_md", "unpaired", _PATTERN, 0.487),
    Variant(5, "classifier", "+ modality classifier", "the classifier", "pattern", (*_PATTERN, "classifier"), 0.496),
    Variant(6, "attention", "+ diversified attention", "diversified attention", "classifier", tuple(TERMS), 0.513),
)
VARIANTS = {row.name: row for row in _ROWS}
"""Every row by its name, in the order of the table."""


def _check_config(config: Config) -> None:
    """Checks that a config has all parts of GPLDAN and no term of ours."""
    for key in TERMS.values():
        group, name = key.split(".")
        if config[group][name] == _WITHOUT[key]:
            raise ValueError(f"config.{key} is {config[group][name]}, so two rows of Table 3 would be the same")
    if weight := config["loss"]["contrastive"]:
        raise ValueError(f"config.loss.contrastive is {weight}, a term that no row of Table 3 has; leave it 0")


def _published(name: str, dataset: Mapping[str, Any]) -> float | None:
    """Returns the average MAP@50 that the paper reports for a row.

    Example:
        >>> _published("unpaired", {"name": "wikipedia", "synthetic": False})
        0.481

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Table 3.
    """
    return VARIANTS[name].published if dataset["name"] == "wikipedia" and not dataset["synthetic"] else None


def ablate(config: Config, seeds: Sequence[int], folder: Path, *, fresh: bool = False, command: str = "") -> int:
    """Trains the rows, writes the tables and the figure, and prints one table; finished fits are skipped.

    Args:
        config: a valid config with all parts of GPLDAN.
        seeds: the seeds of the runs.
        folder: the workdir.
        fresh: whether to delete an ablation in the folder and start over.
        command: the command line, for the files.

    Returns:
        The exit status: 0, or 1 where a row failed.

    Raises:
        ValueError: bad input; nothing was written.
    """
    _check_config(config)
    dataset, criterion = fitting.load_comparable(config), config["train"]["selection"]
    whole = fitting.gpldan_methods(config, dataset)["gpldan"]
    methods = [
        dataclasses.replace(whole, name=row.name, title=row.title, settings=(row.settings(),))
        for row in VARIANTS.values()
    ]
    description = session.describe(config, dataset)
    with workdirs.open_workdir(folder, description, fresh=fresh, holds=(*TABLES, FIGURE, *VARIANTS)):
        rows = fitting.fit_and_show(methods, dataset, seeds, folder, criterion=criterion)
        metric = fitting.main_metric_of(dataset)
        averages = {name: _published(name, config["dataset"]) for name in VARIANTS}
        shown: dict[str, Any] = {
            "dataset": dataset.title,
            "metric": metric,
            "chance": retrieval.chance_of_pairs(dataset.test)[metric],
            "published": averages,
        }
        text = _markdown(rows, seeds=seeds, criterion=criterion, command=command, **shown)
        about = {key: description[key] for key in ("dataset", "versions")}
        about |= {"synthetic": dataset.synthetic, "metric": metric, "seeds": seeds, "command": command}
        csv = _csv(rows, seeds=seeds, published=averages)
        tables.write_tables(folder, TABLES, text, csv, _record(rows, about, published=averages))
        has_figure = _draw(rows, folder / FIGURE, **shown)
    print(f"\n{text}\nwritten to {folder}: {', '.join(TABLES)}{f', {FIGURE}' if has_figure else ''}")
    if not has_figure:
        print(f"{FIGURE} needs matplotlib: {install_command('plots')}, then the same command", file=sys.stderr)
    return int(any(row.failed for row in rows))


def _steps(rows: Sequence[Row], metric: str) -> dict[str, list[float]]:
    """Returns by how much the average of each row differs from that of the row it extends."""
    averages = {row.method.name: row.values(metric) for row in rows if not row.failed}
    bases = {name: averages.get(VARIANTS[name].extends or "") for name in averages}
    return {
        name: [new - old for new, old in zip(averages[name], base, strict=True)]
        for name, base in bases.items()
        if base is not None
    }


def _verdict(differences: Sequence[float]) -> str:
    """Returns whether the mean of some differences exceeds twice its standard error, in words.

    Example:
        >>> _verdict([0.02, 0.03]), _verdict([-0.02, -0.03])
        ('shows (+0.025 ± 0.007)', 'shows, as a drop (−0.025 ± 0.007)')
        >>> _verdict([0.02, -0.03])
        'does not show (−0.005 ± 0.035)'
    """
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    shows = abs(mean) > _ERRORS * error
    found = "does not show" if not shows else "shows" if mean > 0 else "shows, as a drop"
    return f"{found} ({_signed(differences)})"


def _findings(rows: Sequence[Row], metric: str, seeds: Sequence[int]) -> str:
    """Returns in words which steps show, and whether every row with L_ud is above those without it."""
    n = len(seeds)
    if n == 1:
        lines = ["With one seed nothing can be said about single steps; five seeds can show them."]
    else:
        by_chance = float(jax.scipy.special.betainc((n - 1) / 2, 0.5, (n - 1) / (n - 1 + _ERRORS**2)))  # Student's t
        lines = [
            f"A step shows where the mean of its differences exceeds {_ERRORS} standard errors in size (sd / √{n}). Of "
            f"steps that change nothing, {by_chance:.0%} would pass with {n} seeds.",
            "",
        ]
        found = _steps(rows, metric)
        for variant in [VARIANTS[row.method.name] for row in rows]:
            if variant.extends:
                said = _verdict(found[variant.name]) if variant.name in found else "cannot be said, since a row failed"
                step = f"{variant.adds} added to row {VARIANTS[variant.extends].number}"
                lines.append(f"- Row {variant.number}, {step}: {said}")
    return "\n".join([*lines, "", _with_and_without(rows, metric), ""])


def _markdown(
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
    """Returns a table for a paper or an issue: means over seeds; below it, what they show in words."""
    with_published = any(published.values())
    found, lines = _steps(rows, metric), []
    for row in rows:
        variant = VARIANTS[row.method.name]
        cells = [f"{variant.number}. {variant.title}", "✓"]
        cells += ["✓" if term in variant.terms else "" for term in _PARTS]
        if row.failed:
            cells += [f"failed: {row.failed}", "", "", ""]
        else:
            cells += [str(tables.mean_and_sd(row.values(metric, direction))) for direction in DIRECTIONS]
            cells.append(_signed(found[variant.name]) if variant.name in found else "")
        if with_published:
            cells.append(f"{published[variant.name]:.3f}")
        lines.append([*cells, "" if row.failed else f"{row.seconds:.1f}"])
    columns = [f"{dataset}, {metric}", *_COLUMNS, *["published"] * with_published, "seconds"]
    notes = [
        f"On test; {seeds_in_words(seeds)}. Chance is {chance:.3f}. The epoch of each run was chosen by "
        f"{tables.SELECTION[criterion]}. Terms without a mark are left out (without attention k = 1), all else is as "
        "in the config. A step is the difference of the average to that of row 1 (rows 2 and 3), row 3 (row 4) or the "
        "row above, with the same seed. Seconds are of one run and its test distances, compilation included."
    ]
    if with_published:
        notes.append("The published averages are of other features (VGG-19 and BERT).")
    table = tables.markdown_table(columns, lines, "lccccc" + "r" * (len(columns) - 6))
    return "\n".join([*table, "", " ".join(notes), "", _findings(rows, metric, seeds), f"    {command}", ""])


def _csv(rows: Sequence[Row], *, seeds: Sequence[int], published: Mapping[str, float | None]) -> str:
    """Returns the figures as CSV: a line for each row, seed and metric."""
    lines = [
        [row.method.name, seeds[place], *line]
        for row in rows
        for place, *line in row.csv_lines(published[row.method.name])
    ]
    return tables.csv_text(["row", "seed", "metric", *DIRECTIONS, "published_average"], lines)


def _record(rows: Sequence[Row], about: Mapping[str, Any], *, published: Mapping[str, float | None]) -> dict[str, Any]:
    """Returns the figures and settings of each row for a JSON file."""
    found = []
    for row in rows:
        variant = VARIANTS[row.method.name]
        record: dict[str, Any] = {"name": variant.name, "title": row.method.title}
        record |= {"terms": {term: term in variant.terms for term in TERMS}, "settings": variant.settings()}
        record |= {"figures": row.figures, "published": published[variant.name]}
        found.append(record | {"seconds": row.seconds, "failed": row.failed})
    return {**about, "rows": found}


def _draw(rows, path, **shown):
    try:
        from gpldan_jax.studies import figures  # matplotlib takes a second to import
    except ImportError:
        path.unlink(missing_ok=True)  # an old figure would not belong to these tables
        return False
    write_figure(figures.compose_ablation(rows, **shown), path)
    return True


def _signed(differences):
    return f"{tables.mean_and_sd(differences):+}".replace("-", "\N{MINUS SIGN}")


def _with_and_without(rows, metric):
    if any(row.failed for row in rows):
        return "Whether L_ud makes the difference cannot be said, since a row failed."
    means = {True: [], False: []}
    for row in rows:
        means["unpaired" in VARIANTS[row.method.name].terms].append(statistics.mean(row.values(metric)))
    worst, best = min(means[True]), max(means[False])
    between = f"the least mean with it is {worst:.3f}, the greatest without {best:.3f}"
    if worst > best:
        return f"L_pd alone and L_pd + L_md are below every row with L_ud, by {worst - best:.3f} or more: {between}."
    return f"L_pd alone and L_pd + L_md are not both below every row with L_ud: {between}."
