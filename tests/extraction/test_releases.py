"""Releases of Wikipedia, Pascal Sentence and NUS-WIDE: which pairs they have, and what can be wrong with them."""

import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax.extraction import Pair, releases
from tests.extraction.folders import EMPTY, MISSING, problems

XML = '<?xml version="1.0"?>\n<document name="x">\n{}\n<imageset><image id="x"/></imageset>\n</document>'
LAUGHS = '<!DOCTYPE x [<!ENTITY a "{}"><!ENTITY b "&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>'.format("ha" * 99)


@pytest.fixture(scope="module")
def wikipedia(tmp_path_factory):
    """The release in full length; of most pairs the files lack."""
    root = tmp_path_factory.mktemp("wikipedia")
    for name in ("texts", "images/art"):
        (root / name).mkdir(parents=True)
    rows = [f"text-{row}.2\timage-{row}\t{row % 10 + 1}" for row in range(2173 + 693)]
    (root / "trainset_txt_img_cat.list").write_text("\n".join(rows[:2173]) + "\n")
    (root / "testset_txt_img_cat.list").write_text("\n".join(rows[2173:]) + "\n")
    return root


def wikipedia_pair(root, xml, row=0):
    """The pair of a row, with its image."""
    (root / "texts" / f"text-{row}.2.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    (root / "images" / "art" / f"image-{row}.jpg").touch()
    return releases.read_wikipedia(root)[row]


def test_wikipedia_has_the_official_pairs_and_splits(wikipedia):
    pair = wikipedia_pair(wikipedia, XML.format("<text>\nA  knight,\n\nof old.\n</text>"), 5)
    assert pair == Pair("text-5.2", wikipedia / "images/art/image-5.jpg", ("A knight, of old.",), "6", 0)
    pairs = releases.read_wikipedia(wikipedia)
    assert [pair.id for pair in pairs] == [f"text-{row}.2" for row in range(2866)]
    assert [pair.split for pair in pairs] == [0] * 2173 + [1] * 231 + [2] * 462
    assert pairs[7] == Pair("text-7.2", wikipedia / "images" / "image-7.jpg", (), "8", 0, MISSING)


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (XML.format("<text>Tom &amp; Jerry &lt;3 &#233;&#xe9;</text>"), "Tom & Jerry <3 \xe9\xe9"),
        (XML.format("<text>AT&T, R & D, a < b </text>"), "AT&T, R & D, a < b"),
        (XML.format('<text lang="en">a</text><text>b</text>'), "a b"),
        ("\ufeff<text>a</text> and an end that </lacks", "a"),
        (LAUGHS + "<text>&b; &c;</text>", "&b; &c;"),
    ],
)
def test_wikipedia_texts_are_read_even_where_the_xml_is_not_well_formed(wikipedia, xml, text):
    pair = wikipedia_pair(wikipedia, xml)
    assert (pair.texts, pair.problem) == ((text,), None)


@pytest.mark.parametrize(
    ("xml", "problem"),
    [
        ("", "there is no <text> with an end in the XML"),
        (XML.format("<text>a"), "there is no <text> with an end in the XML"),
        (XML.format("<texts>a</texts>"), "there is no <text> with an end in the XML"),
        ("<text>" * 200_000, "there is no <text> with an end in the XML"),
        (XML.format("<text>\n \n</text>"), EMPTY),
        (XML.format("<text>caf\xe9</text>").encode("latin-1"), "the text is not UTF-8 (the byte 0xe9)"),
        (XML.format("<text>a\0</text>"), "the text has NUL characters"),
    ],
)
def test_what_is_wrong_with_a_wikipedia_text_is_its_problem(wikipedia, xml, problem):
    pair = wikipedia_pair(wikipedia, xml)
    assert (pair.texts, pair.problem) == ((), problem)


