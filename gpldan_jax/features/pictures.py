"""Reads pictures from untrusted files, and brings them to the sizes that the image encoders take.

Letters: `h` x `w` pixels.
"""

import concurrent.futures
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._decoding import MAX_PIXELS, decode, without_warnings

MAX_BYTES = 2**28  # of an image file
SQUARE = 64  # pixels, the side of what `fit_square` returns
# Threads share the list of warning filters, so one thread would undo what another has set. The lock also limits the
# memory to that of one large picture.
_ONE_AT_A_TIME = threading.Lock()


def read_image(file: bytes | str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a picture from an untrusted file, in its own size.

    The first frame is turned as its EXIF orientation says, and put on white where it is transparent. Grey, palette and
    CMYK pictures become RGB. Of 16 bits, the high byte is kept. Colour profiles are ignored.

    Only one thread decodes at a time, because several copies of the pixels are in memory meanwhile.

    Args:
        file: the content of a PNG, JPEG, WEBP, GIF or BMP file, or its path.
        max_pixels: a larger picture is refused before it is decoded. Pillow's own limit, 178,956,970, holds too.

    Returns:
        uint8 `[h, w, 3]` in RGB.

    Raises:
        ValueError: another kind of file, a broken or incomplete one, or one with too many pixels. The message is one
            line, which names the path if one was given and tells nothing else about this machine.
        ImportError: Pillow is missing.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (128, 32), "red").save(file, "png")
        >>> read_image(file.getvalue()).shape
        (32, 128, 3)
    """
    with _ONE_AT_A_TIME, without_warnings():
        return _decoded(file, max_pixels)


def read_images(
    files: Sequence[bytes | str | os.PathLike],
    prepare: Callable[[np.ndarray], Any],
    *,
    threads: int,
    max_pixels: int = MAX_PIXELS,
    smallest: int | None = None,
) -> list[Any]:
    """Reads pictures in several threads, and applies a function to each as soon as it is read.

    Args:
        files: contents or paths, as `read_image` takes them.
        prepare: takes a picture, uint8 `[h, w, 3]`, and returns what is kept of it. It may run in any thread.
        threads: how many pictures are decoded at a time.
        max_pixels: a larger picture is refused.
        smallest: a JPEG may be decoded to an eighth, a quarter or half of its size, which is faster, as long as no
            side becomes shorter than this many pixels. By default every picture has its own size.

    Returns:
        For each file what `prepare` returned, or the error that `read_image` or `prepare` raised.

    Raises:
        ImportError: Pillow is missing.

    Example:
        >>> read_images(["missing.png"], lambda picture: picture, threads=2)
        [ValueError('missing.png cannot be read: No such file or directory')]
    """

    def read(file):
        try:
            return prepare(_decoded(file, max_pixels, smallest))
        except ValueError as error:
            return error

    with _ONE_AT_A_TIME, without_warnings(), concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(read, files))


def read_picture(file: bytes | str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a picture with `read_image` and applies `fit_square`.

    Args:
        file: the content of a picture file, or its path.
        max_pixels: a larger picture is refused.

    Returns:
        uint8 `[64, 64, 3]` in RGB.

    Raises:
        ValueError: the file cannot be read, see `read_image`.
        ImportError: Pillow is missing.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (128, 32), "red").save(file, "png")
        >>> picture = read_picture(file.getvalue())
        >>> picture.shape, picture[32, 32].tolist(), picture[0, 0].tolist()
        ((64, 64, 3), [255, 0, 0], [255, 255, 255])
    """
    return fit_square(read_image(file, max_pixels=max_pixels))


def fit_square(picture: np.ndarray) -> np.ndarray:
    """Returns a picture in the middle of a white square.

    The picture is reduced by averaging (a smaller one is enlarged) until its longer side is 64. A picture of 64 x 64
    pixels stays exactly as it is.

    Args:
        picture: uint8 `[h, w, 3]`.

    Returns:
        uint8 `[64, 64, 3]`.

    Example:
        >>> fit_square(np.zeros((200, 100, 3), np.uint8))[32, [0, 15, 16, 47, 48]].max(axis=-1)
        array([255, 255,   0,   0, 255], dtype=uint8)
    """
    from PIL import Image

    image = Image.fromarray(picture)
    size = [max(1, round(length * SQUARE / max(image.size))) for length in image.size]
    small = image.resize(size, Image.Resampling.BOX)
    square = Image.new("RGB", (SQUARE, SQUARE), "white")
    square.paste(small, ((SQUARE - small.width) // 2, (SQUARE - small.height) // 2))
    return np.asarray(square)


def crop_square(picture: np.ndarray, *, shorter: int = 256, side: int = 224) -> np.ndarray:
    """Returns the middle of a picture, as networks trained on ImageNet take it.

    The shorter side is resized to 256 pixels, bilinear with antialiasing, and the square in the middle is kept. The
    result is, to the pixel, that of torchvision's `Resize(256)` and `CenterCrop(224)` for a Pillow image.

    Args:
        picture: uint8 `[h, w, 3]`.
        shorter: the shorter side after resizing, in pixels.
        side: of the square, in pixels.

    Returns:
        uint8 `[side, side, 3]`.

    Raises:
        ValueError: the picture is so narrow that it would have more than 40 million pixels after resizing.

    Example:
        >>> crop_square(np.zeros((300, 500, 3), np.uint8)).shape
        (224, 224, 3)
    """
    from PIL import Image

    h, w = picture.shape[:2]
    size = (shorter, int(shorter * h / w)) if w <= h else (int(shorter * w / h), shorter)
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"a picture of {w} x {h} pixels is too narrow to be cropped")
    image = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2) for length in size)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def read_file(path: Path) -> bytes:
    """Returns the content of an image file; `ValueError` with a short clause where it cannot be read."""
    try:
        if not path.is_file():
            raise ValueError("the image is no regular file")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"the image has more than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"the image cannot be read: {error.strerror}") from None


def _decoded(file, max_pixels, smallest=None):
    if isinstance(file, bytes):
        return np.asarray(decode(file, max_pixels=max_pixels, smallest=smallest))
    name = os.fspath(file)
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    return np.asarray(decode(content, name, max_pixels=max_pixels, smallest=smallest))
