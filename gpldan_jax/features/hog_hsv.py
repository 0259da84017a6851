"""Shapes and colours of small pictures: the image features of the emoji dataset.

`n` is the number of pictures.
"""

import numpy as np

from gpldan_jax.features._libraries import needed_for

_SIDE = 64
_HOG = 1568
_HSV_BINS = (6, 2, 2)
_HSV_GRID = 4


def hog_hsv(pictures: np.ndarray) -> np.ndarray:
    """Shape and colour features of pictures.

    Columns 0 to 1567 are HOG (Dalal and Triggs, 2005): 8 orientations, cells of 8 x 8 pixels, blocks of 2 x 2 cells,
    each pixel's gradient taken from the channel where it is largest. Columns 1568 to 1951 are a 4 x 4 grid of HSV
    histograms, 6 x 2 x 2 bins, each the share of its square's pixels; a pixel without hue counts as hue 0.

    All are rounded to float16, the precision in which the features of the emoji dataset are stored: an emoji that is
    uploaded has exactly the features that it has in the dataset.

    Args:
        pictures: uint8 `[n, 64, 64, 3]` in RGB.

    Returns:
        float32 `[n, 1952]`, in [0, 1].

    Raises:
        ValueError: another shape.
        TypeError: another dtype.

    >>> import numpy as np
    >>> white = np.full((1, 64, 64, 3), 255, np.uint8)
    >>> features = hog_hsv(white)
    >>> features.shape, features[:, :1568].max(), features[:, 1568:].sum()  # no edge; one bin of each of 16 squares
    ((1, 1952), np.float32(0.0), np.float32(16.0))
    """
    with needed_for("features of pictures"):
        from skimage.color import rgb2hsv
        from skimage.feature import hog

    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or pictures.shape[1:] != (_SIDE, _SIDE, 3):
        raise ValueError(f"expected pictures of shape (n, 64, 64, 3), found {pictures.shape}")
    if pictures.dtype != np.uint8:
        raise TypeError(f"expected pictures of dtype uint8, found {pictures.dtype}")

    n, bins = len(pictures), np.prod(_HSV_BINS)
    features = np.empty((n, _HOG + _HSV_GRID**2 * bins), np.float32)
    square = np.arange(_SIDE) * _HSV_GRID // _SIDE
    offset = bins * (_HSV_GRID * square[:, None] + square[None, :])
    for row, picture in zip(features, pictures, strict=True):
        row[:_HOG] = hog(picture, orientations=8, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1)
        binned = np.minimum((rgb2hsv(picture) * _HSV_BINS).astype(int), np.subtract(_HSV_BINS, 1))
        colour = np.ravel_multi_index(tuple(np.moveaxis(binned, -1, 0)), _HSV_BINS)
        counts = np.bincount((colour + offset).ravel(), minlength=_HSV_GRID**2 * bins)
        row[_HOG:] = counts / (_SIDE // _HSV_GRID) ** 2
    return features.astype(np.float16).astype(np.float32)
