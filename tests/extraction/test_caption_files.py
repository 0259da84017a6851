"""Caption files as people have them: each form is read to the right pairs, or refused with the place and the fix."""

import collections
import json
import os
import tempfile
import warnings
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from gpldan_jax.data import load_dataset
from gpldan_jax.data.frames import check_pairs
from gpldan_jax.extraction import draw_splits, read_table
from gpldan_jax.extraction.pairs import member_matrix

TWO = [("0.jpg", "a cat"), ("1.jpg", "a dog")]
COCO = {
    "info": {},
    "images": [{"id": 7, "file_name": "0.jpg"}, {"id": 9, "file_name": "1.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 7, "caption": "a cat"},
        {"id": 2, "image_id": 9, "caption": "a dog"},
    ],
}


def karpathy(**changes):
    def sentences(text):
        return [{"raw": text, "tokens": text.split(), "imgid": 0, "sentid": 0}]

    images = [
        {"filename": "0.jpg", "imgid": 0, "split": "train", "sentences": sentences("a cat")},
        {"filename": "1.jpg", "imgid": 1, "split": "val", "sentences": sentences("a dog")},
    ]
    return {"images": [image | changes for image in images], "dataset": "flickr8k"}


def pairs_of(found):
    return [(pair.image.name, pair.texts[0] if pair.texts else None) for pair in found]


READ = {
    # Names of columns, in any case and order.
    "image,text": ("a.csv", "image,text\n0.jpg,a cat\n1.jpg,a dog\n"),
    "image,caption": ("a.csv", "image,caption\n0.jpg,a cat\n1.jpg,a dog\n"),
    "capitals": ("a.csv", "Image,Caption\n0.jpg,a cat\n1.jpg,a dog\n"),
    "screaming": ("a.csv", "IMAGE,TEXT\n0.jpg,a cat\n1.jpg,a dog\n"),
    "other order": ("a.csv", "text,image\na cat,0.jpg\na dog,1.jpg\n"),
    "filepath,title": ("a.csv", "filepath,title\n0.jpg,a cat\n1.jpg,a dog\n"),
    "file_name": ("a.csv", "file_name,text\n0.jpg,a cat\n1.jpg,a dog\n"),
    "filename": ("a.csv", "filename,sentence\n0.jpg,a cat\n1.jpg,a dog\n"),
    "image_path": ("a.csv", "image_path,description\n0.jpg,a cat\n1.jpg,a dog\n"),
    "blanks in a name": ("a.csv", " Image Path , Text \n0.jpg,a cat\n1.jpg,a dog\n"),
    "an exact name wins": ("a.csv", "image,text,title\n0.jpg,a cat,x\n1.jpg,a dog,y\n"),
    "columns beside those of ours": (
        "a.csv",
        "idx,class_id,subgroup,image,text\n1,2,3,0.jpg,a cat\n1,2,3,1.jpg,a dog\n",
    ),
    "a column twice that nobody needs": ("a.csv", "x,image,text,x\n1,0.jpg,a cat,2\n1,1.jpg,a dog,2\n"),
    "pandas' nameless index": ("a.csv", ",image,text\n0,0.jpg,a cat\n1,1.jpg,a dog\n"),
    "an extra column": ("a.csv", "image,text,price\n0.jpg,a cat,3\n1.jpg,a dog,4\n"),
    # Separators, quotes, ends of lines, marks.
    "semicolons": ("a.csv", "image;text\n0.jpg;a cat\n1.jpg;a dog\n"),
    "tabs": ("a.csv", "image\ttext\n0.jpg\ta cat\n1.jpg\ta dog\n"),
    "a .tsv": ("a.tsv", "image\ttext\n0.jpg\ta cat\n1.jpg\ta dog\n"),
    "a .txt with commas": ("captions.txt", "image,caption\n0.jpg,a cat\n1.jpg,a dog\n"),
    "quotes": ("a.csv", 'image,text\n"0.jpg","a cat"\n"1.jpg","a dog"\n'),
    "quotes after spaces": ("a.csv", 'image, text\n0.jpg, "a cat"\n1.jpg, a dog\n'),
    "quoted semicolons": ("a.csv", '"image";"text"\n"0.jpg";"a cat"\n"1.jpg";"a dog"\n'),
    "a byte order mark": ("a.csv", "\ufeffimage,text\n0.jpg,a cat\n1.jpg,a dog\n"),
    "ends of Windows": ("a.csv", "image,text\r\n0.jpg,a cat\r\n1.jpg,a dog\r\n"),
    "blank lines": ("a.csv", "\nimage,text\n\n0.jpg,a cat\n,\n1.jpg,a dog\n\n"),
    "results.csv of Flickr30k": ("r.csv", "image_name| comment_number| comment\n0.jpg| 0| a cat\n1.jpg| 1| a dog\n"),
    "Flickr8k.token.txt": ("Flickr8k.token.txt", "0.jpg#0\ta cat\n1.jpg#0\ta dog\n"),
    "a .token": ("results.token", "0.jpg#0\ta cat\n1.jpg#3\ta dog\n"),
    # JSON.
    "jsonl": ("a.jsonl", '{"image": "0.jpg", "text": "a cat"}\n{"image": "1.jpg", "text": ["a dog"]}\n'),
    "metadata.jsonl": (
        "metadata.jsonl",
        '{"file_name": "0.jpg", "text": "a cat"}\n{"file_name": "1.jpg", "text": "a dog"}',
    ),
    "metadata.csv": ("metadata.csv", "file_name,text\n0.jpg,a cat\n1.jpg,a dog\n"),
    "COCO": ("captions_val2017.json", json.dumps(COCO)),
    "Karpathy": ("dataset_flickr8k.json", json.dumps(karpathy())),
    "Karpathy with folders": ("dataset_coco.json", json.dumps(karpathy(filepath="no such folder"))),
    "names to captions": ("p.json", '{"0.jpg": {"captions": ["a cat"]}, "1.jpg": {"captions": ["a dog"]}}'),
    "names to lists": ("p.json", '{"0.jpg": ["a cat"], "1.jpg": ["a dog"]}'),
    "names to texts": ("p.json", '{"0.jpg": "a cat", "1.jpg": "a dog"}'),
    "names to both": ("p.json", '{"0.jpg": {"Captions": ["a cat"]}, "1.jpg": ["a dog"]}'),
    "lines called .json": ("l.json", '{"image": "0.jpg", "text": "a cat"}\n{"image": "1.jpg", "text": "a dog"}\n'),
    "a list called .jsonl": (
        "l.jsonl",
        '\n[{"image": "0.jpg", "text": "a cat"},\n{"image": "1.jpg", "text": "a dog"}]',
    ),
    "sentences that are strings": (
        "d.json",
        json.dumps(karpathy()).replace('{"raw": "a cat", "tokens": ["a", "cat"], "imgid": 0, "sentid": 0}', '"a cat"'),
    ),
    "a list of objects": ("l.json", '[{"image": "0.jpg", "caption": "a cat"}, {"image": "1.jpg", "caption": "a dog"}]'),
}
REFUSED = {
    "two texts": (
        "a.csv",
        "image,title,description\n0.jpg,a,b\n",
        "'title', 'description' may each be the text",
    ),
    "two images": (
        "a.csv",
        "filename,path,text\n0.jpg,a,b\n",
        "'filename', 'path' may each be the image; say",
    ),
    "a near miss": ("a.csv", "image,captoin\n0.jpg,a\n", "line 1: unknown column 'captoin' (did you mean 'caption'?)"),
    "labels": ("a.csv", "image,text,labels\n0.jpg,a,b\n", "unknown column 'labels' (did you mean 'label'?)"),
    "no header": ("a.csv", "0.jpg,a cat\n", "line 1: no column for the image; expected image or image_path"),
    "no text": ("a.csv", "image,price\n0.jpg,3\n", "line 1: no column for the text; expected text or caption"),
    "Latin-1": (
        "a.json",
        b'[{"image": "0.jpg", "text": "caf\xe9"}]',
        "expected UTF-8, found the byte 0xe9 at position 32",
    ),
    "UTF-16 without a mark": ("a.csv", "image,text\n".encode("utf-16-le"), "expected UTF-8, found UTF-16"),
    "UTF-16": ("a.csv", "image,text\n".encode("utf-16"), "expected UTF-8, found UTF-16"),
    "empty": ("a.csv", "", "the file is empty"),
    "only a header": ("a.csv", "image,text\n", "expected at least one row, found none"),
    "an open quote": ("a.csv", 'image,text\n0.jpg,"a\n', "line 2: quotes do not pair up"),
    "other JSON": ("a.json", '{"a": 1}', "expected COCO (images and annotations), Karpathy"),
    "no JSON": ("a.json", "{\n", "line 2: the file is not JSON (Expecting property name"),
    "deep JSON": ("a.json", "[" * 100_000, "the file is not JSON (too many brackets inside one another)"),
    "a long number": ("a.json", f"[{'1' * 5000}]", "the file is not JSON (a number with too many digits)"),
    "an empty list": ("a.json", "[]", "the list has no objects"),
    "an image twice": ("a.json", '{"0.jpg": ["a"], "0.jpg": ["b"]}', "the key '0.jpg' is twice in one object"),
    "texts of no images": (
        "a.json",
        '{"name": "x", "version": ["y"]}',
        "expected COCO (images and annotations), Karpathy",
    ),
    "two keys of captions": (
        "a.json",
        '{"0.jpg": {"captions": ["a"], "text": "b"}}',
        "'captions', 'text' may each be the text; say which with columns={'text': NAME}",
    ),
    "two classes": (
        "a.json",
        '{"0.jpg": {"captions": ["a"], "class": "b", "category": "c"}}',
        "'class', 'category' may each be the label; say which with columns={'label': NAME}",
    ),
    "a near miss in JSON": (
        "a.json",
        '{"0.jpg": {"captions": ["a"], "labels": ["b"]}}',
        "unknown key 'labels' (did you mean 'label'?)",
    ),
    "COCO's boxes": (
        "instances_val2017.json",
        json.dumps(COCO | {"annotations": [{"image_id": 7, "category_id": 1}]}),
        "annotations: none has the key 'caption'; expected COCO's file captions_*.json",
    ),
    "an id of two images": (
        "captions.json",
        json.dumps(COCO | {"images": [*COCO["images"], {"id": 7, "file_name": "2.jpg"}]}),
        "image 3: the id 7 is that of an earlier image",
    ),
    "images without sentences": (
        "dataset.json",
        '{"images": [{"filename": "0.jpg"}]}',
        "images: none has the key 'sentences', and there are no annotations",
    ),
    "a spreadsheet": ("a.xlsx", b"PK", "expected a file called .csv, .tsv, .txt, .token, .jsonl, .json, .parquet"),
    "ambiguous": ("a.csv", "image,text,a;path;title\n0.jpg,a\n", "comma and semicolon may each separate"),
    "cells separated in two ways": (
        "a.csv",
        "image;text,label\n0.jpg;a\n",
        "found 'image;text', 'label'; or say which with columns={'image': NAME}; if not comma but another character "
        "(semicolon?) separates the cells, say which: separator",
    ),
    "another separator": ("a.csv", "image^text\n0.jpg^a\n", "; if not comma but another character separates the cells"),
    "no header at all": ("a.csv", "0.jpg,a cat\n", "; if the table has no header, write one, such as image,text, as"),
    "a split in some rows": ("a.csv", "image,text,split\n0.jpg,a,train\n1.jpg,b,\n", "expected a split in every row"),
}


def write(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def test_there_are_45_forms_at_least():
    assert len(READ) + len(REFUSED) >= 45


@pytest.mark.filterwarnings("ignore:.*that are not used")
@pytest.mark.parametrize("form", READ)
def test_a_form_is_read(form, tmp_path, images):
    found = read_table(write(tmp_path, *READ[form]), images)
    assert pairs_of(found) == TWO and not any(pair.problem for pair in found)


@pytest.mark.parametrize("form", REFUSED)
def test_a_form_is_refused_with_the_fix(form, tmp_path, images):
    name, content, message = REFUSED[form]
    with pytest.raises(ValueError) as error:
        read_table(write(tmp_path, name, content), images)
    assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)
    assert message in str(error.value)


def test_columns_and_separators_can_be_given(tmp_path, images):
    with pytest.warns(UserWarning, match="columns that are not used: image,image, 0.jpg"):
        found = read_table(
            write(tmp_path, "b.csv", "image,image;photo;words;0.jpg\nx;0.jpg;a cat;y\n"),
            images,
            separator="semicolon",
            columns={"image": "photo", "text": "words"},
        )
    assert pairs_of(found) == TWO[:1]
    for columns, message in (
        ({"image": "image", "text": "image"}, "columns: 'image' is given for the image and for the text"),
        ({"image": "picture"}, "columns: no column 'picture' for the image; there are 'image', 'text'"),
        ({"picture": "image"}, "columns: expected names for image, text, id, label, split, group, found one for"),
    ):
        with pytest.raises(ValueError, match=message):
            read_table(write(tmp_path, "c.csv", "image,text\n0.jpg,a\n"), images, columns=columns)
    assert pairs_of(read_table(tmp_path / "c.csv", images, columns={"image": "IMAGE ", "text": "Text"})) == [
        ("0.jpg", "a")
    ]
    with pytest.raises(ValueError, match=r"separator is for tables with cells, not for \.jsonl"):
        read_table(write(tmp_path, "c.jsonl", '{"image": "0.jpg", "text": "a"}'), images, separator="tab")


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (COCO, {"text": "title"}, "a file of COCO says itself what its text is; leave out columns={'text': NAME}"),
        (
            karpathy(),
            {"image": "path"},
            "a file of Karpathy's splits says itself what its image is; leave out columns=",
        ),
        (
            karpathy(),
            {"split": "part"},
            "columns: no key 'part' for the split; there are 'filename', 'imgid', 'split', ",
        ),
        ({"0.jpg": ["a"]}, {"image": "x"}, "an object by the names of images says itself what its image is; leave out"),
        ({"0.jpg": {"captions": ["a"]}}, {"text": "alt"}, "columns: no key 'alt' for the text; there are 'captions'"),
    ],
)
def test_columns_that_a_form_of_json_does_not_take_are_refused(content, columns, message, tmp_path, images):
    path = write(tmp_path, "a.json", json.dumps(content))
    with pytest.raises(ValueError) as error:
        read_table(path, images, columns=columns)
    assert str(error.value).startswith(f"{path}: {message}")


