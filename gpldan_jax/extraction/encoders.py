"""The encoders of an extraction by name: those of this package, functions of the user, and bags of words.

Letters: `n` items of a batch, `d` features, `w` words.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax import features
from gpldan_jax._files import one_line
from gpldan_jax.extraction.pairs import Pair
from gpldan_jax.features import BagOfWords
from gpldan_jax.features.networks import ARCHITECTURES

BAG_OF_WORDS = "bag_of_words"


@dataclasses.dataclass(frozen=True)
class Words:
    """How the vocabulary of a bag of words is chosen.

    Attributes:
        source: "train", the texts of the training pairs; "all", those of all pairs; or "given".
        max_words: keep only so many words, the most frequent ones.
        min_documents: how many texts must have a word.
        given: the vocabulary itself, or None.
    """

    source: str
    max_words: int
    min_documents: int
    given: tuple[str, ...] | None = None


def image_encoder(
    name: str, weights: str | os.PathLike | None = None, **settings: Any
) -> Callable[[Sequence[np.ndarray]], Any]:
    """Returns an image encoder by its name.

    Args:
        name: "vgg19", "alexnet", "hog_hsv", or "MODULE:FUNCTION", a function in a module that can be imported.
        weights: the file of the weights, for a network.
        **settings: those of `features.network_encoder`, for a network; otherwise ignored.

    Returns:
        The encoder.

    Raises:
        ValueError: an unknown name, weights that are missing or do not fit, or no such function.
        ImportError: a library is missing.

    Example:
        >>> image_encoder("hog_hsv").description
        {'extractor': 'hog_hsv'}
    """
    if name in ARCHITECTURES:
        if weights is None:
            raise ValueError(f"weights is missing: the file with torchvision's weights of {name}")
        return features.network_encoder(name, weights, **settings)
    if name == "hog_hsv":
        return features.hog_hsv_encoder()
    return _load_function("image", name, (*ARCHITECTURES, "hog_hsv"))


def text_encoder(name: str, path: str | os.PathLike | None = None, **settings: Any) -> Callable[[Sequence[str]], Any]:
    """Returns a text encoder by its name; for a bag of words, see `choose_words`.

    Args:
        name: "bert", or "MODULE:FUNCTION", a function in a module that can be imported.
        path: the folder of the encoder, for "bert".
        **settings: those of `features.sentence_encoder`, for "bert"; otherwise ignored.

    Returns:
        The encoder.

    Raises:
        ValueError: an unknown name, a folder that is missing or holds no encoder, or no such function.
        ImportError: a library is missing.
    """
    if name == "bert":
        if path is None:
            raise ValueError("path is missing: the directory with the encoder and its tokenizer")
        return features.sentence_encoder(path, **settings)
    return _load_function("text", name, ("bert", BAG_OF_WORDS))


def choose_words(vocabulary: str | os.PathLike = "train", max_words: int = 3000, min_documents: int = 2) -> Words:
    """Returns how the vocabulary of a bag of words is chosen.

    Args:
        vocabulary: "train", "all", or a file of words, separated by white space.
        max_words: keep only so many words, the most frequent ones.
        min_documents: how many texts must have a word.

    Returns:
        The choice, for `extract`.

    Raises:
        ValueError: the file cannot be read, is not UTF-8, or holds something that is no word of `BagOfWords`.

    Example:
        >>> choose_words("all")
        Words(source='all', max_words=3000, min_documents=2, given=None)
    """
    if vocabulary in ("train", "all"):
        return Words(str(vocabulary), max_words, min_documents)
    try:
        words = sorted(set(Path(vocabulary).read_text(encoding="utf-8").split()))
        return Words("given", max_words, min_documents, BagOfWords(tuple(words)).vocabulary)
    except UnicodeDecodeError as error:
        raise ValueError(f"vocabulary: {vocabulary} must be UTF-8: {error.reason} at byte {error.start}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"vocabulary: expected train, all or a file of words: {error}") from error


def words_encoder(words: Words, pairs: Sequence[Pair]) -> Callable[[Sequence[str]], np.ndarray]:
    """Returns the encoder of a bag of words, `n` strings to float32 `[n, w]`; its description has the vocabulary."""
    if words.given is not None:
        bag = BagOfWords(words.given)
    else:
        used = [pair for pair in pairs if words.source == "all" or pair.split == 0]
        documents = [" ".join(pair.texts) for pair in used]
        bag = BagOfWords.fit(documents, min_documents=words.min_documents, max_words=words.max_words)
    described = {"extractor": BAG_OF_WORDS, "vocabulary": list(bag.vocabulary), "vocabulary_of": words.source}
    return _with_description(bag.transform, described)


def _load_function(modality: str, name: str, known: Sequence[str]) -> Callable:
    """The user's function MODULE:FUNCTION; its description has the SHA-256 of its file."""
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise ValueError(f"unknown {modality} encoder {name!r}: expected {', '.join(known)} or MODULE:FUNCTION")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # the user's code may fail in any way
        raise ValueError(f"{modality} encoder {name}: {module} cannot be imported: {one_line(error)}") from error
    function = getattr(loaded, attribute, None)
    if not callable(function):
        raise ValueError(f"{modality} encoder {name}: {module} has no function {attribute!r}")
    file = getattr(loaded, "__file__", None)
    source = Path(file).read_bytes() if file else b""
    described = {"extractor": name, "source_sha256": hashlib.sha256(source).hexdigest()}
    return _with_description(function, {**getattr(function, "description", {}), **described})


def _with_description(function: Callable, description: Mapping[str, Any]) -> Callable:
    encode: Any = functools.partial(function)  # unlike the function itself, it is ours to add attributes to
    encode.description = description
    if hasattr(function, "prepare"):
        encode.prepare = function.prepare
    return encode
