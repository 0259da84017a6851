"""The one style of figures: colours, markers, axes, and how a figure is made and written.

matplotlib is optional and takes a second to import, so the functions here import it when they are called.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpldan_jax import _files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRONG, FAINT, RING = "#0b4f8a", "#4d9cc4", "#c8102e"
"""The colours of the line that a figure is about, of single seeds, and of the ring around a point."""

GREY, PALE, GRID = "0.45", "0.7", "0.92"
"""The greys of a line to compare with, of lines that are too many to tell apart, and of the grid."""

COLOURS = ("#e08214", "#5aae61", "#8073ac", "#d6604d", "#4d9cc4", "#b8860b", "#c994c7", "#8c8c8c")
MARKERS = "s^DvPX<>"
"""Eight colours and markers for the lines beside a strong one, on white."""

PAGE_COLOURS = ("#3b82c4", "#d9730d", "#2e9e6b", "#9067c6", "#d64550", "#1b9aaa", "#a3763a", "#7f8790")
PAGE_MARKERS = "osD^vP*X"
"""Eight colours and markers for lines of equal rank; they can be told apart on white and on near-black."""

INK = "#010203"
"""The colour of text and axes in `PAGE_STYLE`; nothing else has it, so that a page can replace it by its own."""

STYLE: dict[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
"""The settings of matplotlib for every figure."""

PAGE_STYLE: dict[str, Any] = STYLE | {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may have dollars in it
    "font.size": 10,
    "legend.fontsize": 9,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.alpha": 0.15,
    "grid.color": INK,
    "hatch.linewidth": 0.4,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
"""The settings of matplotlib for figures that stand in a page, light or dark."""


def new_figure(width: float, height: float) -> "Figure":
    """Returns an empty figure whose parts do not overlap."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def set_title(figure: "Figure", title: str) -> None:
    """Writes a title on the left above a figure."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)


def write_figure(figure: "Figure", path: Path) -> None:
    """Writes a figure whole or not at all."""
    with _files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=200)
