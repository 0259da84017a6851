"""The datasets that the package ships: their features, names, classes, texts and pictures.

Each is a folder of `gpldan_jax/data/` with `features.npz`, `items.json` and one sheet of pictures. A tool in `tools/`
makes the files of each.

Letters: `n` items, `w` words.
"""

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._extras import needed_for

SHIPPED = ("emoji", "openclipart")
"""The names of the datasets that need no files of the user."""


@dataclass(frozen=True)
class ShippedArrays:
    """A dataset that the package ships, one row for each item, in the order of its `items.json`.

    Attributes:
        image: `[n, 1952]` float32 in [0, 1], of `gpldan_jax.features.hog_hsv`.
        text: `[n, w]` float32, 0 or 1: which words each text has.
        label: `[n]` int32, position in `classes`.
        split: `[n]` int32: 0 train, 1 validation, 2 test.
        vocabulary: the `w` words, sorted; `vocabulary[j]` is column `j` of `text`.
        names: `n` different names, for people.
        classes: the names of the classes.
    """

    image: np.ndarray
    text: np.ndarray
    label: np.ndarray
    split: np.ndarray
    vocabulary: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]


def shipped_arrays(name: str) -> ShippedArrays:
    """Reads the arrays of a dataset that the package ships.

    Args:
        name: one of `SHIPPED`.

    Returns:
        The arrays.

    Raises:
        ValueError: the files of the package do not fit together.

    Example:
        >>> clip_art = shipped_arrays("openclipart")
        >>> clip_art.image.shape[1], clip_art.classes[0], clip_art.names[0]
        (1952, 'animals', '2 dead frogs')
    """
    described = shipped_items(name)
    items = described["items"]
    path = shipped_folder(name) / "features.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        loaded = ShippedArrays(
            image=arrays["image"].astype(np.float32),
            text=arrays["text"].astype(np.float32),
            label=arrays["label"].astype(np.int32),
            split=arrays["split"].astype(np.int32),
            vocabulary=tuple(arrays["vocabulary"].tolist()),
            names=tuple(item["name"] for item in items),
            classes=tuple(described["groups"]),
        )
    if len(loaded.image) != len(items):
        raise ValueError(f"{path}: expected {len(items)} rows as in items.json, found {len(loaded.image)}")
    return loaded


def shipped_documents(name: str) -> tuple[str, ...]:
    """Returns the texts from which the text features of a shipped dataset were computed, in the order of its arrays.

    Args:
        name: one of `SHIPPED`.

    Returns:
        A text for each item.

    Example:
        >>> shipped_documents("emoji")[0]
        'grinning face face grin grinning face'
    """
    items = shipped_items(name)["items"]
    return tuple(item["text"] if "text" in item else " ".join([item["name"], *item["keywords"]]) for item in items)


def shipped_pictures(name: str) -> np.ndarray:
    """Reads the pictures from which the image features of a shipped dataset were computed, in the order of its arrays.

    Args:
        name: one of `SHIPPED`.

    Returns:
        `[n, 64, 64, 3]` uint8 in RGB, on white.

    Raises:
        ImportError: Pillow is missing.
        ValueError: the sheet has another size.

    Example:
        >>> shipped_pictures("emoji").shape
        (1870, 64, 64, 3)
    """
    with needed_for(f"the pictures of {name}"):
        import PIL  # noqa: F401
    described = shipped_items(name)
    sprites = described["sprites"]
    path = shipped_folder(name) / sprites["file"]
    return read_sheet(path, sprites["columns"], sprites["rows"], sprites["tile"])[: len(described["items"])]


def read_sheet(path: str | os.PathLike | Traversable, columns: int, rows: int, tile: int) -> np.ndarray:
    """Reads a sheet of pictures.

    Args:
        path: the sheet, an image file.
        columns: pictures in a row of the sheet.
        rows: rows of the sheet.
        tile: the side of a picture, in pixels.

    Returns:
        `[rows * columns, tile, tile, 3]` uint8 in RGB, row by row.

    Raises:
        ImportError: Pillow is missing.
        ValueError: the sheet has another size.
    """
    with needed_for("a sheet of pictures"):
        from PIL import Image
    place = path if isinstance(path, Traversable) else Path(path)
    with place.open("rb") as file, Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    expected = (rows * tile, columns * tile, 3)
    if pixels.shape != expected:
        raise ValueError(f"{path}: expected a sheet of shape {expected}, found {pixels.shape}")
    tiles = pixels.reshape(rows, tile, columns, tile, 3).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(-1, tile, tile, 3)


def shipped_items(name: str) -> dict[str, Any]:
    """Returns what `items.json` of a shipped dataset says: "items", "groups", "sprites", and what made them."""
    return json.loads(shipped_folder(name).joinpath("items.json").read_text(encoding="utf-8"))


def shipped_folder(name: str) -> Traversable:
    """Returns the folder of a shipped dataset in the package."""
    return files(f"gpldan_jax.data.{name}")
