"""A collection that can be searched: the exact ranking by the paper's distance, for any number of items.

Letters: `n` items of the collection; `q` queries; `d` width of the features of a modality.
"""

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from gpldan_jax.data.arrays import check_ids
from gpldan_jax.index import storage
from gpldan_jax.index.candidates import Recall, VectorIndex
from gpldan_jax.index.gallery import (
    MODALITIES,
    EncodedBatch,
    Gallery,
    Segment,
    check_fields,
    check_width,
    concatenate,
    encode,
    join_segments,
    match_ids,
    other_modality,
)
from gpldan_jax.index.nearest import all_distances
from gpldan_jax.index.scan import DeviceBlocks, check_mesh, on_devices
from gpldan_jax.index.search_results import Entry, SearchResult, as_exclusions, without_excluded
from gpldan_jax.index.searching import check_among, check_weights, rank_all, rank_candidates
from gpldan_jax.models import TrainedModel

BLOCK = 8192
"""Items of a scan that go through a device at a time: 32 MB at H = 1024."""
_SMALL = 65_536  # items; segments up to this size are joined when more are added


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """The items of one modality, encoded by a trained model, and the model, which encodes queries.

    An index never changes: `add`, `with_candidates` and the like return another one that shares its arrays.

    Attributes:
        model: the network, its parameters, and how its inputs are scaled.
        modality: `"image"` or `"text"`: what the items are.
        gallery: the items.
        candidates: a vector index for searches in two stages, or `None`; see `with_candidates`.
        device_blocks: the items on accelerators, or `None`; see `on_devices`.

    Example:
        >>> import jax, tempfile
        >>> from gpldan_jax import data, models
        >>> projector = models.Projector(hidden=8, width=8, parts=2)
        >>> images, texts = np.eye(5, dtype=np.float32), np.ones((1, 4), np.float32)
        >>> parameters = projector.init(jax.random.key(0), images, texts)["params"]
        >>> unscaled = data.Standardization(np.zeros(5), np.ones(5), np.zeros(4), np.ones(4))
        >>> model = models.TrainedModel(projector, parameters, unscaled, {})
        >>> index = Index.build(model, images, ["a", "b", "c", "d", "e"], "image")
        >>> distances, ids = index.search(texts, k=3)
        >>> distances.shape, len(set(ids[0]))
        ((1, 3), 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     index.save(f"{folder}/index")
        ...     len(Index.load(f"{folder}/index"))
        5

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Eq. 2-5.
    """

    model: TrainedModel
    modality: str
    gallery: Gallery
    candidates: VectorIndex | None = None
    device_blocks: DeviceBlocks | None = None

    @classmethod
    def build(
        cls,
        model: TrainedModel,
        features: np.ndarray,
        ids: Sequence,
        modality: str,
        *,
        fields: Mapping[str, Sequence[str]] | None = None,
        folder: str | os.PathLike | None = None,
        on_items: Callable[[int], None] = lambda items: None,
    ) -> "Index":
        """Encodes a collection.

        Args:
            model: the model that encodes it.
            features: `[n, d]`, real numbers, not scaled, from the same extractor as the model's training data; a
                memory-mapped array is read block by block.
            ids: n different strings or whole numbers.
            modality: `"image"` or `"text"`.
            fields: texts to store with each item, such as `{"group": [...]}`; names of lower-case letters.
            folder: where to write the index while it is built, for a collection larger than memory; see `save`.
            on_items: called with the number of items that are done.

        Returns:
            The index; its arrays are in memory, or mapped from the files in `folder`.

        Raises:
            ValueError: an argument does not fit; the message says what was expected.
        """
        if modality not in MODALITIES:
            raise ValueError(f"modality must be 'image' or 'text', got {modality!r}")
        check_width(model, features, modality)
        n = len(features)
        checked, fields = check_ids(ids, n), check_fields(fields or {}, n)
        blocks = encode(model, features, modality, on_items)
        if folder is None:
            return cls(model, modality, Gallery((Segment(checked, concatenate(blocks, n), fields),)))
        with storage.locked_folder(folder) as opened:
            files = storage.write_items(opened, blocks, n, model.projector)
            storage.write_index(opened, model, modality, [Segment(checked, None, fields, files)], None)  # type: ignore[arg-type]
        return cls.load(folder, verify=False)

    def add(self, features: np.ndarray, ids: Sequence, *, fields: Mapping[str, Sequence[str]] | None = None) -> "Index":
        """Adds items after those of the index.

        Args:
            features: as in `build`.
            ids: as in `build`; not those of items that the index has.
            fields: as in `build`; the same names as in the index.

        Returns:
            The larger index, without `candidates`, because the vector index lacks the new items.

        Raises:
            ValueError: an argument does not fit; the message says what was expected.
        """
        more = Index.build(self.model, features, ids, self.modality, fields=fields).gallery.segments[0]
        last = self.gallery.segments[-1]
        _check_same_fields(more.fields, last.fields)
        more = dataclasses.replace(more, ids=match_ids(more.ids, last.ids.dtype))
        if len(known := np.intersect1d(more.ids, self.ids)):
            raise ValueError(f"ids must be new, the index has {known[0].item()!r}")
        before = self.gallery.segments
        if len(last) + len(more) <= _SMALL:
            before, more = before[:-1], join_segments(last, more)
        return Index(self.model, self.modality, Gallery((*before, more)))

    def remove(self, ids: Sequence | np.ndarray) -> "Index":
        """Removes items.

        Args:
            ids: of items that the index has, in any order.

        Returns:
            The smaller index, in memory where items were removed, without `candidates`, because the vector index still
            has the items.

        Raises:
            ValueError: an id that the index does not have, or all items.
        """
        removed = np.asarray(ids)
        if len(missing := np.setdiff1d(removed, self.ids)):
            raise ValueError(f"ids must be those of items, the index has no {missing[0].item()!r}")
        if len(np.unique(removed)) == len(self):
            raise ValueError(f"ids are all {len(self)} items of the index, and an index has at least one")
        parts = (segment.without(removed) for segment in self.gallery.segments)
        return Index(self.model, self.modality, Gallery(tuple(part for part in parts if len(part))))

    def upsert(
        self, features: np.ndarray, ids: Sequence, *, fields: Mapping[str, Sequence[str]] | None = None
    ) -> "Index":
        """Adds items, and replaces those that the index has already.

        Args:
            features: as in `build`.
            ids: as in `build`; those that the index has are replaced.
            fields: as in `build`; the same names as in the index.

        Returns:
            The index with these items after all others, without `candidates`.

        Raises:
            ValueError: an argument does not fit; the message says what was expected.
        """
        known = np.intersect1d(match_ids(check_ids(ids, len(features)), self.ids.dtype), self.ids)
        if len(known) == len(self):
            _check_same_fields(fields or {}, self.gallery.segments[0].fields)
            return Index.build(self.model, features, ids, self.modality, fields=fields)
        return (self.remove(known) if len(known) else self).add(features, ids, fields=fields)

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the index to a folder; an interruption at any moment leaves the index that was there before.

        Args:
            folder: new, empty, or that of an index, which is replaced.

        Raises:
            DamagedIndexError: another process writes there, or the folder holds something else.
            OSError: it cannot be written to.
        """
        with storage.locked_folder(folder) as opened:
            storage.write_index(opened, self.model, self.modality, self.gallery.segments, self.candidates)

    @classmethod
    def load(cls, folder: str | os.PathLike, *, verify: bool = True) -> "Index":
        """Opens an index; its arrays stay on disk and are read when they are needed.

        Args:
            folder: where `save` or `build` wrote it.
            verify: whether to compare the SHA-256 of every file, which reads all of them once. With False the manifest,
                the model, files up to 1 MB, sizes, shapes and types are compared; a changed byte in a larger array is
                not found, and distances may be wrong.

        Returns:
            The index.

        Raises:
            DamagedIndexError: no index, or a damaged one; the message names the file and what is wrong with it.
        """
        manifest = storage.read_manifest(folder)
        try:
            return cls(**storage.read_index(manifest, verify=verify))
        except (KeyError, TypeError, AttributeError) as error:
            path = Path(folder) / storage.MANIFEST
            raise storage.DamagedIndexError(f"{path} is damaged: {type(error).__name__} {error}") from error
        except storage.DamagedIndexError:
            if storage.read_manifest(folder) == manifest:
                raise
            return cls.load(folder, verify=verify)  # another process has replaced the index meanwhile

    def search(
        self,
        queries: np.ndarray | EncodedBatch,
        k: int = 10,
        *,
        modality: str | None = None,
        weights: Sequence[float] | None = None,
        among: np.ndarray | None = None,
        candidates: int | None = None,
        exclude: Sequence | None = None,
        block_size: int = BLOCK,
        mesh: Mesh | None = None,
    ) -> SearchResult:
        """Finds the k nearest items of each query by the distance of Eq. 2-5; ties are in the order of the index.

        The items are scanned in blocks, so the memory for a search does not grow with their number, and one compiled
        program serves any number. The distances are those of `distances` to the last bit, for every block size and any
        devices.

        Args:
            queries: `[q, d]` features, not scaled; or encoded queries, from `encode` or an `Entry`.
            k: how many items to find, at least 1; all of them where the index has fewer.
            modality: of queries that are features; by default the other one than that of the items.
            weights: q numbers: the queries are the sides of one query, at most 64, and items are ranked by the sum of
                their distances to the sides times these. A negative weight is for what is not wanted. `None` for q
                queries of their own.
            among: `[n]` bool: find only the items where it is true, at least one, in the order of `ids`. `None` for
                all.
            candidates: search in two stages: rank only the `candidates` nearest items of the vector index, see
                `with_candidates`; those of all sides with a positive weight together; the nearest of `among`. `None`
                ranks all items.
            exclude: for each query the id of an item that is left out, such as the query itself, or several, or
                `None`; each query then finds at most n minus the largest number that one leaves out. With weights there
                is one query.
            block_size: items of a block; after `on_devices` it has no effect.
            mesh: the devices that share each block: a mesh of this process with one axis called "data", see
                `training.data_mesh`. By default the first device; after `on_devices` it has no effect.

        Returns:
            Distances and ids; with weights one row, with the weighted sums as distances.

        Raises:
            ValueError: an argument does not fit, or `candidates` without a vector index.
        """
        if k != int(k) or k < 1 or block_size < 1:
            raise ValueError(f"k and block_size must be whole numbers of at least 1, got {k} and {block_size}")
        encoded = self.encode(queries, modality)
        of_sides, passing = check_weights(weights, len(encoded.attention)), check_among(among, len(self))
        exclusions: list[list] = [[]]
        if exclude is not None:
            answers = len(encoded.attention) if of_sides is None else 1
            exclusions = as_exclusions(exclude, answers, self._positions, passing)
        more = max(map(len, exclusions))
        k = min(int(k), (len(self) if passing is None else int(passing.sum())) - more)
        if not k:
            raise ValueError(f"exclude leaves none of the {len(self)} items of the index")
        if candidates is not None:
            distances, positions = rank_candidates(
                *(encoded, self.gallery, k + more, of_sides, passing),
                vectors=self._vector_index(),
                candidates=candidates + more,
            )
        else:
            distances, positions = rank_all(
                *(encoded, self.gallery, k + more, of_sides, passing),
                placed=self.device_blocks,
                block_size=block_size,
                mesh=mesh,
            )
        found = SearchResult(distances, self.gallery.ids(positions))
        return without_excluded(found, exclusions, k) if more else found

    def distances(self, queries: np.ndarray | EncodedBatch, *, modality: str | None = None) -> np.ndarray:
        """Computes the distances of all items, in float64 arithmetic on the encoded items: what `search` ranks by.

        It is slow; use it for small collections, metrics and tests.

        Args:
            queries: as in `search`.
            modality: as in `search`.

        Returns:
            `[q, n]` float32, in [0, 2].

        Raises:
            ValueError: an argument does not fit.
        """
        return all_distances(self.encode(queries, modality), self.gallery)

    def encode(self, queries: np.ndarray | EncodedBatch, modality: str | None = None) -> EncodedBatch:
        """Encodes queries with the model.

        Args:
            queries: as in `search`; encoded ones are returned as they are.
            modality: as in `search`.

        Returns:
            q items, NumPy arrays.

        Raises:
            ValueError: an argument does not fit.
        """
        if isinstance(queries, EncodedBatch):
            return queries
        modality = modality or other_modality(self.modality)
        if modality not in MODALITIES:
            raise ValueError(f"modality must be 'image' or 'text', got {modality!r}")
        if not len(queries):
            raise ValueError("queries must have at least one row")
        check_width(self.model, queries, modality)
        return concatenate(encode(self.model, queries, modality), len(queries))

    def represent(self, queries: np.ndarray | EncodedBatch, modality: str | None = None) -> EncodedBatch:
        """Calls `encode`, of which it is the old name."""
        warnings.warn("Index.represent is now Index.encode", DeprecationWarning, stacklevel=2)
        return self.encode(queries, modality)

    def on_devices(self, mesh: Mesh | None = None, *, block_size: int = BLOCK) -> "Index":
        """Keeps the items on accelerators, so that many searches use them without a transfer.

        The devices need memory for all items, `4 H` bytes and a little for each. It gains nothing on a CPU, where a
        scan reads the arrays in place.

        Args:
            mesh: as in `search`.
            block_size: as in `search`.

        Returns:
            The index with `device_blocks`.

        Raises:
            ValueError: the mesh does not fit.
        """
        mesh = check_mesh(mesh)
        blocks = self.gallery.blocks(-(-block_size // mesh.size) * mesh.size)
        return dataclasses.replace(self, device_blocks=DeviceBlocks(tuple(on_devices(blocks, mesh)), mesh))

    def with_candidates(self, *, lists: int | None = None, seed: int = 0) -> "Index":
        """Adds a vector index over pooled vectors, for `search(..., candidates=1000)`.

        Args:
            lists: the number of clusters of the vector index; by default 4 times the root of n.
            seed: of the clustering.

        Returns:
            The index with `candidates`.

        Raises:
            ImportError: faiss is missing; `pip install 'gpldan_jax[ann]'`.
        """
        return dataclasses.replace(self, candidates=VectorIndex.build(self.gallery, lists=lists, seed=seed))

    def with_recall(
        self, queries: np.ndarray | EncodedBatch, k: int, candidates: Sequence[int], *, modality: str | None = None
    ) -> "Index":
        """Measures what share of the exact k nearest items a search in two stages finds.

        Args:
            queries: the queries to measure with; see `search`.
            k: the number of nearest items.
            candidates: several numbers of candidates; each is measured.
            modality: of the queries.

        Returns:
            The index with the measurements in `candidates.recalls`.

        Raises:
            ValueError: an argument does not fit, or there is no vector index.
        """
        encoded, vectors = self.encode(queries, modality), self._vector_index()
        exact = self.search(encoded, k).ids
        for number in candidates:
            ids = self.search(encoded, k, candidates=number).ids
            share = np.mean([np.isin(*of_query).mean() for of_query in zip(exact, ids, strict=True)])
            recall = Recall(k=exact.shape[1], candidates=number, queries=len(exact), recall=float(share))
            vectors = vectors.with_recall(recall)
        return dataclasses.replace(self, candidates=vectors)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """The ids of all items, `[n]`."""
        return self.gallery.all_ids()

    def entry(self, id: str | int) -> Entry:
        """Returns one item.

        Args:
            id: of the item.

        Returns:
            The item.

        Raises:
            KeyError: no item has this id.
        """
        position = self._positions[id]
        return Entry(id, self.gallery.take(np.array([position])), self.gallery.fields(position))

    def __len__(self) -> int:
        return len(self.gallery)

    @functools.cached_property
    def _positions(self) -> dict[str | int, int]:
        return {id: position for position, id in enumerate(self.ids.tolist())}

    def _vector_index(self) -> VectorIndex:
        if self.candidates is None:
            raise ValueError("candidates need a vector index; make one with Index.with_candidates")
        return self.candidates


def _check_same_fields(given, known):
    if given.keys() != known.keys():
        raise ValueError(f"fields must be those of the index, {sorted(known)}, got {sorted(given)}")
