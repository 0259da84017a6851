"""What a section of the page is made of. All text is plain; the template escapes it."""

import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class Heading:
    """The heading of a part of a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Running text; with `is_note`, what was left out and why."""

    kind: ClassVar[str] = "paragraph"
    text: str
    is_note: bool = False


@dataclasses.dataclass(frozen=True)
class Made:
    """The command that made a folder, and with which versions."""

    kind: ClassVar[str] = "made"
    command: str
    versions: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table: what is shown, the number behind it where there is one, and whether it stands out."""

    text: str
    value: float | None = None
    is_best: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture and what it shows.

    Attributes:
        caption: what stands below it.
        alt: what it shows, for those who do not see it.
        svg: the `<svg>` element, from `plots`; or empty.
        source: the data URI of a bitmap, where there is no SVG.
    """

    kind: ClassVar[str] = "figure"
    caption: str
    alt: str
    svg: str = ""
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Item:
    """An image or a text of the test split: its picture where it has one (a data URI), else its name."""

    name: str
    group: str
    picture: str = ""


@dataclasses.dataclass(frozen=True)
class Result:
    """A retrieved item; `mark` says in words whether it is relevant."""

    item: Item
    distance: float
    is_relevant: bool
    mark: str


@dataclasses.dataclass(frozen=True)
class Example:
    """A query, why it is shown, and the items nearest to it, the nearest first."""

    query: Item
    why: str
    results: tuple[Result, ...]


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one direction."""

    kind: ClassVar[str] = "examples"
    caption: str
    examples: tuple[Example, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """A folder's part of the page.

    Attributes:
        title: its heading.
        folder: where it comes from.
        synthetic: whether the features were generated, which the heading then says.
        blocks: its content; neighbouring figures stand side by side where there is room.
    """

    title: str
    folder: str
    synthetic: bool
    blocks: tuple