def test_keys_of_json_are_given(tmp_path, images):
    path = write(
        tmp_path, "a.json", '{"0.jpg": {"alt": ["a cat"], "kind": "cats"}, "1.jpg": {"alt": "a dog", "kind": "dogs"}}'
    )
    found = read_table(path, images, columns={"text": "alt", "label": "kind"})
    assert pairs_of(found) == TWO and [pair.label for pair in found] == ["cats", "dogs"]


def test_labels_splits_and_groups_of_coco_and_karpathy(tmp_path, images):
    entries = [of | {"split": split, "Group": "g"} for of, split in zip(COCO["images"], ("Val", "TEST"), strict=True)]
    found = read_table(write(tmp_path, "a.json", json.dumps(COCO | {"images": entries})), images)
    assert [(pair.split, pair.group) for pair in found] == [(1, "g"), (2, "g")]
    found = read_table(write(tmp_path, "b.json", json.dumps(karpathy(category=["x", "y"]))), images)
    assert [(pair.label, pair.split) for pair in found] == [(("x", "y"), 0), (("x", "y"), 1)]


@pytest.mark.parametrize(
    ("content", "unused"),
    [
        (COCO, None),
        (karpathy(), None),
        (COCO | {"source": "x", "images": [of | {"camera": "x"} for of in COCO["images"]]}, "source, camera"),
        (karpathy(weather="x"), "weather"),
        ({"0.jpg": {"captions": ["a"], "category": "b", "url": "c"}}, "url"),
    ],
)
def test_keys_that_a_form_of_json_does_not_always_have_are_named(content, unused, tmp_path, images):
    path = write(tmp_path, "a.json", json.dumps(content))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_table(path, images)
    expected = [] if unused is None else [f"{path}: keys that are not used: {unused}"]
    assert [str(of.message) for of in caught] == expected


