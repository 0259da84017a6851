"""The pictures of a collection, as files that a browser can show and keep."""

import functools
import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np


class Pictures:
    """Some pictures, each a PNG file under an address that changes when any of them does.

    Attributes:
        version: what names them in an address.
    """

    def __init__(self, pictures: np.ndarray):
        self._pictures = pictures  # uint8 [n, height, width, 3]
        self._files = functools.cache(lambda row: png(self._pictures[row]))
        self.version = hashlib.sha256(pictures).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self._pictures)

    def file(self, row: int) -> bytes:
        """The PNG file of one of them."""
        return self._files(row)


def pictures_of(metadata: Mapping[str, Any]) -> Pictures | None:
    """The pictures of the dataset that a model was trained on, where this package has them: those of emoji."""
    if metadata.get("dataset") != "emoji" or is_synthetic(metadata):
        return None
    from gpldan_jax.data.emoji import load_emoji_pictures

    return Pictures(load_emoji_pictures())


def is_synthetic(metadata: Mapping[str, Any]) -> bool:
    """Whether the features that a model was trained on were generated."""
    return bool(metadata.get("config", {}).get("dataset", {}).get("synthetic"))


def png(picture: np.ndarray) -> bytes:
    """A picture, uint8 `[height, width, 3]`, as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()