def test_a_wikipedia_text_may_lack(wikipedia):
    wikipedia_pair(wikipedia, "<text>a</text>", 3)
    (wikipedia / "texts" / "text-3.2.xml").unlink()
    assert releases.read_wikipedia(wikipedia)[3].problem == "there is no such text file"
    (wikipedia / "texts" / "text-3.2.xml").mkdir()
    assert releases.read_wikipedia(wikipedia)[3].problem == "the text file cannot be read (Is a directory)"


def test_wikipedia_classes_have_names_where_there_are_some(wikipedia, tmp_path):
    root = shutil.copytree(wikipedia, tmp_path / "copy")
    names = [f"class {number}" for number in range(1, 11)]
    (root / "categories.list").write_text("\n".join(names) + "\n")
    assert [pair.label for pair in releases.read_wikipedia(root)[:20]] == names * 2
    for wrong in (names[:9], names[:9] + names[:1]):
        (root / "categories.list").write_text("\n".join(wrong))
        with pytest.raises(ValueError, match=r"categories\.list: expected 10 different class names, .* found 9$"):
            releases.read_wikipedia(root)
    (root / "categories.list").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"categories\.list: the class name is not UTF-8 \(the byte 0xe9\)$"):
        releases.read_wikipedia(root)


def test_wikipedia_needs_its_lists_as_they_are_and_its_folders(wikipedia, tmp_path):
    root = shutil.copytree(wikipedia, tmp_path / "copy")
    path = root / "testset_txt_img_cat.list"
    lines = path.read_text().splitlines(keepends=True)
    for content, message in (
        (lines[1:], "expected 693 lines, found 692"),
        ([*lines[1:], lines[1]], "text-2174.2 is in the lists twice"),
        (["a b c\n", *lines[1:]], "line 1: expected text, image and class number"),
    ):
        path.write_text("".join(content))
        with pytest.raises(ValueError, match=message):
            releases.read_wikipedia(root)
    path.unlink()
    with pytest.raises(ValueError, match=r"testset_txt_img_cat\.list: no such file"):
        releases.read_wikipedia(root)
    path.write_text("".join(lines))
    shutil.rmtree(root / "texts")
    with pytest.raises(ValueError, match="expected a folder texts, found none"):
        releases.read_wikipedia(root)
    with pytest.raises(ValueError, match="none: no such folder"):
        releases.read_wikipedia(tmp_path / "none")


@pytest.mark.parametrize(
    ("image", "text", "id", "label"),
    [
        ("dataset/cow/2008_1.jpg", "sentence/cow/2008_1txt", "cow/2008_1", "cow"),
        ("dataset/cow/2008_1.jpg", "sentence/cow/2008_1.txt", "cow/2008_1", "cow"),
        ("Images/2008_1.jpg", "Sentences/2008_1.txt", "2008_1", None),
    ],
)
def test_pascal_is_read_as_it_circulates(tmp_path, image, text, id, label):
    for name in (image, text):
        (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / image).touch()
    (tmp_path / image).with_name("Thumbs.db").touch()
    (tmp_path / text).write_bytes(b"A cow.\r\nTwo cows .\r\n\r\nthree\nfour\n5\n")
    sentences = ("A cow.", "Two cows .", "three", "four", "5")
    assert releases.read_pascal(tmp_path) == [Pair(id, tmp_path / image, sentences, label)]


def test_a_pascal_pair_may_lack_an_image_or_sentences(tmp_path):
    files = {"a/1.jpg": None, "a/1txt": b"good", "a/2.jpg": None, "b/3txt": b"no image"}
    files |= {"b/4.jpg": None, "b/4txt": b"\n \n", "b/5.jpg": None, "b/5txt": b"good\n\xff"}
    for name, content in files.items():
        path = tmp_path / ("dataset" if content is None else "sentence") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or b"")
    pairs = releases.read_pascal(tmp_path)
    assert [pair.id for pair in pairs] == ["a/1", "a/2", "b/3", "b/4", "b/5"]
    assert [pair.label for pair in pairs] == ["a", "a", "b", "b", "b"]
    assert problems(pairs) == [
        None,
        "there is no such text file",
        MISSING,
        EMPTY,
        "the text is not UTF-8 (the byte 0xff)",
    ]
    (tmp_path / "dataset" / "a" / "1.png").touch()
    with pytest.raises(ValueError, match=r"expected one file called a/1, found 1\.\w+ and 1\.\w+$"):
        releases.read_pascal(tmp_path)


