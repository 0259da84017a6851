"""How well a ranking agrees with the neighbourhoods of both modalities: a figure that needs no labels. Ours.

Partner recall asks whether an image finds its own text. That says little of the many other texts that fit, and on small
data it rises long after the ranking of these gets worse. Of held-out pairs both modalities are known, so their inputs
say which pairs fit: those that resemble the same training pairs.

Letters: `n` held-out pairs; `N` training pairs; `m` neighbours; `q` images; `g` texts.
"""

import numpy as np
from numpy.typing import ArrayLike

from gpldan_jax.data import PairedSplit
from gpldan_jax.retrieval.metrics import ndcg, row_chunks
from gpldan_jax.retrieval.relevance import Gains

DEPTH = 50
NEIGHBOURS = 20
AGREEMENT = f"agreement@{DEPTH}"
"""The name of the figure."""


def neighbourhood_relevance(pairs: PairedSplit, known: PairedSplit, *, neighbours: int = NEIGHBOURS) -> Gains:
    """Returns how relevant each text of some pairs is to each image, by their neighbourhoods among known pairs.

    A pair has a weight for each known pair: the mean of the cosine of the images and that of the texts, for the m
    largest that are positive, else 0; scaled to length one. The relevance of two pairs is the inner product of their
    weights. Inputs are taken less the mean of the known ones.

    Args:
        pairs: n pairs, inputs scaled as in training. Where they have groups, an image of several pairs counts once.
        known: N training pairs.
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

    image_center, text_center = known.images.mean(0), known.texts.mean(0)
    known_images, known_texts = _unit(known.images - image_center), _unit(known.texts - text_center)
    images, texts = _unit(pairs.images - image_center), _unit(pairs.texts - text_center)
    m = min(neighbours, len(known))
    columns = np.empty((len(pairs), m), np.int64)
    weights = np.empty((len(pairs), m), np.float32)
    for rows in row_chunks(len(pairs), len(known)):
        similarity = (images[rows] @ known_images.T + texts[rows] @ known_texts.T) / 2
        columns[rows] = np.argpartition(-similarity, m - 1, axis=1)[:, :m]
        weights[rows] = np.maximum(np.take_along_axis(similarity, columns[rows], axis=1), 0)
    weights = _unit(weights)
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
    of_texts = np.concatenate([relevance(rows) for rows in row_chunks(*distances.shape)]).T
    images = ndcg(distances, relevance=relevance, k=DEPTH)
    texts = ndcg(np.ascontiguousarray(distances.T), relevance=of_texts, k=DEPTH)
    return {"image_to_text": images, "text_to_image": texts, "average": (images + texts) / 2}


def _unit(x):
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)
