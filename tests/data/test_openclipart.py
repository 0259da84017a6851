import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax.data import shipped_arrays, shipped_documents, shipped_pictures
from gpldan_jax.data.shipped import shipped_items
from gpldan_jax.features import BagOfWords, hog_hsv
from tests.data.loading import load_tool

FOLDER = files("gpldan_jax.data.openclipart")
SIZE_LIMIT = 4_500_000
ITEMS, TRAIN, VALIDATION, TEST = 1532, 1102, 91, 339
SMALLEST_CLASS = 30
# Of each class, every form of its name; and keywords that the library gave to a whole class.
_NAMES = """
    animal animals building buildings celebration celebrations holiday party clothing clothes electronics electronic
    computer hardware flag flags food foods beverage dessert fruit fruits vegetable vegetables game games sport sports
    toy toys household furniture container containers music musical office education people person plant plants road
    roadsign sign signs sky weather tool tools vehicle vehicles transport transportation mammal recreation unsorted
"""
NAMES = frozenset(_NAMES.split())


@pytest.fixture(scope="module")
def clip_art():
    return shipped_arrays("openclipart")


@pytest.fixture(scope="module")
def items():
    return shipped_items("openclipart")["items"]


@pytest.fixture(scope="module")
def tool():
    return load_tool("build_openclipart")


@pytest.fixture(scope="module")
def choosing():
    return load_tool("openclipart_items")


def test_dimensions_and_ranges(clip_art):
    assert clip_art.image.shape == (ITEMS, 1952) and clip_art.image.dtype == np.float32
    assert clip_art.text.shape == (ITEMS, len(clip_art.vocabulary)) and set(np.unique(clip_art.text)) == {0, 1}
    assert clip_art.image.min() == 0 and clip_art.image.max() <= 1
    assert (clip_art.image[:, :1568].sum(axis=1) > 0).all(), "a picture is blank"
    assert len(clip_art.classes) == 18 and np.bincount(clip_art.label).min() >= SMALLEST_CLASS


def test_every_text_has_a_word_that_another_one_has(clip_art):
    assert clip_art.text.sum(axis=1).min() >= 1 and clip_art.text.sum(axis=0).min() >= 2


def test_no_text_names_a_class(clip_art):
    assert not NAMES & set(clip_art.vocabulary)
    for text in shipped_documents("openclipart"):
        assert not NAMES & set(text.split()), text


def test_the_split_is_stratified_and_cuts_no_series(clip_art, items):
    assert tuple(np.bincount(clip_art.split)) == (TRAIN, VALIDATION, TEST)
    for label in range(18):
        members = clip_art.split[clip_art.label == label]
        for part, share in ((1, 0.06), (2, 0.22)):
            assert abs((members == part).sum() - share * len(members)) <= 1, clip_art.classes[label]
    split_of = {}
    for item, part in zip(items, clip_art.split, strict=True):
        assert split_of.setdefault(item["series"], part) == part, item["file"]
    assert max(Counter(item["series"] for item in items).values()) <= 8


def test_names_that_differ_only_in_a_number_are_one_series(items):
    series = {}
    for item in items:
        name = re.sub(r"( \d+| \(\d+\))+$", "", item["name"].lower())
        series.setdefault(name, set()).add(item["series"])
    assert not {name: found for name, found in series.items() if len(found) > 1}


def test_no_two_pictures_are_the_same(clip_art):
    assert len(np.unique(clip_art.image, axis=0)) == ITEMS


def test_items_say_where_they_are_from(clip_art, items):
    assert [clip_art.classes[label] for label in clip_art.label] == [item["class"] for item in items]
    assert len({item["file"] for item in items}) == ITEMS
    assert sum(bool(item["creator"]) for item in items) > 0.95 * ITEMS


def test_the_licence_is_there():
    terms = FOLDER.joinpath("LICENSE-OPENCLIPART").read_text(encoding="utf-8")
    assert "Public Domain Dedication" in terms and "Open Clip Art Library" in terms
    assert shipped_items("openclipart")["sources"]["openclipart-svg"] in terms
    assert "GPL" not in terms


def test_size():
    paths = [path for path in Path(str(FOLDER)).iterdir() if path.is_file()]
    assert {"features.npz", "items.json", "sprites.webp", "README.md"} <= {path.name for path in paths}
    assert sum(path.stat().st_size for path in paths) < SIZE_LIMIT


