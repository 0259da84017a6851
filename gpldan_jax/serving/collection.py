"""What the page searches, and the answers to its questions as plain dicts; this module knows nothing of HTTP.

A collection is one or two indexes by the same model, at most one of each modality. Modalities are "image" and "text".
A query is words, an item of the collection, a picture that a user sends, or several of these (`sides`).
"""

import base64
import contextlib
import dataclasses
import functools
import io
import os
import types
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax.features import SourceNeededError, extractor, fit_square, read_image, unknown_words
from gpldan_jax.index import Entry, Index
from gpldan_jax.index.gallery import MODALITIES, exact_distances
from gpldan_jax.index.index import BLOCK
from gpldan_jax.models import TrainedModel
from gpldan_jax.serving.filters import Filters
from gpldan_jax.serving.indexes import (
    check_candidates,
    check_images,
    check_one_model,
    load_indexes,
    warn_without_pictures,
)
from gpldan_jax.serving.names import Names
from gpldan_jax.serving.sides import Query, UnknownItemError, combine
from gpldan_jax.serving.thumbnail_file import FILE, Thumbnails, open_thumbnails

MOST_RESULTS = 200
ORIGINALS = {".png": "image/png", ".webp": "image/webp", ".gif": "image/gif", ".bmp": "image/bmp"}
ORIGINALS |= dict.fromkeys((".jpg", ".jpeg"), "image/jpeg")
"""The image files that may be opened, by their ending, with their media types."""
_SUGGESTIONS = 20
_SHELF = 18  # items on the first page
_PHRASES, _LONGEST_PHRASE = 7, 32  # how many queries of words the first page offers; their most characters
_ICON = 128  # pixels; the page shows pictures up to this size as they are
_EXACT = 6  # items that are called what a user typed, at most
_WARM_UP_RESULTS = (24, 48, 96, MOST_RESULTS)  # what the page asks for


