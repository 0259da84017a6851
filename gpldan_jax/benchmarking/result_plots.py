"""Time and memory against the number of pairs, from the results of benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

from gpldan_jax.benchmarking import results
from gpldan_jax.benchmarking.problem import (
    JAX_IMPLEMENTATIONS,
    JAX_TRAINERS,
    TORCH_IMPLEMENTATIONS,
    Problem,
    floor_flops,
)

matplotlib.use("Agg")
from matplotlib import pyplot, ticker

_FEW_DECADES = 300  # below, an axis with a tick a decade could be left with one
_STYLES = {"default": "-.", "bfloat16": ":"}
# A colour and a marker mean the same in every plot; markers differ because equally fast lines lie on each other.
_NAMES = (*JAX_IMPLEMENTATIONS, *TORCH_IMPLEMENTATIONS, *JAX_TRAINERS)
_MARKERS = dict(zip(_NAMES, "oX^sDvPhp*<", strict=True))


def plot(records: Sequence[Mapping], path: Path) -> None:
    """Draws two panels for each benchmark and mode: time with the floor dashed, and memory.

    Args:
        records: what `results.read` gives.
        path: where to; its suffix is the format.

    Raises:
        ValueError: nothing was timed.
    """
    panels = [
        (record, mode)
        for record in records
        for mode in dict.fromkeys(row.mode for row in record["rows"] if row.median_s)
    ]
    if not panels:
        raise ValueError("nothing to plot: no implementation ran")
    figure, axes = pyplot.subplots(len(panels), 2, figsize=(12, 4.4 * len(panels)), squeeze=False, layout="constrained")
    for (time, memory), (record, mode) in zip(axes, panels, strict=True):
        rows = [row for row in record["rows"] if row.mode == mode]
        for name, precision in dict.fromkeys((row.implementation, row.precision) for row in rows):
            line = [row for row in rows if (row.implementation, row.precision) == (name, precision)]
            is_plain = precision == "highest" or mode == "train"
            label = name if is_plain else f"{name}, {precision}"
            style = {"color": f"C{_NAMES.index(name)}", "marker": _MARKERS[name]}
            style |= {"linestyle": "-" if is_plain else _STYLES[precision]}
            _draw(time, line, "median_s", 1e3, label=label, **style)
            _draw(memory, line, "memory_bytes", 1e-6, label=label, **style)
            does_not_fit = [row for row in line if row.not_run]
            _draw(memory, does_not_fit, "memory_bytes", 1e-6, **style | {"linestyle": "", "markerfacecolor": "white"})
        if record["benchmark"] == "loss":
            _draw_floors(time, record, rows)
        is_predicted = any(row.not_run and row.memory_bytes for row in rows)
        memory_label = "memory, MB" + (" (open: predicted, does not fit)" if is_predicted else "")
        what = "step" if mode == "train" else "evaluation"
        for axis, quantity in ((time, f"time of one {what}, ms"), (memory, memory_label)):
            axis.set(xscale="log", yscale="log", xlabel="pairs n", ylabel=quantity)
            axis.set_xticks(sorted({row.n for row in rows}), [f"{n:,}" for n in sorted({row.n for row in rows})])
            low, high = axis.get_ylim()
            steps = (1, 2, 5) if high / low < _FEW_DECADES else (1,)
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=steps))
            axis.minorticks_off()
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
            axis.grid(color="0.9")
            axis.spines[["top", "right"]].set_visible(False)
        time.set_title(results.title(record, mode), loc="left")
        handles = {label: handle for handle, label in zip(*time.get_legend_handles_labels(), strict=True)}
        memory.legend(handles.values(), handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _draw(axis, rows, field, scale, **style):
    rows = sorted((row for row in rows if getattr(row, field) is not None), key=lambda row: row.n)
    axis.plot([row.n for row in rows], [getattr(row, field) * scale for row in rows], **style)


def _draw_floors(axis, record, rows):
    sizes = sorted({row.n for row in rows})
    for index, precision in enumerate(dict.fromkeys(row.precision for row in rows)):
        ceiling = results.best_ceiling(record["ceilings"], precision)
        floors = [floor_flops(Problem(n=n, **record["problem"]), rows[0].mode) / ceiling * 1e3 for n in sizes]
        label = "floor" if precision == "highest" else f"floor, {precision}"
        axis.plot(sizes, floors, color=str(0.35 + 0.2 * index), linestyle="--", label=label)
