"""JRL: sparse linear maps of both modalities to the labels, smooth along neighbours with and without labels.

Letters: `n` training pairs, `a` and `b` images and texts without labels, `d_i` and `d_t` widths of inputs, `C` classes.
"""

from typing import NamedTuple

import numpy as np

from gpldan_jax.baselines.graphs import neighbour_graph, smoothness_matrix, with_training_items
from gpldan_jax.baselines.method import Distances, Method, Score
from gpldan_jax.baselines.perceptrons import cosine_distances_between
from gpldan_jax.data import PairedSplit


class JointProjections(NamedTuple):
    """The result of `joint_projections`: float64 maps, and the objective at the start and after each iteration."""

    image: np.ndarray  # [d_i, C]
    text: np.ndarray  # [d_t, C]
    objectives: list[float]  # it never grows


def joint_projections(
    images: np.ndarray,
    texts: np.ndarray,
    targets: np.ndarray,
    *,
    neighbours: int = 100,
    sparsity: float = 1000.0,
    smoothness: float = 1000.0,
    correlation: float = 1.0,
    fidelity: float = 1.0,
    iterations: int = 5,
    tolerance: float = 0.02,
) -> JointProjections:
    """Minimises the objective below, in turn over P of the images and Q of the texts.

        l |X P - Z Q|^2 + m (|X P - Y|^2 + |Z Q - Y|^2)
            + s (tr P^T X'^T L_X X' P + tr Q^T Z'^T L_Z Z' Q) + g (|P|_21 + |Q|_21)

    with X and Z the training images and texts, Y the targets, X' and Z' all items, L the normalised Laplacian of their
    cosine kNN graph, and `|P|_21` the sum of the norms of the rows. An iteration is

    `P <- (g D + s X'^T L_X X' + (l + m) X^T X)^-1 (l X^T Z Q + m X^T Y)`, `D_ii = 1 / (2 |row i of P|)`,

    and the same for Q with the new P. Either minimises an upper bound of the objective that touches it at the P before,
    so that the objective never grows. The start is ours: the same formula with l = 0 and D = I.

    Where `g >= 2 m |row i of X^T Y|` for all rows of both modalities, as for the published g = 1000 and some hundred
    items, the minimum is P = Q = 0: that iterations end early is what leaves directions to rank by.

    Images are `[n + a, d_i]` and texts `[n + b, d_t]`, z-normalised, the training ones first; the targets are one-hot
    labels `[n, C]`, or 0 and 1 for several. Of the weights, g is `sparsity`, s `smoothness`, l `correlation` and m
    `fidelity`. There is no further iteration once the objective falls by less than the share `tolerance`.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> images, texts, targets = rng.normal(size=(8, 3)), rng.normal(size=(9, 2)), np.eye(2)[[0, 1, 0, 1]]
        >>> found = joint_projections(images, texts, targets, neighbours=3)
        >>> found.image.shape, found.text.shape, found.objectives[-1] < found.objectives[0]
        ((3, 2), (2, 2), True)

    References:
        Zhai, Peng and Xiao, Learning cross-media joint representation with sparse and semisupervised
        regularization, IEEE Transactions on Circuits and Systems for Video Technology 2014.
    """
    if not sparsity > 0:
        raise ValueError(f"sparsity must be above 0, got {sparsity}")
    views = [np.asarray(view, np.float64) for view in (images, texts)]
    targets = np.asarray(targets, np.float64)
    labelled = [view[: len(targets)] for view in views]
    smooth = [smoothness * smoothness_matrix(view, neighbour_graph(view, neighbours)) for view in views]
    grams = [x.T @ x for x in labelled]

    def objective(p, q):
        x, z = labelled[0] @ p, labelled[1] @ q
        value = correlation * np.sum((x - z) ** 2) + fidelity * (
            np.sum((x - targets) ** 2) + np.sum((z - targets) ** 2)
        )
        for projection, matrix in ((p, smooth[0]), (q, smooth[1])):
            value += np.sum(projection * (matrix @ projection)) + sparsity * np.linalg.norm(projection, axis=1).sum()
        return float(value)

    def update(i, projection, partner):
        system = smooth[i] + (correlation + fidelity) * grams[i]
        wanted = labelled[i].T @ (correlation * (labelled[1 - i] @ partner) + fidelity * targets)
        return _reweighted_solve(system, wanted, sparsity, np.linalg.norm(projection, axis=1))

    p, q = (
        _reweighted_solve(smooth[i] + fidelity * grams[i], fidelity * labelled[i].T @ targets, sparsity, 0.5)
        for i in (0, 1)
    )
    objectives = [objective(p, q)]
    for _ in range(iterations):
        p = update(0, p, q)
        q = update(1, q, p)
        objectives.append(objective(p, q))
        if objectives[-2] - objectives[-1] < tolerance * objectives[-2]:
            break
    return JointProjections(p, q, objectives)


def fit(train: PairedSplit, validation: PairedSplit, score: Score, *, seed: int, **settings) -> Distances:
    """Returns cosine distances between the projections of `joint_projections`; it learns from the given items, too.

    The settings are those of `joint_projections`. All computation happens when distances are asked for, and nothing is
    random. The projections have no constant: z-normalised training inputs have none to explain.
    """
    if train.labels is None:
        raise ValueError("JRL needs the labels of the training pairs")
    targets = train.labels
    if targets.ndim == 1:
        classes, indices = np.unique(targets, return_inverse=True)
        targets = np.eye(len(classes))[indices]

    def distances(images, texts):
        inputs = with_training_items(train, images, texts)
        found = joint_projections(*inputs, targets, **settings)
        projected = (
            given[len(train) :] @ (projection / max(np.abs(projection).max(), 1e-300))  # they may be tiny
            for given, projection in zip(inputs, found[:2], strict=True)
        )
        return cosine_distances_between(*projected)

    return distances


def _reweighted_solve(system, wanted, sparsity, norms):
    """Returns `(g D + A)^-1 B`, `D_ii = 1 / (2 norms_i)`, as `R (g I + R A R)^-1 R B`, `R^2 = D^-1`; norms may be 0."""
    root = np.sqrt(2 * np.broadcast_to(norms, len(system)))
    balanced = root[:, None] * system * root
    balanced[np.diag_indices(len(system))] += sparsity
    return root[:, None] * np.linalg.solve(balanced, root[:, None] * wanted)


METHODS = (
    Method(
        name="jrl",
        title="JRL",
        supervision="semi-supervised",
        source="Zhai, Peng and Xiao, Learning cross-media joint representation with sparse and semisupervised "
        "regularization, IEEE TCSVT 2014",
        fit=fit,
        settings=({}, *({"sparsity": weight, "smoothness": weight} for weight in (1.0, 0.1))),
        transductive=True,
    ),
)