def test_two_files_of_metadata_in_one_folder_are_refused(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("metadata.csv", "metadata.jsonl"):
        path = write(tmp_path / "train", name, "file_name,text\n0.jpg,a\n")
    with pytest.raises(ValueError) as error:
        read_table(tmp_path, tmp_path)
    assert str(error.value) == f"{path}: expected one file of metadata in a folder, found metadata.csv beside it"


def test_what_is_not_used_is_named_in_one_line(tmp_path, images):
    path = write(tmp_path, "a.csv", ",image,text,price,colour\n0,0.jpg,a,3,red\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_table(path, images)
    assert [str(of.message) for of in caught] == [f"{path}: columns that are not used: (no name), price, colour"]


def test_backslashes_before_quotes(tmp_path, images):
    path = write(
        tmp_path, "a.csv", 'image,text\n0.jpg,"a \\"big\\" cat, asleep"\n1.jpg,"it said ""miau"""\n2.jpg,a\\b\n'
    )
    assert [pair.texts[0] for pair in read_table(path, images)] == ['a "big" cat, asleep', 'it said "miau"', "a\\b"]


def test_quotes_after_spaces_are_quotes_where_the_header_has_spaces_too(tmp_path, images):
    rows = '0.jpg, "a cat, ""asleep"", and a dog", x\n1.jpg, a "cat", y\n2.jpg,"a, ""b"" c", z\n'
    found = read_table(write(tmp_path, "a.csv", f"image, text, label\n{rows}"), images)
    assert [pair.texts[0] for pair in found] == ['a cat, "asleep", and a dog', 'a "cat"', 'a, "b" c']
    rows = '0.jpg| 0| "A cat" sleeps\n1.jpg| 0| "a dog"\n'
    with pytest.warns(UserWarning, match="not used: comment_number"):
        found = read_table(write(tmp_path, "results.csv", f"image_name| comment_number| comment\n{rows}"), images)
    assert [pair.texts[0] for pair in found] == ['"A cat" sleeps', '"a dog"']
    found = read_table(write(tmp_path, "b.csv", 'image,text\n0.jpg, "a cat"\n'), images)
    assert found[0].texts == ('"a cat"',)


def test_captions_of_flickr8k_with_commas_and_no_quotes(tmp_path, images):
    path = write(
        tmp_path,
        "captions.txt",
        'image,caption\n0.jpg,A cat, asleep, I think\n0.jpg,"A cat, awake"\n0.jpg,A 5" cat, "x",x\n',
    )
    with pytest.warns(UserWarning, match="2 texts have ',' and no quotes; each was read to the end of its line"):
        found = read_table(path, images)
    assert [pair.texts[0] for pair in found] == ["A cat, asleep, I think", "A cat, awake", 'A 5" cat, "x",x']
    assert [pair.group for pair in found] == ["0.jpg"] * 3


def test_coco_and_karpathy_give_a_group_for_each_image(tmp_path, images):
    coco = json.loads(json.dumps(COCO))
    coco["annotations"] += [{"image_id": 7, "caption": "a kitten"}, {"image_id": 8, "caption": "x"}, {"image_id": 9}]
    coco["annotations"].append({"image_id": [7], "caption": "x"})
    coco["images"].append({"id": 10, "file_name": "2.jpg"})
    with pytest.warns(UserWarning, match="1 of 3 images have no caption"):
        found = read_table(write(tmp_path, "captions.json", json.dumps(coco)), images)
    assert [(pair.id, pair.group) for pair in found[:3]] == [
        ("0.jpg", "0.jpg"),
        ("1.jpg", None),
        ("0.jpg#2", "0.jpg"),
    ]
    assert [pair.problem for pair in found[3:]] == [
        "no image has the id 8",
        "the annotation has no caption",
        "no image has the id [7]",
    ]
    content = karpathy(filepath="more", split="restval")
    content["images"][0]["sentences"] *= 5
    content["images"][1] |= {"split": "test", "filepath": "none"}
    with pytest.warns(UserWarning, match="5 rows of the split restval are training pairs"):
        found = read_table(write(tmp_path, "dataset.json", json.dumps(content)), images)
    assert [(str(pair.image.relative_to(images)), pair.split) for pair in found] == [
        *[(os.path.join("more", "0.jpg"), 0)] * 5,
        ("1.jpg", 2),
    ]
    assert found[0].group == "more/0.jpg" and found[5].group is None


@pytest.mark.parametrize(
    ("written", "split"),
    [("Training", 0), ("RESTVAL", 0), ("dev", 1), ("Development", 1), ("VALID", 1), ("testing", 2), ("TEST", 2)],
)
@pytest.mark.filterwarnings("ignore:.*restval are training")
def test_splits_have_many_names(written, split, tmp_path, images):
    path = write(tmp_path, "a.csv", f"image,text,Split\n0.jpg,a,{written}\n")
    assert read_table(path, images)[0].split == split


def test_several_classes_in_a_label(tmp_path, images):
    path = write(tmp_path, "a.csv", "image,text,class\n0.jpg,a,animal; pet;animal\n1.jpg,b,\n2.jpg,c,sea\n")
    with pytest.warns(UserWarning, match="1 of 3 rows have no label"):
        found = read_table(path, images, label_separator=";")
    assert [pair.label for pair in found] == [("animal", "pet"), (), ("sea",)] or found[1].label is None
    many = write(tmp_path, "b.csv", "image,text,label\n0.jpg,a,animal;pet\n1.jpg,b,sea;sky\n")
    with pytest.warns(UserWarning, match="most labels look like several classes, such as 'animal;pet'"):
        assert read_table(many, images)[0].label == "animal;pet"
    lists = write(tmp_path, "c.jsonl", '{"image": "0.jpg", "text": "a", "label": ["animal", "pet"]}\n')
    assert read_table(lists, images)[0].label == ("animal", "pet")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"separator": ""}, "separator='': expected comma, semicolon, tab, bar or one character"),
        ({"separator": "^^"}, "separator='^^': expected comma, semicolon, tab, bar or one character"),
        ({"separator": '"'}, "separator='\"': expected comma, semicolon, tab, bar or one character"),
        ({"label_separator": ""}, "label_separator='': expected what is between two classes, such as ;"),
    ],
)
def test_a_separator_that_cannot_be_is_refused(settings, message, tmp_path, images):
    with pytest.raises(ValueError) as error:
        read_table(write(tmp_path, "a.csv", "image,text\n0.jpg,a\n"), images, **settings)
    assert str(error.value) == message


