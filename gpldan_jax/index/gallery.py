"""The items of a collection as a search needs them, and the exact distance of two items.

Letters: `n` items; `k` representations of an item, each `h` wide; `H = k*h`.

Attention rows sum to 1, so the fused instance of Eq. 2-3, `Co(x, y) = sum_a (a_a + b_a) x_a`, equals `sum_a b_a x'_a`
with the lifted representations `x'_a = x_a + sum_c a_c x_c`. The lifted representations depend on the item alone; the
other side only weighs them. So they are computed once and stored.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.data.feature_arrays import as_features
from gpldan_jax.losses.distances import lift
from gpldan_jax.models import Representation, TrainedModel
from gpldan_jax.models import encode as encode_inputs

MODALITIES = ("image", "text")
_BLOCK = 1024  # inputs that go through the network at a time
_ROUNDING_ERRORS = 64  # units of float64; a distance below this carries no information and counts as zero
_ALIGNMENT = 64  # bytes; jax computes on aligned arrays in place and copies others


class EncodedBatch(NamedTuple):
    """n encoded items, as NumPy or jax arrays.

    Attributes:
        values: `[n, H]` float32, the lifted representations, each item multiplied by a power of two so that its
            magnitudes are below 1; no cosine depends on that factor.
        attention: `[n, k]` float32, rows sum to 1.
        gram: `[n, k (k + 1) / 2]` float32, the inner products `x'_a . x'_b` for a <= b, row by row.
    """

    values: np.ndarray | jax.Array
    attention: np.ndarray | jax.Array
    gram: np.ndarray | jax.Array


Blocks = Iterable[tuple[int, int, EncodedBatch]]
"""For each block: the position of its first item, how many items it has, and the items, padded to the block size."""


def other_modality(modality: str) -> str:
    """Returns the modality that is not `modality`.

    Args:
        modality: `"image"` or `"text"`.

    Returns:
        `"text"` or `"image"`.
    """
    return MODALITIES[1 - MODALITIES.index(modality)]


def encode(
    model: TrainedModel, features: np.ndarray, modality: str, on_items: Callable[[int], None] = lambda items: None
) -> Iterator[EncodedBatch]:
    """Encodes features of one modality, in blocks of NumPy arrays; a bank of the model moves them first.

    Args:
        model: the network, and how its inputs are scaled.
        features: `[n, d]`, real numbers, not scaled.
        modality: `"image"` or `"text"`.
        on_items: called after each block with the number of items that are done.

    Yields:
        The items of each block, in the order of the features.

    Raises:
        ValueError: features that are not finite, or for which the output of the network is not finite.
    """
    scale, dtype = getattr(model.standardization, f"{modality}s"), model.standardization.dtypes[modality]
    parameters, bank = model.on_device
    size = min(_BLOCK, 1 << (len(features) - 1).bit_length())  # all of one size, so that they compile once
    for start in range(0, len(features), size):
        block = as_features(
            features[start : start + size], where=f"{modality} features from row {start} on", dtype=dtype
        )
        with np.errstate(over="ignore"):  # an overflow is reported below
            block = scale(block)
        padded = np.pad(block, ((0, size - len(block)), (0, 0)))
        encoded = _encode_block(model.projector, parameters, padded, modality, bank)
        encoded = EncodedBatch(*(np.asarray(array)[: len(block)] for array in encoded))
        if not np.isfinite(encoded.values).all():
            row = start + int(np.argmin(np.isfinite(encoded.values).all(axis=1)))
            raise ValueError(f"{modality} features: the output of the network for row {row} is not finite")
        yield encoded
        on_items(start + len(block))


@jax.jit(static_argnames=("projector", "modality"))
def _encode_block(projector, parameters, inputs, modality, bank):
    return encode_representation(encode_inputs(projector, parameters, inputs, modality, bank))


def encode_representation(representation: Representation) -> EncodedBatch:
    """Encodes what the projector returns.

    Args:
        representation: of n instances.

    Returns:
        The n items, as jax arrays.
    """
    attention = representation.attention
    values = lift(representation.parts, attention)
    _, exponent = jnp.frexp(jnp.abs(values).max(axis=(1, 2), keepdims=True))
    values = jnp.ldexp(values, -exponent)
    gram = jnp.einsum("nah,nbh->nab", values, values, precision="highest")
    rows, columns = np.triu_indices(attention.shape[1])
    return EncodedBatch(values.reshape(len(values), -1), attention, gram[:, rows, columns])


def exact_distances(x: EncodedBatch, y: EncodedBatch) -> np.ndarray:
    """Returns the distances of m pairs of items: Eq. 2-5, computed in float64 and rounded to float32.

    A distance depends on its two items alone, to the last bit: not on other items that are measured in the same call,
    and not on the machine. So two equal items have the same distance to every third item.

    Args:
        x: m items, NumPy arrays.
        y: m items, NumPy arrays; item i of `x` and item i of `y` are a pair.

    Returns:
        `[m]` float32, in [0, 2]; 1 where one of the two fused instances is zero.

    Example:
        >>> image, text = np.array([[1.0, 0.0, 0.0, 1.0]]), np.array([[1.0, 0.0, 1.0, 0.0]])  # k = 2, h = 2
        >>> half = np.array([[0.5, 0.5]])  # the fused instances are (0.5, 0.5) and (1, 0)
        >>> exact_distances(EncodedBatch(image, half, None), EncodedBatch(text, half, None)).round(3)
        array([0.293], dtype=float32)

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Eq. 2-5.
    """
    fused_x, fused_y = _fuse(x, y.attention), _fuse(y, x.attention)
    lengths = np.sqrt((fused_x * fused_x).sum(axis=1)) * np.sqrt((fused_y * fused_y).sum(axis=1))
    distances = 1 - (fused_x * fused_y).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    distances[distances < _ROUNDING_ERRORS * np.finfo(np.float64).eps] = 0
    return np.minimum(distances, 2).astype(np.float32)


def _fuse(encoded, attention):
    values = encoded.values.reshape(*attention.shape, -1).astype(np.float64)
    weights = attention.astype(np.float64)[:, :, None]
    # One by one: the rounding of a matrix product depends on the number of items.
    return sum(weights[:, part] * values[:, part] for part in range(attention.shape[1]))


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """n items of a collection that were added together.

    Attributes:
        ids: `[n]`, strings, int64 or uint64.
        encoded: the items as NumPy arrays, in memory or mapped from files.
        fields: n texts for each name of a field, such as `{"group": ["Food & Drink", ...]}`.
        files: the files of the segment, for `storage`; empty for a segment that was never stored.
    """

    ids: np.ndarray
    encoded: EncodedBatch
    fields: Mapping[str, Sequence[str]]
    files: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, ids: np.ndarray) -> "Segment":
        """Returns the segment without some items: itself if it has none of them, else a copy in memory."""
        kept = np.flatnonzero(~np.isin(self.ids, ids))
        if len(kept) == len(self):
            return self
        encoded = EncodedBatch(*(array[kept] for array in self.encoded))
        fields = {name: [texts[row] for row in kept.tolist()] for name, texts in self.fields.items()}
        return Segment(self.ids[kept], concatenate([encoded], len(kept)) if len(kept) else encoded, fields)


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """The segments of a collection, one after the other; positions count through all of them."""

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
        """Yields the items in blocks; no block has items of two segments.

        Args:
            size: items of a block.

        Yields:
            See `Blocks`.
        """
        for number, (segment, start) in enumerate(zip(self.segments, self._starts, strict=False)):
            whole = len(segment) // size * size
            for first in range(0, whole, size):
                yield start + first, size, EncodedBatch(*(array[first : first + size] for array in segment.encoded))
            if whole < len(segment):
                # Kept, because padding a small collection again would cost more than the search.
                if (number, size) not in self._padded:
                    rest = (np.asarray(array[whole:]) for array in segment.encoded)
                    self._padded[number, size] = EncodedBatch(*(_pad_rows(array, size) for array in rest))
                yield start + whole, len(segment) - whole, self._padded[number, size]

    def take(self, positions: np.ndarray) -> EncodedBatch:
        """Returns some items.

        Args:
            positions: `[m]` int.

        Returns:
            m items in that order.
        """
        return EncodedBatch(*self._gather(positions, lambda segment: segment.encoded))

    def ids(self, positions: np.ndarray) -> np.ndarray:
        """Returns the ids of some items.

        Args:
            positions: int, of any shape.

        Returns:
            The ids, in the same shape.
        """
        (ids,) = self._gather(positions.reshape(-1), lambda segment: [segment.ids])
        return ids.reshape(positions.shape)

    def all_ids(self) -> np.ndarray:
        """Returns the ids of all items, `[n]`."""
        return np.concatenate([segment.ids for segment in self.segments])

    def field(self, name: str) -> Iterator[str] | None:
        """Returns one field of all items.

        Args:
            name: of the field.

        Returns:
            The n texts, "" for items that lack it; `None` where all lack it.
        """
        if not any(name in segment.fields for segment in self.segments):
            return None
        absent = itertools.repeat("")
        of_segments = (itertools.islice(segment.fields.get(name, absent), len(segment)) for segment in self.segments)
        return itertools.chain.from_iterable(of_segments)

    def fields(self, position: int) -> dict[str, str]:
        """Returns the fields of one item.

        Args:
            position: of the item.

        Returns:
            The text of each field by its name.
        """
        number = np.searchsorted(self._starts, position, side="right") - 1
        segment = self.segments[number]
        return {name: texts[position - self._starts[number]] for name, texts in segment.fields.items()}

    def _gather(self, positions, arrays_of):
        """Takes the rows at `positions` from each of the arrays that `arrays_of` gives for a segment."""
        if len(self.segments) == 1:
            return [array[positions] for array in arrays_of(self.segments[0])]
        numbers = np.searchsorted(self._starts, positions, side="right") - 1
        gathered = []
        for same_array in zip(*map(arrays_of, self.segments), strict=True):
            rows = np.empty((len(positions), *same_array[0].shape[1:]), np.result_type(*same_array))
            for number, array in enumerate(same_array):
                here = numbers == number
                rows[here] = array[positions[here] - self._starts[number]]
            gathered.append(rows)
        return gathered


def join_segments(one: Segment, other: Segment) -> Segment:
    """Joins two segments with fields of the same names.

    Args:
        one: the first items.
        other: the items after them.

    Returns:
        One segment, in memory.
    """
    return Segment(
        np.concatenate([one.ids, other.ids]),
        concatenate([one.encoded, other.encoded], len(one) + len(other)),
        {name: [*one.fields[name], *other.fields[name]] for name in one.fields},
    )


def concatenate(blocks: Iterable[EncodedBatch], n: int) -> EncodedBatch:
    """Copies blocks of items into one batch, in memory that jax uses without a copy.

    Args:
        blocks: n items together, at least one.
        n: the number of items.

    Returns:
        The n items, as NumPy arrays.
    """
    joined: Any = None
    done = 0
    for block in blocks:
        if joined is None:
            joined = EncodedBatch(*(_aligned_zeros((n, *array.shape[1:]), array.dtype) for array in block))
        for array, part in zip(joined, block, strict=True):
            array[done : done + len(part)] = part
        done += len(block.values)
    return joined


def match_ids(ids: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Converts ids to the type of those of an index, so that both can be in one array.

    Args:
        ids: `[n]`, as `check_ids` returns them.
        dtype: of the ids of the index.

    Returns:
        `[n]`, strings, int64 or uint64.

    Raises:
        ValueError: strings for numbers or the reverse, or numbers that do not fit into the type.

    Example:
        >>> match_ids(np.array([1, 2]), np.dtype(np.uint64)).dtype
        dtype('uint64')
    """
    if "U" in (ids.dtype.kind, dtype.kind):
        if ids.dtype.kind != dtype.kind:
            raise ValueError(f"ids must be of the kind the index has, {dtype}, got {ids.dtype}")
        return ids
    limits = np.iinfo(dtype)
    if int(ids.min()) < limits.min or int(ids.max()) > limits.max:
        raise ValueError(f"ids must fit into the type that the index has, {dtype}, got {ids.min()} to {ids.max()}")
    return ids.astype(dtype)


def check_fields(fields: Mapping[str, Sequence[str]], n: int) -> dict[str, Sequence[str]]:
    """Checks the fields of n items.

    Args:
        fields: n strings for each name; names of lower-case letters.
        n: the number of items.

    Returns:
        The fields.

    Raises:
        ValueError: they do not fit.
    """
    for name, texts in fields.items():
        if not re.fullmatch("[a-z]+", name):
            raise ValueError(f"names of fields must be lower-case letters, got {name!r}")
        if len(texts) != n or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"field {name!r} must be {n} strings, got {len(texts)} values")
    return dict(fields)


def check_width(model: TrainedModel, features: np.ndarray, modality: str) -> None:
    """Checks that features have the width of the inputs of a model; `ValueError` where they do not."""
    shape, expected = np.shape(features), model.parameters[f"{modality}_hidden"]["kernel"].shape[0]
    if len(shape) != 2 or shape[1] != expected:
        raise ValueError(f"{modality} features must be [n, {expected}], as the model's, got {list(shape)}")


def _aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _pad_rows(array, rows):
    padded = _aligned_zeros((rows, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded
