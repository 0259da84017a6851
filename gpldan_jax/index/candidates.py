"""The first stage of a search in two stages: a vector index (faiss) proposes candidates, which are then ranked exactly.

The distance of two items depends on both of them, so no vector index can search by it. But most of the nearest items
are also near by the pooled vectors `sum_a a_a x'_a`, which belong to one item each. `Index.with_recall` measures how
many of the nearest are missed.

Letters: `n` items; `q` queries; `h` width of a pooled vector.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._extras import needed_for
from gpldan_jax.index.gallery import EncodedBatch, Gallery

_BLOCK = 65_536  # items
_PER_LIST = 64  # training vectors for each cluster
_PROBED = 1 / 16  # smallest share of the clusters that is searched
_ROOM = 4  # about so many items in the searched clusters for each candidate


@dataclasses.dataclass(frozen=True)
class Recall:
    """A measurement: how many of the exact k nearest items a search in two stages finds.

    Attributes:
        k: the number of nearest items.
        candidates: the number of candidates of the first stage.
        queries: the number of queries that it was measured with.
        recall: the mean share of the k nearest items that is found, in [0, 1].
    """

    k: int
    candidates: int
    queries: int
    recall: float


@dataclasses.dataclass(frozen=True, eq=False)
class VectorIndex:
    """A vector index of faiss: pooled vectors of unit length in clusters, compared by inner products.

    Attributes:
        vectors: the index of faiss.
        probes: how many clusters a search looks through at least; it looks through more for many candidates.
        recalls: measurements of `Index.with_recall`.
    """

    vectors: Any
    probes: int
    recalls: tuple[Recall, ...] = ()

    @classmethod
    def build(cls, gallery: Gallery, *, lists: int | None = None, seed: int = 0) -> "VectorIndex":
        """Clusters the items of a gallery; a vector takes one byte for each of its h numbers.

        Args:
            gallery: n items.
            lists: the number of clusters; by default 4 times the root of n.
            seed: of the clustering.

        Returns:
            The vector index.

        Raises:
            ImportError: faiss is missing.
        """
        faiss = _import_faiss()
        n = len(gallery)
        lists = min(lists or max(1, int(4 * math.sqrt(n))), max(1, n // 2))
        width = _pool(gallery.take(np.arange(1))).shape[1]
        vectors = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        vectors.cp.seed = seed + 1234  # 1234 is the default of faiss, so seed 0 is the default clustering
        vectors.cp.min_points_per_centroid = 1
        sample = np.sort(np.random.default_rng(seed).permutation(n)[: _PER_LIST * lists])
        vectors.train(_pool(gallery.take(sample)))
        for _, count, block in gallery.blocks(min(_BLOCK, n)):
            vectors.add(_pool(block)[:count])
        return cls(vectors, max(1, math.ceil(lists * _PROBED)))

    def search(self, queries: EncodedBatch, candidates: int, among: np.ndarray | None = None) -> list[np.ndarray]:
        """Finds the nearest items by pooled vectors.

        Args:
            queries: q items, NumPy arrays.
            candidates: how many items to find; all of them where there are fewer.
            among: `[n]` bool, the items that may be found; `None` for all.

        Returns:
            The positions of the candidates of each query.
        """
        pooled = _pool(queries)
        n = self.vectors.ntotal if among is None else int(among.sum())
        if among is not None and n <= candidates:
            return [np.flatnonzero(among)] * len(pooled)
        candidates, lists = min(candidates, n), self.vectors.nlist
        probes = min(lists, max(self.probes, math.ceil(_ROOM * candidates * lists / n)))
        positions = self._search(pooled, candidates, probes, among)
        if (positions < 0).any():  # the clusters that were searched hold fewer items
            positions = self._search(pooled, candidates, lists, among)
        return list(positions)

    def _search(self, pooled, candidates, probes, among):
        faiss, options = _import_faiss(), {"nprobe": probes}
        if among is not None:
            bits = np.packbits(among, bitorder="little")  # kept until the search is done, faiss has only its address
            options["sel"] = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        return self.vectors.search(pooled, candidates, params=faiss.SearchParametersIVF(**options))[1]

    def with_recall(self, recall: Recall) -> "VectorIndex":
        """Returns the vector index with one more measurement.

        Args:
            recall: the measurement; it replaces an earlier one of the same k and number of candidates.

        Returns:
            A copy that shares the vectors.
        """
        others = [of for of in self.recalls if (of.k, of.candidates) != (recall.k, recall.candidates)]
        return dataclasses.replace(self, recalls=(*others, recall))

    def write(self, path: Path) -> None:
        """Writes the vectors to a file of faiss.

        Args:
            path: of the file.
        """
        _import_faiss().write_index(self.vectors, str(path))

    @classmethod
    def read(cls, path: Path, probes: int, recalls: Sequence[Mapping[str, Any]]) -> "VectorIndex":
        """Reads a vector index.

        Args:
            path: a file that `write` wrote.
            probes: see the class.
            recalls: the attributes of each measurement.

        Returns:
            The vector index.

        Raises:
            ImportError: faiss is missing.
        """
        return cls(_import_faiss().read_index(str(path)), int(probes), tuple(Recall(**recall) for recall in recalls))


def _pool(encoded: EncodedBatch) -> np.ndarray:
    n, k = encoded.attention.shape
    pooled = np.einsum("nk,nkh->nh", encoded.attention, np.asarray(encoded.values).reshape(n, k, -1))
    lengths = np.sqrt((pooled * pooled).sum(axis=1, keepdims=True))
    return np.ascontiguousarray(pooled / np.where(lengths > 0, lengths, 1), np.float32)


def _import_faiss():
    with needed_for("a search in two stages", "ann"):
        import faiss
    return faiss