def test_a_wrong_separator_is_named(tmp_path, images):
    path = write(tmp_path, "a.csv", "image,text\n0.jpg,a\n")
    with pytest.raises(ValueError, match=r"line 1: no column for the image; .*; the separator given is semicolon$"):
        read_table(path, images, separator=";")
    assert pairs_of(read_table(write(tmp_path, "b.csv", "image^text\n0.jpg^a cat\n"), images, separator="^")) == TWO[:1]


@pytest.mark.parametrize("separator", [None, ";"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "image,text,label\n0.jpg,a,\n1.jpg,b, \n"),
        ("a.jsonl", '{"image": "0.jpg", "text": "a", "label": []}\n{"image": "1.jpg", "text": "a"}\n'),
    ],
)
def test_labels_of_no_class_at_all_are_no_labels(separator, name, content, tmp_path, images):
    # A feature file with labels of no class could not be read again.
    found = read_table(write(tmp_path, name, content), images, label_separator=separator)
    assert [pair.label for pair in found] == [None, None]


def test_a_folder_of_metadata_has_its_splits(tmp_path):
    for split, name, suffix in (("train", "0.jpg", "csv"), ("validation", "1.jpg", "jsonl"), ("test", "2.jpg", "csv")):
        (tmp_path / split).mkdir()
        (tmp_path / split / name).touch()
        row = f"file_name,text\n{name},a\n" if suffix == "csv" else json.dumps({"file_name": name, "text": "a"})
        write(tmp_path / split, f"metadata.{suffix}", row)
    found = read_table(tmp_path, tmp_path)
    assert [(pair.id, pair.split, pair.problem) for pair in sorted(found, key=lambda pair: pair.split)] == [
        ("train/0.jpg", 0, None),
        ("validation/1.jpg", 1, None),
        ("test/2.jpg", 2, None),
    ]


