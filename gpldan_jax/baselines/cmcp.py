"""CMCP: correlations of training pairs, known from labels, are propagated along neighbours to the items to compare.

Letters: `n` training pairs, `a` and `b` images and texts to compare, `d` width of an input, `C` classes.
"""

import numpy as np

from gpldan_jax.baselines.graphs import neighbour_graph, normalised_adjacency, with_training_items
from gpldan_jax.baselines.method import Distances, Method, Score
from gpldan_jax.data import PairedSplit


def propagate(inputs: np.ndarray, values: np.ndarray, *, neighbours: int, alpha: float) -> np.ndarray:
    """Propagates values along a graph: the rows of `F = (1 - alpha) (I - alpha S)^-1 Y` for the items without values.

    S is the normalised adjacency of the cosine kNN graph of all items. F solves `F = alpha S F + (1 - alpha) Y`: each
    item takes on the values of its neighbours. Needs memory for about four float64 matrices of all items by all items.

    Inputs are `[n + a, d]`, the items with values first, values `[n, c]`; the result is `[a, c]`, the last rows of F.
    Each item has at least one neighbour; alpha in [0, 1) is the share that comes from the neighbours.

    Example:
        >>> import numpy as np
        >>> value = propagate(np.array([[1.0], [2.0]]), np.array([[1.0]]), neighbours=1, alpha=0.5)
        >>> print(value.round(4))  # .5 * .5 / (1 - .5 * .5)
        [[0.3333]]
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be in [0, 1), got {alpha}")
    system = -alpha * normalised_adjacency(neighbour_graph(inputs, neighbours))
    np.fill_diagonal(system, 1)
    sources = np.zeros((len(inputs), values.shape[1]))
    sources[: len(values)] = (1 - alpha) * values
    return np.linalg.solve(system, sources)[len(values) :]


def class_correlations(counts: np.ndarray, related: np.ndarray | None = None) -> np.ndarray:
    """Returns the correlation of an item of one class with an item of another class: the distinct entries of Y.

    An item of class c correlates by `1 / n_c` with those of its class and by `-1 / (n - n_c)` with all others, so that
    both kinds have the same weight for every item. Where classes are of different sizes that gives two values between
    them, one for the images' classes and one for the texts'; the entry is their mean.

    The counts `[C]` are the n_c, at least 1; the result is `[C, C]` float64, symmetric. The paper has no items with
    several classes; they are counted by their set of classes: `related` `[C, C]` says which sets share a class, and n_c
    is the number of items that share one with c. `None` stands for classes that are related to themselves alone.

    Example:
        >>> import numpy as np
        >>> print(class_correlations(np.array([2, 1])))  # across: (-1 / 1 - 1 / 2) / 2
        [[ 0.5  -0.75]
         [-0.75  1.  ]]
    """
    related = np.eye(len(counts), dtype=bool) if related is None else related
    partners = related @ counts
    weights = np.where(related, 1 / partners[:, None], -1 / np.maximum(counts.sum() - partners, 1)[:, None])
    return (weights + weights.T) / 2


def propagated_correlations(
    images: np.ndarray, texts: np.ndarray, labels: np.ndarray, *, neighbours: int = 30, alpha: float = 0.6
) -> np.ndarray:
    """Returns the block of `(1 - alpha)^2 (I - alpha S_I)^-1 Y (I - alpha S_T)^-1` for the given items.

    Y has a row for each image and a column for each text: the correlations of training items, which their labels give
    (`class_correlations`), and zeros for the given items. It is propagated through the images and the result through
    the texts. For text queries the paper takes the texts first; since both propagations are linear, one from the left
    and one from the right, the order does not matter: with the same Y the matrix for text queries is the transpose of
    that for image queries. The paper's two Y differ where classes are of different sizes, by the side on which the
    negative entries sum to -1; we take their mean, and one matrix serves both directions.

    Y depends on classes alone, so that it suffices to propagate the classes of the training items through each
    modality: the result is `F_I K F_T^T` with `K = class_correlations` and F the propagated one-hot labels.

    Images are `[n + a, d_i]` and texts `[n + b, d_t]`, z-normalised, the n labelled training items first; labels are
    `[n]`, or `[n, C]` bool. The result is
    `[a, b]` float64, larger for items that belong together. The larger alpha, the further correlations spread.

    References:
        Zhai, Peng and Xiao, Cross-modality correlation propagation for cross-media retrieval, ICASSP 2012.
    """
    # Of items with several classes each different set of them, `[sets, C]`, is one class here.
    sets, classes, counts = np.unique(labels, return_inverse=True, return_counts=True, axis=0)
    related = sets.astype(int) @ sets.T.astype(int) > 0 if labels.ndim == 2 else None
    one_hot = np.eye(len(counts))[classes.ravel()]
    image, text = (propagate(x, one_hot, neighbours=neighbours, alpha=alpha) for x in (images, texts))
    return image @ class_correlations(counts, related) @ text.T


def fit(train: PairedSplit, validation: PairedSplit, score: Score, *, seed: int, **settings) -> Distances:
    """Returns `propagated_correlations` times -1 as distances; its graphs hold the training items and the given items.

    The settings are those of `propagated_correlations`. There is nothing to train and nothing random.
    """
    if train.labels is None:
        raise ValueError("CMCP needs the labels of the training pairs")

    def distances(images, texts):
        inputs = with_training_items(train, images, texts)
        return -propagated_correlations(*inputs, train.labels, **settings)

    return distances


METHODS = (
    Method(
        name="cmcp",
        title="CMCP",
        supervision="supervised",
        source="Zhai, Peng and Xiao, Cross-modality correlation propagation for cross-media retrieval, ICASSP 2012",
        fit=fit,
        settings=({}, {"neighbours": 10}, {"alpha": 0.3}),
        transductive=True,
    ),
)
