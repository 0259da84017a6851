"""Encodes images and texts with a trained GPLDAN model, and computes their distances. It needs NumPy alone.

    from encoder import distances, encode, load

    weights = load()  # weights.npz beside this file
    images = encode(weights, image_features, "image")  # [n, d_i], not scaled
    texts = encode(weights, text_features, "text")  # [m, d_t]
    nearest = distances(images, texts).argsort(axis=1)  # for each image the texts, nearest first

Letters: `n` images, or items; `m` texts; `d`, `d_i`, `d_t` widths of the features; `k` representations of an item, each
`h` wide; `H = k*h`.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

_BLOCK = 1024  # items at a time
_ROUNDING = 16 * float(np.finfo(np.float32).eps)  # a square this small beside its terms is zero
_SMALLEST = 1e-30  # rows of smaller magnitudes count as zero


class Encoded(NamedTuple):
    """n encoded items, float32.

    Attributes:
        representations: `[n, k, h]`.
        attention: `[n, k]`, rows sum to 1.
        vectors: `[n, h]` of length 1: their dot product approximates one minus the distance; with k = 1 it is exact.
    """

    representations: np.ndarray
    attention: np.ndarray
    vectors: np.ndarray


def load(path: str | Path | None = None) -> dict[str, np.ndarray]:
    """Reads the weights.

    Args:
        path: of `weights.npz`; by default the file beside this one.

    Returns:
        The arrays by name, float32; the scaling float64 where the model scales in float64. No pickle is read.
    """
    with np.load(path or Path(__file__).with_name("weights.npz"), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    is_kept = {name: not of.ndim or name.startswith("standardization/") for name, of in arrays.items()}
    return {name: of if is_kept[name] else of.astype(np.float32) for name, of in arrays.items()}


def encode(weights: dict[str, np.ndarray], features: np.ndarray, modality: str) -> Encoded:
    """Encodes items of one modality; they are scaled first, and moved where the model has a bank.

    Args:
        weights: as `load` returns them.
        features: `[n, d]`, not scaled, n at least 1.
        modality: `"image"` or `"text"`.

    Returns:
        The items.

    Raises:
        ValueError: another modality, or features of another shape or not finite.
    """
    if modality not in ("image", "text"):
        raise ValueError(f"modality must be 'image' or 'text', got {modality!r}")
    mean = weights[f"standardization/{modality}_mean"]
    features, width = np.asarray(features, mean.dtype), len(mean)
    if features.ndim != 2 or features.shape[1] != width or not len(features) or not np.isfinite(features).all():
        raise ValueError(f"{modality} features must be finite numbers [n, {width}], got {list(features.shape)}")
    blocks = [_encode(weights, features[start : start + _BLOCK], modality) for start in range(0, len(features), _BLOCK)]
    return Encoded(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))


def distances(images: Encoded, texts: Encoded) -> np.ndarray:
    """Computes the distances of n images to m texts, Eq. 2-5 of arXiv 2106.13552; a smaller one is a better match.

    Args:
        images: n items; any items of this model.
        texts: m items.

    Returns:
        `[n, m]` float32, in [0, 2].
    """
    found = np.empty((len(images.attention), len(texts.attention)), np.float32)
    for row in range(0, len(found), _BLOCK):
        x = Encoded(*(array[row : row + _BLOCK] for array in images))
        for column in range(0, found.shape[1], _BLOCK):
            y = Encoded(*(array[column : column + _BLOCK] for array in texts))
            found[row : row + _BLOCK, column : column + _BLOCK] = _distances(x, y)
    return found


def _encode(weights, features, modality):
    scaled = (features - weights[f"standardization/{modality}_mean"]) / weights[f"standardization/{modality}_std"]
    scaled = scaled.astype(np.float32)
    hidden = np.maximum(_linear(weights, f"{modality}_hidden", scaled), 0)
    values = _linear(weights, "shared", hidden)
    if "bank/joint" in weights:
        values = _move(weights, scaled, values, modality)
    parts = values.reshape(len(values), int(weights["k"]), -1)
    attention = _attention(weights, parts)
    return Encoded(parts, attention, _unit(_lift(parts, attention).mean(axis=1)))


def _linear(weights, name, x):
    return x @ weights[f"projector/{name}/kernel"] + weights[f"projector/{name}/bias"]


def _attention(weights, parts):
    """The attention map of each item, Eq. 1."""
    if parts.shape[1] == 1:
        return np.ones(parts.shape[:2], np.float32)
    scores = np.tanh(parts @ weights["projector/attention/w1/kernel"]) @ weights["projector/attention/w2/kernel"]
    scores = np.exp(scores[..., 0] - scores[..., 0].max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def _move(weights, scaled, values, modality):
    """Moves items to where the training pairs of the bank say that such features lie."""
    joint, side = weights["bank/joint"], f"bank/{modality}"
    cosines = _unit(scaled - weights[f"{side}/center"]) @ weights[f"{side}/inputs"].T
    # A stable sort, so that of equal pairs the first ones count.
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, : int(weights["bank/neighbours"])]
    near = np.maximum(np.take_along_axis(cosines, rows, axis=1), 0)
    near /= np.maximum(near.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    mean = np.einsum("nm,nmh->nh", near, joint[rows])
    predicted = np.exp((cosines - 1) / np.float32(weights[f"{side}/bandwidth"])) @ weights[f"{side}/coefficients"]
    moved = _unit(values) + np.float32(weights["bank/weight"]) * (mean + _unit(predicted))
    return np.linalg.norm(values, axis=1, keepdims=True) * _unit(moved)


def _distances(x, y):
    (n, k, h), m = x.representations.shape, len(y.attention)
    values = [_lift(_scale(of.representations), of.attention) for of in (x, y)]
    inner = (values[0].reshape(n * k, h) @ values[1].reshape(m * k, h).T).reshape(n, k, m, k)
    inner = np.einsum("iajb,ib,ja->ij", inner, x.attention, y.attention, optimize=True)
    cosines = inner * _inverse_norms(values[0], y.attention) * _inverse_norms(values[1], x.attention).T
    return np.clip(1 - cosines, 0, 2)


def _lift(parts, attention):
    """`x'_a = x_a + sum_c a_c x_c`: with the attention b of the partner, the fused instance is `sum_a b_a x'_a`."""
    return parts + np.einsum("nk,nkh->nh", attention, parts)[:, None]


def _inverse_norms(lifted, other_attention):
    """`1 / |sum_a b_a x'_a|` of each item and each partner, `[n, m]`."""
    grams = np.einsum("nah,nbh->nab", lifted, lifted)
    squared = np.einsum("nab,ma,mb->nm", grams, other_attention, other_attention, optimize=True)
    return _inverse_root(squared, np.trace(grams, axis1=1, axis2=2)[:, None])


def _unit(x):
    x = _scale(x)
    return x * _inverse_root(np.square(x).sum(axis=1, keepdims=True), 1)


def _scale(x):
    """Each item over its largest magnitude, so that no square overflows."""
    largest = np.abs(x).max(axis=tuple(range(1, x.ndim)), keepdims=True)
    return x / np.where(largest > _SMALLEST, largest, np.float32(1))


def _inverse_root(squared, scale):
    is_zero = squared <= _ROUNDING * scale
    return np.where(is_zero, 0, 1 / np.sqrt(np.where(is_zero, 1, squared))).astype(np.float32)
