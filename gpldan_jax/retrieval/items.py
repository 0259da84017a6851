"""What a search needs of an instance, and the distance of two of them, exactly.

Letters: `n` items; `k` representations of one item, each `h` wide; `H = k*h`.

Attention rows sum to 1, so Eq. 2-3, `Co(x, y) = sum_a (a_a + b_a) x_a`, is `sum_a b_a x'_a` with the values
`x'_a = x_a + sum_c a_c x_c`, which are the item's own: what the other side does is to weigh them.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.data.paired import as_features
from gpldan_jax.models import Representation, TrainedModel

_METHODS = {"image": "encode_image", "text": "encode_text"}
_BLOCK = 1024  # inputs that go through the network at a time
_ROUNDING_ERRORS = 64  # of float64; a distance below this carries no information and counts as zero


class Items(NamedTuple):
    """n items as a search needs them, as NumPy or jax arrays.

    Attributes:
        values: `[n, H]` float32, `x'`, times a power of two for each item, which no cosine depends on; below 1.
        attention: `[n, k]` float32, rows sum to 1.
        products: `[n, k (k + 1) / 2]` float32, `x'_a . x'_b` for a <= b, row by row.
    """

    values: np.ndarray | jax.Array
    attention: np.ndarray | jax.Array
    products: np.ndarray | jax.Array


def represented(
    model: TrainedModel, features: np.ndarray, modality: str, on_items: Callable[[int], None] = lambda items: None
) -> Iterator[Items]:
    """Features of one modality as items, in blocks of NumPy arrays.

    Args:
        model: the network and how its inputs are scaled.
        features: `[n, d]`, as they were before they were scaled for training.
        modality: `"image"` or `"text"`.
        on_items: takes the number of items done so far.

    Raises:
        ValueError: features that are not finite, or that the network makes something infinite of.
    """
    scale = getattr(model.standardization, f"{modality}s")
    parameters = jax.device_put(model.parameters)
    size = min(_BLOCK, 1 << (len(features) - 1).bit_length())  # all of one size, so that they compile once
    for start in range(0, len(features), size):
        block = as_features(features[start : start + size], where=f"{modality} features from row {start} on")
        with np.errstate(over="ignore"):  # which is looked for below
            block = scale(block)
        padded = np.pad(block, ((0, size - len(block)), (0, 0)))
        found = _represented(model.projector, parameters, padded, modality)
        items = Items(*(np.asarray(array)[: len(block)] for array in found))
        if not np.isfinite(items.values).all():
            row = start + int(np.argmin(np.isfinite(items.values).all(axis=1)))
            raise ValueError(f"{modality} features: the network makes something infinite of row {row}")
        yield items
        on_items(start + len(block))


@jax.jit(static_argnames=("projector", "modality"))
def _represented(projector, parameters, inputs, modality):
    return items_of(projector.apply({"params": parameters}, inputs, method=_METHODS[modality]))


def items_of(representation: Representation) -> Items:
    """What the projector makes of n instances, as items."""
    parts, attention = representation.parts, representation.attention
    values = parts + (attention[..., None] * parts).sum(axis=1, keepdims=True)
    _, exponent = jnp.frexp(jnp.abs(values).max(axis=(1, 2), keepdims=True))
    values = jnp.ldexp(values, -exponent)
    products = jnp.einsum("nah,nbh->nab", values, values, precision="highest")
    rows, columns = np.triu_indices(parts.shape[1])
    return Items(values.reshape(len(values), -1), attention, products[:, rows, columns])


def exact_distances(one: Items, other: Items) -> np.ndarray:
    """Distances of pairs of items: Eq. 2-5 in float64 on the items as they are, as float32.

    A distance depends on its two items alone, to the last bit, and not on what else is measured, or where; so two items
    that are alike have the same distance to everything.

    Args:
        one: m items, NumPy arrays; item i and item i of `other` are a pair.
        other: m items, NumPy arrays.

    Returns:
        `[m]` float32, in [0, 2]; 1 where a side is zero.

    >>> image, text = np.array([[1.0, 0.0, 0.0, 1.0]]), np.array([[1.0, 0.0, 1.0, 0.0]])  # k = 2, h = 2
    >>> half = np.array([[0.5, 0.5]])  # as `co_attention_distances` has it: Co are (1, 1) and (2, 0), times a half
    >>> exact_distances(Items(image, half, None), Items(text, half, None)).round(3)
    array([0.293], dtype=float32)
    """
    x, y = _weighed(one, other.attention), _weighed(other, one.attention)
    lengths = np.sqrt((x * x).sum(axis=1)) * np.sqrt((y * y).sum(axis=1))
    distances = 1 - (x * y).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    distances[distances < _ROUNDING_ERRORS * np.finfo(np.float64).eps] = 0
    return np.minimum(distances, 2).astype(np.float32)


def _weighed(items, attention):
    values = items.values.reshape(*attention.shape, -1).astype(np.float64)
    weights = attention.astype(np.float64)[:, :, None]
    # One by one: a product of matrices would round otherwise for another number of items.
    return sum(weights[:, part] * values[:, part] for part in range(attention.shape[1]))
