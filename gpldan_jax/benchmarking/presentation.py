"""A benchmark's results to read: a table for each mode, for the terminal or in Markdown."""

from collections.abc import Mapping, Sequence

import rich.box
import rich.console
import rich.table

from gpldan_jax.benchmarking.results import MODE_TITLES, Row, title

_NOISY = 1.5
_WIDTH, _MARKDOWN_WIDTH = 120, 200
_WORDS = ("implementation", "precision", "reached")


def show(record: Mapping, *, markdown: bool) -> None:
    """Prints the tables, the ceilings, and why what was not run was not."""
    console = _console(markdown)
    for mode in dict.fromkeys(row.mode for row in record["rows"]):
        columns = _columns([row for row in record["rows"] if row.mode == mode])
        console.print(title(record, mode), _table(columns, markdown), sep="\n")
    if any(row.mode == "train" for row in record["rows"]):
        console.print("times are of one step of one member; memory is of all members; loss is of the first step")
    for library, precisions in record["ceilings"].items():
        for precision, found in precisions.items():
            rate, shape = found["flops_per_s"] / 1e9, " x ".join(map(str, found["shape"]))
            console.print(f"ceiling: {library}, {precision}: {rate:,.1f} Gflop/s ({shape})")
    if any(row.median_s and row.median_s > _NOISY * row.min_s for row in record["rows"]):
        console.print(
            "medians far above the minimum: the machine was busy with something else, which hits torch hardest"
        )
    if record["benchmark"] == "search":
        console.print(f"peak memory of the process, mapped files included: {record['peak_memory_bytes'] / 1e9:.2f} GB")
    for row in record["rows"]:
        if row.not_run:
            console.print(f"{row.implementation}, {MODE_TITLES[row.mode]}, {row.precision}, n = {row.n}: {row.not_run}")


def show_quality(record: Mapping, *, markdown: bool) -> None:
    """Prints the table of the times to quality."""
    outcomes, console = record["rows"], _console(markdown)
    criterion = {"map": "map@50", "recall": "recall"}[record["problem"]["train"]["selection"]]
    columns = {
        "implementation": [outcome.implementation for outcome in outcomes],
        "reached": [
            f"epoch {outcome.reached_epoch}" if outcome.reached_epoch else f"not by epoch {len(outcome.values)}"
            for outcome in outcomes
        ],
        "training s": [_rounded(outcome.train_s) for outcome in outcomes],
        "compilation s": [_rounded(outcome.compile_s) for outcome in outcomes],
        f"validation {criterion}": [f"{outcome.values[-1]:.4f}" for outcome in outcomes],
        "best": [f"{max(outcome.values):.4f}" for outcome in outcomes],
    }
    console.print(f"{title(record, 'quality')}: validation {criterion} of {record['target']:g}")
    console.print(_table(columns, markdown))
    console.print("training s: of the epochs alone; the evaluation after each, the same code for all, is not in it")
    if any(record["problem"]["denoise"].values()):
        console.print("inputs are denoised: jax and torch draw columns of their own, and models differ a little")


def _console(markdown):
    console = rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    # Of a pipe the width is 80, which would cut the cells; Markdown has no headings of two lines.
    console.width = max(console.width, _MARKDOWN_WIDTH if markdown else _WIDTH)
    return console


def _table(columns, markdown):
    table = rich.table.Table(box=rich.box.MARKDOWN if markdown else rich.box.SIMPLE_HEAD, collapse_padding=True)
    for heading in columns:
        is_text = heading in _WORDS
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=is_text or markdown)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The cells under each heading, without the columns that are empty."""
    columns = {
        "n": [str(row.n) for row in rows],
        "implementation": [_name(row) for row in rows],
        "precision": [row.precision for row in rows],
        "median ms": ["not run" if row.not_run else _rounded(row.median_s, 1e3) for row in rows],
        "min ms": [_rounded(row.min_s, 1e3) for row in rows],
        "steps/s": [_rounded(row.steps_per_s) if row.mode == "train" else "" for row in rows],
        "pictures/s" if rows[0].mode == "features" else "pairs/s": [_rounded(row.pairs_per_s) for row in rows],
        "of ceiling": [_percent(row.fraction_of_ceiling) for row in rows],
        "of best": [_percent(row.fraction_of_best_ceiling) for row in rows],
        "memory MB": [_rounded(row.memory_bytes, 1e-6) for row in rows],
        "temp MB": [_rounded(row.temp_bytes, 1e-6) for row in rows],
        "compile s": [_rounded(row.compile_s) for row in rows],
        "loss": ["" if row.loss is None else f"{row.loss:.5f}" for row in rows],
        "recall": ["" if row.recall is None else f"{row.recall:.3f}" for row in rows],
    }
    return {heading: cells for heading, cells in columns.items() if any(cells)}


def _name(row):
    return f"{row.implementation} of {row.members}" if row.members > 1 else row.implementation


def _rounded(value, scale=1.0):
    """Three digits, or all before the point."""
    if value is None:
        return ""
    return f"{value * scale:,.0f}" if value * scale >= 100 else f"{value * scale:.3g}"


def _percent(fraction):
    return "" if fraction is None else f"{fraction:.1%}"
