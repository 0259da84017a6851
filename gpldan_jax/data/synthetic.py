"""Generated image-text features with the class structure of real ones.

Shapes: `n` pairs, `d_i` and `d_t` image and text features, `C` classes, `r` latent factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FACTORS = 32
# Spread of a pair around its class, and of each feature around the pair, in units of the distance
# between classes: classes overlap and no modality determines the other.
_PAIR_SPREAD = 0.7
_NOISE = 0.5


def synthetic_splits(
    sizes: Sequence[int],
    *,
    image_dim: int,
    text_dim: int,
    classes: int,
    nonnegative_images: bool = False,
    seed: int = 0,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """Draws pairs whose two modalities are noisy linear views of the same latent factors.

    Each class is a Gaussian in a latent space of r = 32 factors, each modality a random linear map
    of it plus noise. Classes are as even as the sizes allow, in random order.

    Args:
        sizes: number of pairs of each split.
        image_dim, text_dim: d_i and d_t.
        classes: C, at least 1.
        nonnegative_images: whether negative image features become 0, as after a ReLU.
        seed: seed of the draw.

    Returns:
        One triple per split: images [n, d_i] float32, texts [n, d_t] float32, labels [n] int64 in
        0..C-1.

    Example:
        >>> (images, texts, labels), _ = synthetic_splits(
        ...     (6, 4), image_dim=5, text_dim=3, classes=2
        ... )
        >>> images.shape, texts.shape, sorted(labels.tolist())
        ((6, 5), (6, 3), [0, 0, 0, 1, 1, 1])
    """
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, dtype=np.float32)

    centres = normal(classes, _FACTORS)
    image_map = normal(_FACTORS, image_dim) / np.float32(np.sqrt(_FACTORS))
    text_map = normal(_FACTORS, text_dim) / np.float32(np.sqrt(_FACTORS))
    splits = []
    for size in sizes:
        labels = random.permutation(np.arange(size) % classes)
        factors = centres[labels] + _PAIR_SPREAD * normal(size, _FACTORS)
        images = factors @ image_map + _NOISE * normal(size, image_dim)
        texts = factors @ text_map + _NOISE * normal(size, text_dim)
        if nonnegative_images:
            np.maximum(images, 0, out=images)
        splits.append((images, texts, labels))
    return tuple(splits)
