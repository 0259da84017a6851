"""What sections have in common: cells, captions and the figure of precision against recall."""

import statistics
from collections.abc import Collection, Mapping, Sequence

from experiments.reporting import plots
from experiments.reporting.blocks import Cell, Figure

TITLES = {"image_to_text": "image to text", "text_to_image": "text to image", "average": "average"}
CRITERIA = {"map": "average map@50", "recall": "the mean of recall@1, @5 and @10"}
_RECALL = "recall@k is how often the true partner is among the k nearest."
_MAP = (
    "map@50 is of the hits convention: it divides the sum of precisions by the relevant items inside the top 50; "
    "map@50_trec divides by all relevant items of the split. An item is relevant when it is of the query's class."
)


def convention(metrics: Collection[str]) -> str:
    """What the metrics of a table mean.

    >>> convention(["recall@10"])
    'recall@k is how often the true partner is among the k nearest.'
    """
    has_map, has_recall = "map@50" in metrics, any(metric.startswith("recall@") for metric in metrics)
    return " ".join([_MAP] * has_map + [_RECALL] * has_recall)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation, `None` of a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def mean_cell(found: tuple[float, float | None] | None, is_best: bool = False) -> Cell:
    """What `mean_and_sd` gives, as a cell.

    >>> mean_cell((0.5, 0.25)).text, mean_cell((0.5, None)).text, mean_cell(None).text
    ('0.500 ± 0.250', '0.500', '-')
    """
    if found is None:
        return Cell("-")
    mean, sd = found
    return Cell(f"{mean:.3f}" + ("" if sd is None else f" ± {sd:.3f}"), mean, is_best)


def number(value: float | None, is_best: bool = False) -> Cell:
    """A figure as a cell."""
    return Cell("-") if value is None else Cell(f"{value:.3f}", value, is_best)


def over(seeds: Sequence[int]) -> str:
    """What figures over some seeds are.

    >>> over([0, 1]), over([3])
    ('mean ± standard deviation over seeds 0, 1', 'seed 3')
    """
    names = ", ".join(map(str, seeds))
    return f"mean ± standard deviation over seeds {names}" if len(seeds) > 1 else f"seed {names}"


def class_title(name: str, titles: Sequence[str]) -> str:
    """What the class with this key in `map_per_class` is called, where its dataset says it.

    >>> class_title("1", ["cats", "dogs"]), class_title("1", [])
    ('dogs', 'class 1')
    """
    return titles[int(name)] if name.isdecimal() and int(name) < len(titles) else f"class {name}"


def joined(versions: Mapping[str, str]) -> str:
    """Versions in a line, the device last.

    >>> joined({"jax": "0.10.2", "device": "cpu", "numpy": "2.4.6"})
    'jax 0.10.2, numpy 2.4.6, on cpu'
    """
    named = [f"{name} {version}" for name, version in versions.items() if name != "device"]
    return ", ".join(named) + (f", on {versions['device']}" if "device" in versions else "")


def curves_figure(curves: Mapping[str, Sequence[float]], share: float | None, what: str, key: str) -> Figure:
    """The figure of `plots.precision_recall`; `what` goes on from "Precision against recall"."""
    middle = ", ".join(f"{name} {values[10]:.3f}" for name, values in curves.items())
    alt = f"Precision against recall{what}; at half of the recall: {middle}"
    caption = f"Precision against recall{what}: at each recall the largest precision at that recall or a higher one."
    if share is not None:
        caption += f" A random ranking finds about the share of relevant items, {share:.3f}."
    return Figure(caption, alt, plots.precision_recall(curves, share, key=key, alt=alt))
