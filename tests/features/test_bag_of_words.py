"""Bags of words: by hand, and what holds for any texts."""

import json
import os
import pathlib
import re
import unicodedata

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from gpldan_jax.data.emoji import load_emoji_arrays
from gpldan_jax.features import BagOfWords, Tokenizer

pytest.importorskip("sklearn", reason="the bag of words needs scikit-learn")


OLD = Tokenizer.from_description({})


def words_of(document):
    """Two or more letters or digits, as version 0.1 took them."""
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
def test_any_texts_with_the_rule_of_version_0_1(documents, min_documents):
    counted = [set(words_of(document)) for document in documents]
    everything = set().union(*counted)
    expected = sorted(word for word in everything if sum(word in of for of in counted) >= min_documents)
    if not expected:
        with pytest.raises(ValueError, match=f"words that {min_documents} or more of {len(documents)} documents have"):
            BagOfWords.fit(documents, min_documents=min_documents, tokenizer=OLD)
        return
    words = BagOfWords.fit(documents, min_documents=min_documents, tokenizer=OLD)
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
        (("a",), "two or more letters or digits, in NFC, in lower case, found 'a'"),
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


@pytest.mark.slow
@hypothesis.settings(deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.text(st.characters(codec="latin-1")), min_size=1, max_size=6))
def test_western_texts_have_the_words_of_version_0_1(documents):
    for document in documents:
        assert Tokenizer().tokens(document) == words_of(document) == OLD.tokens(document)
    if any(map(words_of, documents)):
        old = BagOfWords.fit(documents, min_documents=1, tokenizer=OLD)
        new = BagOfWords.fit(documents, min_documents=1)
        assert new.vocabulary == old.vocabulary
        assert new.transform(documents).tobytes() == old.transform(documents).tobytes()


def test_accents_count_the_same_however_they_are_stored():
    composed = ["un café crème", "le café", "une crème"]
    decomposed = [unicodedata.normalize("NFD", text) for text in composed]
    assert decomposed != composed
    words = BagOfWords.fit(decomposed)
    assert words == BagOfWords.fit(composed) and words.vocabulary == ("café", "crème")
    np.testing.assert_array_equal(words.transform(decomposed), words.transform(composed))
    assert words.unknown("the cafe\u0301") == ("the",)
    assert BagOfWords.fit(decomposed, tokenizer=OLD).vocabulary == ("cafe", "cre", "me")  # the fault of version 0.1
    with pytest.raises(ValueError, match="expected words of two or more letters or digits, in NFC, in lower case"):
        BagOfWords((unicodedata.normalize("NFD", "café"),))


def test_texts_of_hindi_keep_their_vowel_signs():
    texts = ["एक बिल्ली", "एक बल्ला", "एक बोली"]  # a cat, a bat, a dialect
    words = BagOfWords.fit(texts, min_documents=1)
    assert words.vocabulary == ("एक", "बल्ला", "बिल्ली", "बोली")
    assert len(np.unique(words.transform(texts), axis=0)) == 3
    assert len(np.unique(BagOfWords.fit(texts, min_documents=1, tokenizer=OLD).transform(texts), axis=0)) < 3


@pytest.mark.parametrize("ngram_range", [(1, 1), (1, 2), (2, 2), (1, 3), (3, 5)])
def test_n_grams_are_those_of_scikit_learn(ngram_range):
    from sklearn.feature_extraction.text import CountVectorizer

    texts = ["一只黑猫坐在垫子上。", "黑い猫が  マットの上に\tいる", "แมวดำนั่งบนเสื่อ", "A cat\n\non a MAT", "", "猫"]
    theirs = CountVectorizer(analyzer="char", ngram_range=ngram_range, binary=True, dtype=np.float32).fit(texts)
    ours = BagOfWords.fit(texts, min_documents=1, tokenizer=Tokenizer("char", ngram_range))
    assert ours.vocabulary == tuple(theirs.get_feature_names_out().tolist())
    np.testing.assert_array_equal(ours.transform(texts), theirs.transform(texts).toarray())
    for text in texts:
        assert ours.tokenizer.tokens(text) == theirs.build_analyzer()(text)


def test_what_no_known_n_gram_covers_is_unknown():
    grams = BagOfWords.fit(["黑猫", "黑猫"], tokenizer=Tokenizer("char", (2, 2)))
    assert grams.vocabulary == ("黑猫",)
    assert grams.unknown("黑猫在 垫子上。黑猫") == ("在", "垫子上。")
    assert grams.unknown("黑猫") == grams.unknown(" ") == ()


def test_the_vocabulary_must_fit_the_tokenizer():
    assert BagOfWords((" 猫", "黑猫"), Tokenizer("char", (2, 2))).vocabulary == (" 猫", "黑猫")
    with pytest.raises(ValueError, match="n-grams of 1 to 2 characters, in NFC, in lower case, found '一只黑'"):
        BagOfWords(("一只黑",), Tokenizer("char"))
    with pytest.raises(ValueError, match="found '猫'"):
        BagOfWords(("猫",))
    assert BagOfWords(("🍎",), Tokenizer(symbols=True)).transform(["an 🍎"]).tolist() == [[1]]


@pytest.mark.slow
def test_the_words_of_wikipedia_are_those_of_version_0_1():
    """The original texts hold names in Turkish, Arabic, Hebrew and Thai; the vocabulary does not change by one word."""
    path = pathlib.Path(os.environ.get("GPLDAN_DATA_DIR", ""), "raw/wikipedia_texts.jsonl")
    if not path.is_file():
        pytest.skip("GPLDAN_DATA_DIR has no raw/wikipedia_texts.jsonl")
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    old, new = (BagOfWords.fit(texts[:2173], max_words=3000, tokenizer=rule) for rule in (OLD, Tokenizer()))
    assert new.vocabulary == old.vocabulary
    assert new.transform(texts).tobytes() == old.transform(texts).tobytes()
