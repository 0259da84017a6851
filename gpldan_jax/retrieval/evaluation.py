"""The distance matrix that retrieval ranks by, all metrics in both directions, and their values for random rankings.

Letters: `n` images; `m` texts; `d_i`, `d_t` widths of their inputs; `H` width of the common space; `k` representations.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.losses import co_attention_distances
from gpldan_jax.models import Projector, Representation
from gpldan_jax.retrieval.metrics import mean_average_precision, recall_at

_BLOCK = 1024
RECALL_DEPTHS = (1, 5, 10)
_MAP: Mapping[str, Mapping[str, Any]] = {
    "map@50": {"k": 50, "convention": "hits"},
    "map@50_trec": {"k": 50, "convention": "trec"},
    "map@all": {"k": None, "convention": "hits"},
}


def retrieval_distances(
    projector: Projector, parameters: dict, images: np.ndarray, texts: np.ndarray, *, block_size: int = _BLOCK
) -> np.ndarray:
    """Returns the distances `l_p(v_i, t_j)` of n images and m texts, Eq. 2-5: co-attention alone, as the paper tests.

    It works on blocks of rows and columns. Beside the result it keeps only the representations, `2 H + k` numbers each.

    Args:
        projector: the network.
        parameters: of the projector, `{"image_hidden": ..., ...}`.
        images: `[n, d_i]` float32, scaled as in training.
        texts: `[m, d_t]` float32, scaled as in training.
        block_size: rows and columns of a tile.

    Returns:
        `[n, m]` float32, in [0, 2]. Transpose it to rank images for texts.

    Raises:
        ValueError: no images, no texts, or a block_size below 1.

    Example:
        >>> import jax, numpy as np
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> images, texts = np.ones((3, 5), np.float32), np.ones((2, 4), np.float32)
        >>> parameters = projector.init(jax.random.key(0), images, texts[:1])["params"]
        >>> retrieval_distances(projector, parameters, images, texts).shape
        (3, 2)

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Eq. 2-5.
    """
    if not len(images) or not len(texts) or block_size < 1:
        raise ValueError(f"need images, texts and a block_size, got {len(images)}, {len(texts)} and {block_size}")
    distances = np.empty((len(images), len(texts)), np.float32)
    text_blocks = list(_encode_blocks(projector, parameters, texts, "encode_text", block_size))
    for row, v in _encode_blocks(projector, parameters, images, "encode_image", block_size):
        for column, t in text_blocks:
            tile = distances[row : row + block_size, column : column + block_size]
            block = co_attention_distances(v.parts, t.parts, v.attention, t.attention)
            tile[:] = np.asarray(block)[: tile.shape[0], : tile.shape[1]]
    return distances


def _encode_blocks(projector, parameters, inputs, method, block_size) -> Iterator[tuple[int, Representation]]:
    """Yields the first row of each block and the block encoded, all of one size, so that they compile once."""
    block_size = min(block_size, len(inputs))
    for start in range(0, len(inputs), block_size):
        block = inputs[start : start + block_size]
        padded = np.pad(block, ((0, block_size - len(block)), (0, 0)))
        yield start, _encode(projector, parameters, jnp.asarray(padded), method)


@jax.jit(static_argnames=("projector", "method"))
def _encode(projector, parameters, inputs, method):
    return projector.apply({"params": parameters}, inputs, method=method)


def evaluate(distances: np.ndarray, labels: np.ndarray | None) -> dict[str, dict[str, float]]:
    """Returns all metrics of n test pairs in both directions.

    Args:
        distances: `[n, n]`, image i to text j, any real dtype, finite; pair i is row i and column i.
        labels: `[n]`; `None` for recall alone.

    Returns:
        `{"map@50": {"image_to_text": x, "text_to_image": y, "average": z}, "map@50_trec": ..., "map@all": ...,
        "recall@1": ..., "recall@5": ..., "recall@10": ...}`, each in [0, 1].

    Raises:
        ValueError: shapes that do not fit, or distances that are not finite.

    Example:
        >>> import numpy as np
        >>> figures = evaluate(np.array([[0.1, 0.2], [0.1, 0.2]]), np.array([0, 1]))
        >>> figures["recall@1"]
        {'image_to_text': 0.5, 'text_to_image': 0.5, 'average': 0.5}
    """
    directions = [_figures(distances, labels), _figures(np.ascontiguousarray(np.transpose(distances)), labels)]
    return {
        name: {
            "image_to_text": directions[0][name],
            "text_to_image": directions[1][name],
            "average": (directions[0][name] + directions[1][name]) / 2,
        }
        for name in directions[0]
    }


def chance(n: int, labels: np.ndarray | None, *, seed: int = 0, trials: int = 10) -> dict[str, float]:
    """Returns the expected value of each metric of `evaluate` for random rankings.

    Recall is exact, `k / n`. The MAP figures are means over random rankings of up to 1,000 queries in each trial.

    Args:
        n: the number of pairs.
        labels: `[n]`; `None` for recall alone.
        seed: of the random rankings.
        trials: the number of trials.

    Returns:
        The value of each metric, in [0, 1].

    Example:
        >>> chance(100, None)
        {'recall@1': 0.01, 'recall@5': 0.05, 'recall@10': 0.1}
    """
    figures = {}
    if labels is not None:
        rng = np.random.default_rng(seed)
        samples: dict[str, list[float]] = {name: [] for name in _MAP}
        for _ in range(trials):
            queries = rng.permutation(n)[:1000]
            distances = rng.random((len(queries), n), dtype=np.float32)
            for name, options in _MAP.items():
                samples[name].append(mean_average_precision(distances, labels[queries], labels, **options))
        figures = {name: float(np.mean(values)) for name, values in samples.items()}
    return figures | {f"recall@{k}": min(k / n, 1.0) for k in RECALL_DEPTHS}


def _figures(distances, labels):
    figures = {}
    if labels is not None:
        figures = {name: mean_average_precision(distances, labels, labels, **options) for name, options in _MAP.items()}
    return figures | {f"recall@{k}": recall_at(distances, k) for k in RECALL_DEPTHS}
