"""Generated items and a model to search with, for tests of the index."""

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax import models
from gpldan_jax.data import Standardization
from gpldan_jax.index import Index
from gpldan_jax.index.gallery import EncodedBatch, Gallery, Segment, encode_representation

IMAGE_DIM, TEXT_DIM = 10, 6
KINDS = ("normal", "alike", "repeated", "cancelling", "zeros", "scaled")


def encoded_items(n: int, k: int = 4, h: int = 8, kind: str = "normal", seed: int = 0) -> EncodedBatch:
    """n items of a kind that is hard to rank: near ties, exact ties, representations that cancel, zeros."""
    random = np.random.default_rng(seed)
    parts = random.standard_normal((n, k, h)).astype(np.float32)
    attention = np.exp(random.standard_normal((n, k))).astype(np.float32)
    if kind == "alike":  # distances that differ by less than float32 products can tell
        parts = parts[:1] + np.float32(1e-7) * parts
    elif kind == "repeated":
        some = random.integers(0, max(1, n // 7), n)
        parts, attention = parts[some], attention[some]
    elif kind == "cancelling" and k > 1:
        parts[:, 1] = -parts[:, 0] * (1 + np.float32(1e-6) * random.standard_normal((n, 1)).astype(np.float32))
        parts[:, 2:] *= np.float32(1e-6)
        attention[:] = 1
    elif kind == "zeros":
        parts[random.random(n) < 0.5] = 0
    elif kind == "scaled":
        parts *= np.float32(10) ** random.integers(-15, 15, (n, 1, 1)).astype(np.float32)
    attention /= attention.sum(1, keepdims=True)
    representation = models.Representation(
        jnp.asarray(parts).reshape(n, -1), jnp.asarray(parts), jnp.asarray(attention)
    )
    return EncodedBatch(*map(np.asarray, encode_representation(representation)))


def gallery(*parts: EncodedBatch) -> Gallery:
    """Items as segments, their ids their positions."""
    starts = np.cumsum([0, *(len(part.attention) for part in parts)])
    ids = (np.arange(start, start + len(part.attention)) for start, part in zip(starts, parts, strict=False))
    return Gallery(tuple(Segment(of, part, {}) for of, part in zip(ids, parts, strict=True)))


def model(parts: int = 2, seed: int = 0, **metadata) -> models.TrainedModel:
    """An untrained model; its inputs are scaled, so that forgetting to shows."""
    projector = models.Projector(hidden=16, width=8, parts=parts)
    inputs = jnp.ones((1, IMAGE_DIM)), jnp.ones((1, TEXT_DIM))
    parameters = jax.device_get(projector.init(jax.random.key(seed), *inputs)["params"])
    random = np.random.default_rng(seed)
    scale = Standardization(
        *(0.5 * random.random(size, np.float32) + 0.5 for size in (IMAGE_DIM, IMAGE_DIM, TEXT_DIM, TEXT_DIM))
    )
    return models.TrainedModel(projector, parameters, scale, {"dataset": "generated", **metadata})


def index(n: int = 30, **options) -> Index:
    """An index of n images, called "item 0", "item 1" and so on."""
    return Index.build(model(), features(n), [f"item {i}" for i in range(n)], "image", **options)


def features(n: int, dim: int = IMAGE_DIM, seed: int = 0) -> np.ndarray:
    """Inputs of the model."""
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
