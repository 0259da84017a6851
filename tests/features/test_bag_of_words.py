"""Bags of words: by hand, and what holds for any texts."""

import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from gpldan_jax.data.emoji import load_emoji_arrays
from gpldan_jax.features import BagOfWords

pytest.importorskip("sklearn", reason="the bag of words needs scikit-learn")


def words_of(document):
    return re.findall(r"[^\W_]{2,}", document.lower())


def test_words_and_features_known_by_hand():
    documents = ["Red, red_heart! 2nd", "a RED rose; the 2nd", "A rosé"]
    words = BagOfWords.fit(documents)
    assert words.vocabulary == ("2nd", "red")
    features = words.transform(documents)
    assert features.dtype == np.float32 and features.tolist() == [[1, 1], [1, 1], [0, 0]]
    assert BagOfWords.fit(documents, min_documents=1).vocabulary == ("2nd", "heart", "red", "rose", "rosé", "the")
    assert words.transform([]).shape == (0, 2)


def test_the_most_frequent_words():
    documents = ["rose rose rose", "red heart", "red rose", "heart blue"]
    assert BagOfWords.fit(documents, max_words=9).vocabulary == ("heart", "red", "rose")
    assert BagOfWords.fit(documents, max_words=1).vocabulary == ("rose",)
    assert BagOfWords.fit(documents, min_documents=1, max_words=1).vocabulary == ("rose",)


def test_unknown_words_are_named_once_in_their_order():
    words = BagOfWords(("heart", "red"))
    assert words.unknown("Zebra: a red ZEBRA, anvil") == ("zebra", "anvil")
    assert words.unknown("red heart") == words.unknown("") == words.unknown("a ?") == ()


def test_the_words_of_an_emoji_give_its_row():
    emoji = load_emoji_arrays()
    words = BagOfWords(emoji.vocabulary)
    row = emoji.names.index("woman farmer")
    (features,) = words.transform(["Rancher, gardener: a woman; FARMER"])
    np.testing.assert_array_equal(features, emoji.text[row])


@pytest.mark.slow
@hypothesis.settings(deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.text(), min_size=1, max_size=6), st.integers(1, 3))
def test_any_texts(documents, min_documents):
    counted = [set(words_of(document)) for document in documents]
    everything = set().union(*counted)
    expected = sorted(word for word in everything if sum(word in of for of in counted) >= min_documents)
    if not expected:
        with pytest.raises(ValueError, match=f"words that {min_documents} or more of {len(documents)} documents have"):
            BagOfWords.fit(documents, min_documents=min_documents)
        return
    words = BagOfWords.fit(documents, min_documents=min_documents)
    assert list(words.vocabulary) == expected
    np.testing.assert_array_equal(words.transform(documents), [[word in of for word in expected] for of in counted])
    for document in documents:
        lacking = [word for word in words_of(document) if word not in expected]
        assert words.unknown(document) == tuple(dict.fromkeys(lacking))


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [
        ((), r"expected a tuple of words, found \(\)"),
        (["red"], r"expected a tuple of words, found \['red'\]"),
        ("red", "expected a tuple of words, found 'red'"),
        (None, "expected a tuple of words, found None"),
        (("red", 5), "found 5$"),
        (("Red",), "in lower case, found 'Red'"),
        (("red rose",), "found 'red rose'"),
        (("a",), "two or more letters or digits, in lower case, found 'a'"),
        (("re\nd",), r"found 're\\nd'"),
        (("rose", "red"), "sorted words, each once, found 'rose' before 'red'"),
        (("red", "red"), "sorted words, each once, found 'red' before 'red'"),
        (("x" * 10**6 + "!",), r"found 'x+\.\.\.x+!'$"),
    ],
)
def test_other_vocabularies_are_refused_in_one_line(vocabulary, expected):
    with pytest.raises(ValueError, match=expected) as caught:
        BagOfWords(vocabulary)
    assert str(caught.value).startswith("vocabulary: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_other_arguments_are_refused():
    for least in (0, 0.5, "2"):
        with pytest.raises(ValueError, match=f"min_documents must be a whole number, 1 or more, got {least!r}"):
            BagOfWords.fit(["red"], min_documents=least)
    with pytest.raises(ValueError, match="max_words must be a whole number, 1 or more, got 0"):
        BagOfWords.fit(["red"], max_words=0)
    words = BagOfWords(("red",))
    for call in (BagOfWords.fit, words.transform):
        with pytest.raises(TypeError, match="expected a list of strings, found the string 'red'"):
            call("red")
        with pytest.raises(TypeError, match="expected texts that are strings, found b'red'"):
            call(["red", b"red"])
    with pytest.raises(TypeError, match="strings, found None"):
        words.unknown(None)
