"""What a search needs of an instance, and the distance of two of them, exactly.

Letters: `n` items; `k` representations of one item, each `h` wide; `H = k*h`.

Attention rows sum to 1, so Eq. 2-3, `Co(x, y) = sum_a (a_a + b_a) x_a`, is `sum_a b_a x'_a` with the values
`x'_a = x_a + sum_c a_c x_c`, which are the item's own: what the other side does is to weigh them.

The items of a collection as arrays, in memory or on disk, one segment for each time that some were added.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.data.paired import as_features
from gpldan_jax.models import Representation, TrainedModel

_METHODS = {"image": "encode_image", "text": "encode_text"}
_BLOCK = 1024  # inputs that go through the network at a time
_ROUNDING_ERRORS = 64  # of float64; a distance below this carries no information and counts as zero


class EncodedBatch(NamedTuple):
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
) -> Iterator[EncodedBatch]:
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
        items = EncodedBatch(*(np.asarray(array)[: len(block)] for array in found))
        if not np.isfinite(items.values).all():
            row = start + int(np.argmin(np.isfinite(items.values).all(axis=1)))
            raise ValueError(f"{modality} features: the network makes something infinite of row {row}")
        yield items
        on_items(start + len(block))


@jax.jit(static_argnames=("projector", "modality"))
def _represented(projector, parameters, inputs, modality):
    return items_of(projector.apply({"params": parameters}, inputs, method=_METHODS[modality]))


def items_of(representation: Representation) -> EncodedBatch:
    """What the projector makes of n instances, as items."""
    parts, attention = representation.parts, representation.attention
    values = parts + (attention[..., None] * parts).sum(axis=1, keepdims=True)
    _, exponent = jnp.frexp(jnp.abs(values).max(axis=(1, 2), keepdims=True))
    values = jnp.ldexp(values, -exponent)
    products = jnp.einsum("nah,nbh->nab", values, values, precision="highest")
    rows, columns = np.triu_indices(parts.shape[1])
    return EncodedBatch(values.reshape(len(values), -1), attention, products[:, rows, columns])


def exact_distances(one: EncodedBatch, other: EncodedBatch) -> np.ndarray:
    """Distances of pairs of items: Eq. 2-5 in float64 on the items as they are, as float32.

    A distance depends on its two items alone, to the last bit, and not on what else is measured, or where; so two items
    that are alike have the same distance to everything.

    Args:
        one: m items, NumPy arrays; item i and item i of `other` are a pair.
        other: m items, NumPy arrays.

    Returns:
        `[m]` float32, in [0, 2]; 1 where a side is zero.

    Example:
        >>> image, text = np.array([[1.0, 0.0, 0.0, 1.0]]), np.array([[1.0, 0.0, 1.0, 0.0]])  # k = 2, h = 2
        >>> half = np.array([[0.5, 0.5]])  # as `co_attention_distances` has it: Co are (1, 1) and (2, 0), times a half
        >>> exact_distances(EncodedBatch(image, half, None), EncodedBatch(text, half, None)).round(3)
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


# The position of the first item, how many are items, and the items, padded to the size of a block.
Blocks = Iterable[tuple[int, int, EncodedBatch]]
_ALIGNMENT = 64  # bytes; jax computes on such arrays where they lie, others it copies


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """n items of a collection.

    Attributes:
        ids: `[n]`, strings or int64.
        items: NumPy arrays, of memory or of files.
        fields: texts of each item by the name of the field, such as `{"group": ["Food & Drink", ...]}`; each of n.
        files: where it lies on disk, for those who store it; empty for one that was never stored.
    """

    ids: np.ndarray
    items: EncodedBatch
    fields: Mapping[str, Sequence[str]]
    files: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """The segments of a collection, one after the other; an item's position counts through all of them."""

    segments: tuple[Segment, ...]

    def __len__(self) -> int:
        return self._starts[-1]

    @functools.cached_property
    def _starts(self) -> list[int]:
        return np.cumsum([0, *(len(segment) for segment in self.segments)]).tolist()

    @functools.cached_property
    def _padded(self) -> dict[tuple[int, int], EncodedBatch]:
        return {}

    def blocks(self, size: int) -> Blocks:
        """The items in blocks of `size`, each of one segment."""
        for number, (segment, start) in enumerate(zip(self.segments, self._starts, strict=False)):
            whole = len(segment) // size * size
            for first in range(0, whole, size):
                yield start + first, size, EncodedBatch(*(array[first : first + size] for array in segment.items))
            if whole < len(segment):
                # Kept: of a collection smaller than a block the copy would cost more than the search.
                if (number, size) not in self._padded:
                    rest = (np.asarray(array[whole:]) for array in segment.items)
                    self._padded[number, size] = EncodedBatch(*(_with_rows(array, size) for array in rest))
                yield start + whole, len(segment) - whole, self._padded[number, size]

    def take(self, positions: np.ndarray) -> EncodedBatch:
        """The items at some positions, `[m]`, in that order."""
        return EncodedBatch(*self._gathered(positions, lambda segment: segment.items))

    def ids(self, positions: np.ndarray) -> np.ndarray:
        """Their ids, of the shape of the positions."""
        (found,) = self._gathered(positions.reshape(-1), lambda segment: [segment.ids])
        return found.reshape(positions.shape)

    def all_ids(self) -> np.ndarray:
        """The ids of all items."""
        return np.concatenate([segment.ids for segment in self.segments])

    def fields(self, position: int) -> dict[str, str]:
        """The fields of one item."""
        number = np.searchsorted(self._starts, position, side="right") - 1
        segment = self.segments[number]
        return {name: texts[position - self._starts[number]] for name, texts in segment.fields.items()}

    def _gathered(self, positions, arrays_of):
        numbers = np.searchsorted(self._starts, positions, side="right") - 1
        if len(self.segments) == 1:
            return [array[positions] for array in arrays_of(self.segments[0])]
        arrays = [arrays_of(segment) for segment in self.segments]
        found = []
        for of_segments in zip(*arrays, strict=True):
            dtype = np.result_type(*of_segments)
            taken = np.empty((len(positions), *of_segments[0].shape[1:]), dtype)
            for number, array in enumerate(of_segments):
                here = numbers == number
                taken[here] = array[positions[here] - self._starts[number]]
            found.append(taken)
        return found


def aligned(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array of zeros that jax takes without a copy."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _with_rows(array, rows):
    padded = aligned((rows, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded
