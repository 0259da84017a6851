"""Words of every script, numbers and symbols, and which texts have no spaces between words."""

# ruff: noqa: RUF001

import json
import unicodedata

import hypothesis
import hypothesis.strategies as st
import pytest

from gpldan_jax.features import Tokenizer
from gpldan_jax.features.tokenizer import lacks_spaces

OLD = Tokenizer.from_description({})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The 2nd RED_heart, don't: 42 a 7", ["the", "2nd", "red", "heart", "don", "42"]),
        ("बिल्ली चटाई पर बैठी है।", ["बिल्ली", "चटाई", "पर", "बैठी", "है"]),
        ("ক্ষেত্র র\u200d্যাব", ["ক্ষেত্র", "র\u200d্যাব"]),  # Bengali, with a joiner
        ("ශ්\u200dරී ලංකාව", ["ශ්\u200dරී", "ලංකාව"]),  # Sinhala
        ("كِتَابٌ جَدِيدٌ", ["كِتَابٌ", "جَدِيدٌ"]),  # Arabic with vowels
        ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),  # Persian, with a non-joiner
        ("שָׁלוֹם עולם", [unicodedata.normalize("NFC", "שָׁלוֹם"), "עולם"]),
        ("고양이가 매트 위에", ["고양이가", "매트", "위에"]),
        (unicodedata.normalize("NFD", "고양이가 매트"), ["고양이가", "매트"]),
        (unicodedata.normalize("NFD", "un café noir, où"), ["un", "café", "noir", "où"]),
        ("x\u030cy and ǰ", ["x\u030cy", "and"]),  # no single character is an x with a caron
        ("Tiếng Việt", ["tiếng", "việt"]),
        ("แมวดำ นั่งบนเสื่อ", ["แมวดำ", "นั่งบนเสื่อ"]),
        ("猫が好き。犬も", ["猫が好き", "犬も"]),
        ("auf\u200clage", ["auf", "lage"]),  # as ever: the non-joiner only belongs to words of Asian scripts
        ("İstanbul", ["stanbul"]),  # as ever
        ("1\ufe0f\u20e3 ❤\ufe0f 🍎 ½", []),
        ("\u0301ab \u093f", ["ab"]),  # a mark alone is no word
    ],
)
def test_words(text, words):
    assert Tokenizer().tokens(text) == words
    assert all(Tokenizer().is_token(word) for word in words)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I ❤\ufe0f NY + 2 🍎🍎", ["❤", "ny", "+", "🍎", "🍎"]),
        ("👩🏽\u200d🚀 and 👨\u200d👩\u200d👧 go", ["👩🏽\u200d🚀", "and", "👨\u200d👩\u200d👧", "go"]),
        ("🇫🇷🇯🇵", ["🇫🇷", "🇯🇵"]),
        ("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f!",
         ["🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"]),
        ("1\ufe0f\u20e3 or 5 €", ["1\u20e3", "or", "€"]),
        ("no, none.", ["no", "none"]),
    ],
)  # fmt: skip
def test_symbols_are_words_if_asked_for(text, found):
    tokenizer = Tokenizer(symbols=True)
    assert tokenizer.tokens(text) == found
    assert all(tokenizer.is_token(token) for token in found)
    assert not any(token in Tokenizer().tokens(text) for token in found if not token.isalnum())


def test_numbers_of_one_digit_are_words_if_asked_for():
    text = "2 cats, 10 dogs, x 7b: ३ 3"
    assert Tokenizer().tokens(text) == ["cats", "10", "dogs", "7b"]
    assert Tokenizer(numbers=True).tokens(text) == ["2", "cats", "10", "dogs", "7b", "३", "3"]
    assert Tokenizer(numbers=True, symbols=True).tokens("3 ❤") == ["3", "❤"]


@pytest.mark.slow
@hypothesis.settings(deadline=None, derandomize=True)
@hypothesis.given(
    st.text(),
    st.sampled_from([Tokenizer(), Tokenizer(numbers=True), Tokenizer(symbols=True), Tokenizer("char", (1, 3))]),
)
def test_any_text_has_the_same_tokens_in_both_forms_and_each_is_one(text, tokenizer):
    found = tokenizer.tokens(text)
    assert all(tokenizer.is_token(token) or tokenizer.analyzer == "char" for token in found)
    for form in ("NFC", "NFD"):
        assert tokenizer.tokens(unicodedata.normalize(form, text)) == found


def test_a_description_gives_the_tokenizer_back():
    for tokenizer in (Tokenizer(), Tokenizer(numbers=True, symbols=True), Tokenizer("char", (2, 4)), OLD):
        assert Tokenizer.from_description(json.loads(json.dumps(tokenizer.description))) == tokenizer
    assert OLD.description == {} and OLD.tokens("cafe\u0301 Noir") == ["cafe", "noir"]


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"analyzer": "letters"}, "analyzer must be word or char, got 'letters'"),
        ({"analyzer": ["word"]}, r"analyzer must be word or char, got \['word'\]"),
        ({"analyzer": "word", "numbers": 1}, "numbers must be True or False, got 1"),
        ({"analyzer": "word", "ngram_range": [1, 3]}, "ngram_range goes with analyzer='char', got analyzer='word'"),
        ({"analyzer": "char", "symbols": True}, "numbers and symbols go with analyzer='word'"),
        ({"analyzer": "char", "ngram_range": [2, 1]}, r"whole numbers from 1 to 10, got \(2, 1\)"),
        ({"analyzer": "char", "ngram_range": [1, 10**9]}, "whole numbers from 1 to 10, got "),
        ({"analyzer": "char", "ngram_range": "12"}, "whole numbers from 1 to 10, got '12'"),
        ({"analyzer": "char", "ngram_range": [True, 2]}, "whole numbers from 1 to 10, got "),
        ({"analyzer": "char", "ngram_range": None}, "whole numbers from 1 to 10, got None"),
    ],
)
def test_other_settings_are_refused(description, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_description(description)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("一只黑猫坐在垫子上。它很漂亮，也很小。", True),
        ("黒い猫がマットの上に座っている", True),
        ("แมวดำนั่งบนเสื่อ และสุนัขวิ่งในสวน", True),
        ("ဆူးလေဘုရားသည်မြို့လယ်တွင်ရှိသည်", True),
        ("ឆ្មាខ្មៅអង្គុយលើកន្ទេល", True),
        ("猫", True),
        ("猫 dog", False),  # half of one, half of the other: three letters of four are Latin
        ("iPhone手机壳很漂亮很便宜", True),
        ("一只 黑 猫 坐 在 垫子 上", False),  # somebody has separated the words
        ("แมว ดำ นั่ง บน เสื่อ", False),
        ("고양이가 매트 위에", False),
        ("बिल्ली", False),
        ("cat", False),
        ("", False),
        ("🍎", False),
    ],
)
def test_texts_without_spaces(text, expected):
    assert lacks_spaces(text) is expected
