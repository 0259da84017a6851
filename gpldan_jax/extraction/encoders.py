"""What makes the features: the encoders by the names that `extract.py` knows, and functions of one's own.

The bag of words of an extraction: which texts its vocabulary comes from, and the encoder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax import features
from gpldan_jax._extras import needed_for
from gpldan_jax._files import one_line
from gpldan_jax.extraction.sources import Pair
from gpldan_jax.features import BagOfWords
from gpldan_jax.features.networks import ARCHITECTURES

BAG_OF_WORDS = "bag_of_words"
_ALWAYS = ("gpldan_jax", "numpy", "pillow")
_NETWORK = ("jax", "jaxlib", "flax")
_PACKAGES = {
    **{name: _NETWORK for name in ARCHITECTURES},
    "hog_hsv": ("scikit-image",),
    BAG_OF_WORDS: ("scikit-learn",),
    "transformers": ("transformers", "torch"),
}


def image_encoder(name: str, weights: Path | None, *, rectified: bool, scaling: str, batch: int) -> Callable:
    """The image encoder of a name: a network, `hog_hsv`, or MODULE:FUNCTION.

    Raises:
        ValueError: an unknown name, weights that do not fit or are missing, or no such function.
    """
    if name in ARCHITECTURES:
        if weights is None:
            raise ValueError(f"--image_weights is missing: the file with torchvision's weights of {name}")
        return features.network_encoder(name, weights, rectified=rectified, scaling=scaling, batch=batch)
    if name == "hog_hsv":
        return features.hog_hsv_encoder()
    return _own("image", name, (*ARCHITECTURES, "hog_hsv"))


def text_encoder(name: str, path: Path | None, *, pooling: str, long_texts: str, batch: int) -> Callable:
    """The text encoder of a name: `bert`, or MODULE:FUNCTION. The bag of words is not made before its texts are known.

    Raises:
        ValueError: an unknown name, a directory that holds no encoder or is missing, or no such function.
    """
    if name == "bert":
        if path is None:
            raise ValueError("--text_path is missing: the directory with the encoder and its tokenizer")
        return features.sentence_encoder(path, pooling=pooling, long_texts=long_texts, batch=batch)
    return _own("text", name, ("bert", BAG_OF_WORDS))


def description(encode: Callable) -> Mapping[str, Any]:
    """What an encoder says of itself."""
    return dict(getattr(encode, "description", {}))


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Of what computes features with the extractors of these names, and where the networks run."""
    packages = dict.fromkeys(package for name in names for package in (*_ALWAYS, *_PACKAGES.get(name, ())))
    with needed_for("making features"):
        found = {package: importlib.metadata.version(package) for package in packages}
    if not set(names).isdisjoint(ARCHITECTURES):
        import jax

        found["device"] = jax.devices()[0].device_kind
    return found | {"python": platform.python_version()}


class _Own:
    """A function of the user's, with a description that names the file it is in."""

    def __init__(self, name, function, source):
        self._function = function
        self.description = {
            **dict(getattr(function, "description", {})),
            "extractor": name,
            "source_sha256": hashlib.sha256(source).hexdigest(),
        }
        if hasattr(function, "prepare"):
            self.prepare = function.prepare

    def __call__(self, batch):
        return self._function(batch)


def _own(modality, name, known):
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise ValueError(f"unknown --{modality}_model {name!r}: expected {', '.join(known)} or MODULE:FUNCTION")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # it is the user's code, and may fail in any way
        raise ValueError(f"--{modality}_model: {module} cannot be imported: {one_line(error)}") from error
    function = getattr(loaded, attribute, None)
    if not callable(function):
        raise ValueError(f"--{modality}_model: {module} has no function {attribute!r}")
    return _Own(name, function, Path(loaded.__file__).read_bytes() if getattr(loaded, "__file__", None) else b"")


@dataclasses.dataclass(frozen=True)
class Words:
    """How the vocabulary of a bag of words is chosen.

    Attributes:
        source: "train", the texts of the training pairs; "all", those of all pairs; or "given".
        max_words, min_documents: as `BagOfWords.fit` takes them.
        given: the vocabulary itself, or None.
    """

    source: str
    max_words: int
    min_documents: int
    given: tuple[str, ...] | None = None


def chosen(vocabulary: str, max_words: int, min_documents: int) -> Words:
    """How the vocabulary is chosen, from what `--vocabulary` says: "train", "all", or a file with a word in each line.

    Raises:
        ValueError: the file is not UTF-8, or its words are not what `BagOfWords` takes.
    """
    if vocabulary in ("train", "all"):
        return Words(vocabulary, max_words, min_documents)
    try:
        lines = Path(vocabulary).read_text(encoding="utf-8").split()
        return Words("given", max_words, min_documents, BagOfWords(tuple(sorted(set(lines)))).vocabulary)
    except UnicodeDecodeError as error:
        raise ValueError(f"--vocabulary: {vocabulary} must be UTF-8: {error.reason} at byte {error.start}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"--vocabulary: expected train, all or a file of words: {error}") from error


class WordsEncoder:
    """A text encoder with the vocabulary in its description."""

    def __init__(self, words: Words, pairs: Sequence[Pair]):
        if words.given is not None:
            self._words = BagOfWords(words.given)
        else:
            used = [pair for pair in pairs if words.source == "all" or pair.split == 0]
            documents = [" ".join(pair.texts) for pair in used]
            self._words = BagOfWords.fit(documents, min_documents=words.min_documents, max_words=words.max_words)
        vocabulary = list(self._words.vocabulary)
        self.description = {"extractor": BAG_OF_WORDS, "vocabulary": vocabulary, "vocabulary_of": words.source}

    def __call__(self, documents: Sequence[str]) -> np.ndarray:
        return self._words.transform(documents)
