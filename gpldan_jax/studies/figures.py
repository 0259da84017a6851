"""The figures of an ablation and of a sweep.

An ablation: the average of each row of Table 3, with its seeds, the published average and chance. A sweep: a metric
against each swept key, as Figure 2 of the paper has alpha and beta.
"""

import itertools
import math
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from gpldan_jax import _figure_style as style
from gpldan_jax.studies.fitting import Row
from gpldan_jax.studies.grid_points import AXIS_NAMES, Grid, Point, point_title, value_text
from gpldan_jax.studies.grid_summaries import PointSummary, failed_seeds
from gpldan_jax.studies.tables import MeanSd

_SIZE = (7.2, 3.9)  # inches, of an ablation
_BELOW = 0.22  # rows between a mean and its single seeds
_COLUMNS = 3
_PANEL = (4.6, 3.7)  # inches
_AXIS = _PANEL[0] * 72 * 0.8  # typographic points, about the length of an x axis
_CHARACTER = 6.0  # points, a little more than the width of a character of a tick label
_LOG_FROM = 5  # times the smallest value; below it a linear axis is easy to read
_MOST_LABELLED = 8  # faint lines of a panel; more cannot be told apart
_LEAST_STEP = 2  # points between error bars; closer ones cannot be told apart
_MOST_NAMED = 4  # failed points that the note names
_METRICS = {"recall": "recall (mean of @1, @5 and @10)"}


@matplotlib.rc_context(style.STYLE)
def compose_ablation(
    rows: Sequence[Row], *, dataset: str, metric: str, chance: float, published: Mapping[str, float | None]
) -> Figure:
    """Returns a figure with a line for each row of Table 3, the first on top; a row that failed says so.

    The metric, such as `"map@50"`, is the average of both directions, and so are the figure of random rankings
    (`chance`) and the published one of each row, `None` where there is none.
    """
    figure = style.new_figure(*_SIZE)
    panel = figure.subplots()
    panel.axvline(chance, color=style.GREY, linestyle="--", linewidth=1, label="chance")
    found = {place: row.values(metric) for place, row in enumerate(rows) if not row.failed}
    n = max((len(seeds) for seeds in found.values()), default=0)
    strong: dict[str, Any] = {"color": style.STRONG, "marker": "o", "markersize": 6, "linestyle": ""}
    if n > 1:
        strong |= {"elinewidth": 1.6, "capsize": 3}
        panel.errorbar(
            [statistics.mean(seeds) for seeds in found.values()],
            list(found),
            xerr=[statistics.stdev(seeds) for seeds in found.values()],
            label=f"mean ± standard deviation of {n} seeds",
            **strong,
        )
        single = [(value, place + _BELOW) for place, seeds in found.items() for value in seeds]
        panel.plot(*zip(*single, strict=True), ".", color=style.FAINT, markersize=5, label="single seeds")
    elif n:
        panel.plot([seeds[0] for seeds in found.values()], list(found), "o", color=style.STRONG, label="one seed")
    known = [(published[row.method.name], place) for place, row in enumerate(rows) if published[row.method.name]]
    if known:
        ring: dict[str, Any] = {"marker": "D", "markerfacecolor": "none", "markeredgecolor": style.RING}
        ring |= {"markersize": 6, "linestyle": "", "zorder": 4}
        panel.plot(*zip(*known, strict=True), **ring, label="published, other features")
    labels = [f"{n}. {row.method.title}{' (failed)' * bool(row.failed)}" for n, row in enumerate(rows, start=1)]
    panel.set_yticks(range(len(rows)), labels)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel(f"average {metric.replace('map@', 'MAP@')} on test")
    panel.grid(axis="x", color=style.GRID)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    style.set_title(figure, dataset)
    figure.legend(loc="outside lower left", ncols=2, fontsize=8)
    return figure


