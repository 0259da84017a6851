"""From representations to the distance matrix that retrieval ranks by."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.losses import co_attention_distances
from gpldan_jax.models import Projector, Representation

_BLOCK = 1024


def retrieval_distances(
    projector: Projector, parameters: dict, images: np.ndarray, texts: np.ndarray, *, block_size: int = _BLOCK
) -> np.ndarray:
    """Distances `l_p(v_i, t_j)` of n images to m texts, Eq. 2-5: co-attention only, as at the paper's test time.

    Works in blocks of rows and columns; beside the result only the representations are kept, `2 H + k` numbers an item.

    Args:
        projector: the model.
        parameters: its parameters, `{"image_hidden": ..., ...}`.
        images: `[n, d_i]`, scaled as in training.
        texts: `[m, d_t]`, scaled as in training.
        block_size: rows and columns of a tile.

    Returns:
        `[n, m]` float32, in [0, 2]. Transpose it to rank images for texts.

    Raises:
        ValueError: no images, no texts, or a block_size below 1.

    >>> import jax, numpy as np
    >>> projector = Projector(hidden=8, width=8, parts=2)
    >>> images, texts = np.ones((3, 5), np.float32), np.ones((2, 4), np.float32)
    >>> parameters = projector.init(jax.random.key(0), images, texts[:1])["params"]
    >>> retrieval_distances(projector, parameters, images, texts).shape
    (3, 2)
    """
    if not len(images) or not len(texts) or block_size < 1:
        raise ValueError(f"need images, texts and a block_size, got {len(images)}, {len(texts)} and {block_size}")
    distances = np.empty((len(images), len(texts)), np.float32)
    text_blocks = list(_encoded(projector, parameters, texts, "encode_text", block_size))
    for row, v in _encoded(projector, parameters, images, "encode_image", block_size):
        for column, t in text_blocks:
            tile = distances[row : row + block_size, column : column + block_size]
            block = co_attention_distances(v.parts, t.parts, v.attention, t.attention)
            tile[:] = np.asarray(block)[: tile.shape[0], : tile.shape[1]]
    return distances


def _encoded(projector, parameters, inputs, method, block_size) -> Iterator[tuple[int, Representation]]:
    """Blocks of inputs with the row each starts at, all of one size, so that they compile once."""
    block_size = min(block_size, len(inputs))
    for start in range(0, len(inputs), block_size):
        block = inputs[start : start + block_size]
        padded = np.pad(block, ((0, block_size - len(block)), (0, 0)))
        yield start, _encode(projector, parameters, jnp.asarray(padded), method)


@jax.jit(static_argnames=("projector", "method"))
def _encode(projector, parameters, inputs, method):
    return projector.apply({"params": parameters}, inputs, method=method)
