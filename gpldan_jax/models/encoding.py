"""Many items through a network, the distances of their pairs, and one vector for each item.

The distance of the paper belongs to a pair: it weighs the representations of both items by the sum of their attention.
A vector store wants one vector for each item, so `pooled_vectors` approximates that distance and `vector_recall` says
how well it does so for your items. With k = 1 nothing is lost.

Letters: `n` items, or images; `m` texts; `q` queries; `d`, `d_i`, `d_t` widths of the inputs; `k` representations of an
item, each `h` wide; `H = k*h`.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.losses.distances import co_attention_distances, lift, unit_length
from gpldan_jax.models.bank import Bank, encode
from gpldan_jax.models.projector import Projector, Representation

_BLOCK = 1024  # items that go through the network at a time
_QUERIES = 256  # at a time, to measure recall: their distances to all items are kept
_SAME_DISTANCE = 1e-6  # rounding of a float32 distance: two items that are equal must not count as a miss


def retrieval_distances(
    projector: Projector,
    parameters: dict,
    images: np.ndarray,
    texts: np.ndarray,
    *,
    bank: Bank | None = None,
    block_size: int = _BLOCK,
) -> np.ndarray:
    """Returns the distances `l_p(v_i, t_j)` of n images and m texts, Eq. 2-5: co-attention alone, as the paper tests.

    It works on blocks of rows and columns. Beside the result it keeps only the representations, `2 H + k` numbers each.

    Args:
        projector: the network.
        parameters: of the projector, `{"image_hidden": ..., ...}`.
        images: `[n, d_i]` float32, scaled as in training.
        texts: `[m, d_t]` float32, scaled as in training.
        bank: training pairs through which both are moved first, see `gpldan_jax.models.encode`; `None` for none, as the
            paper tests.
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
    sizes = {"image": min(block_size, len(images)), "text": min(block_size, len(texts))}
    text_blocks = list(_encode_blocks(projector, parameters, texts, "text", bank, sizes["text"]))
    for row, v in _encode_blocks(projector, parameters, images, "image", bank, sizes["image"]):
        for column, t in text_blocks:
            tile = distances[row : row + block_size, column : column + block_size]
            block = co_attention_distances(v.parts, t.parts, v.attention, t.attention)
            tile[:] = np.asarray(block)[: tile.shape[0], : tile.shape[1]]
    return distances


def encode_rows(
    projector: Projector, parameters: dict, inputs: np.ndarray, modality: str, bank: Bank | None = None
) -> Representation:
    """Encodes any number of items, in blocks of one size, so that the network is compiled once.

    Args:
        projector: the network.
        parameters: of the projector.
        inputs: `[n, d]` float32, n at least 1, scaled as in training.
        modality: `"image"` or `"text"`.
        bank: of training pairs, by which the items are moved; `None` for none.

    Returns:
        The representations as NumPy arrays, float32; `parts` is a view of `features`.

    Raises:
        ValueError: the output of the network is not finite; the message names the first row.

    Example:
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> texts = np.ones((3, 4), np.float32)
        >>> parameters = projector.init(jax.random.key(0), np.ones((1, 5)), texts)["params"]
        >>> encode_rows(projector, parameters, texts, "text").parts.shape
        (3, 2, 4)
    """
    n, k = len(inputs), projector.parts
    features, attention = np.empty((n, projector.width), np.float32), np.empty((n, k), np.float32)
    size = min(_BLOCK, 1 << (n - 1).bit_length())
    for start, block in _encode_blocks(projector, parameters, inputs, modality, bank, size):
        rows = slice(start, start + size)
        features[rows] = np.asarray(block.features)[: n - start]
        attention[rows] = np.asarray(block.attention)[: n - start]
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(f"{modality} features: the output of the network for row {int(finite.argmin())} is not finite")
    # NumPy arrays, which type checkers do not expect in a `flax.struct.dataclass` of jax arrays.
    arrays: dict[str, Any] = {"features": features, "parts": features.reshape(n, k, -1), "attention": attention}
    return Representation(**arrays)


