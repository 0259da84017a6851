"""How a text becomes the words, or the groups of characters, that a bag of words counts.

A letter is what Unicode calls one, in any script; a mark is a character that changes the letter before it, such as the
vowel signs of Hindi or an accent that is stored beside its letter.
"""

import dataclasses
import functools
import re
import reprlib
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

ANALYZERS = ("word", "char")
_OLD = "letters"  # the rule of version 0.1
_LONGEST = 10  # characters of an n-gram
_LETTER = r"[^\W_]"
_PRESENTATION = "\ufe0e\ufe0f"  # show the symbol before as text, as a picture
_DOT_ABOVE = "\u0307"
# Scripts of Asia, from Arabic to Khmer and those that Unicode added later: their words may hold (non-)joiners.
_JOINING = "\u0600-\u1cff\ua800-\uabff\U00010a00-\U00011fff"
_SKIN = "\U0001f3fb-\U0001f3ff"
_REGIONAL = "\U0001f1e6-\U0001f1ff"  # two of these letters are a flag
_TAGS = "\U000e0020-\U000e007f"  # a flag of a region, such as Scotland, is a black flag and such characters
# Letters of scripts that are written without spaces between words: Thai, Lao, Burmese, Khmer, those of the Tai
# languages, Japanese and Chinese.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
    "\u3005-\u3007\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00016fe0-\U00018cff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