@pytest.mark.slow
def test_image_features_come_from_the_pictures(clip_art):
    pytest.importorskip("PIL", reason="reading the pictures needs Pillow")
    pytest.importorskip("skimage", reason="the features need scikit-image")
    pictures = shipped_pictures("openclipart")
    assert pictures.shape == (ITEMS, 64, 64, 3) and pictures.dtype == np.uint8
    rows = np.arange(0, ITEMS, 11)  # every eleventh: all would take seconds
    np.testing.assert_array_equal(hog_hsv(pictures[rows]), clip_art.image[rows])


def test_words_come_from_the_texts(clip_art):
    pytest.importorskip("sklearn", reason="the bag of words needs scikit-learn")
    documents = shipped_documents("openclipart")
    words = BagOfWords.fit(documents)
    assert words.vocabulary == clip_art.vocabulary
    np.testing.assert_array_equal(words.transform(documents), clip_art.text)


def test_the_split_comes_from_the_seed(clip_art, items, tool):
    series = np.array([item["series"] for item in items])
    np.testing.assert_array_equal(tool.split_series(clip_art.label, series, seed=0), clip_art.split)
    assert (tool.split_series(clip_art.label, series, seed=1) != clip_art.split).any()


@pytest.mark.parametrize(
    "files, expected",
    [
        (["animals/bugs/ant"], "animals"),
        (["animals/fantasy/troll"], None),
        (["food/pie", "food/fruit/pie"], "fruit and vegetables"),
        (["food/cake", "recreation/party/cake"], "food"),
        (["animals/fish", "food/fish"], None),
        (["computer/icons/a"], None),
    ],
)
def test_the_class_of_a_drawing_is_that_of_its_folders(choosing, files, expected):
    assert choosing.class_of(files) == expected


@pytest.mark.parametrize(
    "name, keywords, text",
    [
        ("Wild Animals 2", ["animal", "signs_and_symbols", "lion"], "wild lion"),
        ("Big RedCar", ["hash(0x8a4c998)", "http://a.example/car", "some body"], "big red car"),
        ("The flag", ["flags"], ""),
    ],
)
def test_a_text_loses_the_words_of_classes_and_of_the_library(choosing, name, keywords, text):
    assert choosing.text_of({"name": name, "keywords": keywords, "creator": "Some Body"}) == text


def test_a_file_under_another_licence_is_left_out(choosing, tmp_path):
    svg = """<svg xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
        xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work><dc:title>A%s</dc:title>
        <cc:license rdf:resource="%s"/></cc:Work></svg>"""
    folder = tmp_path / "svg/tools"
    folder.mkdir(parents=True)
    for number, licence in enumerate(["http://web.resource.org/cc/PublicDomain", "http://a.example/GPL/2.0/", ""]):
        (folder / f"a{number}.svg").write_text(svg % (number, licence))
    items, refused = choosing.read_items(tmp_path)
    assert [item["file"] for item in items] == ["tools/a0"] and refused == ["tools/a1", "tools/a2"]


def test_the_title_of_a_collection_gives_way_to_the_file_name(choosing):
    titles = {"tools/hammer_jo_01": "My Tools", "tools/saw_jo_01": "My Tools", "tools/axe_jo_02": "My Tools"}
    items = [{"file": file, "title": title, "creator": "Jo"} for file, title in titles.items()]
    items.append({"file": "tools/big_drill_01", "title": "Big Drill", "creator": "Jo"})
    choosing.name_items(items)
    assert [item["name"] for item in items] == ["hammer", "saw", "axe", "Big Drill"]


def test_the_tool_says_what_to_do_without_the_packages(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "apt-get download openclipart-png openclipart-svg" in message
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "creator, name",
    [
        ("Jo Who (jo@who.org)", "Jo Who"),
        ("Jo [jo@who.org]", "Jo"),
        ("jo <jo.who@who.org>", "jo"),
        ("Jo Who - jo@who.org", "Jo Who"),
        ("jo@who.org", "jo"),
        ("HASH(0x89c79d4)", ""),
        ("Nicu Buculei", "Nicu Buculei"),
    ],
)
def test_creators_are_named_without_their_addresses(choosing, items, creator, name):
    assert choosing.without_address(creator) == name
    assert not any("@" in item["creator"] or "HASH(" in item["creator"] for item in items)
