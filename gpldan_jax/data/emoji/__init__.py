"""The embedded dataset: 1,870 emoji as image features, words, nine classes and a split, and their pictures.

Letters: `w` words.
"""

from dataclasses import dataclass

import numpy as np

from gpldan_jax.data import shipped


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
    described = shipped.shipped_items("emoji")
    arrays = shipped.shipped_arrays("emoji")
    return EmojiArrays(
        image=arrays.image,
        text=arrays.text,
        label=arrays.label,
        split=arrays.split,
        vocabulary=arrays.vocabulary,
        names=arrays.names,
        emoji=tuple(item["emoji"] for item in described["items"]),
        groups=arrays.classes,
    )


def load_emoji_documents() -> tuple[str, ...]:
    """Returns the texts from which the text features were computed, in the order of `load_emoji_arrays`.

    Example:
        >>> load_emoji_documents()[0]
        'grinning face face grin grinning face'
    """
    return shipped.shipped_documents("emoji")


def load_emoji_pictures() -> np.ndarray:
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
    return shipped.shipped_pictures("emoji")
