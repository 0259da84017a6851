"""The comparison of methods on the same features, as Table 2 of the paper has it, in Markdown, CSV and JSON.

The published figures are of features (VGG-19, AlexNet, BERT) that do not circulate, so they are for orientation.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax.baselines.registry import METHODS
from gpldan_jax.data import is_labelled
from gpldan_jax.data.files.checks import did_you_mean
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies import fitting, tables
from gpldan_jax.studies.fitting import BANK, OURS, Row
from gpldan_jax.studies.grid_points import Config
from gpldan_jax.studies.significance import paired_bootstrap
from gpldan_jax.studies.tables import DIRECTIONS, SELECTION, TITLES, seeds_in_words

TABLES = ("table2.md", "table2.csv", "table2.json")

_PUBLISHED_METHODS = ("cmcp", "acmr", "dscmr", "jrl", "cca", "dcca", "dccae", "cdpae", "gpldan")
_PUBLISHED = {  # image to text, text to image, average
    "wikipedia": (
        (0.499, 0.443, 0.493, 0.472, 0.296, 0.388, 0.361, 0.470, 0.482),
        (0.593, 0.499, 0.632, 0.560, 0.346, 0.426, 0.425, 0.475, 0.543),
        (0.546, 0.471, 0.563, 0.516, 0.321, 0.407, 0.393, 0.473, 0.513),
    ),
    "pascal": (
        (0.378, 0.407, 0.392, 0.341, 0.279, 0.366, 0.405, 0.413, 0.476),
        (0.355, 0.410, 0.415, 0.359, 0.256, 0.354, 0.413, 0.353, 0.462),
        (0.366, 0.408, 0.404, 0.350, 0.268, 0.360, 0.409, 0.383, 0.469),
    ),
    "nuswide": (
        (0.378, 0.306, 0.408, 0.400, 0.258, 0.346, 0.329, 0.383, 0.389),
        (0.334, 0.308, 0.373, 0.376, 0.250, 0.337, 0.337, 0.368, 0.381),
        (0.356, 0.307, 0.390, 0.388, 0.254, 0.342, 0.333, 0.376, 0.385),
    ),
    "xmedia": (
        (0.831, 0.895, 0.911, 0.899, 0.122, 0.762, 0.772, 0.901, 0.904),
        (0.765, 0.931, 0.935, 0.934, 0.120, 0.801, 0.773, 0.947, 0.942),
        (0.798, 0.913, 0.923, 0.917, 0.121, 0.773, 0.781, 0.924, 0.923),
    ),
}


def published_text(dataset: str, method: str) -> str:
    """Returns the MAP@50 that the paper reports for a method, as a cell of a table.

    Example:
        >>> published_text("wikipedia", "gpldan"), published_text("cub", "gpldan")
        ('0.482 / 0.543 / 0.513', '')

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Table 2.
    """
    return " / ".join(f"{figure:.3f}" for figure in _published(dataset, method) or ())


def method_names() -> list[str]:
    """Returns the names of the methods that `compare` knows, in the order of the table."""
    return [*METHODS, *fitting.GPLDAN_NAMES]


def method_titles() -> dict[str, str]:
    """Returns what each method of `method_names()` is called in a table; `supervised` methods say so."""
    titles = {name: method.title for name, method in METHODS.items()}
    titles |= {
        name: f"{method.title} ({method.supervision})"
        for name, method in METHODS.items()
        if method.supervision != "unsupervised"
    }
    return titles | fitting.gpldan_titles()


def compare(
    config: Config,
    methods: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    fresh: bool = False,
    command: str = "",
) -> int:
    """Fits methods, writes the tables and prints one of them; finished fits are skipped.

    Args:
        config: a valid config.
        methods: names of `method_names()`.
        seeds: the seeds of the fits.
        folder: the workdir.
        fresh: whether to delete a comparison in the folder and start over.
        command: the command line, for the files.

    Returns:
        The exit status: 0, or 1 where a method failed.

    Raises:
        ValueError: bad input; nothing was written.
    """
    if unknown := [name for name in methods if name not in method_names()]:
        near = did_you_mean(unknown[0], method_names())
        raise ValueError(f"methods: no method {unknown[0]!r}{near}; there are {', '.join(method_names())}")
    dataset = fitting.load_comparable(config)
    criterion, epochs = config["train"]["selection"], config["train"]["epochs"]
    known = METHODS | fitting.gpldan_methods(config, dataset)
    chosen = [known[name] for name in method_names() if name in methods]
    labelled = dataset.train.labels is not None and is_labelled(dataset.train.labels).any()
    if not labelled and (needing := [of.name for of in chosen if of.supervision != "unsupervised"]):
        raise ValueError(f"{dataset.title} has no training pairs with labels, which {needing[0]} needs")
    description = session.describe(config, dataset)
    with workdirs.open_workdir(folder, description, fresh=fresh, holds=(*TABLES, *known)):
        rows = fitting.fit_and_show(chosen, dataset, seeds, folder, criterion=criterion, epochs=epochs)
        metric = fitting.main_metric_of(dataset)
        name = "" if dataset.synthetic else config["dataset"]["name"]  # nothing is published for generated features
        shown = {"name": name, "metric": metric, "seeds": seeds, "criterion": criterion, "command": command}
        text = _markdown(rows, dataset=dataset.title, **shown)
        about = {"dataset": dataset.title, "synthetic": dataset.synthetic, "seeds": seeds, "command": command}
        about |= {"criterion": criterion, "bank": BANK}
        about["versions"] = description["versions"]
        tables.write_tables(folder, TABLES, text, _csv(rows, name=name), _record(rows, about))
    print(f"\n{text}\nwritten to {folder}: {', '.join(TABLES)}")
    return int(any(row.failed for row in rows))


def _markdown(
    rows: Sequence[Row], *, dataset: str, name: str, metric: str, seeds: Sequence[int], criterion: str, command: str
) -> str:
    """Returns a table for a paper or an issue: means over seeds, the best average of each supervision in bold."""
    best = {
        bank: tables.best_of_groups(
            (row.method.supervision, row.method.name, statistics.mean(row.values(metric, bank=bank)))
            for row in rows
            if row.figures and (row.banked or not bank)
        )
        for bank in (False, True)
    }
    lines = []
    for row in rows:
        method = row.method
        cells = [method.title, method.supervision + (", transductive" if method.transductive else "")]
        if row.failed:
            lines.append([*cells, f"failed: {row.failed}", "", "", "", "", "", ""])
            continue
        cells += [str(tables.mean_and_sd(row.values(metric, direction))) for direction in DIRECTIONS]
        cells.append(str(tables.mean_and_sd(row.values(metric, bank=True))) if row.banked else "")
        for place, bank in ((-2, False), (-1, True)):
            if method.name in best[bank] and cells[place]:
                cells[place] = f"**{cells[place]}**"
        cells.append(f"{statistics.mean(figures[metric]['average'] for figures in row.validation):.3f}")
        lines.append([*cells, published_text(name, method.name), f"{row.seconds:.1f}"])
    columns = [f"{dataset}, {metric}", "supervision", *TITLES.values(), "average with a bank"]
    table = tables.markdown_table([*columns, "on validation", "published", "seconds"], lines, "llrrrrrrr")
    notes = " ".join(_notes(rows, name, seeds, criterion))
    return "\n".join([*table, "", notes, "", *_differences(rows), f"    {command}", ""])


def _differences(rows: Sequence[Row]) -> list[str]:
    """Returns a table of our recipe against each other unsupervised method, by the paired bootstrap over queries."""
    ours = next((row for row in rows if row.method.name == OURS and row.queries), None)
    if ours is None:
        return []
    lines = []
    for row in rows:
        if row is ours or not row.queries or row.method.supervision != "unsupervised" or row.method.name == "chance":
            continue
        cells = [str(paired_bootstrap(ours.queries, row.queries)), "", ""]
        if row.banked_queries:
            cells[1] = str(paired_bootstrap(ours.banked_queries, row.banked_queries))
        cells[2] = str(paired_bootstrap(ours.banked_queries, row.queries))
        lines.append([row.method.title, *cells])
    columns = ["ours less this method, map@50", "neither with a bank", "both with a bank", "ours alone with a bank"]
    explanation = (
        "The mean over seeds and both directions, and its 95 % interval by the paired bootstrap over queries "
        "(gpldan_jax.studies.significance)."
    )
    return [*tables.markdown_table(columns, lines, "lrrr"), "", explanation, ""] if lines else []


def _csv(rows: Sequence[Row], *, name: str) -> str:
    """Returns the figures as CSV: a line for each method, seed and metric."""
    lines = []
    for row in rows:
        *_, average = _published(name, row.method.name) or (None,)
        for bank in (False, True):
            about = [row.method.name, row.method.supervision, int(bank)]
            lines += [[*about, *line] for line in row.csv_lines(average, bank=bank)]
    return tables.csv_text(["method", "supervision", "bank", "run", "metric", *DIRECTIONS, "published_average"], lines)


def _record(rows: Sequence[Row], about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures, the settings and the trials of each method for a JSON file."""
    methods = []
    for row in rows:
        record = {key: getattr(row.method, key) for key in ("name", "title", "supervision", "transductive", "source")}
        record |= {"settings": row.settings, "tried": len(row.method.settings)}
        names = ("trials", "figures", "validation", "banked", "banked_validation", "seconds", "failed")
        record |= {name: getattr(row, name) for name in names}
        methods.append(record)
    return {**about, "methods": methods}


