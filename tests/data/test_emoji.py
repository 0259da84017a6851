import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.features import BagOfWords, hog_hsv
from tests.data.loading import load_tool

FOLDER = files("gpldan_jax.data.emoji")
SPLIT_SIZES = (1400, 100, 370)
WORDLESS = 87  # emoji whose every word is theirs alone: a property of the sources, pinned so that a change is seen
SIZE_LIMIT = 8_000_000


@pytest.fixture(scope="module")
def emoji():
    return load_emoji_arrays()


@pytest.fixture(scope="module")
def items():
    return json.loads(FOLDER.joinpath("items.json").read_text(encoding="utf-8"))["items"]


@pytest.fixture(scope="module")
def tool():
    return load_tool("build_emoji")


def test_dimensions(emoji):
    assert emoji.image.shape == (1870, 1952)
    assert emoji.text.shape == (1870, len(emoji.vocabulary)) == (1870, 952)
    assert emoji.label.shape == emoji.split.shape == (1870,)
    assert len(emoji.names) == len(emoji.emoji) == 1870
    assert len(emoji.groups) == 9


def test_dtypes_and_ranges(emoji):
    assert emoji.image.dtype == emoji.text.dtype == np.float32
    assert emoji.label.dtype == emoji.split.dtype == np.int32
    assert emoji.image.min() == 0 and emoji.image.max() <= 1
    assert set(np.unique(emoji.text)) == {0, 1}
    assert set(np.unique(emoji.label)) == set(range(9))


def test_no_picture_is_blank(emoji):
    assert (emoji.image[:, :1568].sum(axis=1) > 0).all()


def test_colour_histograms_are_shares_of_a_square(emoji):
    shares = emoji.image[:, 1568:].reshape(1870, 16, 24).sum(axis=2)
    assert (shares == 1).all()  # multiples of 1/256 are exact in float16


def test_split_is_stratified(emoji):
    assert tuple(np.bincount(emoji.split)) == SPLIT_SIZES
    for group in range(9):
        members = emoji.split[emoji.label == group]
        for split, size in enumerate(SPLIT_SIZES):
            share = len(members) * size / 1870
            assert abs((members == split).sum() - share) < 1, (emoji.groups[group], split)


def test_words_are_shared(emoji):
    assert emoji.text.sum(axis=0).min() >= 2
    assert list(emoji.vocabulary) == sorted(set(emoji.vocabulary))
    assert (emoji.text.sum(axis=1) == 0).sum() == WORDLESS


def test_words_are_those_of_the_name_and_keywords(emoji, items):
    row = emoji.names.index("woman farmer")
    words = {word for word, present in zip(emoji.vocabulary, emoji.text[row], strict=True) if present}
    assert words == {"farmer", "gardener", "rancher", "woman"}
    for item, present in zip(items, emoji.text, strict=True):
        written = " ".join([item["name"], *item["keywords"]]).lower()
        assert all(emoji.vocabulary[j] in written for j in np.flatnonzero(present)), item["name"]


def test_items(emoji, items):
    assert len(set(emoji.emoji)) == 1870
    assert len(set(emoji.names)) == 1870
    assert [emoji.groups[label] for label in emoji.label] == [item["group"] for item in items]
    for item in items:
        characters = [int(codepoint, 16) for codepoint in item["codepoints"].split()]
        assert "".join(map(chr, characters)) == item["emoji"]
        assert not any(0x1F3FB <= character <= 0x1F3FF for character in characters), item["name"]


def test_licences(items):
    noto = FOLDER.joinpath("LICENSE-NOTO").read_text(encoding="utf-8")
    terms = FOLDER.joinpath("LICENSE-UNICODE").read_text(encoding="utf-8")
    sources = json.loads(FOLDER.joinpath("items.json").read_text(encoding="utf-8"))["sources"]
    assert "SIL OPEN FONT LICENSE Version 1.1" in noto and "Google Inc." in noto
    assert "Apache License" in noto and sources["fonts-noto-color-emoji"] in noto
    assert "COPYRIGHT AND PERMISSION NOTICE" in terms and "1991-2022 Unicode, Inc." in terms
    assert sources["unicode-data"] in terms and sources["unicode-cldr-core"] in terms


def test_size():
    paths = [path for path in Path(str(FOLDER)).iterdir() if path.is_file()]
    assert {"features.npz", "items.json", "sprites.webp", "README.md"} <= {path.name for path in paths}
    assert sum(path.stat().st_size for path in paths) < SIZE_LIMIT


@pytest.mark.slow
def test_image_features_come_from_the_sprites(emoji):
    pytest.importorskip("PIL", reason="reading the sprites needs Pillow")
    pytest.importorskip("skimage", reason="the features need scikit-image")
    pictures = load_emoji_pictures()
    assert pictures.shape == (1870, 64, 64, 3) and pictures.dtype == np.uint8
    rows = np.arange(0, 1870, 11)  # every eleventh: all would take seconds
    features = hog_hsv(pictures[rows])
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, emoji.image[rows])


def test_words_come_from_the_items(emoji, items):
    pytest.importorskip("sklearn", reason="the bag of words needs scikit-learn")
    documents = [" ".join([item["name"], *item["keywords"]]) for item in items]
    words = BagOfWords.fit(documents)
    assert words.vocabulary == emoji.vocabulary
    np.testing.assert_array_equal(words.transform(documents), emoji.text)


def test_split_comes_from_the_seed(emoji, tool):
    pytest.importorskip("sklearn", reason="the split needs scikit-learn")
    np.testing.assert_array_equal(tool.split_items(emoji.label, seed=0), emoji.split)
    assert (tool.split_items(emoji.label, seed=1) != emoji.split).any()


def test_tool_says_what_to_install(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))  # without dpkg-query, as on a machine that is not Debian
    assert tool.main(["--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "apt-get install fonts-noto-color-emoji" in message
    assert list((tmp_path / "out").iterdir()) == []
