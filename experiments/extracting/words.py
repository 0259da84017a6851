"""The bag of words of an extraction: which texts its vocabulary comes from, and the encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.extracting.models import BAG_OF_WORDS
from experiments.extracting.sources import Pair
from gpldan_jax.features import BagOfWords


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
