"""The plots of a report as SVG elements that stand in the page: in its text colour, with ids that no other plot has.

Each plot is one panel, narrow enough that its text can be read on a phone; the page puts them side by side.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpldan_jax._extras import needed_for
from gpldan_jax._figure_style import INK, PAGE_COLOURS, PAGE_MARKERS, PAGE_STYLE, new_figure
from gpldan_jax.reports.blocks import Figure
from gpldan_jax.retrieval.metrics import RECALL_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = ("-", "--", ":", "-.")  # lines differ in their dashes too, for those who do not see colours
_WIDTH = 4.6  # inches
_MOST_LETTERS = 30  # of a name beside an axis
_MARK: dict[str, Any] = {"color": INK, "linestyle": (0, (1, 2)), "linewidth": 1}


def training_curve(
    lines: Mapping[str, Mapping[int, float]], selected: int, quantity: str, *, caption: str, alt: str, key: str
) -> Figure:
    """Returns a plot of `lines`, name -> epoch -> value, with the selected epoch marked.

    Of this and the other plots, `alt` describes the plot for people who do not see it, and `key` is a name that no
    other plot of the page has, for its ids.
    """

    def draw(axes: "Axes") -> None:
        for place, (name, values) in enumerate(lines.items()):
            axes.plot(list(values), list(values.values()), **_line(place), marker=".", markersize=4, label=name)
        axes.axvline(selected, **_MARK, label=f"selected epoch, {selected}")
        axes.set(xlabel="epoch", ylabel=quantity)
        locator: Any = axes.xaxis.get_major_locator()
        locator.set_params(integer=True)
        axes.grid()
        _legend(axes, columns=3)

    return Figure(caption, alt, _svg(draw, 3.2 + 0.15 * len(lines) // 3, key, alt))


def precision_recall(
    curves: Mapping[str, Sequence[float]], *, of: str = "", share: float | None = None, key: str
) -> Figure:
    """Returns a plot of `curves`, name -> precision at each of `RECALL_LEVELS`, with caption and description.

    The caption is "Precision against recall" and `of`. The share of relevant items is about the precision of a random
    ranking; `None` where it is not known.
    """

    def draw(axes: "Axes") -> None:
        for place, (name, precisions) in enumerate(curves.items()):
            axes.plot(RECALL_LEVELS, precisions, **_line(place), label=name)
        if share is not None:
            axes.axhline(share, **_MARK, label="relevant items, share")
        axes.set(xlabel="recall", ylabel="interpolated precision", xlim=(0, 1), ylim=(0, None))
        axes.grid()
        _legend(axes, columns=3)

    middle = ", ".join(f"{name} {values[len(values) // 2]:.3f}" for name, values in curves.items())
    alt = f"Precision against recall{of}; at half of the recall: {middle}"
    caption = f"Precision against recall{of}: at each recall the largest precision at that recall or a higher one."
    if share is not None:
        caption += f" A random ranking finds about the share of relevant items, {share:.3f}."
    return Figure(caption, alt, _svg(draw, 3.2 + 0.17 * (len(curves) // 3), key, alt))


def bars(values: Mapping[str, Mapping[str, float]], quantity: str, *, caption: str, alt: str, key: str) -> Figure:
    """Returns a plot of `values`, name -> series -> value, as horizontal bars in groups, the first name on top."""
    series = list(next(iter(values.values())))

    def draw(axes: "Axes") -> None:
        thick = 0.8 / len(series)
        for place, name in enumerate(series):
            heights = [row + (place - (len(series) - 1) / 2) * thick for row in range(len(values))]
            look: dict[str, Any] = {"color": PAGE_COLOURS[place], "hatch": "////" if place else None}
            look |= {"edgecolor": INK, "linewidth": 0.4}
            axes.barh(heights, [of[name] for of in values.values()], thick, label=name, **look)
        axes.set_yticks(range(len(values)), [_short(name) for name in values])
        axes.set(xlabel=quantity, ylim=(len(values) - 0.4, -0.6))
        axes.grid(axis="x")
        _legend(axes, columns=2)

    return Figure(caption, alt, _svg(draw, 0.9 + 0.32 * len(values), key, alt))


def averages(
    rows: Sequence[tuple[str, str, float, float | None]], quantity: str, *, caption: str, alt: str, key: str
) -> Figure:
    """Returns a plot with a point for each row from the top down, and its standard deviation.

    A row is (name, group, mean, standard deviation or `None`); groups differ in colour and marker.
    """

    def draw(axes: "Axes") -> None:
        for place, group in enumerate(dict.fromkeys(group for _, group, _, _ in rows)):
            own = [(row, mean, sd) for row, (_, of, mean, sd) in enumerate(rows) if of == group]
            heights, means, deviations = zip(*own, strict=True)
            look: dict[str, Any] = {"color": PAGE_COLOURS[place % 8], "marker": PAGE_MARKERS[place % 8]}
            bars = None if None in deviations else deviations
            axes.errorbar(means, heights, xerr=bars, label=group, linestyle="", capsize=3, **look)
        axes.set_yticks(range(len(rows)), [_short(name) for name, *_ in rows])
        axes.set(xlabel=quantity, ylim=(len(rows) - 0.5, -0.5))
        axes.grid()
        _legend(axes, columns=2)

    return Figure(caption, alt, _svg(draw, 1.1 + 0.23 * len(rows), key, alt))


def _line(place: int) -> dict:
    return {"color": PAGE_COLOURS[place % 8], "linestyle": _DASHES[(place + place // 8) % 4], "linewidth": 1.6}


def _short(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…"


def _legend(axes: "Axes", columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, map(_short, labels), loc="outside lower left", ncols=columns, columnspacing=1.2)


def _svg(draw: Callable[["Axes"], None], height: float, key: str, alt: str) -> str:
    with needed_for("a report", "report"):
        import matplotlib
    with matplotlib.rc_context(PAGE_STYLE | {"svg.hashsalt": key}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters its fonts lack; the browser has its own
        figure = new_figure(_WIDTH, height)
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _embedded(text.getvalue(), key, alt)


def _embedded(svg: str, key: str, alt: str) -> str:
    """Removes what only a file needs, makes the ids unique in the page, and takes its text colour."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    (box,) = re.findall(r'viewBox="[^"]*"', head)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r'\b(?:xlink:)?href="#', f'href="#{key}-', body)
    body = body.replace("url(#", f"url(#{key}-").replace(INK, "currentColor")
    return f'<svg {box} role="img" aria-label="{html.escape(alt)}">{body}'.strip()
