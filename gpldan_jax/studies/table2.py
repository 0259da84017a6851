"""The table of a comparison in Markdown, CSV and JSON, as Table 2 of the paper has it."""

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax import _files
from gpldan_jax.baselines import published
from gpldan_jax.baselines.registry import METHODS
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies import fitting
from gpldan_jax.studies.fitting import Row

DIRECTIONS = ("image_to_text", "text_to_image", "average")


TABLES = ("table2.md", "table2.csv", "table2.json")


def method_names() -> list[str]:
    """The methods that `compare` knows, in the order of the table."""
    return [*METHODS, *fitting.NAMES]


def compare(
    config: Mapping[str, Mapping[str, Any]],
    methods: Sequence[str],
    seeds: Sequence[int],
    directory: Path,
    *,
    fresh: bool,
    command: str,
) -> int:
    """Fits methods, writes the tables and prints one of them.

    Args:
        config: a valid config.
        methods: names, of `method_names()`.
        seeds: of the fits.
        directory: the workdir.
        fresh: whether to delete the comparison found there.
        command: what was called.

    Returns:
        The exit status: 0, or 1 where a method failed.

    Raises:
        ValueError: bad input; nothing was written.
    """
    dataset, _ = session.load(config["dataset"])
    criterion, epochs = config["train"]["selection"], config["train"]["epochs"]
    fitting.check_comparable(dataset, config["train"]["batch_size"], criterion)
    known = METHODS | fitting.methods(config, dataset)
    chosen = [known[name] for name in method_names() if name in methods]
    if dataset.train.labels is None and (needing := [of.name for of in chosen if of.supervision != "unsupervised"]):
        raise ValueError(f"{dataset.title} has no labels, which {needing[0]} needs")
    description = session.describe(config, dataset)
    with workdirs.opened(directory, description, fresh=fresh, holds=(*TABLES, *known)):
        rows = fitting.fit_showing(chosen, dataset, seeds, directory, criterion=criterion, epochs=epochs)
        metric = "map@50" if dataset.test.labels is not None else "recall@10"
        name = "" if dataset.synthetic else config["dataset"]["name"]  # nothing is published of generated features
        about = {"dataset": dataset.title, "synthetic": dataset.synthetic, "seeds": seeds, "command": command}
        text = markdown(rows, dataset=dataset.title, name=name, metric=metric, seeds=seeds, command=command)
        versions = {"versions": description["versions"]}
        contents = (text, table_csv(rows, name=name), record(rows, about | versions))
        for table, content in zip(TABLES, contents, strict=True):
            _files.write_text(directory / table, content)
    print(f"\n{text}\nwritten to {directory}: {', '.join(TABLES)}")
    return int(any(row.failed for row in rows))


def markdown(rows: Sequence[Row], *, dataset: str, name: str, metric: str, seeds: Sequence[int], command: str) -> str:
    """A table for a paper or an issue: mean ± standard deviation over seeds, the best average of each group in bold.

    Args:
        rows: in the order of the table.
        dataset: its title.
        name: its name, for the published figures.
        metric: such as `"map@50"`.
        seeds: of the fits.
        command: what was called.
    """
    best = _best(rows, metric)
    lines = [
        f"| {dataset}, {metric} | supervision | image to text | text to image | average | on validation | published "
        "| seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        method = row.method
        supervision = method.supervision + (", transductive" if method.transductive else "")
        if row.failed:
            lines.append(f"| {method.title} | {supervision} | failed: {row.failed.replace('|', '/')} | | | | | |")
            continue
        cells = [spread(values(row, metric, direction)) for direction in DIRECTIONS]
        if method.name in best:
            cells[2] = f"**{cells[2]}**"
        cells.append(f"{statistics.mean(figures[metric]['average'] for figures in row.validation):.3f}")
        cells.append(" / ".join(f"{figure:.3f}" for figure in published.row(name, method.name) or ()))
        lines.append(f"| {method.title} | {supervision} | {' | '.join(cells)} | {row.seconds:.1f} |")
    budget = ", ".join(f"{row.method.title} {len(row.method.settings)}" for row in rows)
    over = ("mean ± standard deviation over seeds " if len(seeds) > 1 else "seed ") + ", ".join(map(str, seeds))
    notes = [
        f"On test; {over}. The settings of each method were chosen on validation with the first seed, among: {budget}."
    ]
    notes.append(
        "On validation: the average, mean over seeds. Seconds are of one fit and its test distances, the median."
    )
    if any(row.method.title.endswith("(ours)") for row in rows):
        notes.append(
            "Ours: GPLDAN with targets from neighbourhoods of training pairs, with an InfoNCE term, and with both."
        )
    if any(published.row(name, row.method.name) for row in rows):
        notes.append(
            "Published (arXiv 2106.13552: image to text / text to image / average) are figures of other features: "
            "VGG-19, AlexNet, BERT."
        )
    return "\n".join([*lines, "", " ".join(notes), "", f"    {command}", ""])


def table_csv(rows: Sequence[Row], *, name: str) -> str:
    """A line for each method, seed and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "supervision", "run", "metric", *DIRECTIONS, "published_average"])
    for row in rows:
        for run, figures in enumerate(row.figures):
            for metric, found in figures.items():
                known = published.row(name, row.method.name) if metric == "map@50" else None
                cells = [repr(float(found[direction])) for direction in DIRECTIONS]
                writer.writerow([row.method.name, row.method.supervision, run, metric, *cells, known and known[-1]])
    return text.getvalue()


def record(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """All of it as JSON.

    Args:
        rows: in the order of the table.
        about: what else the file says.
    """
    methods = [
        {
            "name": row.method.name,
            "title": row.method.title,
            "supervision": row.method.supervision,
            "transductive": row.method.transductive,
            "source": row.method.source,
            "settings": row.settings,
            "tried": len(row.method.settings),
            "trials": row.trials,
            "figures": row.figures,
            "validation": row.validation,
            "seconds": row.seconds,
            "failed": row.failed,
        }
        for row in rows
    ]
    return json.dumps({**about, "methods": methods}, indent=2) + "\n"


def values(row: Row, metric: str, direction: str) -> list[float]:
    """A figure of each seed."""
    return [figures[metric][direction] for figures in row.figures]


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± standard deviation; of a single value, itself.

    Args:
        values: one for each seed.
        sign: `"+"` gives a mean above 0 its sign too.

    Example:
        >>> spread([0.25, 0.5]), spread([0.25], "+")
        ('0.375 ± 0.177', '+0.250')
    """
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.3f}{deviation}"


def _best(rows, metric):
    """The method with the best mean of each group."""
    groups = {}
    for row in rows:
        if row.figures:
            mean = statistics.mean(values(row, metric, "average"))
            groups.setdefault(row.method.supervision, []).append((mean, row.method.name))
    return {max(group)[1] for group in groups.values()}