def _notes(rows, name, seeds, criterion):
    budget = ", ".join(f"{row.method.title} {len(row.method.settings)}" for row in rows)
    yield (
        f"On test; {seeds_in_words(seeds)}. The settings of each method were chosen on validation with the first seed, "
        f"among: {budget}."
    )
    yield f"Epochs and settings were chosen by {SELECTION[criterion]}."
    yield "On validation: the average, mean over seeds. Seconds are of one fit and its test distances, the median."
    if any(row.banked for row in rows):
        yield (
            f"With a bank: the same fits, after each item was moved by {BANK['pairs']} training pairs at most "
            "(gpldan_jax.models.move); empty for methods that do not encode each item by itself as a direction."
        )
    if any(row.method.name == OURS for row in rows):
        yield "Ours: the recipe of configs/ours.py, one setting for every dataset, and what it is without its parts."
    if any(_published(name, row.method.name) for row in rows):
        yield (
            "Published (arXiv 2106.13552: image to text / text to image / average) are figures of other features: "
            "VGG-19, AlexNet, BERT."
        )


def _published(dataset: str, method: str) -> tuple[float, ...] | None:
    """Returns the published image to text, text to image and average; `None` where there are none."""
    if dataset not in _PUBLISHED or method not in _PUBLISHED_METHODS:
        return None
    place = _PUBLISHED_METHODS.index(method)
    return tuple(figures[place] for figures in _PUBLISHED[dataset])
