"""Small copies of pictures, for pages and reports.

Letters: `h` x `w` pixels.
"""

import io
import sqlite3
import zlib

import numpy as np

from gpldan_jax._extras import needed_for

SIDE = 256
"""The longer side of a thumbnail, in pixels; a smaller picture keeps its size."""
MEDIA_TYPE = "image/webp"
THUMBNAIL_TABLE = "CREATE TABLE IF NOT EXISTS pictures (name TEXT PRIMARY KEY, crc INTEGER, file BLOB)"
"""The table of a database of thumbnails; `crc` is the CRC-32 of `file`."""
_QUALITY = 80
_FAST_AND_EXACT = {"lossless": True, "quality": 0, "method": 0}  # the quality of a lossless file is only its size
_EXACT = 128  # up to this side a picture is kept to the pixel: icons would show the losses, and are small anyway


def make_thumbnail(picture: np.ndarray) -> bytes:
    """Makes a small copy of a picture, a WebP file.

    Args:
        picture: uint8 `[h, w, 3]` in RGB.

    Returns:
        The content of the file. Its longer side is at most 256 pixels. A picture of at most 128 x 128 is kept exactly.

    Raises:
        ImportError: Pillow is missing.

    Example:
        >>> from gpldan_jax.features import read_image
        >>> read_image(make_thumbnail(np.zeros((1000, 500, 3), np.uint8))).shape
        (256, 128, 3)
    """
    with needed_for("making thumbnails"):
        from PIL import Image

    image = Image.fromarray(picture)
    exact = max(image.size) <= _EXACT
    if max(image.size) > SIDE:
        width, height = (max(1, round(length * SIDE / max(image.size))) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "webp", **(_FAST_AND_EXACT if exact else {"quality": _QUALITY}))
    return file.getvalue()


def check_thumbnails(connection: sqlite3.Connection) -> None:
    """Checks the structure of a database of thumbnails, and each thumbnail; `ValueError` says what is damaged.

    Args:
        connection: to a database with the table `THUMBNAIL_TABLE`.
    """
    try:
        (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if answer != "ok":
            raise ValueError(str(answer))
        for name, crc, file in connection.execute("SELECT name, crc, file FROM pictures"):
            if not isinstance(file, bytes) or zlib.crc32(file) != crc:
                raise ValueError(f"the CRC-32 of the thumbnail {name!r} differs")
    except (sqlite3.Error, UnicodeError) as error:
        raise ValueError(str(error)) from error
