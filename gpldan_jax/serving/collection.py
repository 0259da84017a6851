"""What the page searches, and the answers to its questions as plain dicts; this module knows nothing of HTTP.

A collection is one or two indexes by the same model, at most one of each modality. Modalities are "image" and "text".
A query is words, an item of the collection, or a picture that a user sends.
"""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gpldan_jax.features import SourceNeededError, extractor, fit_square, read_image, unknown_words
from gpldan_jax.index import DamagedIndexError, EncodedBatch, Entry, Index
from gpldan_jax.index.gallery import MODALITIES, exact_distances
from gpldan_jax.index.index import BLOCK
from gpldan_jax.index.storage import MANIFEST
from gpldan_jax.models import TrainedModel

MOST_RESULTS = 200
_SUGGESTIONS = 20
_SHELF = 18  # items on the first page
_PHRASES = ("red heart", "hot drink", "sad face", "farmer", "blue flag", "rain", "music")  # for the emoji
_WARM_UP_RESULTS = (24, 48, 96, MOST_RESULTS)  # what the page asks for


class UnknownItemError(LookupError):
    """The collection has no such item."""


class NotAPictureError(ValueError):
    """A file cannot be read as a picture."""


class Pictures:
    """Pictures of items, as PNG files with addresses that change when any of the pictures changes.

    Attributes:
        version: the part of the addresses that changes.
    """

    def __init__(self, pictures: np.ndarray):
        self._pictures = pictures  # uint8 [n, height, width, 3]
        self._files = functools.cache(lambda row: encode_png(self._pictures[row]))
        self.version = hashlib.sha256(pictures).hexdigest()[:12]  # type: ignore[arg-type]  # before Python 3.12

    def __len__(self) -> int:
        return len(self._pictures)

    def file(self, row: int) -> bytes:
        """Returns a picture as a PNG file.

        Args:
            row: of the picture.

        Returns:
            The content of the file.
        """
        return self._files(row)


class Query(NamedTuple):
    """A query.

    Attributes:
        description: what it is, for the answer.
        encoded: a batch of one item, NumPy arrays; `None` where the model knows no word of the query.
    """

    description: dict[str, Any]
    encoded: EncodedBatch | None


def load_indexes(folder: str | os.PathLike, *, verify: bool = True) -> dict[str, Index]:
    """Opens the indexes of a collection.

    Args:
        folder: a folder with `image/` and `text/`, or one of them, or the folder of a single index.
        verify: see `Index.load`.

    Returns:
        The indexes by modality.

    Raises:
        DamagedIndexError: there is no index, or a damaged one.
    """
    folder = Path(folder)
    folders = [folder / modality for modality in MODALITIES if (folder / modality / MANIFEST).exists()]
    if (folder / MANIFEST).exists():
        folders = [folder]
    if not folders:
        raise DamagedIndexError(f"{folder} is no collection: there is no image/{MANIFEST} and no text/{MANIFEST}")
    indexes = [Index.load(of_modality, verify=verify) for of_modality in folders]
    return {index.modality: index for index in indexes}


