"""The figure of an ablation: the average of each row of Table 3, with its seeds, the published one and chance.

The figure of a sweep: a metric against each swept key, as Figure 2 of the paper has alpha and beta.
"""

import itertools
import math
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from gpldan_jax import _files
from gpldan_jax.studies import grid_points as points
from gpldan_jax.studies import grid_summaries as outputs
from gpldan_jax.studies.fitting import Row
from gpldan_jax.studies.grid_points import Grid, Point
from gpldan_jax.studies.grid_summaries import PointSummary, Spread
from gpldan_jax.studies.table2 import values
from gpldan_jax.studies.table3 import number

_STRONG, _FAINT, _RING, _GREY = "#0b4f8a", "#4d9cc4", "#c8102e", "0.45"
_BELOW = 0.22  # of a row, by which single seeds stand below their mean
_SIZE = (7.2, 3.9)  # inches


def draw_ablation(
    rows: Sequence[Row],
    path: Path,
    *,
    dataset: str,
    metric: str,
    chance: float,
    published: Mapping[str, float | None],
) -> None:
    """Writes the figure that `compose_ablation` makes, whole or not at all; the suffix of the path is the format."""
    figure = compose_ablation(rows, dataset=dataset, metric=metric, chance=chance, published=published)
    with _files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=200)


