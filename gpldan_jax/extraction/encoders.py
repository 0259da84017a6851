"""The encoders of an extraction by name: those of this package, functions of the user, and bags of words.

Letters: `n` items of a batch, `d` features, `w` words.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax import features
from gpldan_jax._files import one_line
from gpldan_jax.extraction.pairs import Pair
from gpldan_jax.features import BagOfWords, Tokenizer
from gpldan_jax.features.extractors import IMAGE_FOLDERS, TEXT_FOLDERS
from gpldan_jax.features.networks import ARCHITECTURES
from gpldan_jax.features.tokenizer import ANALYZERS, lacks_spaces

BAG_OF_WORDS = "bag_of_words"
_WORDS = Tokenizer()


@dataclasses.dataclass(frozen=True)
class Words:
    """How the vocabulary of a bag of words is chosen.

    Attributes:
        source: "train", the texts of the training pairs; "all", those of all pairs; or "given".
        max_words: keep only so many words, the most frequent ones.
        min_documents: how many texts must have a word.
        given: the vocabulary itself, or None.
        tokenizer: how a text is cut into words.
        auto: whether texts without spaces between words are cut into character n-grams instead.
    """

    source: str
    max_words: int
    min_documents: int
    given: tuple[str, ...] | None = None
    tokenizer: Tokenizer = _WORDS
    auto: bool = True

    @property
    def description(self) -> dict[str, Any]:
        """The choice as JSON values."""
        tokenizer = self.tokenizer.description | ({"analyzer": "auto"} if self.auto else {})
        if self.given is not None:
            return {"vocabulary": list(self.given), **tokenizer}
        vocabulary = {"source": self.source, "max_words": self.max_words, "min_documents": self.min_documents}
        return {**vocabulary, "given": None, **tokenizer}


def image_encoder(
    name: str,
    weights: str | os.PathLike | None = None,
    *,
    path: str | os.PathLike | None = None,
    batch: int = 32,
    **settings: Any,
) -> Callable[[Sequence[np.ndarray]], Any]:
    """Returns an image encoder by its name.

    Args:
        name: "vgg19", "alexnet", "hog_hsv"; "transformers", "timm" or "open_clip", for a folder that this library
            reads; or "MODULE:FUNCTION", a function in a module that can be imported.
        weights: the file of the weights, for a network.
        path: the folder, for a library.
        batch: how many pictures a network or a library takes at once.
        **settings: those of `features.network_encoder`, for a network; otherwise ignored.

    Returns:
        The encoder.

    Raises:
        ValueError: an unknown name, weights or a folder that are missing or do not fit, or no such function.
        ImportError: a library is missing.

    Example:
        >>> image_encoder("hog_hsv").description
        {'extractor': 'hog_hsv'}
    """
    if name in ARCHITECTURES:
        if weights is None:
            raise ValueError(f"weights is missing: the file with torchvision's weights of {name}")
        return features.network_encoder(name, weights, batch=batch, **settings)
    if name == "hog_hsv":
        return features.hog_hsv_encoder()
    if name in IMAGE_FOLDERS:
        if path is None:
            raise ValueError(f"path is missing: the directory with the image encoder, for {name}")
        return IMAGE_FOLDERS[name](path, batch=batch)
    return _load_function("image", name, (*ARCHITECTURES, "hog_hsv", *IMAGE_FOLDERS))


def text_encoder(name: str, path: str | os.PathLike | None = None, **settings: Any) -> Callable[[Sequence[str]], Any]:
    """Returns a text encoder by its name; for a bag of words, see `choose_words`.

    Args:
        name: "bert", "transformers" or "open_clip", for a folder; or "MODULE:FUNCTION", a function in a module that can
            be imported.
        path: the folder of the encoder.
        **settings: those of `features.sentence_encoder`, for "bert" and "transformers"; for "open_clip" only `batch`;
            otherwise ignored.

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
    if name in TEXT_FOLDERS:
        if path is None:
            raise ValueError(f"path is missing: the directory with the text encoder and its tokenizer, for {name}")
        used = settings if name == "transformers" else {key: settings[key] for key in ("batch",) if key in settings}
        return TEXT_FOLDERS[name](path, **used)
    return _load_function("text", name, ("bert", *TEXT_FOLDERS, BAG_OF_WORDS))