@dataclasses.dataclass(frozen=True, eq=False)
class Collection:
    """Indexes that are searched together.

    Attributes:
        indexes: by modality; one or both, of one model.
        pictures: thumbnails of the images, where there are any; the field `picture` of an image is the name of its own.
        sources: by modality, the files of the model's extractors that need some.
        images: the folder of the image files that users may open; the field `file` of an image is its path there.
        title: what the collection is called.
        candidates: rank only so many nearest items of the vector indexes, at least `MOST_RESULTS`; `None` ranks all.
    """

    indexes: Mapping[str, Index]
    pictures: Thumbnails | None = None
    sources: Mapping[str, Path | None] = dataclasses.field(default_factory=dict)
    images: Path | None = None
    title: str = ""
    candidates: int | None = None

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        sources: Mapping[str, Path | None] | None = None,
        images: str | os.PathLike | None = None,
        candidates: int | None = None,
    ) -> "Collection":
        """Opens a collection.

        Args:
            folder: see `load_indexes`.
            sources: see the class.
            images: see the class.
            candidates: see the class.

        Returns:
            The collection.

        Raises:
            ValueError: no collection, a damaged index or file of thumbnails, indexes of different models, a source that
                is not the one the model was trained with, `images` that is no folder or fits no item, or `candidates`
                that are too few or have no vector index.
        """
        indexes = load_indexes(folder)
        check_one_model(indexes, folder)
        warn_without_pictures(indexes, folder, FILE)
        first, *others = indexes.values()
        for other in others:
            indexes[other.modality] = dataclasses.replace(other, model=first.model)  # its parameters once in memory
        originals = None if images is None else Path(images).resolve()
        if originals:
            check_images(originals, indexes, folder)
        if candidates is not None:
            check_candidates(candidates, MOST_RESULTS, indexes, folder)
        title = str(first.model.metadata.get("dataset", ""))
        loaded = cls(indexes, open_thumbnails(folder), dict(sources or {}), originals, title, candidates)
        loaded._extractors  # noqa: B018, so that a wrong source is reported now and not to the first client
        return loaded

    def about(self) -> dict[str, Any]:
        """Returns what can be searched and how, with some items and phrases to begin with."""
        metadata = self._model.metadata
        index = self.indexes[self.default_gallery(None)]
        rows = np.unique(np.linspace(0, len(index) - 1, _SHELF).astype(int))
        shelf = [index.entry(id) for id in index.ids[rows].tolist()]
        return {
            "title": self.title or str(metadata.get("dataset", "")),
            "dataset": str(metadata.get("dataset", "")),
            "epoch": metadata.get("epoch"),
            "synthetic": is_synthetic(metadata),
            "parts": self._model.projector.parts,
            "galleries": {modality: len(index) for modality, index in self.indexes.items()},
            "asks": {"words": "text" in self._extractors, "picture": "image" in self._extractors},
            "pictures": self.pictures is not None,
            "most_results": MOST_RESULTS,
            "candidates": self.candidates,
            "filters": self._filters.counts,
            "photos": any(self._is_photo(entry.fields.get("picture", "")) for entry in shelf),
            "shelf": [self._describe(index.modality, entry) for entry in shelf],
            "phrases": self._phrases(),
        }

    def default_gallery(self, modality: str | None) -> str:
        """Returns what a query searches by default: the other modality, where the collection has it.

        Args:
            modality: of the query; `None` for any.

        Returns:
            A modality of the collection.
        """
        preferred = "text" if modality == "image" else "image"
        return preferred if preferred in self.indexes else next(iter(self.indexes))

    def by_words(self, words: str) -> Query:
        """Makes a query of words.

        Args:
            words: as a user typed them.

        Returns:
            The query.

        Raises:
            ValueError: the model cannot read words.
        """
        features = self.extractor_of("text")([words])
        known = bool(features.any())
        unknown = list(unknown_words(self._model.metadata, words))
        description = {"kind": "words", "modality": "text", "words": words, "known": known, "unknown": unknown}
        return self._query(description, self._any_index.encode(features, "text") if known else None)

    def by_picture(self, picture: np.ndarray) -> Query:
        """Makes a query of a picture.

        Args:
            picture: uint8 `[h, w, 3]` in RGB, as `read_image` returns it.

        Returns:
            The query.

        Raises:
            ValueError: the model cannot read pictures.
        """
        extract = self.extractor_of("image")
        seen = f"data:image/png;base64,{base64.b64encode(encode_png(fit_square(picture))).decode()}"
        encoded = self._any_index.encode(extract([picture]), "image")
        return self._query({"kind": "picture", "modality": "image", "picture": seen}, encoded)

    def by_item(self, modality: str, id: str) -> Query:
        """Makes a query of an item of the collection.

        Args:
            modality: of the item.
            id: of the item, as a string.

        Returns:
            The query.

        Raises:
            UnknownItemError: no item has this id.
            ValueError: the collection has no items of this modality.
        """
        entry = self._entry(modality, id)
        return Query({"kind": "item", **self._describe(modality, entry)}, entry.encoded)

    def search(
        self, query: Query, gallery: str | None, k: int, chosen: Mapping[str, str] = types.MappingProxyType({})
    ) -> dict[str, Any]:
        """Finds the items that are nearest to a query; an item does not find itself.

        Args:
            query: the query.
            gallery: "image" or "text"; by default see `default_gallery`.
            k: how many items, 1 to `MOST_RESULTS`; all of them where there are fewer.
            chosen: search only the items with these values, such as `{"split": "test"}`, see `Filters`.

        Returns:
            The query, the gallery, the number of items that were searched, and the results with their distances, or, of
            several sides, their scores; for words also the items that are called just so, wherever the model ranks them
            ("exact").

        Raises:
            ValueError: the collection has no such gallery, or no item with a chosen value.
        """
        gallery = gallery or self.default_gallery(query.description["modality"])
        index, results = self._index(gallery), []
        among = self._filters.passing(gallery, chosen)
        total = len(index) if among is None else int(among.sum())
        itself = [self._ids[gallery][id] for id in query.items(gallery)]
        found = itself if among is None or total > len(itself) else index.ids[among].tolist()
        if query.encoded is not None and total > len(set(found) & set(itself)):
            # One block for a small gallery, the next power of two, so that little is padding.
            block_size = min(BLOCK, max(256, 1 << (len(index) - 1).bit_length()))
            sides = {"weights": query.weights, "among": among, "exclude": [itself] if itself else None}
            nearest = index.search(query.encoded, k, block_size=block_size, candidates=self.candidates, **sides)
            measure = "distance" if query.weights is None else "score"
            results = [
                {**self._describe(gallery, index.entry(id)), measure: distance}
                for distance, id in zip(nearest.distances[0].tolist(), nearest.ids[0].tolist(), strict=True)
            ]
        answer = {"query": query.description, "gallery": gallery, "total": total, "results": results}
        if query.description.get("kind") == "words":
            answer["exact"] = self._called(query, gallery, among)
        return answer

    def original(self, id: str) -> Path:
        """Returns the file of an image, for whoever may open it.

        Args:
            id: of the image, as a string.

        Returns:
            An existing file in the folder `images`.

        Raises:
            UnknownItemError: no image has this id, the collection has no image files to open, or the file is gone.
        """
        file = self._entry("image", id).fields.get("file", "") if self.images else ""
        if self.images and file:
            path = (self.images / file).resolve()  # a file may be a link to another place
            if path.is_relative_to(self.images) and path.is_file() and path.suffix.lower() in ORIGINALS:
                return path
        raise UnknownItemError("there is no image file to open")

    def pair(self, query: Query, item: Query) -> dict[str, Any]:
        """Compares a query and an item: their distance, and the weight of each representation in it (Eq. 1-3).

        Args:
            query: one side.
            item: the other side.

        Returns:
            Both sides, the distance, and the weights. The attention map of each side sums to 1; their sum weighs the
            representations of both sides.

        Raises:
            ValueError: the model knows no word of one side.
        """
        if query.encoded is None or item.encoded is None:
            raise ValueError("the model has never seen any of these words")
        return {
            "query": query.description,
            "item": item.description,
            "distance": float(exact_distances(query.encoded, item.encoded)[0]),
            "weights": (query.encoded.attention[0] + item.encoded.attention[0]).tolist(),
        }

    def suggestions(self, modality: str, part: str) -> dict[str, Any]:
        """Returns some items whose id or caption begins with or contains what a user typed.

        Args:
            modality: of the items.
            part: what the user typed.

        Returns:
            Their ids and captions, first of those that begin with it.

        Raises:
            ValueError: the collection has no items of this modality.
        """
        index, names = self._index(modality), self._names[modality]
        rows = dict.fromkeys(names.starting(part, _SUGGESTIONS) + names.containing(part, _SUGGESTIONS))
        entries = [index.entry(index.ids[row].item()) for row in list(rows)[:_SUGGESTIONS]]
        return {
            "ids": [str(entry.id) for entry in entries],
            "captions": [entry.fields.get("text", "") for entry in entries],
        }

    def warm_up(self) -> None:
        """Makes typical searches, so that no user waits for a compilation or for a library to load."""
        queries = [self.by_item(modality, next(iter(self._ids[modality]))) for modality in self.indexes]
        self._names  # noqa: B018, takes seconds for a million
        if "text" in self._extractors:
            self.by_words("words")
            width = self._model.parameters["text_hidden"]["kernel"].shape[0]
            queries.append(self._query({"modality": "text"}, self._any_index.encode(np.ones((1, width)), "text")))
        if "image" in self._extractors:
            queries.append(self.by_picture(np.zeros((64, 64, 3), np.uint8)))
        for query in queries:
            for gallery in self.indexes:
                for k in _WARM_UP_RESULTS:
                    self.search(query, gallery, k)
        self.search(combine(queries[:1] * 2), None, _WARM_UP_RESULTS[0])
        for gallery, fields in self._filters.counts.items():
            for field, values in fields.items():
                self.search(queries[0], gallery, _WARM_UP_RESULTS[0], {field: next(iter(values))})

    def extractor_of(self, modality: str) -> Callable[[Sequence[Any]], np.ndarray]:
        """Returns the extractor of words ("text") or of pictures ("image"); a `ValueError` where there is none."""
        if modality not in self._extractors:
            kind = "words" if modality == "text" else "pictures"
            raise ValueError(f"this model cannot read {kind}: what made its features is not here; ask by an item")
        return self._extractors[modality]

    @property
    def _any_index(self) -> Index:
        return next(iter(self.indexes.values()))

    @property
    def _model(self) -> TrainedModel:
        return self._any_index.model

    @functools.cached_property
    def _extractors(self) -> dict[str, Callable[[Sequence[Any]], np.ndarray]]:
        """The extractors of words and of pictures that can be used, by modality."""
        described, usable = self._model.metadata.get("features") or {}, {}
        for modality in MODALITIES:
            source = self.sources.get(modality)
            if modality in described or source is not None:
                with contextlib.suppress(SourceNeededError):
                    usable[modality] = extractor(self._model.metadata, modality, source)
        return usable

    @functools.cached_property
    def _ids(self) -> dict[str, dict[str, Any]]:
        """For each modality the ids by how they are written."""
        return {modality: {str(id): id for id in index.ids.tolist()} for modality, index in self.indexes.items()}

    @functools.cached_property
    def _filters(self) -> Filters:
        return Filters.of(self.indexes)

    @functools.cached_property
    def _names(self) -> dict[str, Names]:
        """For each modality the ids and the captions."""
        found = {}
        for modality, index in self.indexes.items():
            texts = index.gallery.field("text")
            ids = map(str, index.ids.tolist())
            found[modality] = Names(ids if texts is None else map("\n".join, zip(ids, texts, strict=True)))
        return found

    def _is_photo(self, picture: str) -> bool:
        """Whether a thumbnail is larger than an icon."""
        file = self.pictures.file(picture) if self.pictures else None
        return file is not None and max(read_image(file).shape) > _ICON

    def _phrases(self) -> list[str]:
        """Short captions of the collection that the model can read, for a user who does not know what to ask."""
        index = self.indexes.get("text", self._any_index)
        if "text" not in self._extractors:
            return []
        phrases: dict[str, None] = {}
        for row in np.unique(np.linspace(0, len(index) - 1, 20 * _PHRASES).astype(int)):
            entry = index.entry(index.ids[row].item())
            words = (entry.fields.get("text") or str(entry.id)).splitlines()[0]
            if len(words) <= _LONGEST_PHRASE and self.by_words(words).encoded is not None:
                phrases[words] = None
        chosen = np.unique(np.linspace(0, max(0, len(phrases) - 1), _PHRASES).astype(int))
        return [list(phrases)[place] for place in chosen] if phrases else []

    def _called(self, query: Query, gallery: str, among: np.ndarray | None) -> list[dict[str, Any]]:
        """The items of a gallery, among those that may be found, whose id or caption is what a user typed."""
        index, called = self.indexes[gallery], []
        rows = self._names[gallery].equal(query.description["words"], _EXACT if among is None else len(index))
        for row in [row for row in rows if among is None or among[row]][:_EXACT]:
            entry = index.entry(index.ids[row].item())
            called.append(self._describe(gallery, entry))
            if query.encoded is not None:
                called[-1]["distance"] = float(exact_distances(query.encoded, entry.encoded)[0])
        return called

    def _entry(self, modality: str, id: str) -> Entry:
        index = self._index(modality)
        if id not in self._ids[modality]:
            raise UnknownItemError(f"the collection has no {modality} {id[:60] + '...' if len(id) > 60 else id!r}")
        return index.entry(self._ids[modality][id])

    def _index(self, modality):
        if modality not in self.indexes:
            raise ValueError(f"the collection has no {modality}s")
        return self.indexes[modality]

    def _query(self, description, encoded):
        attention = None if encoded is None else encoded.attention[0].tolist()
        return Query({**description, "attention": attention}, encoded)

    def _describe(self, modality: str, entry: Entry) -> dict[str, Any]:
        fields = dict(entry.fields)
        picture, file = fields.pop("picture", ""), fields.pop("file", "")
        description = {
            "modality": modality,
            "id": str(entry.id),
            "fields": fields,
            "attention": entry.attention.tolist(),
        }
        if modality == "image" and self.pictures and picture:
            description["picture"] = f"/pictures/{picture}.webp"
        if modality == "image" and self.images and file:
            description["original"] = f"/original?{urllib.parse.urlencode({'image': str(entry.id)})}"
        return description


def is_synthetic(metadata: Mapping[str, Any]) -> bool:
    """Returns whether the features that a model was trained on were generated.

    Args:
        metadata: of the model.

    Returns:
        Whether they were.
    """
    return bool(metadata.get("config", {}).get("dataset", {}).get("synthetic"))


def encode_png(picture: np.ndarray) -> bytes:
    """Encodes a picture as a PNG file.

    Args:
        picture: uint8 `[height, width, 3]`.

    Returns:
        The content of the file.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()