def test_pascal_needs_both_folders_and_something_in_them(tmp_path):
    with pytest.raises(ValueError, match="expected a folder dataset or images, found none"):
        releases.read_pascal(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="expected a folder sentence or sentences, found none"):
        releases.read_pascal(tmp_path)
    (tmp_path / "sentence").mkdir()
    with pytest.raises(ValueError, match="expected images in images and texts in sentence, found none"):
        releases.read_pascal(tmp_path)


@pytest.fixture
def nuswide(tmp_path):
    """A release of 400 lines: 30 of each class alone, 50 of two classes, 50 of none of the ten."""
    classes = [{row % 10} for row in range(300)] + [{0, row % 9 + 1} for row in range(50)] + [set()] * 50
    random.Random(0).shuffle(classes)
    lists = {"ImageList/Imagelist.txt": [f"actor\\{row:04d}_{row + 7}.jpg" for row in range(400)]}
    lists["NUS_WID_Tags/All_Tags.txt"] = [f"{row + 7}      tag{row} \xe4 " for row in range(400)]
    for number, name in enumerate(releases.NUSWIDE_CLASSES):
        rows = [str(int(number in of)) for of in classes]
        lists[f"Groundtruth/AllLabels/Labels_{name}.txt"] = rows
    for name, lines in lists.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    (tmp_path / "Flickr" / "actor").mkdir(parents=True)
    for row in range(400):
        (tmp_path / "Flickr" / "actor" / f"{row:04d}_{row + 7}.jpg").touch()
    return tmp_path, classes


def by_row(pairs):
    return {int(Path(pair.id).stem[:4]): pair for pair in pairs}


def test_nuswide_draws_pairs_of_exactly_one_class(nuswide):
    root, classes = nuswide
    pairs = releases.read_nuswide(root, per_class=20)
    assert problems(pairs) == [None] * 200 and [*by_row(pairs)] == sorted(by_row(pairs))
    for row, pair in by_row(pairs).items():
        assert classes[row] == {releases.NUSWIDE_CLASSES.index(pair.label)}
        assert pair.id == f"actor/{row:04d}_{row + 7}.jpg" and pair.image == root / "Flickr" / pair.id
        assert pair.texts == (f"tag{row} \xe4",)
    assert Counter((pair.label, pair.split) for pair in pairs) == {
        (label, split): count for label in releases.NUSWIDE_CLASSES for split, count in enumerate((16, 2, 2))
    }


def test_the_draw_of_nuswide_is_a_shuffle_of_the_lists_in_the_order_of_the_classes(nuswide):
    root, classes = nuswide
    random = np.random.RandomState(3)
    expected = {}
    for number in range(10):
        drawn = random.permutation([row for row in range(400) if classes[row] == {number}])[:10].tolist()
        expected |= dict(zip(drawn, [0] * 8 + [1, 2], strict=True))
    assert {
        row: pair.split for row, pair in by_row(releases.read_nuswide(root, per_class=10, seed=3)).items()
    } == expected


def test_a_nuswide_pair_that_cannot_be_used_is_named_and_another_takes_its_place(nuswide):
    root, _ = nuswide
    before = by_row(releases.read_nuswide(root, per_class=10))
    gone, bare, other, broken = [row for row, pair in before.items() if pair.label == "toy"][:4]
    (root / "Flickr" / before[gone].id).unlink()
    path = root / "NUS_WID_Tags" / "All_Tags.txt"
    lines = path.read_bytes().split(b"\r\n")
    lines[bare], lines[other], lines[broken] = b"%d  " % (bare + 7), b"8 a", b"%d \xff" % (broken + 7)
    path.write_bytes(b"\n".join(lines))
    after = by_row(releases.read_nuswide(root, per_class=10))
    assert {row: pair.problem for row, pair in after.items() if pair.problem} == {
        gone: MISSING,
        bare: EMPTY,
        other: "the tags are those of another image",
        broken: "the text is not UTF-8 (the byte 0xff)",
    }
    assert before.keys() < after.keys() and len(after) == len(before) + 4
    usable = Counter((pair.label, pair.split) for pair in after.values() if not pair.problem)
    assert usable == Counter((pair.label, pair.split) for pair in before.values())


