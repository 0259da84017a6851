"""The figure of an ablation: the average of each row of Table 3, with its seeds, the published one and chance."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.ablating.rows import number
from experiments.benchmarking import machine
from experiments.comparing.running import Row
from experiments.comparing.tables import values

_STRONG, _FAINT, _RING, _GREY = "#0b4f8a", "#4d9cc4", "#c8102e", "0.45"
_BELOW = 0.22  # of a row, by which single seeds stand below their mean
_SIZE = (7.2, 3.9)  # inches


def draw(
    rows: Sequence[Row],
    path: Path,
    *,
    dataset: str,
    metric: str,
    chance: float,
    published: Mapping[str, float | None],
) -> None:
    """Writes the figure that `compose` makes, whole or not at all; the suffix of the path is the format."""
    figure = compose(rows, dataset=dataset, metric=metric, chance=chance, published=published)
    machine.write(path, lambda temporary: figure.savefig(temporary, dpi=200))


def compose(
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
