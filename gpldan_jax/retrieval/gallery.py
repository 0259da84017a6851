"""The items of a collection as arrays, in memory or on disk, one segment for each time that some were added."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gpldan_jax.retrieval.items import Items

# The position of the first item, how many are items, and the items, padded to the size of a block.
Blocks = Iterable[tuple[int, int, Items]]
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
    items: Items
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
    def _padded(self) -> dict[tuple[int, int], Items]:
        return {}

    def blocks(self, size: int) -> Blocks:
        """The items in blocks of `size`, each of one segment."""
        for number, (segment, start) in enumerate(zip(self.segments, self._starts, strict=False)):
            whole = len(segment) // size * size
            for first in range(0, whole, size):
                yield start + first, size, Items(*(array[first : first + size] for array in segment.items))
            if whole < len(segment):
                # Kept: of a collection smaller than a block the copy would cost more than the search.
                if (number, size) not in self._padded:
                    rest = (np.asarray(array[whole:]) for array in segment.items)
                    self._padded[number, size] = Items(*(_with_rows(array, size) for array in rest))
                yield start + whole, len(segment) - whole, self._padded[number, size]

    def take(self, positions: np.ndarray) -> Items:
        """The items at some positions, `[m]`, in that order."""
        return Items(*self._gathered(positions, lambda segment: segment.items))

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