def test_a_nuswide_image_must_be_inside_the_folder(nuswide):
    root, classes = nuswide
    path = root / "ImageList" / "Imagelist.txt"
    lines = path.read_bytes().split(b"\r\n")
    for row in (classes.index({4}), classes.index({5})):
        lines[row] = b"..\\" + lines[row]
    path.write_bytes(b"\n".join(lines))
    found = releases.read_nuswide(root, per_class=29)
    assert {pair.id: pair.problem for pair in found if pair.problem} == {
        f"line {classes.index({number}) + 1}": "the image is outside the folder" for number in (4, 5)
    }


def test_nuswide_images_may_be_elsewhere_and_in_one_folder(nuswide, tmp_path):
    root, _ = nuswide
    expected = releases.read_nuswide(root, per_class=5)
    (root / "Flickr" / "actor").rename(root / "elsewhere")
    (root / "Flickr").rmdir()
    with pytest.raises(ValueError, match="expected a folder flickr or images, found none"):
        releases.read_nuswide(root, per_class=5)
    found = releases.read_nuswide(root, root / "elsewhere", per_class=5)
    assert [pair.id for pair in found] == [pair.id for pair in expected]
    assert [pair.image for pair in found] == [root / "elsewhere" / Path(pair.id).name for pair in expected]


def test_nuswide_says_which_class_has_too_few_pairs_and_why(nuswide):
    root, _ = nuswide
    with pytest.raises(ValueError) as error:
        releases.read_nuswide(root, per_class=31)
    assert str(error.value) == f"{root}: expected 31 usable pairs of the class animal, found 30 of 30"
    pair = next(pair for pair in releases.read_nuswide(root, per_class=30) if pair.label == "window")
    pair.image.unlink()
    with pytest.raises(ValueError) as error:
        releases.read_nuswide(root, per_class=30)
    assert str(error.value) == (
        f"{root}: expected 30 usable pairs of the class window, found 29 of 30; {pair.id}: {MISSING}"
    )


def test_nuswide_lists_must_fit_together(nuswide):
    root, _ = nuswide
    labels, tags = root / "Groundtruth/AllLabels/Labels_sky.txt", root / "NUS_WID_Tags/All_Tags.txt"
    names = root / "ImageList/Imagelist.txt"
    good = {path: path.read_bytes() for path in (labels, tags, names)}
    for path, content, message in (
        (labels, good[labels] + b"1\r\n", "expected 400 lines, one per image, found 401"),
        (labels, b"-1130179" + good[labels][1:], "line 1: expected 0 or 1, found b'-1130179'"),
        (tags, good[tags].replace(b"8 ", b"8\n", 1), "expected 400 lines, one per image, found 401"),
        (names, good[names][:-20], "expected 399 lines, one per image, found 400"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            releases.read_nuswide(root, per_class=30)
        path.write_bytes(good[path])
    for path in (names, tags):
        path.write_bytes(b"".join(good[path].splitlines(keepends=True)[:200] * 2))
    with pytest.raises(ValueError, match=r"actor/\d+_\d+\.jpg is in the lists twice"):
        releases.read_nuswide(root, per_class=30)
    for path in good:
        path.write_bytes(good[path])
    assert len(releases.read_nuswide(root, per_class=30)) == 300
    for path in good:
        path.unlink()
        with pytest.raises(ValueError, match=f"expected a file .*{path.name}, found none"):
            releases.read_nuswide(root, per_class=30)
        path.write_bytes(good[path])
