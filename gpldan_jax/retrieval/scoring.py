"""From representations to the distance matrix that retrieval ranks by."""

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

    Works in blocks of rows and columns, so memory beside the result does not grow with n and m.

    Args:
      projector: the model.
      parameters: its parameters, `{"image_hidden": ..., ...}`.
      images: `[n, d_i]`, scaled as in training.
      texts: `[m, d_t]`, scaled as in training.
      block_size: rows and columns of a tile.

    Returns:
      `[n, m]` float32, in [0, 2]. Transpose it to rank images for texts.

    >>> import jax, numpy as np
    >>> projector = Projector(hidden=8, width=8, parts=2)
    >>> images, texts = np.ones((3, 5), np.float32), np.ones((2, 4), np.float32)
    >>> parameters = projector.init(jax.random.key(0), images, texts[:1])["params"]
    >>> retrieval_distances(projector, parameters, images, texts).shape
    (3, 2)
    """
    image_blocks = _encoded(projector, parameters, images, "encode_image", block_size)
    text_blocks = _encoded(projector, parameters, texts, "encode_text", block_size)
    rows = [
        np.concatenate(
            [np.asarray(co_attention_distances(v.parts, t.parts, v.attention, t.attention)) for t in text_blocks],
            axis=1,
        )
        for v in image_blocks
    ]
    return np.concatenate(rows)[: len(images), : len(texts)]


def _encoded(projector, parameters, inputs, method, block_size) -> list[Representation]:
    # Blocks of one size compile once; what pads the last one is cut off with the distances.
    block_size = min(block_size, len(inputs))
    blocks = []
    for start in range(0, len(inputs), block_size):
        block = inputs[start : start + block_size]
        padded = np.pad(block, ((0, block_size - len(block)), (0, 0)))
        blocks.append(_encode(projector, parameters, jnp.asarray(padded), method))
    return blocks


@jax.jit(static_argnames=("projector", "method"))
def _encode(projector, parameters, inputs, method):
    return projector.apply({"params": parameters}, inputs, method=method)
