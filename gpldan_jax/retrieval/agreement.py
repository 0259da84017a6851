"""How well a ranking agrees with the neighbourhoods of both modalities: a figure that needs no labels. Ours.

Partner recall asks whether an image finds its own text. That says little of the many other texts that fit, and on small
data it rises long after the ranking of these gets worse. Of held-out pairs both modalities are known, so their inputs
say which pairs fit: those that resemble the same training pairs.

Letters: `n` held-out pairs; `N` training pairs; `m` neighbours; `q` images; `g` texts.
"""

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data import PairedSplit
from gpldan_jax.data.paired import Pairs, split_from_checked
from gpldan_jax.models.column_statistics import column_mean
from gpldan_jax.retrieval.metrics import ndcg, row_chunks
from gpldan_jax.retrieval.relevance import Gains

DEPTH = 50
NEIGHBOURS = 20
AGREEMENT = f"agreement@{DEPTH}"
"""The name of the figure."""
KNOWN_PAIRS = 1 << 16
"""Training pairs among which neighbourhoods are looked for, at most: of a million it would take minutes."""
_KNOWN_BLOCK = 1 << 13  # of those that are drawn, how many are compared at a time; products of more are slower
_SEED = 0  # of the training pairs that are drawn


def neighbourhood_relevance(pairs: PairedSplit, known: PairedSplit, *, neighbours: int = NEIGHBOURS) -> Gains:
    """Returns how relevant each text of some pairs is to each image, by their neighbourhoods among known pairs.

    A pair has a weight for each known pair: the mean of the cosine of the images and that of the texts, for the m
    largest that are positive, else 0; scaled to length one. The relevance of two pairs is the inner product of their
    weights. Inputs are taken less the mean of the known ones.

    Args:
        pairs: n pairs, inputs scaled as in training. Where they have groups, an image of several pairs counts once.
        known: N training pairs. If there are more than `KNOWN_PAIRS`, that many are drawn, the same in every call.
        neighbours: m, at least 1.

    Returns:
        The function that takes a slice of the images and returns the relevance of all texts to them, `[rows, g]`
        float32 in [0, 1].

    Example:
        >>> known = PairedSplit(np.eye(3), np.eye(3))
        >>> relevance = neighbourhood_relevance(PairedSplit(np.eye(3)[[0, 0, 1]], np.eye(3)[[0, 0, 1]]), known)
        >>> print(relevance(slice(0, 2)).round(2))
        [[1. 1. 0.]
         [1. 1. 0.]]
    """
    import scipy.sparse  # not at the top, because to ask a collection needs none of it

    step = len(known)
    if len(known) > KNOWN_PAIRS:
        step = _KNOWN_BLOCK
        rows = np.sort(np.random.default_rng(_SEED).permutation(len(known))[:KNOWN_PAIRS])
        known = split_from_checked(Pairs(known.images, known.texts).take(rows))
    centers = column_mean(known.images, np.float32), column_mean(known.texts, np.float32)
    inputs = [_unit(of - center) for of, center in zip(_read(pairs, slice(None)), centers, strict=True)]
    m = min(neighbours, len(known))
    columns = np.empty((len(pairs), 0), np.int64)
    similarities = np.empty((len(pairs), 0), np.float32)
    for start in range(0, len(known), step):
        read = _read(known, slice(start, start + step))
        block = [_unit(of - center) for of, center in zip(read, centers, strict=True)]
        columns, similarities = _nearest(inputs, block, start, columns, similarities, m)
    weights = _unit(np.maximum(similarities, 0))
    starts = np.arange(len(pairs) + 1) * m
    neighbourhoods = scipy.sparse.csr_array((weights.ravel(), columns.ravel(), starts), (len(pairs), len(known)))
    of_images, of_texts = neighbourhoods[pairs.image_rows()], neighbourhoods[pairs.text_rows()].T.tocsc()
    return lambda rows: np.asarray((of_images[rows] @ of_texts).todense())


def agreement(distances: ArrayLike, relevance: Gains) -> dict[str, float]:
    """Returns the nDCG at 50 of a ranking whose gains are the relevance of neighbourhoods.

    Args:
        distances: `[q, g]`, of the different images and texts.
        relevance: as `neighbourhood_relevance` returns it.

    Returns:
        `{"image_to_text": x, "text_to_image": y, "average": z}`, each in [0, 1].

    Example:
        >>> pairs = PairedSplit(np.eye(3), np.eye(3))
        >>> agreement(1 - np.eye(3), neighbourhood_relevance(pairs, pairs))["average"]
        1.0
    """
    distances = np.asarray(distances)
    images = ndcg(distances, relevance=relevance, k=DEPTH)
    # Filled part by part: to join all parts would take twice the memory.
    gains = np.empty(distances.shape, relevance(slice(0, 1)).dtype)
    for rows in row_chunks(*distances.shape):
        gains[rows] = relevance(rows)
    texts = ndcg(np.ascontiguousarray(distances.T), relevance=gains.T, k=DEPTH)
    return {"image_to_text": images, "text_to_image": texts, "average": (images + texts) / 2}


def _read(split, rows):
    return split.images[rows], split.texts[rows]


def _nearest(inputs, known, start, columns, similarities, m):
    """The m most similar known pairs of each pair: of those before, and of a block whose first one is `start`."""
    (images, texts), (known_images, known_texts) = inputs, known
    kept = min(m, similarities.shape[1] + len(known_images))
    found = np.empty((len(images), kept), np.int64), np.empty((len(images), kept), np.float32)
    for rows in row_chunks(len(images), len(known_images)):
        similarity = (images[rows] @ known_images.T + texts[rows] @ known_texts.T) / 2
        numbers = np.broadcast_to(np.arange(start, start + len(known_images)), similarity.shape)
        if similarities.shape[1]:
            similarity = np.concatenate([similarities[rows], similarity], axis=1)
            numbers = np.concatenate([columns[rows], numbers], axis=1)
        nearest = np.argpartition(-similarity, kept - 1, axis=1)[:, :kept]
        found[0][rows] = np.take_along_axis(numbers, nearest, axis=1)
        found[1][rows] = np.take_along_axis(similarity, nearest, axis=1)
    return found


def _unit(x):
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)
