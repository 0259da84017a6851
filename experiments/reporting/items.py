"""The pairs of a test split as a page can show them: emoji by picture and name, others by number and class."""

import base64
import io

import numpy as np

from experiments.reporting.blocks import Item
from gpldan_jax.data import PairedDataset

_TEST = 2  # in the emoji's `split`


def images_and_texts(dataset: PairedDataset) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """What image i and text i of the test split are called and look like, for every pair i."""
    labels, titles = dataset.test.labels, class_titles(dataset)
    groups = [""] * len(dataset.test) if labels is None else [titles[label] for label in labels]
    if dataset.name != "emoji" or dataset.synthetic:
        items = tuple(Item(f"pair {i}", group) for i, group in enumerate(groups))
        return items, items
    from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures

    emoji = load_emoji_arrays()
    rows = np.flatnonzero(emoji.split == _TEST)
    pictures = (data_uri(_png(picture)) for picture in load_emoji_pictures()[rows])
    named = list(zip((emoji.names[row] for row in rows), groups, pictures, strict=True))
    return tuple(Item(*of) for of in named), tuple(Item(name, group) for name, group, _ in named)


def class_titles(dataset: PairedDataset) -> tuple[str, ...]:
    """The name of each class; one that is a bare number is called "class 3"."""
    return tuple(f"class {name}" if name.lstrip("-").isdecimal() else name for name in dataset.class_names or ())


def data_uri(png: bytes) -> str:
    """A PNG as an address that a page carries in itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _png(picture):
    from PIL import Image  # comes with matplotlib

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()
