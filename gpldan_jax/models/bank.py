"""Retrieval through the training pairs: an item moves to where pairs with such inputs lie. Ours, not the paper's.

The network has to guess where an input belongs that it has not seen. The training pairs say more, because both of their
modalities are known. Each has one joint representation; two regressions from the inputs of one modality predict that of
a new item, and the item goes part of the way:

- the mean of its nearest training pairs, which follows every detail of the data;
- kernel ridge regression over all of them, which is smooth. Its ridge is chosen by leave-one-out.

No label and no other new item is used. ASIF (Norelli et al., NeurIPS 2023) matches items by their similarities to known
pairs alone; here they correct what the network says.

Letters: `n` training pairs; `b` pairs of the bank; `q` items; `m` neighbours; `d_i`, `d_t`, `d` widths of the inputs;
`H` width of the space.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from gpldan_jax.losses.distances import matmul, unit_length
from gpldan_jax.models.projector import Projector, Representation

MODALITIES = ("image", "text")
_METHODS = {"image": Projector.encode_image, "text": Projector.encode_text}
_BLOCK = 1024  # pairs that go through the network at a time
_BANDWIDTH_NEIGHBOURS = 10
_RIDGES = 10.0 ** np.arange(-3, 1.25, 0.5)  # of kernels with a diagonal of 1
_RIDGE_PAIRS = 1024  # that choose the ridge, at most: the eigenvalues of more would take seconds
_RIDGE_DIRECTIONS = 32  # of the joint representations, drawn at random, that the ridge is chosen by


class BankSide(flax.struct.PyTreeNode):
    """What a bank has of one modality.

    Attributes:
        inputs: `[b, d]` float16, less `center`, of length one.
        center: `[d]` float32, the mean input of the training pairs, as the network gets them.
        bandwidth: float32 scalar, tau of the kernel `exp((cos - 1) / tau)`.
        coefficients: `[b, H]` float32, of the kernel ridge regression.
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
        joint: `[b, H]` float16, `unit(unit(v) + unit(t))` of the features v and t of a pair.
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
        kernel: `[b, b]` float64.
        rows: of the pairs that choose the ridge.
        eigenvalues: of their kernel.
        eigenvectors: of their kernel.
    """

    inputs: np.ndarray
    center: np.ndarray
    bandwidth: float
    kernel: np.ndarray
    rows: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class BankPairs:
    """The training pairs of a bank, before a network says where they lie; it serves every epoch of a training.

    Attributes:
        rows: `[b]`, which of the training pairs they are.
        images: `[b, d_i]`, their inputs as the network gets them.
        texts: `[b, d_t]`.
        regressions: by modality.
    """

    rows: np.ndarray
    images: np.ndarray
    texts: np.ndarray
    regressions: dict[str, _Regression]


def choose_pairs(images: np.ndarray, texts: np.ndarray, *, pairs: int, seed: int = 0) -> BankPairs:
    """Chooses the pairs of a bank, at random where there are more than it may have, and prepares their kernels.

    Args:
        images: `[n, d_i]` float32, of all training pairs, scaled as in training.
        texts: `[n, d_t]` float32, row i belongs to row i of `images`.
        pairs: how many the bank has at most, at least 2.
        seed: of the draw.

    Returns:
        The pairs.

    Raises:
        ValueError: fewer than two pairs.

    Example:
        >>> choose_pairs(np.eye(6, 5), np.eye(6, 4), pairs=4).texts.shape
        (4, 4)
    """
    n = len(images)
    if n < 2 or pairs < 2:
        raise ValueError(f"a bank needs two training pairs and pairs of at least 2, got {n} and {pairs}")
    drawn = np.random.default_rng(seed).permutation(n)
    rows = np.arange(n) if n <= pairs else np.sort(drawn[:pairs])
    of_ridge = drawn[: min(len(rows), _RIDGE_PAIRS)] if n <= pairs else np.arange(min(pairs, _RIDGE_PAIRS))
    regressions = {}
    for name, inputs in zip(MODALITIES, (images, texts), strict=True):
        regressions[name] = _prepare_regression(inputs[rows], inputs.mean(0, dtype=np.float64), of_ridge)
    return BankPairs(rows, images[rows], texts[rows], regressions)


def make_bank(
    pairs: BankPairs, image_features: np.ndarray, text_features: np.ndarray, *, neighbours: int, weight: float
) -> Bank:
    """Makes a bank of what a model says of its pairs.

    Args:
        pairs: as `choose_pairs` returns them.
        image_features: `[b, H]`, of these pairs, of any length.
        text_features: `[b, H]`.
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
    joint = _unit(_unit(np.asarray(image_features, np.float64)) + _unit(np.asarray(text_features, np.float64)))
    sides = []
    for name in MODALITIES:
        regression = pairs.regressions[name]
        sides.append(
            BankSide(
                inputs=regression.inputs.astype(np.float16),
                center=regression.center.astype(np.float32),
                bandwidth=np.array(regression.bandwidth, np.float32),
                coefficients=_coefficients(regression, joint - joint.mean(0)).astype(np.float32),
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


def _prepare_regression(inputs, center, of_ridge) -> _Regression:
    inputs = _unit(inputs - center)
    cosines = inputs @ inputs.T
    others = cosines - 2 * np.eye(len(cosines))
    m = min(_BANDWIDTH_NEIGHBOURS, len(cosines) - 1)
    nearest = np.partition(others, -m, axis=1)[:, -m:]
    # A floor, for inputs that are all alike.
    bandwidth = max(float(np.median(1 - nearest.mean(axis=1))), 1e-3)
    kernel = np.exp((cosines - 1) / bandwidth)
    eigenvalues, eigenvectors = np.linalg.eigh(kernel[np.ix_(of_ridge, of_ridge)])
    return _Regression(inputs, center, bandwidth, kernel, of_ridge, np.maximum(eigenvalues, 0), eigenvectors)


def _coefficients(regression, targets):
    """The coefficients of the ridge regression of `targets`, `[b, H]`, with the ridge of the least leave-one-out error.

    Of a ridge r with fits `K (K + r I)^-1 y` and the diagonal h of that matrix, the error of an item that is left out
    is its residual over 1 - h.
    """
    basis = regression.eigenvectors
    directions = np.random.default_rng(0).normal(size=(targets.shape[1], _RIDGE_DIRECTIONS))
    some = targets[regression.rows] @ directions
    projected = basis.T @ some

    def error(ridge):
        shrunk = regression.eigenvalues / (regression.eigenvalues + ridge)
        residuals = some - basis @ (shrunk[:, None] * projected)
        return np.square(residuals / (1 - np.square(basis) @ shrunk)[:, None]).sum()

    ridge = min(_RIDGES, key=error)
    ridged = regression.kernel + ridge * np.eye(len(regression.kernel))
    return scipy.linalg.solve(ridged, targets, assume_a="pos", overwrite_a=True)


def _unit(x):
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)
