"""Retrieval through the training pairs: an item moves to where pairs with such inputs lie. Ours, not the paper's.

The network has to guess where an input belongs that it has not seen. The training pairs say more, because both of their
modalities are known. Each has one joint representation; two regressions from the inputs of one modality predict that of
a new item, and the item goes part of the way:

- the mean of its nearest training pairs, which follows every detail of the data;
- kernel ridge regression over all of them, which is smooth. Its ridge is chosen by leave-one-out.

Where there are more training pairs than the bank may have, each pair of the bank stands for several: it is the mean of
the training pairs that lie nearest to it, and the regression still learns from every one of them (Nystroem's method,
Williams and Seeger, NIPS 2000). A random part of the pairs instead would move items to where too few pairs lie.

No label and no other new item is used. ASIF (Norelli et al., NeurIPS 2023) matches items by their similarities to known
pairs alone; here they correct what the network says.

Letters: `n` training pairs that the bank is made of; `b` pairs of the bank; `q` items; `m` neighbours; `d_i`, `d_t`,
`d` widths of the inputs; `H` width of the space.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.losses.distances import matmul, unit_length
from gpldan_jax.models.column_statistics import column_mean
from gpldan_jax.models.projector import Projector, Representation

MODALITIES = ("image", "text")
_METHODS = {"image": Projector.encode_image, "text": Projector.encode_text}
_BLOCK = 1024  # pairs that go through the network, or to their nearest pair of the bank, at a time
_PAIRS_OF_EACH = 8  # training pairs for each pair of the bank, at most: fewer lower MAP@50, more take longer
_BANDWIDTH_NEIGHBOURS = 10
_RIDGES = 10.0 ** np.arange(-3, 1.25, 0.5)  # of kernels with a diagonal of 1
_RIDGE_PAIRS = 1024  # that choose the ridge, at most: the eigenvalues of more would take seconds
_RIDGE_DIRECTIONS = 32  # of the joint representations, drawn at random, that the ridge is chosen by


class BankSide(flax.struct.PyTreeNode):
    """The part of a bank for one modality.

    Attributes:
        inputs: `[b, d]` float16, less `center`, of length one.
        center: `[d]` float32, the mean input of the training pairs, as the network gets them.
        bandwidth: float32 scalar, tau of the kernel `exp((cos - 1) / tau)`.
        coefficients: `[b, H]` float16, of the kernel ridge regression.
    """

    inputs: jax.Array | np.ndarray
    center: jax.Array | np.ndarray
    bandwidth: jax.Array | np.ndarray
    coefficients: jax.Array | np.ndarray


class Bank(flax.struct.PyTreeNode):
    """b training pairs, by which new items are moved.

    Attributes:
        image: what predicts from images.
        text: what predicts from texts.
        joint: `[b, H]` float16, `unit(unit(v) + unit(t))` of the features v and t of a pair, or the mean of several.
        neighbours: m, how many pairs are the nearest.
        weight: g, how much each of the two predictions counts; the item itself counts 1.
    """

    image: BankSide
    text: BankSide
    joint: jax.Array | np.ndarray
    neighbours: int = flax.struct.field(pytree_node=False)
    weight: float = flax.struct.field(pytree_node=False)


class _Regression(NamedTuple):
    """What kernel ridge regression needs of the inputs of one modality.

    Attributes:
        inputs: `[b, d]`, less `center`, of length one.
        center: `[d]`.
        bandwidth: of the kernel.
        kernel: `[b, b]` float64, of the pairs of the bank.
        across: `[n, b]` float32, of the training pairs and those of the bank; `None` where they are the same.
        gram: `[b, b]` float64, `across^T across`, or `None`.
        rows: of the training pairs that choose the ridge.
        eigenvalues: of their kernel.
        eigenvectors: of their kernel.
    """

    inputs: np.ndarray
    center: np.ndarray
    bandwidth: float
    kernel: np.ndarray
    across: np.ndarray | None
    gram: np.ndarray | None
    rows: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class BankPairs:
    """The training pairs of a bank without their vectors, which depend on the network; one object for all epochs.

    Attributes:
        rows: `[n]`, which of the training pairs they are.
        images: `[n, d_i]`, their inputs as the network gets them.
        texts: `[n, d_t]`.
        members: `[n]`, which pair of the bank each belongs to, from 0 to b - 1.
        regressions: by modality.
    """

    rows: np.ndarray
    images: np.ndarray
    texts: np.ndarray
    members: np.ndarray
    regressions: dict[str, _Regression]


def pairs_used(count: int, pairs: int) -> int:
    """Returns how many training pairs a bank is made of.

    Args:
        count: how many training pairs there are.
        pairs: how many the bank has at most.

    Returns:
        The number: all, or eight times as many as the bank has.

    Example:
        >>> pairs_used(1000, 2048), pairs_used(10_000, 2048), pairs_used(10**6, 2048)
        (1000, 10000, 16384)
    """
    return min(count, _PAIRS_OF_EACH * pairs)


def choose_pairs(images: np.ndarray, texts: np.ndarray, *, pairs: int, seed: int = 0) -> BankPairs:
    """Chooses the pairs that a bank is made of, and prepares their kernels.

    Where there are more than it may have, at most eight times as many as that are drawn. The first of them are
    what the others gather around: each goes to the nearest, by the sum of the cosines of images and texts.

    Args:
        images: `[N, d_i]` float32, of all training pairs, scaled as in training.
        texts: `[N, d_t]` float32, row i belongs to row i of `images`.
        pairs: how many the bank has at most, at least 2.
        seed: of the draw.

    Returns:
        The pairs.

    Raises:
        ValueError: fewer than two pairs.

    Example:
        >>> chosen = choose_pairs(np.eye(6, 5), np.eye(6, 4), pairs=4)
        >>> chosen.texts.shape, len(set(chosen.members.tolist()))
        ((6, 4), 4)
    """
    count = len(images)
    if count < 2 or pairs < 2:
        raise ValueError(f"a bank needs two training pairs and pairs of at least 2, got {count} and {pairs}")
    drawn = np.random.default_rng(seed).permutation(count)[: pairs_used(count, pairs)]
    rows = np.sort(drawn)
    of_ridge = np.searchsorted(rows, drawn[:_RIDGE_PAIRS])
    centers = {name: column_mean(of) for name, of in zip(MODALITIES, (images, texts), strict=True)}
    images, texts = images[rows], texts[rows]
    units = {name: _unit(of - centers[name]) for name, of in zip(MODALITIES, (images, texts), strict=True)}
    members = np.arange(count) if count <= pairs else _nearest(units, np.searchsorted(rows, drawn[:pairs]))
    regressions = {name: _prepare_regression(units[name], centers[name], members, of_ridge) for name in MODALITIES}
    return BankPairs(rows, images, texts, members, regressions)


def make_bank(
    pairs: BankPairs, image_features: np.ndarray, text_features: np.ndarray, *, neighbours: int, weight: float
) -> Bank:
    """Makes a bank from training pairs and the vectors that a model gives them.

    Args:
        pairs: as `choose_pairs` returns them.
        image_features: `[n, H]`, of these pairs, of any length.
        text_features: `[n, H]`.
        neighbours: m, at least 1; more than b is cut to it.
        weight: g, at least 0.

    Returns:
        The bank, NumPy arrays.

    Example:
        >>> pairs = choose_pairs(np.eye(6, 5), np.eye(6, 4), pairs=6)
        >>> make_bank(pairs, np.eye(6), np.eye(6), neighbours=2, weight=1.0).joint.shape
        (6, 6)
    """
    if neighbours < 1 or weight < 0:
        raise ValueError(f"neighbours must be at least 1 and weight at least 0, got {neighbours} and {weight}")
    known = _unit(_unit(np.asarray(image_features, np.float64)) + _unit(np.asarray(text_features, np.float64)))
    joint = _unit(_means(known, pairs.members))
    sides = []
    for name in MODALITIES:
        regression = pairs.regressions[name]
        sides.append(
            BankSide(
                inputs=regression.inputs.astype(np.float16),
                center=regression.center.astype(np.float32),
                bandwidth=np.array(regression.bandwidth, np.float32),
                coefficients=_coefficients(regression, known - known.mean(0)).astype(np.float16),
            )
        )
    image, text = sides
    return Bank(image, text, joint.astype(np.float16), min(neighbours, len(joint)), float(weight))


def network_bank(projector: Projector, parameters: dict, pairs: BankPairs, *, neighbours: int, weight: float) -> Bank:
    """Makes the bank of a network.

    Args:
        projector: the network.
        parameters: of the projector.
        pairs: as `choose_pairs` returns them.
        neighbours: as in `make_bank`.
        weight: as in `make_bank`.

    Returns:
        The bank, NumPy arrays.

    Example:
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> images, texts = np.eye(6, 5, dtype=np.float32), np.eye(6, 4, dtype=np.float32)
        >>> parameters = projector.init(jax.random.key(0), images, texts)["params"]
        >>> pairs = choose_pairs(images, texts, pairs=4)
        >>> network_bank(projector, parameters, pairs, neighbours=2, weight=1.0).joint.shape
        (4, 8)
    """
    size = min(_BLOCK, len(pairs.rows))
    features = [np.empty((len(pairs.rows), projector.width), np.float32) for _ in MODALITIES]
    for name, inputs, found in zip(MODALITIES, (pairs.images, pairs.texts), features, strict=True):
        for start in range(0, len(inputs), size):
            block = inputs[start : start + size]
            padded = np.pad(block, ((0, size - len(block)), (0, 0)))
            found[start : start + size] = np.asarray(_features(projector, parameters, padded, name))[: len(block)]
    return make_bank(pairs, *features, neighbours=neighbours, weight=weight)


def encode(
    projector: Projector, parameters: dict, inputs: jax.Array, modality: str, bank: Bank | None = None
) -> Representation:
    """Encodes items of one modality and, where there is a bank, moves them; attention is taken after the move.

    Args:
        projector: the network.
        parameters: of the projector.
        inputs: `[q, d]` float32, scaled as in training.
        modality: `"image"` or `"text"`.
        bank: of training pairs, or `None`.

    Returns:
        The representations.

    Example:
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> images, texts = np.eye(6, 5, dtype=np.float32), np.eye(6, 4, dtype=np.float32)
        >>> parameters = projector.init(jax.random.key(0), images, texts)["params"]
        >>> bank = network_bank(projector, parameters, choose_pairs(images, texts, pairs=6), neighbours=2, weight=1.0)
        >>> encode(projector, parameters, texts, "text", bank).features.shape
        (6, 8)
    """
    representation: Any = projector.apply({"params": parameters}, inputs, method=_METHODS[modality])
    if bank is None:
        return representation
    features = move(bank, inputs, representation.features, modality)
    moved: Any = projector.apply({"params": parameters}, features, method=Projector.represent)
    return moved


def move(bank: Bank, inputs: jax.Array, features: jax.Array, modality: str) -> jax.Array:
    """Moves items to where the training pairs say that their inputs lie.

    With the features x of an item, the cosines c_j of its inputs and those of pair j, both less their mean, the joint
    representations M_j and the coefficients A_j of the regression:

        x' = unit(x) + g (sum_j w_j M_j + unit(sum_j exp((c_j - 1) / tau) A_j))

    brought back to the length of x. w_j is max(c_j, 0) for the m nearest pairs, else 0, over the sum.

    Args:
        bank: of training pairs.
        inputs: `[q, d]`, scaled as in training.
        features: `[q, H]`, of the items.
        modality: `"image"` or `"text"`.

    Returns:
        `[q, H]`, of the length that `features` have.

    Example:
        >>> pairs = choose_pairs(np.eye(6, 5), np.eye(6, 4), pairs=6)
        >>> bank = make_bank(pairs, np.eye(6), np.eye(6), neighbours=1, weight=100.0)
        >>> moved = move(bank, jnp.eye(6, 5)[:2], jnp.ones((2, 6)), "image")
        >>> moved.argmax(axis=1).tolist()
        [0, 1]
    """
    side = getattr(bank, modality)
    inputs = jnp.asarray(inputs, features.dtype)
    known, center, bandwidth, coefficients, joint = (
        jnp.asarray(of, features.dtype)
        for of in (side.inputs, side.center, side.bandwidth, side.coefficients, bank.joint)
    )
    cosines = matmul(unit_length(inputs - center), known, (1, 1))
    nearest, rows = jax.lax.top_k(cosines, bank.neighbours)
    weights = jnp.maximum(nearest, 0)
    weights /= jnp.maximum(weights.sum(axis=1, keepdims=True), jnp.finfo(weights.dtype).tiny)
    mean = (weights[:, :, None] * joint[rows]).sum(axis=1)
    predicted = matmul(jnp.exp((cosines - 1) / bandwidth), coefficients, (1, 0))
    moved = unit_length(features) + bank.weight * (mean + unit_length(predicted))
    return jnp.linalg.norm(features, axis=1, keepdims=True) * unit_length(moved)


@jax.jit(static_argnames=("projector", "modality"))
def _features(projector, parameters, inputs, modality):
    return projector.apply({"params": parameters}, inputs, method=_METHODS[modality]).features


def _nearest(units, seeds):
    """Which of the pairs `seeds` each pair lies nearest to, numbered without gaps: of equal seeds one has none."""
    units = {name: of.astype(np.float32) for name, of in units.items()}
    found = np.empty(len(units["image"]), np.int64)
    for start in range(0, len(found), _BLOCK):
        block = slice(start, start + _BLOCK)
        found[block] = sum(of[block] @ of[seeds].T for of in units.values()).argmax(axis=1)
    return np.unique(found, return_inverse=True)[1]


def _means(values, members):
    """`[b, ...]`: the mean of the rows of each member."""
    if len(values) == members.max() + 1:  # each is alone
        return values
    sums = np.zeros((members.max() + 1, values.shape[1]))
    np.add.at(sums, members, values)
    return sums / np.bincount(members)[:, None]


def _prepare_regression(inputs, center, members, of_ridge) -> _Regression:
    of_bank = _unit(_means(inputs, members))
    same = len(of_bank) == len(inputs)
    # Of many pairs, the bandwidth too is that of some.
    some = np.arange(len(inputs)) if same else of_ridge
    cosines = inputs[some] @ inputs.T
    others = cosines.copy()
    others[np.arange(len(some)), some] = -2
    m = min(_BANDWIDTH_NEIGHBOURS, len(inputs) - 1)
    nearest = np.partition(others, -m, axis=1)[:, -m:]
    # A floor, for inputs that are all alike.
    bandwidth = max(float(np.median(1 - nearest.mean(axis=1))), 1e-3)
    kernel = np.exp((of_bank @ of_bank.T - 1) / bandwidth)
    across = None if same else np.exp((inputs @ of_bank.T - 1) / bandwidth)
    gram = None if across is None else across.T @ across
    eigenvalues, eigenvectors = np.linalg.eigh(np.exp((inputs[of_ridge] @ inputs[of_ridge].T - 1) / bandwidth))
    across = None if across is None else across.astype(np.float32)
    return _Regression(
        of_bank, center, bandwidth, kernel, across, gram, of_ridge, np.maximum(eigenvalues, 0), eigenvectors
    )


def _coefficients(regression, targets):
    """The coefficients of the ridge regression of `targets`, `[n, H]`, with the ridge of the least leave-one-out error.

    Of a ridge r with fits `K (K + r I)^-1 y` and the diagonal h of that matrix, the error of an item that is left out
    is its residual over 1 - h. With fewer pairs in the bank than training pairs and C the kernel of both,
    `(C^T C + r K) A = C^T y`.
    """
    import scipy.linalg  # not at the top, because to ask a collection needs none of it

    basis = regression.eigenvectors
    directions = np.random.default_rng(0).normal(size=(targets.shape[1], _RIDGE_DIRECTIONS))
    some = targets[regression.rows] @ directions
    projected = basis.T @ some

    def error(ridge):
        shrunk = regression.eigenvalues / (regression.eigenvalues + ridge)
        residuals = some - basis @ (shrunk[:, None] * projected)
        return np.square(residuals / (1 - np.square(basis) @ shrunk)[:, None]).sum()

    ridge = min(_RIDGES, key=error)
    if regression.across is None:
        ridged = regression.kernel + ridge * np.eye(len(regression.kernel))
        return scipy.linalg.solve(ridged, targets, assume_a="pos", overwrite_a=True)
    ridged = regression.gram + ridge * regression.kernel
    # What rounding leaves of eigenvalues that are zero must not become negative.
    ridged[np.diag_indices_from(ridged)] += 1e-8 * np.trace(ridged) / len(ridged)
    sums = (regression.across.T @ targets.astype(np.float32)).astype(np.float64)
    return scipy.linalg.solve(ridged, sums, assume_a="pos", overwrite_a=True)


def _unit(x):
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)
