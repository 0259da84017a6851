"""The pictures of a collection, as files that a browser can show and keep.

What the page searches, and the answers to its questions as plain dicts; nothing here knows of HTTP.

A collection is one or two indexes by the same model, at most one of each modality. Modalities are "image" and "text";
a query is words, an item of the collection, or a picture that was sent.
"""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gpldan_jax.features import SourceNeededError, extractor, fit_square, read_image, unknown_words
from gpldan_jax.index.gallery import EncodedBatch, exact_distances
from gpldan_jax.index.index import BLOCK, MODALITIES, Entry, Index
from gpldan_jax.serving import queries as asking


class Pictures:
    """Some pictures, each a PNG file under an address that changes when any of them does.

    Attributes:
        version: what names them in an address.
    """

    def __init__(self, pictures: np.ndarray):
        self._pictures = pictures  # uint8 [n, height, width, 3]
        self._files = functools.cache(lambda row: png(self._pictures[row]))
        self.version = hashlib.sha256(pictures).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self._pictures)

    def file(self, row: int) -> bytes:
        """The PNG file of one of them."""
        return self._files(row)


def pictures_of(metadata: Mapping[str, Any]) -> Pictures | None:
    """The pictures of the dataset that a model was trained on, where this package has them: those of emoji."""
    if metadata.get("dataset") != "emoji" or is_synthetic(metadata):
        return None
    from gpldan_jax.data.emoji import load_emoji_pictures

    return Pictures(load_emoji_pictures())


def is_synthetic(metadata: Mapping[str, Any]) -> bool:
    """Whether the features that a model was trained on were generated."""
    return bool(metadata.get("config", {}).get("dataset", {}).get("synthetic"))


