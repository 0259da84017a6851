"""The figure of several comparisons: a panel for each dataset, a line for each unsupervised method."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from gpldan_jax import _figure_style as style

_COLUMNS = 3
_PANEL = (4.2, 0.9, 0.3)  # inches: the width; the height without lines, and of a line
_OURS = "ours"


@matplotlib.rc_context(style.STYLE)
def compose_comparison(comparisons: Sequence[Mapping[str, Any]], *, metric: str = "map@50") -> Figure:
    """Returns a figure of the average of each unsupervised method on test, without a bank and with one.

    Args:
        comparisons: the content of `table2.json` files.
        metric: the average of both directions is shown; methods without it are left out.

    Returns:
        The figure.

    Raises:
        ValueError: no comparison, or one without such a method.
    """
    if not comparisons:
        raise ValueError("nothing to draw: there is no comparison")
    found = [_averages(comparison, metric) for comparison in comparisons]
    for comparison, of in zip(comparisons, found, strict=True):
        if not of:
            raise ValueError(f"nothing to draw: no unsupervised method of {comparison['dataset']} has {metric}")
    columns = min(_COLUMNS, len(found))
    lines = -(-len(found) // columns)
    height = lines * (_PANEL[1] + _PANEL[2] * max(map(len, found))) + 0.6
    figure = style.new_figure(columns * _PANEL[0], height)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, comparison, methods in zip(panels, comparisons, found, strict=False):
        for place, (_, name, plain, banked) in enumerate(methods):
            colour = style.STRONG if name == _OURS else style.GREY
            marks = ((plain, "none", -0.14), (banked, colour, 0.14))
            for values, fill, offset in marks:
                if values:
                    error = statistics.stdev(values) if len(values) > 1 else 0
                    panel.errorbar(
                        statistics.mean(values), place + offset, xerr=error, fmt="o", color=colour, markersize=6,
                        markerfacecolor=fill, elinewidth=1.4, capsize=2,
                    )  # fmt: skip
        panel.set_yticks(range(len(methods)), [title for title, *_ in methods], parse_math=False)
        panel.set_ylim(len(methods) - 0.5, -0.5)
        panel.set_title(comparison["dataset"], loc="right", fontsize=10, parse_math=False)  # a long one grows leftwards
        panel.grid(axis="x", color=style.GRID)
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
    for panel in panels[len(found) :]:
        panel.set_axis_off()
    figure.supxlabel(f"average {metric.replace('map@', 'MAP@')} on test, mean ± standard deviation", fontsize=9)
    for label, fill in (("as it is", "none"), ("with a bank of training pairs", style.GREY)):
        panels[0].plot([], [], "o", color=style.GREY, markerfacecolor=fill, label=label)
    figure.legend(loc="outside upper right", ncols=2, fontsize=8)
    return figure


def _averages(comparison, metric):
    """Title, name and averages of each method, without a bank and with one; the best first."""
    methods = []
    for method in comparison["methods"]:
        if method["supervision"] != "unsupervised" or method["name"] == "chance":
            continue
        plain, banked = (
            [figures[metric]["average"] for figures in method.get(key, ()) if metric in figures]
            for key in ("figures", "banked")
        )
        if plain:
            methods.append((method["title"], method["name"], plain, banked))
    return sorted(methods, key=lambda of: -max(statistics.mean(values) for values in of[2:] if values))
