"""Figures of a fitted estimator: how it was trained, and precision against recall."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpldan_jax import _figure_style as style
from gpldan_jax._extras import needed_for
from gpldan_jax.data import PairedSplit
from gpldan_jax.retrieval.agreement import AGREEMENT
from gpldan_jax.retrieval.evaluation import different_items
from gpldan_jax.retrieval.metrics import RECALL_LEVELS, precision_recall
from gpldan_jax.training.epochs import criterion_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = 4.6, 3.4  # inches
_NAMES = {"image_to_text": "image to text", "text_to_image": "text to image", "average": "average"}


def precision_curves(distances: np.ndarray, split: PairedSplit) -> dict[str, list[float]]:
    """Returns the precision at each of `RECALL_LEVELS` of labelled pairs, see `gpldan_jax.retrieval.precision_recall`.

    Args:
        distances: of the different images and texts of `split`.
        split: the pairs.

    Returns:
        The precisions by direction.

    Raises:
        ValueError: no pair has a label.

    Example:
        >>> split = PairedSplit(np.ones((2, 3)), np.ones((2, 3)), np.array([0, 1]))
        >>> precision_curves(np.array([[0.1, 0.9], [0.8, 0.2]]), split)["average"][-1]
        1.0
    """
    distances, labels = different_items(distances, split)
    if labels is None:
        raise ValueError("precision against recall needs labels")
    return precision_recall(distances, labels)


def compose_plot(
    history: Sequence[Mapping[str, Any]],
    selected: int,
    criterion: str,
    curves: Mapping[str, Sequence[float]] | None = None,
) -> "Figure":
    """Returns a figure with a panel of the training and, where `curves` are given, one of precision against recall.

    Args:
        history: the records of the epochs, see `GPLDAN.history_`; without any, there is no panel of the training.
        selected: the epoch whose model was kept.
        criterion: by what it was chosen, `GPLDAN.selection`.
        curves: precision at each of `RECALL_LEVELS` by direction, see `gpldan_jax.retrieval.precision_recall`.

    Returns:
        A figure of matplotlib; `savefig` writes it, a notebook shows it.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: neither a history nor curves.
    """
    if not history and curves is None:
        raise ValueError("this model has no history, since a run made it; give images, texts and labels to plot")
    with needed_for("a plot", "plots"):
        import matplotlib
    if criterion == "auto":
        evaluated = [record["validation"] for record in history if record.get("validation")]
        criterion = "agreement" if evaluated and AGREEMENT in evaluated[0] else "map"
    count = bool(history) + (curves is not None)
    with matplotlib.rc_context(style.STYLE):
        figure = style.new_figure(_PANEL[0] * count, _PANEL[1])
        panels = list(figure.subplots(1, count, squeeze=False)[0])
        if history:
            _draw_training(panels.pop(0), history, selected, criterion)
        if curves is not None:
            _draw_curves(panels.pop(0), curves)
    return figure


def _draw_training(axes: "Axes", history: Sequence[Mapping[str, Any]], selected: int, criterion: str) -> None:
    """The loss on the left axis and the figure that selects on the right one, by epoch."""
    epochs = [record["epoch"] for record in history]
    axes.plot(epochs, [record["loss"] for record in history], color=style.STRONG, label="loss")
    axes.set(xlabel="epoch", ylabel="loss")
    locator: Any = axes.xaxis.get_major_locator()
    locator.set_params(integer=True)
    axes.axvline(selected, color=style.GREY, linestyle=":", label=f"selected epoch, {selected}")
    axes.grid(color=style.GRID)
    lines, labels = axes.get_legend_handles_labels()
    evaluated = [record for record in history if record.get("validation")]
    if evaluated:
        found = [criterion_figure(criterion, record["validation"], record["epoch"]) for record in evaluated]
        right = axes.twinx()
        right.spines["right"].set_visible(True)
        values: Any = [value for _, value in found]
        right.plot([record["epoch"] for record in evaluated], values, "--", color=style.COLOURS[0])
        right.set(ylabel=f"{found[0][0]}, held-out pairs")
        lines, labels = lines + right.get_lines(), [*labels, str(found[0][0])]
    axes.legend(lines, labels, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)


def _draw_curves(axes: "Axes", curves: Mapping[str, Sequence[float]]) -> None:
    for (direction, name), dash in zip(_NAMES.items(), ("--", ":", "-"), strict=True):
        colour = style.STRONG if direction == "average" else style.COLOURS[direction == "text_to_image"]
        axes.plot(RECALL_LEVELS, curves[direction], dash, color=colour, label=name)
    axes.set(xlabel="recall", ylabel="interpolated precision", xlim=(0, 1), ylim=(0, None))
    axes.grid(color=style.GRID)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
