"""The parts of a section of the page. All text is plain; the template escapes it."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import ClassVar

from gpldan_jax.studies.tables import MeanSd

CRITERIA = {
    "map": "average map@50",
    "recall": "the mean of recall@1, @5 and @10",
    "agreement": "agreement@50, which needs no labels",
}
"""The figure that each criterion of `train.selection` looks at, in words; `"last"` looks at none."""

_RECALL = "recall@k is how often the true partner is among the k nearest."
_MAP = (
    "map@50 is of the hits convention: it divides the sum of precisions by the relevant items inside the top 50; "
    "map@50_trec divides by all relevant items of the split. An item is relevant when it shares a class with the query."
)


@dataclasses.dataclass(frozen=True)
class Heading:
    """The heading of a part of a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Running text; a note says what was left out, and why. What a user can do about it, `to_do`, is not shown."""

    kind: ClassVar[str] = "paragraph"
    text: str
    is_note: bool = False
    to_do: str = ""


@dataclasses.dataclass(frozen=True)
class Made:
    """The command line that made a folder, and the versions of the packages."""

    kind: ClassVar[str] = "made"
    command: str
    versions: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, the number behind the text where there is one, and whether it is bold."""

    text: str
    value: float | None = None
    is_best: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of a row names the row."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture, the caption below it, and its description for people who do not see it."""

    kind: ClassVar[str] = "figure"
    caption: str
    alt: str
    svg: str = ""  # the `<svg>` element, from `charts`
    source: str = ""  # the data URI of a bitmap, where there is no SVG


@dataclasses.dataclass(frozen=True)
class Item:
    """An image or a text of the test split: its name, its class, and its picture (a data URI) where it has one."""

    name: str
    group: str
    picture: str = ""


@dataclasses.dataclass(frozen=True)
class Hit:
    """A retrieved item and its distance to the query; `mark` says in words whether it is relevant."""

    item: Item
    distance: float
    is_relevant: bool
    mark: str


@dataclasses.dataclass(frozen=True)
class Example:
    """A query, the reason why it is shown, and the items nearest to it, the nearest first."""

    query: Item
    why: str
    results: tuple[Hit, ...]


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one direction, with a caption."""

    kind: ClassVar[str] = "examples"
    caption: str
    examples: tuple[Example, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """The part of the page about one folder; its heading says whether the features were generated."""

    title: str
    folder: str
    synthetic: bool
    blocks: tuple  # neighbouring figures stand side by side where there is room


def figure_cell(figure: MeanSd | float | None, is_best: bool = False) -> Cell:
    """Returns a figure, or its mean over seeds, as a cell; `None` stands for no figure.

    Example:
        >>> figure_cell(MeanSd(0.5, 0.25)).text, figure_cell(0.25).text, figure_cell(None).text
        ('0.500 ± 0.250', '0.250', '-')
    """
    if figure is None:
        return Cell("-")
    mean = figure if isinstance(figure, MeanSd) else MeanSd(figure, None)
    return Cell(str(mean), mean.mean, is_best)


def convention(metrics: Collection[str]) -> str:
    """Returns the meaning of the metrics of a table.

    Example:
        >>> convention(["recall@10"])
        'recall@k is how often the true partner is among the k nearest.'
    """
    has_map, has_recall = "map@50" in metrics, any(metric.startswith("recall@") for metric in metrics)
    return " ".join([_MAP] * has_map + [_RECALL] * has_recall)


def class_title(name: str, titles: Sequence[str]) -> str:
    """Returns the name of a class of `retrieval.map_per_class`.

    Example:
        >>> class_title("1", ["cats", "dogs"]), class_title("1", [])
        ('dogs', 'class 1')
    """
    return titles[int(name)] if name.isdecimal() and int(name) < len(titles) else f"class {name}"
