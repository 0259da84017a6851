"""Image encoders: the HOG and HSV features of the emoji dataset, and fc7 of VGG-19 and AlexNet.

An image encoder is a function of a list of `n` pictures that returns an array `[n, d]` of finite real numbers. The
pictures are uint8 `[h, w, 3]` in RGB, of any sizes, as `read_image` returns them. Two attributes are optional.
`prepare` is applied to each picture when it is read, and the function gets its results instead of the pictures, so that
large pictures do not fill the memory. `description` holds JSON values that say how the features are made.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax._extras import needed_for
from gpldan_jax._files import sha256_of
from gpldan_jax.features.networks import ARCHITECTURES, SIDE, ImageNetwork, import_weights
from gpldan_jax.features.pictures import SQUARE, crop_square, fit_square
from gpldan_jax.features.weights import read_state_dict

_HOG = 1568
_HSV_BINS = (6, 2, 2)
_HSV_GRID = 4


def hog_hsv(pictures: np.ndarray) -> np.ndarray:
    """Returns shape and colour features of small pictures, those of the emoji dataset.

    Columns 0 to 1567 are HOG: 8 orientations, cells of 8 x 8 pixels, blocks of 2 x 2 cells. The gradient of a pixel is
    that of the channel in which it is largest. Columns 1568 to 1951 are the HSV histograms of a 4 x 4 grid of squares,
    6 x 2 x 2 bins each. A bin holds its share of the pixels of the square; a pixel without hue counts as hue 0.

    All values are rounded to float16, the precision in which the features of the emoji dataset are stored. So an emoji
    that is uploaded has exactly the features that it has in the dataset.

    Args:
        pictures: uint8 `[n, 64, 64, 3]` in RGB.

    Returns:
        float32 `[n, 1952]`, in [0, 1].

    Raises:
        ValueError: another shape.
        TypeError: another dtype.

    Example:
        >>> import numpy as np
        >>> white = np.full((1, 64, 64, 3), 255, np.uint8)
        >>> features = hog_hsv(white)
        >>> features.shape, features[:, :1568].max(), features[:, 1568:].sum()  # no edge; one bin of each of 16 squares
        ((1, 1952), np.float32(0.0), np.float32(16.0))

    References:
        N. Dalal and B. Triggs, "Histograms of Oriented Gradients for Human Detection", 2005.
    """
    with needed_for("features of pictures"):
        from skimage.color import rgb2hsv
        from skimage.feature import hog

    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or pictures.shape[1:] != (SQUARE, SQUARE, 3):
        raise ValueError(f"expected pictures of shape (n, 64, 64, 3), found {pictures.shape}")
    if pictures.dtype != np.uint8:
        raise TypeError(f"expected pictures of dtype uint8, found {pictures.dtype}")

    n, bins = len(pictures), np.prod(_HSV_BINS)
    features = np.empty((n, _HOG + _HSV_GRID**2 * bins), np.float32)
    square = np.arange(SQUARE) * _HSV_GRID // SQUARE
    offset = bins * (_HSV_GRID * square[:, None] + square[None, :])
    for row, picture in zip(features, pictures, strict=True):
        row[:_HOG] = hog(picture, orientations=8, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1)
        binned = np.minimum((rgb2hsv(picture) * _HSV_BINS).astype(int), np.subtract(_HSV_BINS, 1))
        colour = np.ravel_multi_index(tuple(np.moveaxis(binned, -1, 0)), _HSV_BINS)
        counts = np.bincount((colour + offset).ravel(), minlength=_HSV_GRID**2 * bins)
        row[_HOG:] = counts / (SQUARE // _HSV_GRID) ** 2
    return features.astype(np.float16).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageEncoder:
    """An image encoder with its two attributes; calling it calls `encode`.

    Attributes:
        encode: takes a list of `n` results of `prepare`, returns `[n, d]`.
        prepare: takes a picture, uint8 `[h, w, 3]`.
        description: how the features are made, JSON values.

    Example:
        >>> mean_colour = ImageEncoder(lambda pictures: np.stack(pictures), lambda picture: picture.mean((0, 1)), {})
        >>> mean_colour([mean_colour.prepare(np.zeros((20, 30, 3), np.uint8))])
        array([[0., 0., 0.]])
    """

    encode: Callable[[Sequence[Any]], np.ndarray]
    prepare: Callable[[np.ndarray], Any]
    description: Mapping[str, Any]

    def __call__(self, pictures: Sequence[Any]) -> np.ndarray:
        """Returns the features `[n, d]` of `n` pictures that went through `prepare`."""
        return self.encode(pictures)


def hog_hsv_encoder() -> ImageEncoder:
    """Returns the encoder that applies `fit_square` and then `hog_hsv`.

    Returns:
        An encoder with features float32 `[n, 1952]`.

    Example:
        >>> encode = hog_hsv_encoder()
        >>> encode([encode.prepare(np.zeros((20, 30, 3), np.uint8))]).shape
        (1, 1952)
    """
    return ImageEncoder(
        lambda pictures: hog_hsv(np.array(pictures, np.uint8).reshape(-1, SQUARE, SQUARE, 3)),
        fit_square,
        {"extractor": "hog_hsv"},
    )


def network_encoder(
    name: str,
    weights: str | os.PathLike,
    *,
    rectified: bool = True,
    scaling: str = "torchvision",
    batch: int = 32,
) -> ImageEncoder:
    """Returns the encoder that takes layer fc7 of VGG-19 or AlexNet.

    Args:
        name: "vgg19" or "alexnet".
        weights: a file with torchvision's state dict of the network, .safetensors, or .pth where PyTorch is installed.
        rectified: take fc7 after its ReLU. This is the default because Caffe's ReLU works in place: what its tools call
            fc7, and what these features were first taken with, is the layer after the ReLU.
        scaling: of the 224 x 224 pixels that `crop_square` keeps, as the weights expect. "torchvision": RGB in [0, 1],
            minus (.485, .456, .406), divided by (.229, .224, .225). "caffe": BGR in [0, 255] minus (103.939, 116.779,
            123.68), for the weights by the authors of VGG and those converted from them.
        batch: how many pictures the program that jax compiles takes at once; a smaller batch is filled up.

    Returns:
        An encoder with features float32 `[n, 4096]`.

    Raises:
        ValueError: an unknown name or scaling, or a file that is no state dict of this network; the message names the
            file and the first layer that does not fit.
        ImportError: a file of PyTorch, and PyTorch is not installed.
        OSError: no such file.

    Example:
        >>> network_encoder("vgg16", "vgg16.pth")
        Traceback (most recent call last):
        ValueError: unknown image network 'vgg16'; expected one of vgg19, alexnet
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown image network {name!r}; expected one of {', '.join(ARCHITECTURES)}")
    if scaling not in _SCALINGS:
        raise ValueError(f"unknown scaling {scaling!r}; expected one of {', '.join(_SCALINGS)}")
    architecture = ARCHITECTURES[name]
    network = ImageNetwork(architecture.convolutions, rectified=rectified)
    state_dict = read_state_dict(weights)
    try:
        parameters = jax.device_put(import_weights(state_dict, network, architecture.linear))
    except ValueError as error:
        raise ValueError(f"{weights}: expected weights of {name}; {error}") from None
    apply = jax.jit(lambda parameters, pictures: network.apply(parameters, _SCALINGS[scaling](pictures)))

    def encode(pictures: Sequence[np.ndarray]) -> np.ndarray:
        found = []
        for start in range(0, len(pictures), batch):
            part = np.zeros((batch, SIDE, SIDE, 3), np.uint8)
            count = len(pictures[start : start + batch])
            part[:count] = pictures[start : start + batch]
            found.append(np.asarray(apply(parameters, part))[:count])
        return np.concatenate(found) if found else np.zeros((0, network.width), np.float32)

    return ImageEncoder(
        encode,
        crop_square,
        {
            "extractor": name,
            "layer": "fc7",
            "rectified": rectified,
            "weights": {"file": Path(weights).name, "sha256": sha256_of(weights)},
            "preprocessing": {"shorter_side": 256, "centre": SIDE, "scaling": scaling},
        },
    )


def _torchvision(pictures):
    pictures = pictures.astype(jnp.float32) / 255
    return (pictures - jnp.array([0.485, 0.456, 0.406])) / jnp.array([0.229, 0.224, 0.225])


def _caffe(pictures):
    return pictures[..., ::-1].astype(jnp.float32) - jnp.array([103.939, 116.779, 123.68])


_SCALINGS = {"torchvision": _torchvision, "caffe": _caffe}
