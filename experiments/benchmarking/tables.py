"""A benchmark's results to read: a table for each mode, for the terminal or in Markdown."""

from collections.abc import Mapping, Sequence

import rich.box
import rich.console
import rich.table

from experiments.benchmarking import machine
from experiments.benchmarking.results import MODE_TITLES, Row

_NOISY = 1.5
_WIDTH, _MARKDOWN_WIDTH = 120, 200


def show(record: Mapping, *, markdown: bool) -> None:
    """Prints the tables, the ceilings, and why what was not run was not."""
    console = rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    # Of a pipe the width is 80, which would cut the cells; Markdown has no headings of two lines.
    console.width = max(console.width, _MARKDOWN_WIDTH if markdown else _WIDTH)
    for mode in dict.fromkeys(row.mode for row in record["rows"]):
        columns = _columns([row for row in record["rows"] if row.mode == mode])
        table = rich.table.Table(box=rich.box.MARKDOWN if markdown else rich.box.SIMPLE_HEAD, collapse_padding=True)
        for heading in columns:
            is_text = heading in ("implementation", "precision")
            table.add_column(heading, justify="left" if is_text else "right", no_wrap=is_text or markdown)
        for cells in zip(*columns.values(), strict=True):
            table.add_row(*cells)
        console.print(f"{MODE_TITLES[mode]}, {machine.title(record['machine'])}", table, sep="\n")
    for library, precisions in record["ceilings"].items():
        for precision, found in precisions.items():
            rate, shape = found["flops_per_s"] / 1e9, " x ".join(map(str, found["shape"]))
            console.print(f"ceiling: {library}, {precision}: {rate:,.1f} Gflop/s ({shape})")
    if any(row.median_s and row.median_s > _NOISY * row.min_s for row in record["rows"]):
        console.print(
            "medians far above the minimum: the machine was busy with something else, which hits torch hardest"
        )
    for row in record["rows"]:
        if row.not_run:
            console.print(f"{row.implementation}, {MODE_TITLES[row.mode]}, {row.precision}, n = {row.n}: {row.not_run}")


def _columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The cells under each heading, without the columns that are empty."""
    columns = {
        "n": [str(row.n) for row in rows],
        "implementation": [row.implementation for row in rows],
        "precision": [row.precision for row in rows],
        "median ms": ["not run" if row.not_run else _rounded(row.median_s, 1e3) for row in rows],
        "min ms": [_rounded(row.min_s, 1e3) for row in rows],
        "pairs/s": [_rounded(row.pairs_per_s) for row in rows],
        "of ceiling": [_percent(row.fraction_of_ceiling) for row in rows],
        "of best": [_percent(row.fraction_of_best_ceiling) for row in rows],
        "memory MB": [_rounded(row.memory_bytes, 1e-6) for row in rows],
        "temp MB": [_rounded(row.temp_bytes, 1e-6) for row in rows],
        "compile s": [_rounded(row.compile_s) for row in rows],
        "loss": ["" if row.loss is None else f"{row.loss:.5f}" for row in rows],
    }
    return {heading: cells for heading, cells in columns.items() if any(cells)}


def _rounded(value, scale=1.0):
    """Three digits, or all before the point."""
    if value is None:
        return ""
    return f"{value * scale:,.0f}" if value * scale >= 100 else f"{value * scale:.3g}"


def _percent(fraction):
    return "" if fraction is None else f"{fraction:.1%}"
