"""Decodes an image file that nobody has checked, with Pillow.

This module imports neither jax nor NumPy, because the page decodes each picture in a new process (`serving.decoding`).
"""

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpldan_jax._extras import needed_for

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 40_000_000
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_ORIENTATION = 0x0112  # in EXIF


class TooLargeError(ValueError):
    """A picture has too many pixels."""


def decode(
    content: bytes,
    name: str = "the picture",
    *,
    max_pixels: int = MAX_PIXELS,
    most_decoded: int | None = None,
    smallest: int | None = None,
) -> "Image.Image":
    """Decodes an image file: its first frame, turned as its EXIF orientation says, on white where it is transparent.

    Args:
        content: of a PNG, JPEG, WEBP, GIF or BMP file.
        name: of the file, for messages.
        max_pixels: a picture with more pixels is refused before it is decoded.
        most_decoded: a picture is refused, too, if more pixels than this would be decoded; by default no matter how
            many. With `smallest` a JPEG has fewer pixels when it is decoded than in its file.
        smallest: a JPEG may be decoded to an eighth, a quarter or half of its size, as long as no side becomes shorter
            than this many pixels. By default every picture has its own size.

    Returns:
        A picture in RGB.

    Raises:
        TooLargeError: it has too many pixels.
        ValueError: it is another kind of file, or a broken or incomplete one. The message is one line.
        ImportError: Pillow is missing.

    Example:
        >>> decode(b"GIF89a", "own.gif")
        Traceback (most recent call last):
        ValueError: own.gif cannot be read: expected a complete PNG, JPEG, WEBP, GIF or BMP file
    """
    with needed_for("reading a picture"):
        from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise Image.DecompressionBombError
            if smallest:
                image.draft("RGB", (smallest, smallest))
            if most_decoded and image.width * image.height > most_decoded:
                raise TooLargeError(
                    f"{name} is too large: expected at most {most_decoded:,} pixels, or {max_pixels:,} in a JPEG file"
                )
            return _upright(image)
    except (MemoryError, TooLargeError):
        raise
    except Image.DecompressionBombError:
        raise TooLargeError(f"{name} is too large: expected at most {max_pixels:,} pixels") from None
    except Exception as error:  # Pillow raises nearly anything where a file is broken
        formats = f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
        raise ValueError(f"{name} cannot be read: expected a complete {formats} file") from error


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Within the block, Pillow gives no warnings. Threads share this setting."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


def _upright(image):
    from PIL import Image

    turns = {  # the operation that undoes each EXIF orientation
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    turn = turns.get(image.getexif().get(_ORIENTATION))
    image = _on_white(image)  # frees the copies in between before the next one is made
    return image if turn is None else image.transpose(turn)


def _on_white(image):
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        values = image.tobytes()
        size = len(values) // (image.width * image.height)  # of a value in bytes, 2 or 4
        is_little = sys.byteorder == "little" if image.mode in ("I", "I;16N") else image.mode != "I;16B"
        image = Image.frombytes("L", image.size, values[1 if is_little else size - 2 :: size])
    image = image.convert("RGBA")
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(image, mask=image)
    return opaque