def compose_ablation(
    rows: Sequence[Row], *, dataset: str, metric: str, chance: float, published: Mapping[str, float | None]
) -> Figure:
    """A line of the figure for each row, the first on top; one that failed says so.

    Args:
        rows: in the order of the table.
        dataset: its title.
        metric: such as `"map@50"`; the average of both directions.
        chance: what random rankings give.
        published: the average of each row, `None` where there is none.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")  # not pyplot's: those it keeps
    panel = figure.subplots()
    panel.axvline(chance, color=_GREY, linestyle="--", linewidth=1, label="chance")
    found = {place: values(row, metric, "average") for place, row in enumerate(rows) if not row.failed}
    n = max((len(seeds) for seeds in found.values()), default=0)
    if n > 1:
        panel.errorbar(
            [statistics.mean(seeds) for seeds in found.values()],
            list(found),
            xerr=[statistics.stdev(seeds) for seeds in found.values()],
            **{"color": _STRONG, "marker": "o", "markersize": 6, "linestyle": "", "elinewidth": 1.6, "capsize": 3},
            label=f"mean ± standard deviation of {n} seeds",
        )
        single = [(value, place + _BELOW) for place, seeds in found.items() for value in seeds]
        panel.plot(*zip(*single, strict=True), ".", color=_FAINT, markersize=5, label="single seeds")
    elif n:
        panel.plot([seeds[0] for seeds in found.values()], list(found), "o", color=_STRONG, label="one seed")
    known = [(published[row.method.name], place) for place, row in enumerate(rows) if published[row.method.name]]
    if known:
        ring = {"marker": "D", "markersize": 6, "markerfacecolor": "none", "markeredgecolor": _RING, "linestyle": ""}
        panel.plot(*zip(*known, strict=True), **ring, zorder=4, label="published, other features")
    labels = [f"{number(row.method.name)}. {row.method.title}{' (failed)' if row.failed else ''}" for row in rows]
    panel.set_yticks(range(len(rows)), labels)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel(f"average {metric.replace('map@', 'MAP@')} on test")
    panel.grid(axis="x", color="0.92")
    panel.set_axisbelow(True)
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)
    # parse_math: a name may have dollars in it.
    figure.suptitle(dataset, x=0.01, ha="left", fontsize=11, parse_math=False)
    figure.legend(loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    return figure


_COLUMNS = 3
_PANEL = (4.6, 3.7)  # inches
_AXIS = _PANEL[0] * 72 * 0.8  # typographic points that an x axis is long, about
_CHARACTER = 6.0  # points that a character of a tick label takes, a little too many
_LOG_FROM = 5  # times the smallest value; less is read well on a linear axis
_MOST_LABELLED = 8  # other lines of a panel that can be told apart
_LEAST_STEP = 2  # typographic points between bars; closer, nobody could tell whose they are
_MOST_NAMED = 4  # failed points in the note
_PALE = "0.7"
_COLOURS = ("#e08214", "#5aae61", "#8073ac", "#d6604d", "#4d9cc4", "#b8860b", "#c994c7", "#8c8c8c")
_MARKERS = "s^DvPX<>"
_METRICS = {"recall": "recall (mean of @1, @5 and @10)"}


def draw_grid(
    summaries: Sequence[PointSummary],
    selected: PointSummary,
    grid: Grid,
    path: Path,
    *,
    dataset: str,
    metric: str,
    split: str,
) -> None:
    """Writes the figure that `compose_grid` makes, whole or not at all; the suffix of the path is the format."""
    figure = compose_grid(summaries, selected, grid, dataset=dataset, metric=metric, split=split)
    with _files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=200)


def compose_grid(
    summaries: Sequence[PointSummary],
    selected: PointSummary,
    grid: Grid,
    *,
    dataset: str,
    metric: str,
    split: str,
) -> Figure:
    """A panel for each key with more than one value: means over seeds, their standard deviation as bars.

    The line through the selected point is strong and the point ringed; those at the other values of the remaining keys
    are faint, and moved sideways so that their bars can be seen, if there is room for any. Values of several magnitudes
    stand on a log axis, or, where 0 is among them, in equal distances. A point that failed leaves a gap and is named.

    Args:
        summaries: every point of the grid.
        selected: one of them.
        grid: what was swept.
        dataset: its title.
        metric: `"map@50"` or another of the figures, or `"recall"`, see `PointSummary`; the average of both directions.
        split: `"validation"` or `"test"`.

    Raises:
        ValueError: no key has more than one value, or no point has the figure.
    """
    varied = grid.varied()
    if not varied:
        raise ValueError("nothing to draw: no key was swept over more than one value")
    spreads = {summary.point: _spread(summary, metric, split) for summary in summaries}
    if not any(spreads.values()):
        raise ValueError(f"nothing to draw: no point has {metric} on {split}")
    rows = math.ceil(len(varied) / _COLUMNS)
    columns = math.ceil(len(varied) / rows)
    width, height = _PANEL[0] * columns, _PANEL[1] * rows
    figure = Figure(figsize=(width, height + 0.4), layout="constrained")  # not pyplot's: those it keeps
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for panel in panels[len(varied) :]:
        panel.remove()
    for panel, key in zip(panels, varied, strict=False):
        _draw_panel(panel, key, grid, spreads, selected.point)
    panels[0].set_ylim(_height(spreads.values()))  # of all, which share it; lines moved aside would not widen it
    for panel in panels[: len(varied) : columns]:
        panel.set_ylabel(f"average {_METRICS.get(metric, metric.replace('map@', 'MAP@'))}")
    n = len(grid.seeds)
    title = f"{dataset}, {split}, " + (f"mean ± standard deviation over {n} seeds" if n > 1 else "one seed")
    # parse_math: a name may have dollars in it.
    figure.suptitle(_fill(title, width * 11), x=0.01, ha="left", fontsize=11, parse_math=False)
    if note := _note(summaries, spreads, split):
        figure.supxlabel(_fill(note, width * 16), x=0.01, ha="left", fontsize=8, color="0.3")
    return figure


def _spread(summary: PointSummary, metric: str, split: str) -> Spread | None:
    figures = {"validation": summary.validation, "test": summary.test}[split] or {}
    return figures[metric]["average"] if metric in figures else None


def _fill(text: str, width: float) -> str:
    return textwrap.fill(text, int(width), break_on_hyphens=False)


def _height(spreads: Iterable[Spread | None]) -> tuple[float, float]:
    ends = [spread.mean + sign * (spread.sd or 0) for spread in spreads if spread for sign in (-1, 1)]
    margin = 0.06 * (max(ends) - min(ends)) or 0.01
    return min(ends) - margin, max(ends) + margin


def _draw_panel(panel: Axes, key: str, grid: Grid, spreads: Mapping[Point, Spread | None], selected: Point) -> None:
    values = sorted(dict(grid.axes)[key])
    scale = scale_of(values)
    positions = list(range(len(values))) if scale == "even" else values
    if scale == "log":
        panel.set_xscale("log")
    panel.margins(x=0.08)
    panel.set_xlim(_limits(panel, positions))
    places = _places(panel, positions)
    others = [other for other in grid.varied() if other != key]
    lines: dict[tuple, dict[float, Spread | None]] = {}
    for point, spread in spreads.items():
        lines.setdefault(_values_at(point, others), {})[dict(point)[key]] = spread
    strong = _values_at(selected, others)
    faint = sorted(lines.keys() - {strong})
    styles = _styles(faint, min(b - a for a, b in itertools.pairwise(places)))
    styles[strong] = {"color": _STRONG, "marker": "o", "linewidth": 2.2, "elinewidth": 1.4, "capsize": 3, "zorder": 4}
    handles = {}
    for line, style in styles.items():
        found = [lines[line].get(value) for value in values]
        means = [spread.mean if spread else math.nan for spread in found]
        bars = [spread.sd if spread and spread.sd is not None else math.nan for spread in found]
        moved = ScaledTranslation(style.pop("aside", 0) / 72, 0, panel.figure.dpi_scale_trans)
        handles[line] = panel.errorbar(positions, means, bars, transform=panel.transData + moved, **style)
    place = values.index(dict(selected)[key])
    if chosen := spreads[selected]:
        ring = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgewidth": 1.6}
        panel.plot(positions[place], chosen.mean, color=_RING, zorder=5, clip_on=False, **ring)
    shown = _labelled([points.number(value) for value in values], places, place)
    panel.set_xticks([], minor=True)
    panel.set_xticks(positions, [points.number(value) if i in shown else "" for i, value in enumerate(values)])
    panel.set_xlabel(points.name(key))
    panel.grid(axis="y", color="0.92")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    if others:
        _set_legend(panel, handles, others, strong, faint)


def scale_of(values: Sequence[float]) -> str:
    """How sorted values are laid out: `"linear"`, `"log"`, or `"even"` where a log axis would lose the 0.

    Example:
        >>> scale_of([0.5, 1, 2]), scale_of([0.3, 1, 3]), scale_of([0, 0.1, 1]), scale_of([0, 1])
        ('linear', 'log', 'even', 'linear')
    """
    positive = [value for value in values if value > 0]
    if len(positive) < 2 or positive[-1] <= _LOG_FROM * positive[0]:
        return "linear"
    return "log" if len(positive) == len(values) else "even"


def _values_at(point: Point, keys: Sequence[str]) -> tuple[float, ...]:
    values = dict(point)
    return tuple(values[key] for key in keys)


def _limits(panel: Axes, positions: Sequence[float]) -> tuple[float, float]:
    panel.update_datalim([(position, 0) for position in positions], updatey=False)
    panel.autoscale_view(scaley=False)
    return panel.get_xlim()


def _places(panel: Axes, positions: Sequence[float]) -> list[float]:
    """Where positions are on the axis, in typographic points."""
    to_axes = panel.transData - panel.transAxes
    return [float(to_axes.transform((position, 0.5))[0]) * _AXIS for position in positions]


def _styles(faint: Sequence[tuple], distance: float) -> dict[tuple, dict]:
    """A style for each faint line, moved by `aside` points; of too many to be told apart all are the same."""
    if len(faint) > _MOST_LABELLED:
        grey = {"color": _PALE, "alpha": 0.6, "marker": ".", "markersize": 3, "linewidth": 0.8, "elinewidth": 0}
        return {line: dict(grey) for line in faint}
    step = min(4.0, 0.4 * distance / (len(faint) or 1))
    styles = {}
    for i, line in enumerate(faint):
        left = len(faint) // 2
        aside = step * (i - left if i < left else i - left + 1)  # none on the strong line
        styles[line] = {"color": _COLOURS[i], "marker": _MARKERS[i], "aside": aside}
        styles[line] |= {"alpha": 0.7, "linewidth": 0.9, "markersize": 4, "elinewidth": 0.8 * (step >= _LEAST_STEP)}
    return styles


def _labelled(labels: Sequence[str], places: Sequence[float], selected: int) -> set[int]:
    """Which ticks have room for their label: the selected one and the ends first, then round values."""
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
        title=", ".join(points.name(key) for key in others),
        title_fontsize=8,
        fontsize=8,
        ncols=max(1, int(_AXIS / (36 + 5 * longest))),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.2,
        columnspacing=1.2,
        alignment="left",
        frameon=False,
    )


def _text(line: tuple[float, ...]) -> str:
    return ", ".join(points.number(value) for value in line)


def _note(summaries: Sequence[PointSummary], spreads: Mapping[Point, Spread | None], split: str) -> str:
    failed = [summary for summary in summaries if summary.failed]
    parts = [f"{points.title(summary.point)} ({outputs.failed_seeds(summary)})" for summary in failed[:_MOST_NAMED]]
    if len(failed) > _MOST_NAMED:
        parts.append(f"and {len(failed) - _MOST_NAMED} more")
    note = f"Not shown, since training failed: {'; '.join(parts)}. " if failed else ""
    missing = sum(spreads[summary.point] is None and not summary.failed for summary in summaries)
    return note + (f"Points without figures on {split}: {missing}." if missing else "")