_PER_SPACE = 8  # letters; words of Thai or Chinese that somebody has separated are shorter on average


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """The rule by which a text is cut into words or character n-grams.

    The text is put in Unicode's form NFC and in lower case, so that it does not matter how an accent is stored.

    "word": a word is two or more letters, digits and marks, the first of which is no mark. The joiner and the
    non-joiner (U+200D, U+200C) belong to a word of an Asian script; everything else separates words.

    "char": each group of consecutive characters, of every length in `ngram_range`, spaces and punctuation included;
    several spaces count as one. This is for texts without spaces between words. The default is one and two characters:
    most words of Chinese have one or two, and for finding Chinese texts pairs of characters are as good as words.

    Attributes:
        analyzer: "word" or "char".
        ngram_range: the shortest and the longest n-gram, 1 to 10 characters; only for "char".
        numbers: whether a number of one digit is a word too; only for "word".
        symbols: whether each symbol, such as an emoji, is a word too; only for "word".

    Raises:
        ValueError: another analyzer or range, or an argument that does not go with the analyzer.

    Example:
        >>> Tokenizer().tokens("Two red_hearts: 2 X 10")
        ['two', 'red', 'hearts', '10']
        >>> Tokenizer(numbers=True, symbols=True).tokens("I have 2 🍎!")
        ['have', '2', '🍎']
        >>> Tokenizer("char", (1, 2)).tokens("A b")
        ['a', ' ', 'b', 'a ', ' b']

    References:
        Unicode Standard Annex 15, "Unicode Normalization Forms", https://unicode.org/reports/tr15/.
        K. L. Kwok, "Comparing Representations in Chinese Information Retrieval", SIGIR 1997.
    """

    analyzer: str = "word"
    ngram_range: tuple[int, int] = (1, 2)
    numbers: bool = False
    symbols: bool = False

    def __post_init__(self):
        if self.analyzer not in (*ANALYZERS, _OLD):
            raise ValueError(f"analyzer must be {' or '.join(ANALYZERS)}, got {reprlib.repr(self.analyzer)}")
        for name in ("numbers", "symbols"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {reprlib.repr(getattr(self, name))}")
        if self.analyzer != "char":
            if self.ngram_range != (1, 2):
                raise ValueError(f"ngram_range goes with analyzer='char', got analyzer={self.analyzer!r}")
            return
        if self.numbers or self.symbols:
            raise ValueError("numbers and symbols go with analyzer='word'; analyzer='char' counts them anyway")
        bounds = self.ngram_range
        if not (isinstance(bounds, tuple) and len(bounds) == 2 and all(type(bound) is int for bound in bounds)) or not (
            1 <= bounds[0] <= bounds[1] <= _LONGEST
        ):
            raise ValueError(
                f"ngram_range must be the shortest and the longest n-gram, two whole numbers from 1 to {_LONGEST}, "
                f"got {reprlib.repr(bounds)}"
            )

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "Tokenizer":
        """Returns the tokenizer that a description names.

        Args:
            description: of a bag of words, as in the manifest of a feature file. One without "analyzer" was written by
                version 0.1, where marks separated words and texts were not put in NFC; the result does the same.

        Returns:
            The tokenizer.

        Raises:
            ValueError: a value that `Tokenizer` refuses.

        Example:
            >>> Tokenizer.from_description({"analyzer": "char", "ngram_range": [1, 3]}).ngram_range
            (1, 3)
        """
        if "analyzer" not in description:
            return cls(_OLD)
        if description["analyzer"] not in ANALYZERS:
            raise ValueError(f"analyzer must be {' or '.join(ANALYZERS)}, got {reprlib.repr(description['analyzer'])}")
        given = {name: description[name] for name in ("ngram_range", "numbers", "symbols") if name in description}
        if isinstance(given.get("ngram_range"), list):
            given["ngram_range"] = tuple(given["ngram_range"])
        return cls(description["analyzer"], **given)

    @property
    def description(self) -> dict[str, Any]:
        """The settings as JSON values, for `from_description`."""
        if self.analyzer == "char":
            return {"analyzer": "char", "ngram_range": list(self.ngram_range)}
        if self.analyzer == "word":
            return {"analyzer": "word", "numbers": self.numbers, "symbols": self.symbols}
        return {}

    @property
    def noun(self) -> str:
        """What the tokens are, for messages about a vocabulary."""
        if self.analyzer == "char":
            return f"n-grams of {self.ngram_range[0]} to {self.ngram_range[1]} characters, in NFC, in lower case"
        return f"words of two or more letters or digits, {'' if self.analyzer == _OLD else 'in NFC, '}in lower case"

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of scikit-learn's `CountVectorizer` that make these tokens."""
        if self.analyzer == "char":
            return {"analyzer": "char", "ngram_range": self.ngram_range, "preprocessor": self.normalize}
        return {"token_pattern": _pattern(self.analyzer, self.numbers, self.symbols), "preprocessor": self.normalize}

    def normalize(self, text: str) -> str:
        """Returns a text in the form in which tokens are taken from it.

        Example:
            >>> Tokenizer().normalize("CAFÉ")
            'café'
        """
        if self.analyzer == _OLD:
            return text.lower()
        text = unicodedata.normalize("NFC", text.lower())  # lower() may split a letter from its mark
        return re.sub(f"[{_PRESENTATION}]", "", text) if self.symbols else text

    def is_token(self, token: str) -> bool:
        """Returns whether a string can be a token of some text.

        Example:
            >>> Tokenizer().is_token("rose"), Tokenizer().is_token("Rose"), Tokenizer().is_token("a rose")
            (True, False, False)
        """
        if token != self.normalize(token):
            return False
        if self.analyzer == "char":
            return self.ngram_range[0] <= len(token) <= self.ngram_range[1]
        return re.fullmatch(_pattern(self.analyzer, self.numbers, self.symbols), token) is not None

    def tokens(self, text: str) -> list[str]:
        """Returns the tokens of a text in their order: all n-grams of a length before those of the next length.

        Args:
            text: a string.

        Returns:
            The tokens; a token that the text has twice is there twice.
        """
        text = self.normalize(text)
        if self.analyzer != "char":
            return re.findall(_pattern(self.analyzer, self.numbers, self.symbols), text)
        text, (shortest, longest) = re.sub(r"\s\s+", " ", text), self.ngram_range
        return [text[at : at + n] for n in range(shortest, longest + 1) for at in range(len(text) - n + 1)]


def lacks_spaces(text: str) -> bool:
    """Returns whether a text is written without spaces between its words, as Chinese, Japanese and Thai are.

    That is so if more than half of its letters are of such a script, and if it has less than one space for each eight
    of its letters, the first eight not counted. So it is not so for Chinese whose words somebody has separated.

    Args:
        text: a string.

    Returns:
        Whether it is.

    Example:
        >>> lacks_spaces("一只黑猫"), lacks_spaces("一 只 黑 猫"), lacks_spaces("cat")
        (True, False, False)
    """
    letters = len(re.findall(_LETTER, text))
    unspaced = len(re.findall(f"(?=[{_UNSPACED}]){_LETTER}", text))
    return 2 * unspaced > letters and (len(text.split()) - 1) * _PER_SPACE < max(letters, 1)


@functools.cache
def _pattern(analyzer: str, numbers: bool, symbols: bool) -> str:
    if analyzer == _OLD:
        return _LETTER + "{2,}"
    # Lower case makes "i" and a dot above of the Turkish capital. Words have always been cut there, and vocabularies of
    # Latin texts must stay as they are.
    mark = f"(?:[{_class_of('Mn', 'Mc', without=_PRESENTATION + _DOT_ABOVE)}]|(?<!i){_DOT_ABOVE})"
    joiner = f"(?<=[{_JOINING}])[\u200c\u200d](?={_LETTER}|{mark})"
    choices = [f"{_LETTER}(?:{_LETTER}|{mark}|{joiner})+"]
    if symbols:
        # Emoji that are shown as one picture are one word: a digit in a square, a flag, a family.
        symbol = f"[{_class_of('So', 'Sc', 'Sm')}][{_SKIN}]?"
        sequence = f"{symbol}[{_TAGS}]*(?:\u200d{symbol})*"
        choices = ["[0-9#*]\u20e3", *choices, f"[{_REGIONAL}]{{2}}", sequence]
    if numbers:
        choices.append(r"\d")
    return "|".join(choices)


def _class_of(*categories: str, without: str = "") -> str:
    """The inside of a class of a regular expression: the characters of Unicode's categories."""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) in categories and chr(code) not in without:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
