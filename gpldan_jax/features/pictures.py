"""Pictures from anywhere, made safe and uniform for feature extractors."""

import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np

from gpldan_jax.features._libraries import needed_for

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_SIDE = 64
_ORIENTATION = 0x0112  # in EXIF
# Threads share the list of warning filters, and one would put back what another has set. It also keeps the memory to
# that of one large picture.
_ONE_AT_A_TIME = threading.Lock()


def read_picture(file: bytes | str | os.PathLike, *, max_pixels: int = 40_000_000) -> np.ndarray:
    """Reads a picture that may come from a stranger, as 64 x 64 pixels.

    The first frame is turned as its EXIF orientation says, put on white where it is transparent, reduced by averaging
    (smaller ones are enlarged) until the longer side is 64, and centred on a white square. A picture of 64 x 64 pixels
    in 8-bit RGB stays exactly as it is. Of 16 bits the high byte counts. Colour profiles are ignored.

    One picture is decoded at a time, whatever the threads; 40 million pixels take half a gigabyte meanwhile, and 0.8 as
    WEBP.

    Args:
        file: the content of a PNG, JPEG, WEBP, GIF or BMP file, or the path of one.
        max_pixels: a larger picture is refused before it is decoded. Pillow's own limit, 178,956,970, holds as well.

    Returns:
        uint8 `[64, 64, 3]` in RGB.

    Raises:
        ValueError: not such a file, a broken or incomplete one, or one with too many pixels. The message is one line,
            which names the path where one was given and tells nothing else of this machine.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (128, 32), "red").save(file, "png")
    >>> picture = read_picture(file.getvalue())
    >>> picture.shape, picture[32, 32].tolist(), picture[0, 0].tolist()
    ((64, 64, 3), [255, 0, 0], [255, 255, 255])
    """
    with needed_for("reading a picture"):
        from PIL import Image

    name, content = "the picture", file
    if not isinstance(file, bytes):
        name = os.fspath(file)
        try:
            content = Path(file).read_bytes()
        except OSError as error:
            raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        try:
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise Image.DecompressionBombError
                return _uniform(image)
        except MemoryError:
            raise
        except Image.DecompressionBombError:
            raise ValueError(f"{name} is too large: expected at most {max_pixels:,} pixels") from None
        except Exception as error:  # Pillow raises nearly anything where a file is broken
            formats = f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
            raise ValueError(f"{name} cannot be read: expected a complete {formats} file") from error


def _uniform(image):
    from PIL import Image

    turns = {  # what undoes each EXIF orientation
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    turn = turns.get(image.getexif().get(_ORIENTATION))
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGBA")
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(image, mask=image)
    longer = max(image.size)
    size = [max(1, round(length * _SIDE / longer)) for length in image.size]
    small = opaque.resize(size, Image.Resampling.BOX)
    if turn is not None:
        small = small.transpose(turn)
    square = Image.new("RGB", (_SIDE, _SIDE), "white")
    square.paste(small, ((_SIDE - small.width) // 2, (_SIDE - small.height) // 2))
    return np.asarray(square)
