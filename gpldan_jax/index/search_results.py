"""What a search returns, and one item of an index.

Letters: `q` queries; `k` nearest items of a query.
"""

import dataclasses
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpldan_jax.index.gallery import EncodedBatch


class SearchResult(NamedTuple):
    """The nearest items of each query, the nearest first.

    Attributes:
        distances: `[q, k]` float32, in [0, 2].
        ids: `[q, k]`, strings, int64 or uint64.
    """

    distances: np.ndarray
    ids: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One item of an index.

    Attributes:
        id: its id.
        encoded: the item itself, a batch of one; `Index.search` takes it as a query.
        fields: the texts that were stored with it.
    """

    id: str | int
    encoded: EncodedBatch
    fields: Mapping[str, str]

    @property
    def attention(self) -> np.ndarray:
        """The attention map of the item (Eq. 1), `[k]` float32."""
        return np.asarray(self.encoded.attention[0])

    @property
    def items(self) -> EncodedBatch:
        """The old name of `encoded`."""
        warnings.warn("Entry.items is now Entry.encoded", DeprecationWarning, stacklevel=2)
        return self.encoded


def as_exclusions(
    exclude: Sequence[Any], queries: int, known: Mapping[Any, int], among: np.ndarray | None = None
) -> list[list[Hashable]]:
    """Checks which items each query leaves out.

    Args:
        exclude: for each query an id, several ids, or `None` for none.
        queries: the number of queries, q.
        known: the ids of the index with their positions.
        among: `[n]` bool, the items that may be found; `None` for all.

    Returns:
        The ids of each query, of items that may be found.

    Raises:
        ValueError: another number of entries, or an id that the index does not have.

    Example:
        >>> as_exclusions(["a", None, ["a", "b"]], 3, {"a": 0, "b": 1})
        [['a'], [], ['a', 'b']]
    """
    if isinstance(exclude, str) or len(exclude) != queries:
        got = "a string" if isinstance(exclude, str) else f"{len(exclude)} entries"
        raise ValueError(f"exclude must have an entry for each of the {queries} queries, got {got}")
    found = []
    for entry in exclude:
        if isinstance(entry, np.ndarray):
            entry = entry.tolist()
        ids = [] if entry is None else list(entry) if isinstance(entry, (list, tuple, set)) else [entry]
        ids = [id.item() if isinstance(id, np.generic) else id for id in ids]
        if missing := [id for id in ids if id not in known]:
            raise ValueError(f"exclude names {missing[0]!r}, which the index does not have")
        found.append([id for id in dict.fromkeys(ids) if among is None or among[known[id]]])
    return found


def without_excluded(found: SearchResult, exclusions: Sequence[Sequence[Hashable]], k: int) -> SearchResult:
    """Returns the k nearest items that are left, of a result with k and as many more as a query leaves out.

    Example:
        >>> found = SearchResult(np.array([[0.1, 0.2, 0.3]]), np.array([["a", "b", "c"]]))
        >>> without_excluded(found, [["b"]], 2).ids
        array([['a', 'c']], dtype='<U1')
    """
    rows = zip(found.ids.tolist(), exclusions, strict=True)
    left = np.array([[id not in of_query for id in ids] for ids, of_query in rows])
    columns = np.argsort(~left, axis=1, kind="stable")[:, :k]
    return SearchResult(*(np.take_along_axis(array, columns, axis=1) for array in found))