def test_parquet(tmp_path, images):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'gpldan_jax[parquet]'")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    columns = {"Image": ["0.jpg", "1.jpg"], "caption": ["a cat", "a dog"], "label": [["x", "y"], []], "size": [1, 2]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.warns(UserWarning, match="columns that are not used: size|1 of 2 rows have no label"):
        found = read_table(tmp_path / "a.parquet", images)
    assert pairs_of(found) == TWO and [pair.label for pair in found] == [("x", "y"), ()]
    inside = {"image": [{"bytes": b"...", "path": "0.jpg"}], "text": ["a"]}
    parquet.write_table(pyarrow.table(inside), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="holds the pictures themselves; write them to files"):
        read_table(tmp_path / "b.parquet", images)
    parquet.write_table(pyarrow.table({"image": ["0.jpg"], "text": [b"a cat"]}), tmp_path / "d.parquet")
    assert read_table(tmp_path / "d.parquet", images)[0].problem.startswith("the text is of type bytes, expected a")
    with pytest.raises(ValueError, match="not a Parquet file"):
        read_table(write(tmp_path, "c.parquet", "image,text"), images)
    content = (tmp_path / "d.parquet").read_bytes()  # a name of a column that is no text
    (tmp_path / "d.parquet").write_bytes(content.replace(b"image", b"\xffmage"))
    with pytest.raises(ValueError, match=r"d\.parquet: not a Parquet file"):
        read_table(tmp_path / "d.parquet", images)