def choose_words(
    vocabulary: str | os.PathLike = "train",
    max_words: int = 3000,
    min_documents: int = 2,
    *,
    analyzer: str = "auto",
    ngram_range: tuple[int, int] = (1, 2),
    numbers: bool = False,
    symbols: bool = False,
) -> Words:
    """Returns how the vocabulary of a bag of words is chosen.

    Args:
        vocabulary: "train", "all", or a file of words, separated by white space.
        max_words: keep only so many words, the most frequent ones.
        min_documents: how many texts must have a word.
        analyzer: "word"; "char", character n-grams; or "auto". "auto" is "char" if more than half of the texts that the
            vocabulary is made of are written without spaces between words, see
            `gpldan_jax.features.tokenizer.lacks_spaces`. With a file of words it is always "word".
        ngram_range: the shortest and the longest n-gram, for "char"; see `gpldan_jax.features.Tokenizer`.
        numbers: whether a number of one digit is a word too. n-grams hold digits in any case.
        symbols: whether each symbol, such as an emoji, is a word too. n-grams hold symbols in any case.

    Returns:
        The choice, for `extract`.

    Raises:
        ValueError: the file cannot be read, is not UTF-8, or holds something that is no word of `BagOfWords`; an
            unknown analyzer, or an argument that does not go with it.

    Example:
        >>> choose_words("all").tokenizer
        Tokenizer(analyzer='word', ngram_range=(1, 2), numbers=False, symbols=False)
    """
    auto = analyzer == "auto"
    if not auto and analyzer not in ANALYZERS:
        raise ValueError(f"analyzer must be auto, {' or '.join(ANALYZERS)}, got {analyzer!r}")
    tokenizer = Tokenizer("word" if auto else analyzer, ngram_range, numbers=numbers, symbols=symbols)
    if vocabulary in ("train", "all"):
        return Words(str(vocabulary), max_words, min_documents, None, tokenizer, auto)
    try:
        text = unicodedata.normalize("NFC", Path(vocabulary).read_text(encoding="utf-8"))
        bag = BagOfWords(tuple(sorted(set(text.split()))), tokenizer)
        return Words("given", max_words, min_documents, bag.vocabulary, tokenizer, auto=False)
    except UnicodeDecodeError as error:
        raise ValueError(f"vocabulary: {vocabulary} must be UTF-8: {error.reason} at byte {error.start}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"vocabulary: expected train, all or a file of words: {error}") from error


def words_encoder(words: Words, pairs: Sequence[Pair]) -> Callable[[Sequence[str]], np.ndarray]:
    """Returns the encoder of a bag of words, `n` strings to float32 `[n, w]`.

    Its description has the vocabulary and the settings of the tokenizer. If those were chosen by the texts, it also has
    `chosen_by`: how many of the texts are written without spaces.
    """
    chosen_by: dict[str, Any] = {}
    if words.given is not None:
        bag = BagOfWords(words.given, words.tokenizer)
    else:
        used = [pair for pair in pairs if words.source == "all" or pair.split == 0]
        tokenizer = words.tokenizer
        if words.auto:
            texts = [text for pair in used for text in pair.texts]
            without = sum(map(lacks_spaces, texts))
            chosen_by = {"chosen_by": {"texts_without_spaces": without, "of": len(texts)}}
            tokenizer = Tokenizer("char") if 2 * without > len(texts) else tokenizer
        documents = [" ".join(pair.texts) for pair in used]
        bag = BagOfWords.fit(
            documents, min_documents=words.min_documents, max_words=words.max_words, tokenizer=tokenizer
        )
    described = {"extractor": BAG_OF_WORDS, "vocabulary": list(bag.vocabulary), "vocabulary_of": words.source}
    return _with_description(bag.transform, {**described, **bag.tokenizer.description, **chosen_by})


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
