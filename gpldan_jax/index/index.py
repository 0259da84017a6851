"""A collection that can be searched: the exact ranking that the paper's distance defines, of any number of items.

Letters: `n` items of the collection; `q` queries; `d` width of the inputs of a modality.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from gpldan_jax.index import storage
from gpldan_jax.index.candidates import Candidates, Recall
from gpldan_jax.index.gallery import Blocks, EncodedBatch, Gallery, Segment, aligned, represented
from gpldan_jax.index.nearest import all_distances, nearest, nearest_of
from gpldan_jax.index.scan import AXIS, on_devices, one_device
from gpldan_jax.models import TrainedModel

MODALITIES = ("image", "text")
BLOCK = 8192  # items of a scan: 32 MB at H = 1024
_SMALL = 65_536  # items; segments up to this size are joined when more are added


class Found(NamedTuple):
    """What a search found, the nearest first.

    Attributes:
        distances: `[q, k]` float32, in [0, 2].
        ids: `[q, k]`, strings or int64.
    """

    distances: np.ndarray
    ids: np.ndarray


class Placed(NamedTuple):
    """Blocks of items that stay on the devices of a mesh."""

    blocks: Blocks
    mesh: Mesh


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """An item of an index.

    Attributes:
        id: what it is called.
        items: what a search needs of it, one item; `search` takes it as a query.
        fields: the texts that were stored with it.
    """

    id: str | int
    items: EncodedBatch
    fields: Mapping[str, str]

    @property
    def attention(self) -> np.ndarray:
        """Its attention map (Eq. 1), `[k]` float32."""
        return self.items.attention[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """The items of one modality, represented by a trained model, and the model, to represent queries by.

    An index is not changed: what adds to it or measures it returns another one that shares its arrays.

    Attributes:
        model: the network, its parameters and how its inputs are scaled.
        modality: `"image"` or `"text"`: what its items are.
        gallery: its items.
        candidates: a vector index for searches in two stages, or `None`; see `with_candidates`.
        placed: its blocks on devices, or `None`; see `on_devices`.

    Example:
        >>> import jax, tempfile
        >>> from gpldan_jax import data, models
        >>> projector = models.Projector(hidden=8, width=8, parts=2)
        >>> images, texts = np.eye(5, dtype=np.float32), np.ones((1, 4), np.float32)
        >>> parameters = projector.init(jax.random.key(0), images, texts)["params"]
        >>> raw = data.Standardization(np.zeros(5), np.ones(5), np.zeros(4), np.ones(4))
        >>> model = models.TrainedModel(projector, parameters, raw, {})
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
    candidates: Candidates | None = None
    placed: Placed | None = None

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
        """Represents a collection.

        Args:
            model: what to represent it by.
            features: `[n, d]`, as the model's training data had them before they were scaled; a memory-mapped array
                is read block by block.
            ids: n strings or whole numbers, all different.
            modality: `"image"` or `"text"`.
            fields: texts to keep with each item, such as `{"group": [...]}`; names of lower-case letters.
            folder: where to write the index block by block, for a collection larger than memory; as `save`.
            on_items: takes the number of items done so far.

        Raises:
            ValueError: what does not fit, with the argument and what was expected.
        """
        if modality not in MODALITIES:
            raise ValueError(f"modality must be 'image' or 'text', got {modality!r}")
        _check_width(model, features, modality)
        ids, fields = _checked(ids, fields or {}, len(features))
        blocks = represented(model, features, modality, on_items)
        if folder is None:
            return cls(model, modality, Gallery((Segment(ids, _in_memory(blocks, len(ids)), fields),)))
        with storage.writing(folder) as opened:
            files = storage.write_items(opened, blocks, len(ids), model.projector)
            storage.write_index(opened, model, modality, [Segment(ids, None, fields, files)], None)
        return cls.load(folder, verify=False)

    def add(self, features: np.ndarray, ids: Sequence, *, fields: Mapping[str, Sequence[str]] | None = None) -> "Index":
        """The index with more items after those it has, and without `candidates`, which would lack them.

        Args and errors are those of `build`; the fields have to be those of the index.
        """
        more = Index.build(self.model, features, ids, self.modality, fields=fields).gallery.segments[0]
        last = self.gallery.segments[-1]
        if more.fields.keys() != last.fields.keys():
            raise ValueError(f"fields must be those of the index, {sorted(last.fields)}, got {sorted(more.fields)}")
        if more.ids.dtype.kind != last.ids.dtype.kind:
            raise ValueError(f"ids must be of the kind the index has, {last.ids.dtype}, got {more.ids.dtype}")
        if len(known := np.intersect1d(more.ids, self.ids)):
            raise ValueError(f"ids must be new, the index has {known[0].item()!r}")
        before = self.gallery.segments
        if len(last) + len(more) <= _SMALL:
            before, more = before[:-1], _joined(last, more)
        return Index(self.model, self.modality, Gallery((*before, more)))

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the index to a folder, which is new, empty, or that of an index, which it replaces.

        An interruption at any moment leaves the index that was there before.

        Raises:
            DamagedIndexError: another process writes there, or the folder holds something else.
            OSError: it cannot be written to.
        """
        with storage.writing(folder) as opened:
            storage.write_index(opened, self.model, self.modality, self.gallery.segments, self.candidates)

    @classmethod
    def load(cls, folder: str | os.PathLike, *, verify: bool = True) -> "Index":
        """Opens an index; its arrays stay on disk and are read as they are needed.

        Args:
            folder: where `save` or `build` wrote it.
            verify: compare the SHA-256 of every file, which reads them all once; sizes, shapes and types are always
                compared.

        Raises:
            DamagedIndexError: no index, or a damaged one; the message says which file and why.
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
            return cls.load(folder, verify=verify)  # it was replaced meanwhile

    def search(
        self,
        queries: np.ndarray | EncodedBatch,
        k: int = 10,
        *,
        modality: str | None = None,
        candidates: int | None = None,
        block_size: int = BLOCK,
        mesh: Mesh | None = None,
    ) -> Found:
        """The k nearest items of each query: the ranking by the distance of Eq. 2-5, ties in the order of the index.

        The items go through in blocks, so memory beside theirs does not grow with their number, and one compiled
        program serves any number. Distances are those of `distances`, to the last bit, whatever the block size and
        the devices.

        Args:
            queries: `[q, d]`, features as the model's training data had them before they were scaled; or items, of
                `represent` or of an entry.
            k: how many, at least 1; all there are where there are fewer.
            modality: of queries that are features; the other one of the index unless given.
            candidates: search in two stages: rank exactly only the so many items that the vector index finds nearest,
                see `with_candidates`. `None` ranks all.
            block_size: items at a time; of an index that is on devices, what `on_devices` was told.
            mesh: devices that share each block, a mesh of this process with one axis called "data"
                (`training.data_mesh`); the first device unless given. Likewise.

        Raises:
            ValueError: what does not fit; candidates without a vector index.
        """
        if k != int(k) or k < 1 or block_size < 1:
            raise ValueError(f"k and block_size must be whole numbers of at least 1, got {k} and {block_size}")
        items = self.represent(queries, modality)
        k = min(int(k), len(self))
        if candidates is not None:
            distances, positions = self._among_candidates(items, k, candidates)
        else:
            mesh = self.placed.mesh if self.placed else _checked_mesh(mesh)
            block_size = -(-block_size // mesh.size) * mesh.size

            def blocks():
                return self.placed.blocks if self.placed else self.gallery.blocks(block_size)

            distances, positions = nearest(items, self.gallery, k, blocks=blocks, mesh=mesh)
        return Found(distances, self.gallery.ids(positions))

    def distances(self, queries: np.ndarray | EncodedBatch, *, modality: str | None = None) -> np.ndarray:
        """Distances of all items, `[q, n]` float32, in float64 arithmetic on the float32 representations.

        It is what `search` ranks by, computed for every pair; for small collections, metrics and tests.
        """
        return all_distances(self.represent(queries, modality), self.gallery)

    def represent(self, queries: np.ndarray | EncodedBatch, modality: str | None = None) -> EncodedBatch:
        """Features of queries as items; see `search` for the arguments."""
        if isinstance(queries, EncodedBatch):
            return queries
        modality = modality or MODALITIES[1 - MODALITIES.index(self.modality)]
        if modality not in MODALITIES:
            raise ValueError(f"modality must be 'image' or 'text', got {modality!r}")
        if not len(queries):
            raise ValueError("queries must have at least one row")
        _check_width(self.model, queries, modality)
        return _in_memory(represented(self.model, queries, modality), len(queries))

    def on_devices(self, mesh: Mesh | None = None, *, block_size: int = BLOCK) -> "Index":
        """The index with its items on accelerators, where many searches find them without a transfer.

        There has to be memory for all of them, `4 H` bytes and a little each. On a CPU it brings nothing: there a scan
        reads the arrays where they lie.

        Args:
            mesh: as in `search`.
            block_size: as in `search`.
        """
        mesh = _checked_mesh(mesh)
        blocks = self.gallery.blocks(-(-block_size // mesh.size) * mesh.size)
        return dataclasses.replace(self, placed=Placed(tuple(on_devices(blocks, mesh)), mesh))

    def with_candidates(self, *, lists: int | None = None, seed: int = 0) -> "Index":
        """The index with a vector index over its attention-pooled vectors, for `search(..., candidates=1000)`.

        Needs faiss: `pip install 'gpldan_jax[ann]'`.

        Args:
            lists: clusters of the vector index; 4 times the root of n unless given.
            seed: of the clustering.
        """
        return dataclasses.replace(self, candidates=Candidates.build(self.gallery, lists=lists, seed=seed))

    def with_recall(
        self, queries: np.ndarray | EncodedBatch, k: int, candidates: Sequence[int], *, modality: str | None = None
    ) -> "Index":
        """The index with the share of the exact k nearest that a search in two stages finds, in `candidates.recalls`.

        Args:
            queries: those to measure with; see `search`.
            k: how many.
            candidates: of the first stage; several numbers, each of which is measured.
            modality: of the queries.
        """
        items, measured = self.represent(queries, modality), self._first_stage()
        exact = self.search(items, k).ids
        for number in candidates:
            found = self.search(items, k, candidates=number).ids
            share = np.mean([np.isin(of_query, those).mean() for of_query, those in zip(exact, found, strict=True)])
            recall = Recall(k=exact.shape[1], candidates=number, queries=len(exact), recall=float(share))
            measured = measured.with_recall(recall)
        return dataclasses.replace(self, candidates=measured)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """The ids of all items, `[n]`."""
        return self.gallery.all_ids()

    def entry(self, id: str | int) -> Entry:
        """What is known of an item; `KeyError` where there is none of this id."""
        position = self._positions[id]
        return Entry(id, self.gallery.take(np.array([position])), self.gallery.fields(position))

    def __len__(self) -> int:
        return len(self.gallery)

    @functools.cached_property
    def _positions(self) -> dict[str | int, int]:
        return {id: position for position, id in enumerate(self.ids.tolist())}

    def _first_stage(self) -> Candidates:
        if self.candidates is None:
            raise ValueError(
                "candidates need a vector index: make one by Index.with_candidates, or by build --candidates"
            )
        return self.candidates

    def _among_candidates(self, items, k, candidates):
        vectors = self._first_stage()
        if candidates < k:
            raise ValueError(f"candidates must be at least k = {k}, got {candidates}")
        found = vectors.search(items, candidates)
        rows = [
            nearest_of(EncodedBatch(*(array[row : row + 1] for array in items)), self.gallery, positions, k)
            for row, positions in enumerate(found)
        ]
        return np.stack([distances for distances, _ in rows]), np.stack([positions for _, positions in rows])


def _in_memory(blocks: Iterable[EncodedBatch], n: int) -> EncodedBatch:
    arrays, done = None, 0
    for block in blocks:
        if arrays is None:
            arrays = EncodedBatch(*(aligned((n, *array.shape[1:]), array.dtype) for array in block))
        for array, part in zip(arrays, block, strict=True):
            array[done : done + len(part)] = part
        done += len(block.values)
    return arrays


def _joined(one: Segment, other: Segment) -> Segment:
    return Segment(
        np.concatenate([one.ids, other.ids]),
        _in_memory([one.items, other.items], len(one) + len(other)),
        {name: [*one.fields[name], *other.fields[name]] for name in one.fields},
    )


def _checked(ids, fields, n):
    if not n or len(ids) != n:
        raise ValueError(f"ids and features must be equally many, at least one, got {len(ids)} and {n}")
    ids = np.asarray(ids)
    if ids.dtype.kind in "iu":
        ids = ids.astype(np.int64)
    if ids.dtype.kind not in "Ui" or ids.ndim != 1:
        raise ValueError(f"ids must be strings or whole numbers, [n], got {ids.dtype} {list(ids.shape)}")
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < n:
        raise ValueError(f"ids must be all different, {values[counts > 1][0].item()!r} comes {counts.max()} times")
    for name, texts in fields.items():
        if not re.fullmatch("[a-z]+", name):
            raise ValueError(f"names of fields must be lower-case letters, got {name!r}")
        if len(texts) != n or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"field {name!r} must be {n} strings, got {len(texts)} values")
    return ids, dict(fields)


def _checked_mesh(mesh):
    mesh = mesh or one_device()
    if mesh.axis_names != (AXIS,) or mesh.is_multi_process:
        raise ValueError(f"mesh must be of this process, with one axis {AXIS!r}, got axes {mesh.axis_names}")
    return mesh


def _check_width(model, features, modality):
    shape, expected = np.shape(features), model.parameters[f"{modality}_hidden"]["kernel"].shape[0]
    if len(shape) != 2 or shape[1] != expected:
        raise ValueError(f"{modality} features must be [n, {expected}], as the model's, got {list(shape)}")
