"""The embedded dataset: 1,870 emoji as image features, words, nine classes and a split, and their pictures.

Letters: `w` words.
"""

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from gpldan_jax._extras import needed_for

TILE = 64
SHEET_COLUMNS, SHEET_ROWS = 55, 34  # 55 x 34 is 1,870: the sheet has no empty tile


@dataclass(frozen=True)
class EmojiArrays:
    """The embedded dataset, one row for each emoji, in the order of Unicode's emoji-test.txt.

    Attributes:
        image: `[1870, 1952]` float32 in [0, 1]: HOG (1,568 columns), then a 4 x 4 grid of HSV histograms (384 columns).
        text: `[1870, w]` float32, 0 or 1: which words are in the short name and the keywords. A row may be all zeros:
            87 emoji share no word with another.
        label: `[1870]` int32, 0 to 8: position in `groups`.
        split: `[1870]` int32: 0 train (1,400), 1 validation (100), 2 test (370).
        vocabulary: the `w` words, sorted; `vocabulary[j]` is column `j` of `text`.
        names: 1,870 short names, such as "woman farmer".
        emoji: 1,870 emoji.
        groups: the nine class names.
    """

    image: np.ndarray
    text: np.ndarray
    label: np.ndarray
    split: np.ndarray
    vocabulary: tuple[str, ...]
    names: tuple[str, ...]
    emoji: tuple[str, ...]
    groups: tuple[str, ...]


def load_emoji_arrays() -> EmojiArrays:
    """Reads the embedded dataset from the package.

    The pictures are Google's Noto Color Emoji, the words Unicode's CLDR; `README.md` and the two `LICENSE-` files
    beside this module say which versions and on which terms. `tools/build_emoji.py` makes the files.

    Example:
        >>> emoji = load_emoji_arrays()
        >>> emoji.image.shape, emoji.image.dtype.name, emoji.text.shape
        ((1870, 1952), 'float32', (1870, 952))
        >>> emoji.names[0], emoji.groups[emoji.label[0]]
        ('grinning face', 'Smileys & Emotion')
    """
    folder = files(__name__)
    described = json.loads(folder.joinpath("items.json").read_text(encoding="utf-8"))
    items = described["items"]
    with folder.joinpath("features.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        loaded = EmojiArrays(
            image=arrays["image"].astype(np.float32),
            text=arrays["text"].astype(np.float32),
            label=arrays["label"].astype(np.int32),
            split=arrays["split"].astype(np.int32),
            vocabulary=tuple(arrays["vocabulary"].tolist()),
            names=tuple(item["name"] for item in items),
            emoji=tuple(item["emoji"] for item in items),
            groups=tuple(described["groups"]),
        )
    if len(loaded.image) != len(items):
        raise ValueError(
            f"{folder / 'features.npz'}: expected {len(items)} rows as in items.json, found {len(loaded.image)}"
        )
    return loaded


def load_emoji_documents() -> tuple[str, ...]:
    """Returns the texts from which the text features were computed, in the order of `load_emoji_arrays`.

    Example:
        >>> load_emoji_documents()[0]
        'grinning face face grin grinning face'
    """
    items = json.loads(files(__name__).joinpath("items.json").read_text(encoding="utf-8"))["items"]
    return tuple(" ".join([item["name"], *item["keywords"]]) for item in items)


def load_emoji_pictures(sheet: str | os.PathLike | None = None) -> np.ndarray:
    """Reads the pictures from which the image features were computed, in the order of `load_emoji_arrays`.

    Returns:
        `[1870, 64, 64, 3]` uint8 in RGB, on white.

    Raises:
        ImportError: Pillow is missing.
        ValueError: the sheet has another size.

    Example:
        >>> load_emoji_pictures().shape
        (1870, 64, 64, 3)
    """
    with needed_for("the pictures of the emoji"):
        from PIL import Image
    path = files(__name__).joinpath("sprites.webp") if sheet is None else Path(sheet)
    with path.open("rb") as file, Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    expected = (SHEET_ROWS * TILE, SHEET_COLUMNS * TILE, 3)
    if pixels.shape != expected:
        raise ValueError(f"{path}: expected a sheet of shape {expected}, found {pixels.shape}")
    tiles = pixels.reshape(SHEET_ROWS, TILE, SHEET_COLUMNS, TILE, 3).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(-1, TILE, TILE, 3)
