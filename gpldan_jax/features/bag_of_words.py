"""Which words of a vocabulary a text has: the text features of the emoji dataset.

Letters: `n` documents, `w` words of the vocabulary.
"""

import dataclasses
import itertools
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpldan_jax._extras import needed_for
from gpldan_jax.features.tokenizer import Tokenizer

_WORDS = Tokenizer()


@dataclasses.dataclass(frozen=True)
class BagOfWords:
    """A vocabulary, and the binary bag of words of any text.

    By default a word is two or more letters, digits and marks of any script, in lower case and in Unicode's form NFC;
    everything else separates words. `Tokenizer` has the other rules, such as character n-grams.

    Attributes:
        vocabulary: the `w` words, sorted, each once; word j is column j of the features.
        tokenizer: how a text is cut into words.

    Raises:
        ValueError: no words, something that is no such word, words out of order or twice.

    Example:
        >>> words = BagOfWords.fit(["Red heart", "red rose", "a rose"])
        >>> words.vocabulary
        ('red', 'rose')
        >>> words.transform(["RED-RED", "violet"])
        array([[1., 0.],
               [0., 0.]], dtype=float32)
        >>> words.unknown("a violet, a red one")
        ('violet', 'one')
    """

    vocabulary: tuple[str, ...]
    tokenizer: Tokenizer = _WORDS

    def __post_init__(self):
        if not isinstance(self.vocabulary, tuple) or not self.vocabulary:
            raise ValueError(f"vocabulary: expected a tuple of words, found {reprlib.repr(self.vocabulary)}")
        for word in self.vocabulary:
            if not (isinstance(word, str) and self.tokenizer.is_token(word)):
                raise ValueError(f"vocabulary: expected {self.tokenizer.noun}, found {reprlib.repr(word)}")
        for word, following in itertools.pairwise(self.vocabulary):
            if word >= following:
                raise ValueError(
                    f"vocabulary: expected sorted words, each once, "
                    f"found {reprlib.repr(word)} before {reprlib.repr(following)}"
                )

    @classmethod
    def fit(
        cls,
        documents: Sequence[str],
        *,
        min_documents: int = 2,
        max_words: int | None = None,
        tokenizer: Tokenizer = _WORDS,
    ) -> "BagOfWords":
        """Returns the bag of the words that enough documents have.

        Args:
            documents: `n` strings.
            min_documents: how many documents must have a word.
            max_words: keep only so many of these words, the most frequent ones; None for all.
            tokenizer: how a document is cut into words.

        Returns:
            The bag of words.

        Raises:
            ValueError: there is no such word, or `min_documents` or `max_words` is not 1 or more.
            TypeError: a document that is not a string.
        """
        for name, value in (("min_documents", min_documents), ("max_words", 1 if max_words is None else max_words)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}")
        vectorizer = _vectorizer(tokenizer, min_df=min_documents, max_features=max_words)
        try:
            vectorizer.fit(check_texts(documents))
        except ValueError:
            raise ValueError(
                f"expected words that {min_documents} or more of {len(documents)} documents have, found none"
            ) from None
        return cls(tuple(vectorizer.get_feature_names_out().tolist()), tokenizer)

    def transform(self, documents: Sequence[str]) -> np.ndarray:
        """Returns which words each document has.

        Args:
            documents: `n` strings.

        Returns:
            float32 `[n, w]`, 1 where a document has the word, else 0; a document without known words is a row of zeros.

        Raises:
            TypeError: a document that is not a string.
        """
        # Not by scikit-learn, which takes longer to import than a query takes.
        columns = {word: column for column, word in enumerate(self.vocabulary)}
        features = np.zeros((len(check_texts(documents)), len(columns)), np.float32)
        for row, document in enumerate(documents):
            features[row, [columns[token] for token in self.tokenizer.tokens(document) if token in columns]] = 1
        return features

    def unknown(self, document: str) -> tuple[str, ...]:
        """Returns the words of a document that the vocabulary lacks.

        Args:
            document: a text.

        Returns:
            The words in the order of the text, each once. Where the vocabulary holds n-grams: the parts of the text,
            up to the next space, that no known n-gram covers.

        Raises:
            TypeError: the document is not a string.
        """
        known = set(self.vocabulary)
        (document,) = check_texts([document])
        if self.tokenizer.analyzer == "char":
            words = _uncovered(self.tokenizer.normalize(document), known, self.tokenizer.ngram_range)
        else:
            words = [word for word in self.tokenizer.tokens(document) if word not in known]
        return tuple(dict.fromkeys(words))


def check_texts(texts: Sequence[str]) -> Sequence[str]:
    """Checks that texts are a list of strings, and not one string."""
    if isinstance(texts, str):
        raise TypeError(f"expected a list of strings, found the string {reprlib.repr(texts)}")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"expected texts that are strings, found {reprlib.repr(text)}")
    return texts


def _uncovered(text: str, known: set[str], ngram_range: tuple[int, int]) -> list[str]:
    lacking = np.ones(len(text), bool)
    for length in range(ngram_range[0], ngram_range[1] + 1):
        for start in range(len(text) - length + 1):
            if text[start : start + length] in known:
                lacking[start : start + length] = False
    return "".join(character if lacks else " " for character, lacks in zip(text, lacking, strict=True)).split()


def _vectorizer(tokenizer: Tokenizer, **settings: Any):
    with needed_for("a bag of words"):
        from sklearn.feature_extraction.text import CountVectorizer
    return CountVectorizer(**tokenizer.settings, **settings)