def test_the_captions_of_pascal_sentence(tmp_path):
    folder = os.environ.get("GPLDAN_DATA_DIR")
    path = Path(folder or ".") / "raw" / "pascal_sentences.json"
    if not folder or not path.is_file():
        pytest.skip("GPLDAN_DATA_DIR has no raw/pascal_sentences.json")
    found = read_table(path, tmp_path)  # the images are not there: each pair says so, and keeps all else
    images = {pair.image for pair in found}
    assert len(images) == len({pair.group for pair in found}) == 1000
    captions = collections.Counter(pair.image for pair in found)
    assert collections.Counter(captions.values()) == {5: 996, 4: 3, 6: 1}
    classes = {}
    for pair in found:
        classes.setdefault(pair.label, set()).add(pair.image)
    assert len(classes) == 20 and {len(of) for of in classes.values()} == {50}
    splits = {}
    for pair in draw_splits(found):
        assert splits.setdefault(pair.group, pair.split) == pair.split
    assert np.bincount(list(splits.values())).tolist() == [800, 100, 100]


@pytest.mark.filterwarnings("ignore")  # of labels that are missing or have two classes
@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["a", "b", "a;b", ""])), min_size=20, max_size=60),
    st.sampled_from([None, ";"]),
    st.integers(0, 3),
)
def test_no_drawn_split_cuts_a_group_in_extract_in_a_loader_and_in_the_estimator(rows, label_separator, seed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "captions.csv")
        lines = [f"{image}.jpg,caption {place},{label}" for place, (image, label) in enumerate(rows)]
        path.write_text("\n".join(["file_name,caption,class", *lines]))
        pairs = read_table(path, folder, label_separator=label_separator)
        assert_whole([pair.group or pair.id for pair in pairs], [pair.split for pair in draw_splits(pairs, seed=seed)])
        groups = np.array([image for image, _ in rows])
        features = np.random.default_rng(0).standard_normal((len(rows), 3)).astype(np.float32)
        labels, _ = member_matrix([pair.label for pair in pairs])
        given = {"label": labels} if labels.any(axis=1).all() else {}
        np.savez(Path(folder, "own.npz"), image=features, text=features, group=groups, **given)
        dataset = load_dataset("npz", path=Path(folder, "own.npz"))
    parts = [dataset.train, dataset.validation, dataset.test]
    assert_whole(np.concatenate([of.groups for of in parts]), np.repeat([0, 1, 2], [len(of) for of in parts]))
    pytest.importorskip("sklearn", reason="the estimator needs scikit-learn: pip install 'gpldan_jax[sklearn]'")
    from gpldan_jax.estimator import held_out as estimator

    checked = check_pairs(features, features, given.get("label"), groups)
    if len(set(groups.tolist())) >= 5:
        train, held_out = estimator._hold_out(checked, 0.3, seed)
        assert sorted([*train, *held_out]) == list(range(len(rows)))
        assert not set(groups[train]) & set(groups[held_out])


def assert_whole(groups, splits):
    of_group = {}
    for group, split in zip(groups, splits, strict=True):
        assert of_group.setdefault(group, split) == split
