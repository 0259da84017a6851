"""The neighbour graph of the transductive methods, over training items and given items.

Letters: `n` items, `d` width of an input.
"""

import numpy as np

from gpldan_jax.data import PairedDataset, PairedSplit, standardize

_BLOCK_ELEMENTS = 20_000_000


def with_training_items(train: PairedSplit, images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training items above the given items, z-normalised by the training items.

    A column that is constant in training is only shifted. Of images `[a, d_i]` and texts `[b, d_t]` the results are
    `[len(train) + a, d_i]` and `[len(train) + b, d_t]`, float64.

    Example:
        >>> import numpy as np
        >>> train = PairedSplit(np.array([[1.0], [3.0]]), np.array([[5.0], [5.0]]))
        >>> for inputs in with_training_items(train, np.array([[4.0]]), np.array([[6.0], [4.0]])):
        ...     print(inputs.ravel())
        [-1.  1.  2.]
        [ 0.  0.  1. -1.]
    """
    dataset, scaling = standardize(PairedDataset("", train, train, train), image=True, text=True)
    scaled = dataset.train
    return (
        np.concatenate([scaled.images, scaling.images(images)]).astype(np.float64),
        np.concatenate([scaled.texts, scaling.texts(texts)]).astype(np.float64),
    )


def neighbour_graph(inputs: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns the cosine kNN graph `W = (A + A^T) / 2`: `A_ij` is the cosine of i and its neighbour j, else 0.

    Neighbours of one of the inputs `[n, d]` are so many items of largest cosine, itself not among them; at least 1, cut
    to n - 1. A negative cosine counts as 0. The graph is `[n, n]` float64, in [0, 1], zero on the diagonal.

    Example:
        >>> import numpy as np
        >>> print(neighbour_graph(np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]]), 1))  # 0 -> 1, 1 -> 2, 2 -> 1
        [[0.  0.3 0. ]
         [0.3 0.  0.8]
         [0.  0.8 0. ]]
    """
    n = len(inputs)
    if n < 2 or neighbours < 1:
        raise ValueError(f"a neighbour graph needs 2 items and 1 neighbour at least, got {n} and {neighbours}")
    neighbours = min(neighbours, n - 1)
    inputs = np.asarray(inputs, np.float64)
    unit = inputs / np.maximum(np.linalg.norm(inputs, axis=1, keepdims=True), 1e-300)
    graph = np.zeros((n, n))
    step = max(1, _BLOCK_ELEMENTS // n)
    for start in range(0, n, step):
        block = unit[start : start + step] @ unit.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        nearest = np.argpartition(block, -neighbours, axis=1)[:, -neighbours:]
        cosines = np.clip(np.take_along_axis(block, nearest, axis=1), 0, 1)
        np.put_along_axis(graph[start : start + step], nearest, cosines, axis=1)
    return (graph + graph.T) / 2


def normalised_adjacency(graph: np.ndarray) -> np.ndarray:
    """Returns `S = D^-1/2 W D^-1/2`, `D` the diagonal of the row sums; its eigenvalues are in [-1, 1].

    W is `[n, n]`, symmetric and nonnegative. An item without edges keeps a row of zeros.

    Example:
        >>> import numpy as np
        >>> print(normalised_adjacency(np.array([[0.0, 4.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])))
        [[0. 1. 0.]
         [1. 0. 0.]
         [0. 0. 0.]]
    """
    degrees = graph.sum(axis=1)
    scale = np.where(degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0)
    return graph * scale[:, None] * scale


def smoothness_matrix(inputs: np.ndarray, graph: np.ndarray) -> np.ndarray:
    """Returns `X^T L X` of items in rows, `L = I - S` the normalised Laplacian.

    The trace of `P^T X^T L X P` is half the sum over i and j of `W_ij |x_i P / sqrt(D_ii) - x_j P / sqrt(D_jj)|^2`: how
    much the projection P differs between neighbours. Items without edges do not count.

    X is `[n, d]`, the graph W `[n, n]`, symmetric and nonnegative; the result `[d, d]` float64, positive semidefinite.

    Example:
        >>> import numpy as np
        >>> graph = np.array([[0.0, 4.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> print(smoothness_matrix(np.array([[1.0], [3.0], [7.0]]), graph))  # 4 (1 / 2 - 3 / 2)^2
        [[4.]]
    """
    connected = inputs * (graph.sum(axis=1) > 0)[:, None]
    return connected.T @ (connected - normalised_adjacency(graph) @ connected)