@dataclasses.dataclass(frozen=True, eq=False)
class Collection:
    """Indexes that are searched together.

    Attributes:
        indexes: by modality; one or both, of one model.
        pictures: of the images, where there are any; the field `sprite` of an image is the row of its picture.
        sources: by modality, the files of the model's extractors that need some.
    """

    indexes: Mapping[str, Index]
    pictures: Pictures | None = None
    sources: Mapping[str, Path | None] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | os.PathLike, sources: Mapping[str, Path | None] | None = None) -> "Collection":
        """Opens a collection.

        Args:
            folder: see `load_indexes`.
            sources: see the class.

        Returns:
            The collection.

        Raises:
            ValueError: no collection, a damaged index, indexes of different models, or a source that is not the one the
                model was trained with.
        """
        indexes = load_indexes(folder)
        first, *others = indexes.values()
        for other in others:
            if not _are_equal(first.model, other.model):
                raise ValueError(f"{folder}: the indexes of images and texts are of different models; build both again")
            indexes[other.modality] = dataclasses.replace(other, model=first.model)  # its parameters once in memory
        loaded = cls(indexes, load_pictures(first.model.metadata), dict(sources or {}))
        loaded._extractors  # noqa: B018, so that a wrong source is reported now and not to the first client
        return loaded

    def about(self) -> dict[str, Any]:
        """Returns what can be searched and how, with some items and phrases to begin with."""
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
            "shelf": [self._describe(index.modality, index.entry(id)) for id in index.ids[shelf].tolist()],
            "phrases": [words for words in _PHRASES if self.pictures and not unknown_words(metadata, words)],
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
        features = self._extractor("text")([words])
        known = bool(features.any())
        unknown = list(unknown_words(self._model.metadata, words))
        description = {"kind": "words", "modality": "text", "words": words, "known": known, "unknown": unknown}
        return self._query(description, self._any_index.encode(features, "text") if known else None)

    def by_picture(self, file: bytes) -> Query:
        """Makes a query of a picture.

        Args:
            file: the content of the file that a user sent.

        Returns:
            The query.

        Raises:
            NotAPictureError: it cannot be read.
            ValueError: the model cannot read pictures.
        """
        extract = self._extractor("image")
        try:
            picture = read_image(file)
        except ValueError as error:
            raise NotAPictureError(str(error)) from None
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
        index = self._index(modality)
        if id not in self._ids[modality]:
            raise UnknownItemError(f"the collection has no {modality} {id[:60] + '...' if len(id) > 60 else id!r}")
        entry = index.entry(self._ids[modality][id])
        return Query({"kind": "item", **self._describe(modality, entry)}, entry.encoded)

    def search(self, query: Query, gallery: str | None, k: int) -> dict[str, Any]:
        """Finds the items that are nearest to a query; an item does not find itself.

        Args:
            query: the query.
            gallery: "image" or "text"; by default see `default_gallery`.
            k: how many items, 1 to `MOST_RESULTS`; all of them where there are fewer.

        Returns:
            The query, the gallery, its number of items, and the results with their distances.

        Raises:
            ValueError: the collection has no such gallery.
        """
        gallery = gallery or self.default_gallery(query.description["modality"])
        index, results = self._index(gallery), []
        if query.encoded is not None:
            itself = query.description.get("id") if query.description["modality"] == gallery else None
            exclude = None if itself is None else [self._ids[gallery][itself]]
            # One block for a small gallery, the next power of two, so that little is padding.
            block_size = min(BLOCK, max(256, 1 << (len(index) - 1).bit_length()))
            if exclude is None or len(index) > 1:
                nearest = index.search(query.encoded, k, exclude=exclude, block_size=block_size)
                results = [
                    {**self._describe(gallery, index.entry(id)), "distance": distance}
                    for distance, id in zip(nearest.distances[0].tolist(), nearest.ids[0].tolist(), strict=True)
                ]
        return {"query": query.description, "gallery": gallery, "total": len(index), "results": results}

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
        """Returns some ids that begin with or contain what a user typed.

        Args:
            modality: of the items.
            part: what the user typed.

        Returns:
            The ids, first those that begin with it.

        Raises:
            ValueError: the collection has no items of this modality.
        """
        self._index(modality)
        part = part.casefold()
        begin: list[str] = []
        contain: list[str] = []
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
        """Makes typical searches, so that no user waits for a compilation or for a library to load."""
        queries = [self.by_item(modality, next(iter(self._ids[modality]))) for modality in self.indexes]
        if "text" in self._extractors:
            self.by_words("words")
            width = self._model.parameters["text_hidden"]["kernel"].shape[0]
            queries.append(self._query({"modality": "text"}, self._any_index.encode(np.ones((1, width)), "text")))
        if "image" in self._extractors:
            queries.append(self.by_picture(encode_png(np.zeros((64, 64, 3), np.uint8))))
        for query in queries:
            for gallery in self.indexes:
                for k in _WARM_UP_RESULTS:
                    self.search(query, gallery, k)

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

    def _extractor(self, modality):
        if modality not in self._extractors:
            kind = "words" if modality == "text" else "pictures"
            raise ValueError(f"this model cannot read {kind}: what made its features is not here; ask by an item")
        return self._extractors[modality]

    def _index(self, modality):
        if modality not in self.indexes:
            raise ValueError(f"the collection has no {modality}s")
        return self.indexes[modality]

    def _query(self, description, encoded):
        attention = None if encoded is None else encoded.attention[0].tolist()
        return Query({**description, "attention": attention}, encoded)

    def _describe(self, modality: str, entry: Entry) -> dict[str, Any]:
        fields = dict(entry.fields)
        sprite = fields.pop("sprite", "")
        description = {
            "modality": modality,
            "id": str(entry.id),
            "fields": fields,
            "attention": entry.attention.tolist(),
        }
        if modality == "image" and self.pictures and sprite.isdecimal() and int(sprite) < len(self.pictures):
            description["picture"] = f"/pictures/{self.pictures.version}/{int(sprite)}.png"
        return description


def load_pictures(metadata: Mapping[str, Any]) -> Pictures | None:
    """Loads the pictures of the dataset that a model was trained on, where this package has them: of the emoji.

    Args:
        metadata: of the model.

    Returns:
        The pictures, or `None`.
    """
    if metadata.get("dataset") != "emoji" or is_synthetic(metadata):
        return None
    from gpldan_jax.data.emoji import load_emoji_pictures

    return Pictures(load_emoji_pictures())


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


def _are_equal(one, other):
    if one.projector != other.projector or one.metadata != other.metadata:
        return False
    leaves, others = (jax.tree.leaves((model.parameters, model.bank)) for model in (one, other))
    return len(leaves) == len(others) and all(map(np.array_equal, leaves, others))
