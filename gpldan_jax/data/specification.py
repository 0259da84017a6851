"""What the catalogue says of a dataset: sizes, forms on disk, and where files come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Images, texts, and labels or None.
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Shape:
    """The sizes of one dataset variant.

    Attributes:
        splits: pairs in train, validation, test.
        image, text: feature dimensions d_i, d_t.
        classes: number of classes.
    """

    splits: tuple[int, int, int]
    image: int
    text: int
    classes: int

    @property
    def pairs(self) -> int:
        """All pairs."""
        return sum(self.splits)

    @property
    def held_out(self) -> int:
        """The pairs of validation and test, which circulate together as one test part."""
        return self.splits[1] + self.splits[2]


@dataclass(frozen=True)
class Layout:
    """One form on disk.

    Attributes:
        files: file names, all of which are needed.
        holds: what the files must hold; `{shape.image}` and the like stand for the sizes.
        read: takes the paths of `files` and the shape (None: any), returns the pairs of train,
            validation and test.
    """

    files: tuple[str, ...]
    holds: str
    read: Callable[[Sequence[Path], Shape | None], tuple[Pairs, ...]]


@dataclass(frozen=True)
class Variant:
    """One dataset with one kind of features.

    Attributes:
        name, variant: what `load_dataset` takes.
        shape: the sizes; None where the arrays themselves say them.
        layouts: the forms on disk, in the order they are tried.
        circulates: where such files are found, in words.
        nonnegative_images: whether the image features are ReLU outputs or counts.
    """

    name: str
    variant: str
    shape: Shape | None
    layouts: tuple[Layout, ...]
    circulates: str
    nonnegative_images: bool = False