@matplotlib.rc_context(style.STYLE)
def compose_grid(
    summaries: Sequence[PointSummary], selected: PointSummary, grid: Grid, *, dataset: str, metric: str, split: str
) -> Figure:
    """Returns a figure with a panel for each key that has several values: means over seeds with error bars.

    The line through the selected point is strong and the point has a ring. The lines at the other values of the other
    keys are faint; they are moved sideways where there is room, so that their bars can be seen. Values of several
    magnitudes stand on a log axis, or, where 0 is among them, in equal distances. A point that failed leaves a gap, and
    a note names it. The metric, such as `"map@50"`, or `"recall"`, see `PointSummary`, is the average of both
    directions; the split is `"validation"` or `"test"`.
    """
    varied = grid.varied()
    if not varied:
        raise ValueError("nothing to draw: no key was swept over more than one value")
    means = {summary.point: _mean(summary, metric, split) for summary in summaries}
    if not any(means.values()):
        raise ValueError(f"nothing to draw: no point has {metric} on {split}")
    rows = math.ceil(len(varied) / _COLUMNS)
    columns = math.ceil(len(varied) / rows)
    width, height = _PANEL[0] * columns, _PANEL[1] * rows
    figure = style.new_figure(width, height + 0.4)
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for panel in panels[len(varied) :]:
        panel.remove()
    for panel, key in zip(panels, varied, strict=False):
        _draw_panel(panel, key, grid, means, selected.point)
    panels[0].set_ylim(_limits_of(means.values()))  # all panels share it; lines moved sideways would not widen it
    for panel in panels[: len(varied) : columns]:
        panel.set_ylabel(f"average {_METRICS.get(metric, metric.replace('map@', 'MAP@'))}")
    n = len(grid.seeds)
    title = f"{dataset}, {split}, " + (f"mean ± standard deviation over {n} seeds" if n > 1 else "one seed")
    style.set_title(figure, textwrap.fill(title, int(width * 11), break_on_hyphens=False))
    if note := _note(summaries, means, split):
        note = textwrap.fill(note, int(width * 16), break_on_hyphens=False)
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color="0.3")
    return figure


def _mean(summary: PointSummary, metric: str, split: str) -> MeanSd | None:
    figures = {"validation": summary.validation, "test": summary.test}[split] or {}
    return figures[metric]["average"] if metric in figures else None


def _limits_of(means: Iterable[MeanSd | None]) -> tuple[float, float]:
    ends = [found.mean + sign * (found.sd or 0) for found in means if found for sign in (-1, 1)]
    margin = 0.06 * (max(ends) - min(ends)) or 0.01
    return min(ends) - margin, max(ends) + margin


def _draw_panel(panel: Axes, key: str, grid: Grid, means: Mapping[Point, MeanSd | None], selected: Point) -> None:
    values = sorted(dict(grid.axes)[key])
    scale = _scale_of(values)
    positions = list(range(len(values))) if scale == "even" else values
    if scale == "log":
        panel.set_xscale("log")
    panel.margins(x=0.08)
    panel.update_datalim([(position, 0) for position in positions], updatey=False)
    panel.autoscale_view(scaley=False)
    panel.set_xlim(panel.get_xlim())  # from here on the limits are fixed
    places = _places(panel, positions)
    others = [other for other in grid.varied() if other != key]
    lines: dict[tuple, dict[float, MeanSd | None]] = {}
    for point, mean in means.items():
        lines.setdefault(_values_at(point, others), {})[dict(point)[key]] = mean
    strong = _values_at(selected, others)
    faint = sorted(lines.keys() - {strong})
    looks = _faint_looks(faint, min(b - a for a, b in itertools.pairwise(places)))
    looks[strong] = {"color": style.STRONG, "marker": "o", "linewidth": 2.2, "elinewidth": 1.4, "capsize": 3}
    looks[strong]["zorder"] = 4
    handles = {}
    for line, look in looks.items():
        found = [lines[line].get(value) for value in values]
        heights = [mean.mean if mean else math.nan for mean in found]
        bars = [mean.sd if mean and mean.sd is not None else math.nan for mean in found]
        moved = ScaledTranslation(look.pop("aside", 0) / 72, 0, panel.figure.dpi_scale_trans)
        handles[line] = panel.errorbar(positions, heights, bars, transform=panel.transData + moved, **look)
    place = values.index(dict(selected)[key])
    if chosen := means[selected]:
        ring: dict[str, Any] = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgewidth": 1.6}
        panel.plot(positions[place], chosen.mean, color=style.RING, zorder=5, clip_on=False, **ring)
    shown = _labelled([value_text(value) for value in values], places, place)
    panel.set_xticks([], minor=True)
    panel.set_xticks(positions, [value_text(value) if i in shown else "" for i, value in enumerate(values)])
    panel.set_xlabel(AXIS_NAMES[key])
    panel.grid(axis="y", color=style.GRID)
    if others:
        _set_legend(panel, handles, others, strong, faint)