def _encode_blocks(projector, parameters, inputs, modality, bank, size) -> Iterator[tuple[int, Representation]]:
    """Yields the first row of each block and the block encoded, padded to one size, so that they compile once."""
    for start in range(0, len(inputs), size):
        block = inputs[start : start + size]
        padded = np.pad(block, ((0, size - len(block)), (0, 0)))
        yield start, _encode(projector, parameters, jnp.asarray(padded), modality, bank)


_encode = jax.jit(encode, static_argnames=("projector", "modality"))


def pooled_vectors(items: Representation) -> np.ndarray:
    """Returns one vector for each item, whose cosine approximates one minus the distance of a pair.

    A vector is the fused instance of Eq. 2-3 for a partner with uniform attention, `sum_a (a_a + 1/k) x_a`, divided by
    its length. So it serves any store of vectors, by dot product, cosine or Euclidean distance, in both directions.
    With k = 1 the cosine is exact; with more representations it ignores how the attention of the partner differs from
    uniform. Measure with `vector_recall` how many of the nearest items that misses.

    Args:
        items: n items, as `TrainedModel.encode_images` or `encode_texts` returns them.

    Returns:
        `[n, h]` float32, each row of length 1; a row of zeros where the fused instance is zero.

    Example:
        >>> parts = np.array([[[3.0, 0.0], [0.0, 1.0]]])  # k = 2, h = 2
        >>> items = Representation(parts.reshape(1, 4), parts, np.array([[0.5, 0.5]]))
        >>> pooled_vectors(items).round(3)  # (3, 1) over its length
        array([[0.949, 0.316]], dtype=float32)

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Eq. 2-3.
    """
    return np.asarray(_pool(jnp.asarray(items.parts), jnp.asarray(items.attention)))


@jax.jit
def _pool(parts, attention):
    # Of the closed forms that we tried (the mean weighed by attention, the plain mean, representations side by side,
    # scaled by functions of attention) this one finds the most of the nearest items on trained models.
    return unit_length(lift(parts, attention).mean(axis=1))


def vector_recall(queries: Representation, gallery: Representation, *, k: int = 10) -> float:
    """Returns how many of the k nearest items of each query a search by pooled vectors finds.

    It computes the distances of all queries to the whole gallery, so give some hundred queries for a large gallery.

    Args:
        queries: q items of one modality, as `TrainedModel.encode_images` or `encode_texts` returns them.
        gallery: m items of the other modality.
        k: how many are the nearest, at least 1; more than m is cut to it.

    Returns:
        The mean over queries of the share of the k items found that are among the k nearest, in [0, 1]. Items at the
        same distance as the last of the nearest count as found.

    Raises:
        ValueError: no queries, no gallery, or k below 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> parts, attention = rng.normal(size=(9, 2, 4)).astype(np.float32), np.full((9, 2), 0.5, np.float32)
        >>> items = Representation(parts.reshape(9, 8), parts, attention)
        >>> vector_recall(items, items, k=3)  # attention is uniform, so nothing is lost
        1.0
    """
    if not len(queries.parts) or not len(gallery.parts) or k < 1:
        raise ValueError(f"need queries, a gallery and k, got {len(queries.parts)}, {len(gallery.parts)} and {k}")
    k = min(k, len(gallery.parts))
    vectors = pooled_vectors(queries), pooled_vectors(gallery)
    shares = []
    for start in range(0, len(queries.parts), _QUERIES):
        rows = slice(start, start + _QUERIES)
        x = queries.parts[rows], queries.attention[rows]
        blocks = [slice(first, first + _BLOCK) for first in range(0, len(gallery.parts), _BLOCK)]
        exact = np.concatenate(
            [np.asarray(co_attention_distances(x[0], gallery.parts[of], x[1], gallery.attention[of])) for of in blocks],
            axis=1,
        )
        found = np.argpartition(-(vectors[0][rows] @ vectors[1].T), k - 1, axis=1)[:, :k]
        last = np.partition(exact, k - 1, axis=1)[:, k - 1 : k]
        shares.append((np.take_along_axis(exact, found, axis=1) <= last + _SAME_DISTANCE).mean(axis=1))
    return float(np.concatenate(shares).mean())
