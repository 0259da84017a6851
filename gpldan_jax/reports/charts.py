"""The plots of a report as SVG elements that stand in the page: its text colour, no ids but their own.

Each plot is one panel, narrow enough that its text can be read on a phone; the page puts them side by side.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpldan_jax.retrieval.curves import RECALL_LEVELS

_INK = "#010203"  # nothing else has this colour; in the page it becomes that of the text, light or dark
# Told apart on white and on near-black; lines differ in their dashes too.
_COLOURS = ("#3b82c4", "#d9730d", "#2e9e6b", "#9067c6", "#d64550", "#1b9aaa", "#a3763a", "#7f8790")
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^vP*X"
_WIDTH = 4.6  # inches
_MOST_LETTERS = 30  # of a name beside an axis
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may have dollars in it
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.alpha": 0.15,
    "hatch.linewidth": 0.4,
}
_STYLE |= dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
_STYLE["grid.color"] = _INK


def training_curve(
    lines: Mapping[str, Mapping[int, float]], selected: int, quantity: str, *, key: str, alt: str
) -> str:
    """Values against the epoch, the selected epoch marked.

    Args:
        lines: name -> epoch -> value.
        selected: an epoch.
        quantity: what the values are.
        key: what distinguishes this plot's ids in the page.
        alt: what it shows, for those who do not see it.
    """

    def draw(axes: Axes) -> None:
        for place, (name, values) in enumerate(lines.items()):
            axes.plot(list(values), list(values.values()), **_line(place), marker=".", markersize=4, label=name)
        axes.axvline(selected, color=_INK, linestyle=(0, (1, 2)), linewidth=1, label=f"selected epoch, {selected}")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid()
        _legend(axes, columns=3)

    return _svg(draw, 3.2 + 0.15 * len(lines) // 3, key, alt)


def precision_recall(curves: Mapping[str, Sequence[float]], share: float | None, *, key: str, alt: str) -> str:
    """Interpolated precision at `RECALL_LEVELS`, a line for each name.

    Args:
        curves: name -> 21 precisions.
        share: of relevant items, about what a random ranking gives; `None` where it is not known.
        key, alt: as in `training_curve`.
    """

    def draw(axes: Axes) -> None:
        for place, (name, precisions) in enumerate(curves.items()):
            axes.plot(RECALL_LEVELS, precisions, **_line(place), label=name)
        if share is not None:
            axes.axhline(share, color=_INK, linestyle=(0, (1, 2)), linewidth=1, label="relevant items, share")
        axes.set(xlabel="recall", ylabel="interpolated precision", xlim=(0, 1), ylim=(0, None))
        axes.grid()
        _legend(axes, columns=3)

    return _svg(draw, 3.2 + 0.17 * (len(curves) // 3), key, alt)


def bars(values: Mapping[str, Mapping[str, float]], quantity: str, *, key: str, alt: str) -> str:
    """Horizontal bars, a group for each name from the top down.

    Args:
        values: name -> series -> value.
        quantity: what the values are.
        key, alt: as in `training_curve`.
    """
    series = list(next(iter(values.values())))

    def draw(axes: Axes) -> None:
        thick = 0.8 / len(series)
        for place, name in enumerate(series):
            heights = [row + (place - (len(series) - 1) / 2) * thick for row in range(len(values))]
            style = {"color": _COLOURS[place], "edgecolor": _INK, "linewidth": 0.4, "hatch": "////" if place else None}
            axes.barh(heights, [of[name] for of in values.values()], thick, label=name, **style)
        axes.set_yticks(range(len(values)), [_short(name) for name in values])
        axes.set(xlabel=quantity, ylim=(len(values) - 0.4, -0.6))
        axes.grid(axis="x")
        _legend(axes, columns=2)

    return _svg(draw, 0.9 + 0.32 * len(values), key, alt)


def averages(rows: Sequence[tuple[str, str, float, float | None]], quantity: str, *, key: str, alt: str) -> str:
    """A point for each row from the top down, with its standard deviation.

    Args:
        rows: (name, group, mean, standard deviation or `None`); groups differ in colour and marker.
        quantity: what the means are.
        key, alt: as in `training_curve`.
    """

    def draw(axes: Axes) -> None:
        for place, group in enumerate(dict.fromkeys(group for _, group, _, _ in rows)):
            own = [(row, mean, sd) for row, (_, of, mean, sd) in enumerate(rows) if of == group]
            heights, means, deviations = zip(*own, strict=True)
            style = {"color": _COLOURS[place % 8], "marker": _MARKERS[place % 8], "linestyle": "", "capsize": 3}
            axes.errorbar(means, heights, xerr=None if None in deviations else deviations, label=group, **style)
        axes.set_yticks(range(len(rows)), [_short(name) for name, *_ in rows])
        axes.set(xlabel=quantity, ylim=(len(rows) - 0.5, -0.5))
        axes.grid()
        _legend(axes, columns=2)

    return _svg(draw, 1.1 + 0.23 * len(rows), key, alt)


def _line(place: int) -> dict:
    return {"color": _COLOURS[place % 8], "linestyle": _DASHES[(place + place // 8) % 4], "linewidth": 1.6}


def _short(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…"


def _legend(axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, map(_short, labels), loc="outside lower left", ncols=columns, columnspacing=1.2)


def _svg(draw: Callable[[Axes], None], height: float, key: str, alt: str) -> str:
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": key}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters its fonts lack; the browser has its own
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")  # not pyplot's: those it keeps
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _embedded(text.getvalue(), key, alt)


def _embedded(svg: str, key: str, alt: str) -> str:
    """Without what only a file needs, with ids that no other plot of the page has, in the colour of the text."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)[0]
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r'\b(?:xlink:)?href="#', f'href="#{key}-', body)
    body = body.replace("url(#", f"url(#{key}-").replace(_INK, "currentColor")
    return f'<svg {box} role="img" aria-label="{html.escape(alt)}">{body}'.strip()
