"""Shows the results of a benchmark: tables for the terminal or in Markdown, the comparison of two runs, and plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table

from gpldan_jax import _files
from gpldan_jax._extras import needed_for
from gpldan_jax.benchmarking import results
from gpldan_jax.benchmarking.problem import (
    COMPILED,
    IMPLEMENTATIONS,
    JAX_TRAINERS,
    Problem,
    machine_title,
    minimum_flops,
)
from gpldan_jax.benchmarking.results import MODE_TITLES, Row
from gpldan_jax.studies.grid_summaries import CRITERIA

_NOISY = 1.5
_WIDTH, _MARKDOWN_WIDTH = 150, 200
_WORDS = ("implementation", "precision", "reached", "program", "limit", "part", "outcome")
_FEW_DECADES = 300  # below, an axis with a tick a decade could be left with one
_STYLES = {"default": "-.", "bfloat16": ":"}
# A colour and a marker mean the same in every plot; markers differ because equally fast lines lie on each other.
_NAMES = (*(name for name in IMPLEMENTATIONS if name != COMPILED), *JAX_TRAINERS, COMPILED)
_MARKERS = dict(zip(_NAMES, "oX^sDvPhp*<>", strict=True))


def show(record: Mapping[str, Any], *, markdown: bool = False) -> None:
    """Prints the tables of a record, and what a reader must know about the figures in them."""
    if record["benchmark"] == "quality":
        _show_quality(record, markdown)
        return
    if record["benchmark"] == "compile":
        _show_compile(record, markdown)
        return
    console, rows = _console(markdown), record["rows"]
    for mode in dict.fromkeys(row.mode for row in rows):
        columns = _columns([row for row in rows if row.mode == mode])
        console.print(_title(record, mode), _table(columns, markdown), sep="\n")
    if any(row.mode == "train" for row in rows):
        console.print("times are of one step of one member; memory is of all members; loss is of the first step")
    for library, precisions in record["ceilings"].items():
        for precision, found in precisions.items():
            rate, shape = found["flops_per_s"] / 1e9, " x ".join(map(str, found["shape"]))
            console.print(f"ceiling: {library}, {precision}: {rate:,.1f} Gflop/s ({shape})")
    if any(row.median_s and row.median_s > _NOISY * row.min_s for row in rows):
        console.print("some medians are far above the minimum: the machine was busy, which slows torch down most")
    if any(row.loss_error is not None for row in rows):
        console.print("errors are relative, against float64; of the gradient by the features in L2")
    if record["benchmark"] == "search":
        console.print(f"peak memory of the process, mapped files included: {record['peak_memory_bytes'] / 1e9:.2f} GB")
    if any(row.implementation == COMPILED and row.compile_s for row in rows):
        console.print(f"compile s of {COMPILED} is its first call; its memory is not measured")
    for row in rows:
        if row.not_run:
            console.print(f"{_describe(row)}: {row.not_run}")


def show_all(record: Mapping[str, Any], *, markdown: bool = False) -> None:
    """Prints what `gpldan benchmark all` found: a table for each problem, and what became of each part."""
    console = _console(markdown)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for found in (part["record"] for part in record["parts"] if part["record"]):
        groups.setdefault(f"{found['benchmark']} {found['problem']}", []).append(found)
    for same in groups.values():
        # Each part has ceilings of its own, beside which its fractions stand; one table has the rows of all.
        rows = sorted((row for found in same for row in found["rows"]), key=lambda row: row.n)
        show({**same[0], "rows": rows, "ceilings": same[0]["ceilings"] if len(same) == 1 else {}}, markdown=markdown)
    columns = {
        "part": [part["name"] for part in record["parts"]],
        "s": [f"{part['seconds']:.0f}" for part in record["parts"]],
        "outcome": [
            part["failed"] or (f"without {part['left_out']}" if part["left_out"] else "finished")
            for part in record["parts"]
        ],
    }
    console.print(f"budget {record['budget_s']:.0f} s")
    console.print(_table(columns, markdown))


def show_comparison(old: Mapping[str, Any], new: Mapping[str, Any], threshold: float) -> bool:
    """Prints how much faster one run was than another."""
    compared = results.compare(old, new)
    print(f"old: {machine_title(old['machine'])}; new: {machine_title(new['machine'])}")
    print(f"{'old time / new time':60}  measured  relative to each run's ceiling")
    for row, raw, normalised in compared:
        print(f"{_describe(row):60} {raw:9.3f} {normalised:9.3f}{'  slower' if normalised < threshold else ''}")
    return all(normalised >= threshold for _, _, normalised in compared)


def draw(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws two panels for each record and mode: time, with the floor dashed, and memory, against the number of pairs.

    The benchmarks of the records are `results.DRAWABLE`. Where nothing was timed it raises `ValueError`.
    """
    with needed_for("drawing results", "plots"):
        from matplotlib.figure import Figure
    panels = [
        (record, mode)
        for record in records
        for mode in dict.fromkeys(row.mode for row in record["rows"] if row.median_s)
    ]
    if not panels:
        raise ValueError("nothing to plot: no implementation ran")
    figure = Figure(figsize=(12, 4.4 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 2, squeeze=False)
    for (time, memory), (record, mode) in zip(axes, panels, strict=True):
        _draw_panels(time, memory, record, mode)
    with _files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _show_quality(record, markdown):
    outcomes, console = record["rows"], _console(markdown)
    criterion = CRITERIA[record["problem"]["train"]["selection"]]
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
    console.print(f"{_title(record, 'quality')}: validation {criterion} of {record['target']:g}")
    console.print(_table(columns, markdown))
    console.print("training s is without the evaluation after each epoch, which is the same code for all")
    if any(record["problem"]["denoise"].values()):
        console.print("inputs are denoised: jax and torch draw columns of their own, and models differ a little")


def _show_compile(record, markdown):
    rows, console, target = record["rows"], _console(markdown), record["target"]
    columns = {
        "n": [str(row.n) for row in rows],
        "program": [f"{row.what}, {row.precision}" for row in rows],
        "compile s": ["not run" if row.not_run else _rounded(row.compile_s) for row in rows],
        "CPU s": [_rounded(row.compile_cpu_s) for row in rows],
        "code MB": [_rounded(row.code_bytes, 1e-6) for row in rows],
        "args MB": [_rounded(row.argument_bytes, 1e-6) for row in rows],
        "out MB": [_rounded(row.output_bytes, 1e-6) for row in rows],
        "temp MB": [_rounded(row.temp_bytes, 1e-6) for row in rows],
        "XLA Gflop": [_rounded(row.xla_flops, 1e-9) for row in rows],
        "XLA MB": [_rounded(row.xla_bytes, 1e-6) for row in rows],
        "min Gflop": [_rounded(sum(row.minimum_flops.values()) or None, 1e-9) for row in rows],
        "sent MB": [_rounded(row.sent_bytes or None, 1e-6) for row in rows],
        "roof ms": [_rounded(row.roofline_s, 1e3) for row in rows],
        "limit": [row.roofline_limit or "" for row in rows],
    }
    on = machine_title(record["machine"])
    shared = f"{target['devices']} x {target['device_kind']}"
    if target["hosts"] > 1:
        shared += f", a mesh of {target['hosts']} hosts and the devices of each,"
    console.print(f"compiled for {shared} on {on}; figures are of one device")
    console.print(_table({heading: cells for heading, cells in columns.items() if any(cells)}, markdown))
    for row in rows:
        name = f"{row.what}, {row.precision}, n = {row.n}"
        if row.not_run:
            console.print(f"{name}: {row.not_run}")
        for one in row.exchange.collectives if row.exchange else ():
            sent = f"run {one.executions} times, send {_rounded(one.sent_bytes, 1e-6)} MB"
            if one.asynchronous and one.waiting_bytes:
                sent += f", {_rounded(one.waiting_bytes, 1e-6)} MB of them while the device waits"
            between = f"{one.overlapped} with compute between start and done, {one.beside_products} with products"
            console.print(f"{name}: {one.sites} {one.kind}, {sent}; {one.asynchronous} asynchronous, {between}")
        if row.exchange and row.exchange.unknown_loops:
            console.print(f"{name}: {row.exchange.unknown_loops} loops of unknown length are counted once")
    if any(row.roofline for row in rows):
        console.print("roof ms is the roofline time: the largest of min Gflop, XLA MB and sent MB by these peaks")
    if peak := record["peak"]:
        rates = ", ".join(
            f"{name} {peak['flops_per_s'][name] / 1e12:.4g} Tflop/s ({peak['formats'][name]})"
            for name in dict.fromkeys(kind for row in rows for kind in row.minimum_flops)
        )
        memory, link = (f"{peak[key] / 1e9:.4g} GB/s" for key in ("memory_bytes_per_s", "link_bytes_per_s"))
        console.print(f"peaks of a device: {rates}; memory {memory}; links {link}; {', '.join(peak['sources'])}")


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
    """Returns the cells under each heading, without the columns that are empty."""
    columns = {
        "n": [str(row.n) for row in rows],
        "implementation": [_name(row) for row in rows],
        "precision": [row.precision for row in rows],
        "tile": [str(row.block_size or "") for row in rows],
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
        "loss error": ["" if row.loss_error is None else f"{row.loss_error:.0e}" for row in rows],
        "grad error": ["" if row.gradient_error is None else f"{row.gradient_error:.0e}" for row in rows],
        "recall": ["" if row.recall is None else f"{row.recall:.3f}" for row in rows],
    }
    return {heading: cells for heading, cells in columns.items() if any(cells)}


def _title(record, mode):
    loss = record["problem"].get("loss", "").replace("_", " ") if record["benchmark"] == "loss" else None
    parts = (MODE_TITLES[mode], loss, record.get("dataset"), machine_title(record["machine"]))
    return ", ".join(part for part in parts if part)


def _describe(row):
    tile = f", tile {row.block_size}" if row.block_size else ""
    return f"{row.implementation}, {MODE_TITLES[row.mode]}, {row.precision}, n = {row.n}{tile}"


def _name(row):
    return f"{row.implementation} of {row.members}" if row.members > 1 else row.implementation


def _rounded(value, scale=1.0):
    # Three digits, or all before the point.
    if value is None:
        return ""
    return f"{value * scale:,.0f}" if value * scale >= 100 else f"{value * scale:.3g}"


def _percent(fraction):
    return "" if fraction is None else f"{fraction:.1%}"


def _draw_panels(time, memory, record, mode):
    rows = [row for row in record["rows"] if row.mode == mode]
    for name, precision in dict.fromkeys((row.implementation, row.precision) for row in rows):
        line = [row for row in rows if (row.implementation, row.precision) == (name, precision)]
        is_plain = precision == "highest" or mode == "train"
        label = name if is_plain else f"{name}, {precision}"
        style = {"color": f"C{_NAMES.index(name)}", "marker": _MARKERS[name]}
        style |= {"linestyle": "-" if is_plain else _STYLES[precision]}
        _draw_line(time, line, "median_s", 1e3, label=label, **style)
        _draw_line(memory, line, "memory_bytes", 1e-6, label=label, **style)
        does_not_fit = [row for row in line if row.not_run]
        _draw_line(memory, does_not_fit, "memory_bytes", 1e-6, **style | {"linestyle": "", "markerfacecolor": "white"})
    if record["benchmark"] == "loss":
        _draw_floors(time, record, rows)
    is_predicted = any(row.not_run and row.memory_bytes for row in rows)
    memory_label = "memory, MB" + (" (open: predicted, does not fit)" if is_predicted else "")
    what = "step" if mode == "train" else "evaluation"
    for axis, quantity in ((time, f"time of one {what}, ms"), (memory, memory_label)):
        _scale_axes(axis, sorted({row.n for row in rows}), quantity)
    time.set_title(_title(record, mode), loc="left")
    handles = {label: handle for handle, label in zip(*time.get_legend_handles_labels(), strict=True)}
    memory.legend(handles.values(), handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _scale_axes(axis, sizes, quantity):
    from matplotlib.ticker import LogLocator

    axis.set(xscale="log", yscale="log", xlabel="pairs n", ylabel=quantity)
    axis.set_xticks(sizes, [f"{n:,}" for n in sizes])
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < _FEW_DECADES else (1,)))
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axis.grid(color="0.9")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_line(axis, rows, field, scale, **style):
    rows = sorted((row for row in rows if getattr(row, field) is not None), key=lambda row: row.n)
    axis.plot([row.n for row in rows], [getattr(row, field) * scale for row in rows], **style)


def _draw_floors(axis, record, rows):
    sizes = sorted({row.n for row in rows})
    for index, precision in enumerate(dict.fromkeys(row.precision for row in rows)):
        ceiling = results.best_ceiling(record["ceilings"], precision)
        floors = [minimum_flops(Problem(n=n, **record["problem"]), rows[0].mode) / ceiling * 1e3 for n in sizes]
        label = "floor" if precision == "highest" else f"floor, {precision}"
        axis.plot(sizes, floors, color=str(0.35 + 0.2 * index), linestyle="--", label=label)