def _scale_of(values: Sequence[float]) -> str:
    """Returns how values are laid out on an axis.

    Example:
        >>> _scale_of([0.5, 1, 2]), _scale_of([0.3, 1, 3]), _scale_of([0, 0.1, 1]), _scale_of([0, 1])
        ('linear', 'log', 'even', 'linear')
    """
    positive = [value for value in values if value > 0]
    if len(positive) < 2 or positive[-1] <= _LOG_FROM * positive[0]:
        return "linear"
    return "log" if len(positive) == len(values) else "even"


def _values_at(point: Point, keys: Sequence[str]) -> tuple[float, ...]:
    values = dict(point)
    return tuple(values[key] for key in keys)


def _places(panel: Axes, positions: Sequence[float]) -> list[float]:
    """Returns where positions are on the axis, in typographic points."""
    to_axes = panel.transData - panel.transAxes
    return [float(to_axes.transform((position, 0.5))[0]) * _AXIS for position in positions]


def _faint_looks(faint: Sequence[tuple], distance: float) -> dict[tuple, dict]:
    """Returns colour and marker of each faint line, and by how many points it is moved `aside`.

    Lines that are too many to tell apart all look the same.
    """
    if len(faint) > _MOST_LABELLED:
        grey = {"color": style.PALE, "alpha": 0.6, "marker": ".", "markersize": 3, "linewidth": 0.8, "elinewidth": 0}
        return {line: dict(grey) for line in faint}
    step = min(4.0, 0.4 * distance / (len(faint) or 1))
    looks = {}
    for i, line in enumerate(faint):
        left = len(faint) // 2
        aside = step * (i - left if i < left else i - left + 1)  # none on the strong line
        looks[line] = {"color": style.COLOURS[i], "marker": style.MARKERS[i], "aside": aside}
        looks[line] |= {"alpha": 0.7, "linewidth": 0.9, "markersize": 4, "elinewidth": 0.8 * (step >= _LEAST_STEP)}
    return looks


def _labelled(labels: Sequence[str], places: Sequence[float], selected: int) -> set[int]:
    """Returns the ticks that have room for their label: the selected one and the ends first, then round values."""
    shown: set[int] = set()
    for i in [selected, 0, len(labels) - 1, *sorted(range(len(labels)), key=lambda i: len(labels[i]))]:
        room = ((len(labels[i]) + len(labels[j])) / 2 + 1 for j in shown)
        if all(abs(places[i] - places[j]) > _CHARACTER * need for j, need in zip(shown, room, strict=True)):
            shown.add(i)
    return shown


def _set_legend(panel: Axes, handles: Mapping, others: Sequence[str], strong: tuple, faint: Sequence[tuple]) -> None:
    entries = {_text(line): handles[line] for line in sorted(handles)}
    if len(faint) > _MOST_LABELLED:
        entries = {_text(strong): handles[strong], f"{len(faint)} others": handles[faint[0]]}
    longest = max(len(entry) for entry in entries)
    panel.legend(
        entries.values(),
        entries,
        title=", ".join(AXIS_NAMES[key] for key in others),
        title_fontsize=8,
        fontsize=8,
        ncols=max(1, int(_AXIS / (36 + 5 * longest))),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.2,
        columnspacing=1.2,
        alignment="left",
    )


def _text(line: tuple[float, ...]) -> str:
    return ", ".join(value_text(value) for value in line)


def _note(summaries: Sequence[PointSummary], means: Mapping[Point, MeanSd | None], split: str) -> str:
    failed = [summary for summary in summaries if summary.failed]
    parts = [f"{point_title(summary.point)} ({failed_seeds(summary)})" for summary in failed[:_MOST_NAMED]]
    if len(failed) > _MOST_NAMED:
        parts.append(f"and {len(failed) - _MOST_NAMED} more")
    note = f"Not shown, since training failed: {'; '.join(parts)}. " if failed else ""
    missing = sum(means[summary.point] is None and not summary.failed for summary in summaries)
    return note + (f"Points without figures on {split}: {missing}." if missing else "")