def png(picture: np.ndarray) -> bytes:
    """A picture, uint8 `[height, width, 3]`, as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


MOST_RESULTS = 200
_SUGGESTIONS = 20
_SHELF = 18  # items to begin with
_PHRASES = ("red heart", "hot drink", "sad face", "farmer", "blue flag", "rain", "music")  # of emoji


class UnknownItemError(LookupError):
    """The collection has no such item."""


class NotAPictureError(ValueError):
    """What was sent cannot be read as a picture."""


class Query(NamedTuple):
    """What is asked by.

    Attributes:
        described: what it is, for an answer.
        items: one item as NumPy arrays, or `None` where the model knows nothing of it.
    """

    described: dict[str, Any]
    items: EncodedBatch | None


@dataclasses.dataclass(frozen=True, eq=False)
class Collection:
    """Indexes that are searched together.

    Attributes:
        indexes: by modality; one or both, of one model.
        pictures: those of the images, where there are any; the field `sprite` of an image is its row.
        sources: of the extractors, by modality, where they need some.
    """

    indexes: Mapping[str, Index]
    pictures: Pictures | None = None
    sources: Mapping[str, Path | None] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | os.PathLike, sources: Mapping[str, Path | None] | None = None) -> "Collection":
        """Opens a folder with `image/` and `text/`, or one of them, or the folder of a single index.

        Raises:
            ValueError: nothing of that kind, a damaged index, indexes of different models, or a source that is not
                what the model was trained with.
        """
        indexes = asking.indexes(Path(folder))
        first, *others = indexes.values()
        for other in others:
            if not _are_alike(first.model, other.model):
                raise ValueError(f"{folder}: the indexes of images and texts are of different models; build both again")
            indexes[other.modality] = dataclasses.replace(other, model=first.model)  # its parameters once in memory
        loaded = cls(indexes, pictures_of(first.model.metadata), dict(sources or {}))
        loaded._extractors  # noqa: B018, lest a wrong source is found out by who asks
        return loaded

    def about(self) -> dict[str, Any]:
        """What can be searched and how, and a few items and phrases to begin with."""
        metadata = self._model.metadata
        index = self.indexes[self.default_gallery(None)]
        shelf = np.unique(np.linspace(0, len(index) - 1, _SHELF).astype(int))
        return {
            "dataset": str(metadata.get("dataset", "")),
            "epoch": metadata.get("epoch"),
            "synthetic": is_synthetic(metadata),
            "parts": self._model.projector.parts,
            "galleries": {modality: len(index) for modality, index in self.indexes.items()},
            "asks": {"words": "text" in self._extractors, "picture": "image" in self._extractors},
            "pictures": self.pictures is not None,
            "most_results": MOST_RESULTS,
            "shelf": [self._described(index.modality, index.entry(id)) for id in index.ids[shelf].tolist()],
            "phrases": [words for words in _PHRASES if self.pictures and not unknown_words(metadata, words)],
        }

    def default_gallery(self, modality: str | None) -> str:
        """What a query of this modality (`None`: of any) looks for unless told: the other one, where there is it."""
        preferred = "text" if modality == "image" else "image"
        return preferred if preferred in self.indexes else next(iter(self.indexes))

    def by_words(self, words: str) -> Query:
        """A query of words that a user typed; `ValueError` where the model cannot read words."""
        features = self._features("text", [words])
        known = bool(features.any())
        unknown = list(unknown_words(self._model.metadata, words))
        described = {"kind": "words", "modality": "text", "words": words, "known": known, "unknown": unknown}
        return self._asked(described, self._any.represent(features, "text") if known else None)

    def by_picture(self, file: bytes) -> Query:
        """A query of a picture that a user sent, as the bytes of its file.

        Raises:
            NotAPictureError: it cannot be read.
            ValueError: the model cannot read pictures.
        """
        if "image" not in self._extractors:
            self._features("image", [])
        try:
            picture = read_image(file)
        except ValueError as error:
            raise NotAPictureError(str(error)) from None
        seen = f"data:image/png;base64,{base64.b64encode(png(fit_square(picture))).decode()}"
        items = self._any.represent(self._features("image", [picture]), "image")
        return self._asked({"kind": "picture", "modality": "image", "picture": seen}, items)

    def by_item(self, modality: str, id: str) -> Query:
        """A query by an item of the collection.

        Raises:
            UnknownItemError: there is none of this id.
            ValueError: the collection has nothing of this modality.
        """
        index = self._index(modality)
        if id not in self._ids[modality]:
            raise UnknownItemError(f"the collection has no {modality} {_shortened(id)}")
        entry = index.entry(self._ids[modality][id])
        return Query({"kind": "item", **self._described(modality, entry)}, entry.items)

    def search(self, query: Query, gallery: str | None, k: int) -> dict[str, Any]:
        """The k items of a gallery that are nearest to a query, but not the query itself.

        Args:
            query: what is asked by.
            gallery: "image" or "text"; the other modality than the query's unless given.
            k: how many, 1 to `MOST_RESULTS`; all there are where there are fewer.

        Raises:
            ValueError: the collection has no such gallery.
        """
        gallery = gallery or self.default_gallery(query.described["modality"])
        index, results = self._index(gallery), []
        if query.items is not None:
            itself = query.described.get("id") if query.described["modality"] == gallery else None
            found = index.search(query.items, k + (itself is not None), block_size=_block_size(len(index)))
            results = [
                {**self._described(gallery, index.entry(id)), "distance": distance}
                for distance, id in zip(found.distances[0].tolist(), found.ids[0].tolist(), strict=True)
                if str(id) != itself
            ][:k]
        return {"query": query.described, "gallery": gallery, "total": len(index), "results": results}

    def pair(self, query: Query, item: Query) -> dict[str, Any]:
        """The distance of a query and an item, and how much each representation counts in it, Eq. 1-3.

        Each side's attention map sums to 1; together they are the weights of both sides' representations.
        """
        for side in (query, item):
            if side.items is None:
                raise ValueError("the model has never seen any of these words")
        together = query.items.attention[0] + item.items.attention[0]
        return {
            "query": query.described,
            "item": item.described,
            "distance": float(exact_distances(query.items, item.items)[0]),
            "weights": together.tolist(),
        }

    def suggestions(self, modality: str, part: str) -> dict[str, Any]:
        """Some ids that begin with or have in them what a user typed."""
        self._index(modality)
        part, begin, contain = part.casefold(), [], []
        for id in self._ids[modality]:
            folded = id.casefold()
            if folded.startswith(part):
                begin.append(id)
                if len(begin) == _SUGGESTIONS:
                    break
            elif part in folded and len(contain) < _SUGGESTIONS:
                contain.append(id)
        return {"ids": (begin + contain)[:_SUGGESTIONS]}

    def warm_up(self) -> None:
        """Asks what users will ask, so that none of them waits for a program to be compiled or a library to load."""
        queries = [self.by_item(modality, next(iter(self._ids[modality]))) for modality in self.indexes]
        if "text" in self._extractors:
            self.by_words("words")
            width = self._model.parameters["text_hidden"]["kernel"].shape[0]
            queries.append(self._asked({"modality": "text"}, self._any.represent(np.ones((1, width)), "text")))
        if "image" in self._extractors:
            queries.append(self.by_picture(png(np.zeros((64, 64, 3), np.uint8))))
        for query in queries:
            for gallery in self.indexes:
                for k in (24, 48, 96, MOST_RESULTS):
                    self.search(query, gallery, k)

    @property
    def _any(self) -> Index:
        return next(iter(self.indexes.values()))

    @property
    def _model(self):
        return self._any.model

    @functools.cached_property
    def _extractors(self):
        """What makes features of words and of pictures, by modality; a model that names none has none."""
        described, found = self._model.metadata.get("features") or {}, {}
        for modality in MODALITIES:
            if modality in described or self.sources.get(modality) is not None:
                with contextlib.suppress(SourceNeededError):
                    found[modality] = extractor(self._model.metadata, modality, self.sources.get(modality))
        return found

    @functools.cached_property
    def _ids(self):
        """Ids as they are by how they are written."""
        return {modality: {str(id): id for id in index.ids.tolist()} for modality, index in self.indexes.items()}

    def _features(self, modality, raw):
        if modality not in self._extractors:
            kind = "words" if modality == "text" else "pictures"
            raise ValueError(f"this model cannot read {kind}: what made its features is not here; ask by an item")
        return self._extractors[modality](raw)

    def _index(self, modality):
        if modality not in self.indexes:
            raise ValueError(f"the collection has no {modality}s")
        return self.indexes[modality]

    def _asked(self, described, items):
        attention = None if items is None else items.attention[0].tolist()
        return Query({**described, "attention": attention}, items)

    def _described(self, modality: str, entry: Entry) -> dict[str, Any]:
        fields = dict(entry.fields)
        sprite = fields.pop("sprite", "")
        described = {
            "modality": modality,
            "id": str(entry.id),
            "fields": fields,
            "attention": entry.attention.tolist(),
        }
        if modality == "image" and self.pictures and sprite.isdecimal() and int(sprite) < len(self.pictures):
            described["picture"] = f"/pictures/{self.pictures.version}/{int(sprite)}.png"
        return described


def _are_alike(one, other):
    if one.projector != other.projector or one.metadata != other.metadata:
        return False
    leaves, others = jax.tree.leaves(one.parameters), jax.tree.leaves(other.parameters)
    return len(leaves) == len(others) and all(map(np.array_equal, leaves, others))


def _block_size(items):
    """The next power of two: a small gallery is one block, which no search pads to thousands of items."""
    return min(BLOCK, max(256, 1 << (items - 1).bit_length()))


def _shortened(id):
    return repr(id if len(id) <= 60 else f"{id[:60]}...")
