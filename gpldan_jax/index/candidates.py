"""The first stage of a search in two: candidates from a vector index over attention-pooled vectors.

The distance of two items depends on both, which no vector index knows of; but the nearest by it are mostly among the
nearest by their pooled vectors, `sum_a a_a x'_a`. How often is measured, see `Index.with_recall`.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax.index.gallery import EncodedBatch, Gallery

_BLOCK = 65_536  # items
_PER_LIST = 64  # training vectors for each cluster
_PROBED = 1 / 16  # least share of the clusters that are looked through
_ROOM = 4  # items in the clusters that are looked through for each candidate, about


@dataclasses.dataclass(frozen=True)
class Recall:
    """A measurement: the mean share of the exact k nearest that a search in two stages finds.

    Attributes:
        k: how many nearest.
        candidates: of the first stage.
        queries: it was measured with.
        recall: in [0, 1].
    """

    k: int
    candidates: int
    queries: int
    recall: float


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """A vector index of faiss: vectors of unit length in clusters, by their inner product.

    Attributes:
        vectors: of faiss.
        probes: clusters that a search looks through at least; more for more candidates.
        recalls: what was measured.
    """

    vectors: Any
    probes: int
    recalls: tuple[Recall, ...] = ()

    @classmethod
    def build(cls, gallery: Gallery, *, lists: int | None = None, seed: int = 0) -> "Candidates":
        """Clusters the items of a gallery; a vector takes a byte for each of its h numbers.

        Args:
            gallery: the items.
            lists: clusters; 4 times the root of n unless given.
            seed: of the clustering.

        Raises:
            ImportError: faiss is missing.
        """
        faiss = _faiss()
        n = len(gallery)
        lists = min(lists or max(1, int(4 * math.sqrt(n))), max(1, n // 2))
        width = _pooled(gallery.take(np.arange(1))).shape[1]
        vectors = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        vectors.cp.seed = seed + 1234  # faiss's own default, from which seeds count
        vectors.cp.min_points_per_centroid = 1
        sample = np.sort(np.random.default_rng(seed).permutation(n)[: _PER_LIST * lists])
        vectors.train(_pooled(gallery.take(sample)))
        for _, count, block in gallery.blocks(min(_BLOCK, n)):
            vectors.add(_pooled(block)[:count])
        return cls(vectors, max(1, math.ceil(lists * _PROBED)))

    def search(self, queries: EncodedBatch, candidates: int) -> list[np.ndarray]:
        """The positions of the nearest items by pooled vectors, for each query, at most so many."""
        pooled = _pooled(queries)
        n, lists = self.vectors.ntotal, self.vectors.nlist
        candidates = min(candidates, n)
        self.vectors.nprobe = min(lists, max(self.probes, math.ceil(_ROOM * candidates * lists / n)))
        _, positions = self.vectors.search(pooled, candidates)
        if (positions < 0).any():  # the clusters looked through hold fewer
            self.vectors.nprobe = lists
            _, positions = self.vectors.search(pooled, candidates)
        return list(positions)

    def with_recall(self, recall: Recall) -> "Candidates":
        """With one more measurement, in place of an earlier one of the same k and candidates."""
        others = [of for of in self.recalls if (of.k, of.candidates) != (recall.k, recall.candidates)]
        return dataclasses.replace(self, recalls=(*others, recall))

    def write(self, path: Path) -> None:
        """To a file of faiss."""
        _faiss().write_index(self.vectors, str(path))

    @classmethod
    def read(cls, path: Path, probes: int, recalls: list[dict]) -> "Candidates":
        """From what `write` wrote."""
        return cls(_faiss().read_index(str(path)), int(probes), tuple(Recall(**recall) for recall in recalls))


def _pooled(items: EncodedBatch) -> np.ndarray:
    n, k = items.attention.shape
    pooled = np.einsum("nk,nkh->nh", items.attention, np.asarray(items.values).reshape(n, k, -1))
    lengths = np.sqrt((pooled * pooled).sum(axis=1, keepdims=True))
    return np.ascontiguousarray(pooled / np.where(lengths > 0, lengths, 1), np.float32)


def _faiss():
    try:
        import faiss
    except ImportError as error:
        raise ImportError("a search in two stages needs faiss: pip install 'gpldan_jax[ann]'") from error
    return faiss
