"""Which pairs a table or a release has, what is said of those that cannot be used, and the splits."""

import csv
import doctest
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax.data import load_dataset
from gpldan_jax.extraction import releases, sources, splitting
from gpldan_jax.extraction.sources import Pair, read_table, unused
from gpldan_jax.extraction.splitting import with_splits

MISSING, EMPTY = "there is no such image file", "the text is empty"


@pytest.fixture
def images(tmp_path):
    """A folder of images 0.jpg to 299.jpg, and 0.jpg in a folder in it; nobody decodes them."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name in ("more/0.jpg", *(f"{number}.jpg" for number in range(300))):
        (folder / name).touch()
    return folder


@pytest.fixture
def read(tmp_path, images):
    """Reads a table of this content; by its bytes, or a list of objects for `.jsonl`."""

    def reading(content, suffix=".csv"):
        if isinstance(content, list):
            content, suffix = "\n".join(map(json.dumps, content)).encode(), ".jsonl"
        path = tmp_path / f"table{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, images)

    return reading


@pytest.fixture
def refused(read, tmp_path):
    """The message with which a table is refused, without the path that it begins with."""

    def refusing(content, suffix=".csv"):
        with pytest.raises(ValueError) as error:
            read(content, suffix)
        path = tmp_path / f"table{'.jsonl' if isinstance(content, list) else suffix}"
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
        return str(error.value).removeprefix(f"{path}: ")

    return refusing


def problems(pairs):
    return [pair.problem for pair in pairs]


@pytest.mark.parametrize("module", [sources, splitting])
def test_examples(module):
    assert doctest.testmod(module).attempted > 1 and not doctest.testmod(module).failed


def test_a_csv_becomes_pairs(read, images):
    pairs = read("image,text,label,split,id\n0.jpg,a cat,cats,train,c\nmore/0.jpg, a dog ,dogs,test,d\n")
    assert pairs == [
        Pair("c", images / "0.jpg", ("a cat",), "cats", 0),
        Pair("d", images / "more" / "0.jpg", ("a dog",), "dogs", 2),
    ]


def test_a_jsonl_becomes_pairs(read, images):
    pairs = read(
        [
            {"image": "0.jpg", "text": "a cat", "label": 7, "split": 0, "id": 12},
            {"text": ["a dog", " a hound"], "image": "./more//0.jpg", "label": "7", "split": "val", "id": None},
        ]
    )
    assert pairs == [
        Pair("12", images / "0.jpg", ("a cat",), "7", 0),
        Pair("more/0.jpg", images / "more/0.jpg", ("a dog", "a hound"), "7", 1),
    ]


def test_the_id_is_the_path_of_the_image_unless_given(read):
    assert [pair.id for pair in read("text,image\na,more/0.jpg\nb,./1.jpg\n")] == ["more/0.jpg", "1.jpg"]
    assert [pair.id for pair in read("text,image,id\na,0.jpg,x\nb,1.jpg,\n")] == ["x", "1.jpg"]


@pytest.mark.parametrize(
    ("written", "split"),
    [
        ("train", 0),
        ("validation", 1),
        ("valid", 1),
        ("val", 1),
        ("test", 2),
        ("0", 0),
        ("1", 1),
        ("2", 2),
        (" Test", 2),
    ],
)
def test_a_split_has_several_names(read, written, split):
    assert read(f"image,text,split\n0.jpg,a,{written}\n")[0].split == split
    assert read([{"image": "0.jpg", "text": "a", "split": written}])[0].split == split


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("blank", ["", "{end}"])
def test_ends_of_lines_a_byte_order_mark_and_blank_lines_make_no_difference(read, end, mark, blank):
    blank = blank.format(end=end)
    expected = ["a", "b ä"]
    table = f"image,text{end}{blank}0.jpg,a{end}{blank}1.jpg,b ä{end}{blank}"
    assert [pair.texts[0] for pair in read(mark + table.encode())] == expected
    lines = [json.dumps({"image": f"{row}.jpg", "text": text}) for row, text in enumerate(expected)]
    assert [pair.texts[0] for pair in read(mark + f"{end}{blank}".join(lines).encode(), ".jsonl")] == expected


def test_cells_may_be_quoted_and_have_commas_quotes_and_ends_of_lines(read):
    pairs = read('image,text\n0.jpg,"a ""big"" cat,\nasleep"\n1.jpg,5" nails\n')
    assert [pair.texts for pair in pairs] == [('a "big" cat,\nasleep',), ('5" nails',)] and problems(pairs) == [
        None
    ] * 2


def test_a_cell_may_be_longer_than_the_csv_module_allows_and_its_limit_stays(read):
    limit, text = csv.field_size_limit(), "word " * 100_000
    assert len(text) > limit
    assert read(f"image,text\n0.jpg,{text}\n")[0].texts == (text.strip(),)
    assert csv.field_size_limit() == limit
    with pytest.raises(ValueError):
        read('image,text\n0.jpg,"\n')
    assert csv.field_size_limit() == limit


def test_a_quote_that_is_not_closed_stops_at_a_bound_and_not_at_the_end_of_the_file(refused, monkeypatch):
    monkeypatch.setattr(sources, "_LONGEST_CELL", 1000)
    message = refused('image,text\n0.jpg,"a\n' + "1.jpg,b\n" * 200)
    assert message.startswith("line 2: ") and "limit (1000)" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\ufeff", "line 1: no column 'image'; expected a header with image, text and, if any, id, label, split"),
        ("image,text\n", "expected at least one row, found none"),
        ("text\na\n", "line 1: no column 'image'; expected a header with image, text and, if any, id, label, split"),
        (
            "\n\nimage\n0.jpg\n",
            "line 3: no column 'text'; expected a header with image, text and, if any, id, label, split",
        ),
        (
            "image,txet\n0.jpg,a\n",
            "line 1: unknown column 'txet' (did you mean 'text'?); expected a header with image, text and, if any, id, "
            "label, split, separated by commas",
        ),
        (
            "image;text\n0.jpg;a\n",
            "line 1: unknown column 'image;text' (did you mean 'image'?); expected a header with image, text and, if "
            "any, id, label, split, separated by commas",
        ),
        (
            "0.jpg,a\n1.jpg,b\n",
            "line 1: unknown column '0.jpg'; expected a header with image, text and, if any, id, label, split, "
            "separated by commas",
        ),
        (
            "image,text,text\n0.jpg,a,b\n",
            "line 1: two columns 'text'; a row has one (of texts, a .jsonl file takes a list)",
        ),
        (
            'image,text\n0.jpg,a\n1.jpg,"b\n2.jpg,c\n3.jpg,d\n',
            "line 3: quotes do not pair up in the row that begins here (unexpected end of data)",
        ),
        (
            'image,text\n0.jpg,a\n1.jpg,"b\n2.jpg,c\n3.jpg,"d"\n',
            "line 3: quotes do not pair up in the row that begins here (',' expected after '\"')",
        ),
        (
            "image,text,label\n0.jpg,a,\n1.jpg,b,x\n2.jpg,c,\n9999.jpg,d,\n",
            "expected a label in every row or in none, found none in 2 of 3 rows, the first in line 2",
        ),
        (
            "image,text,split\n0.jpg,a,train\n1.jpg,b,\n2.jpg,,\n",
            "expected a split in every row or in none, found none in 1 of 2 rows, the first in line 3",
        ),
        (b"image,text\n".decode().encode("utf-16"), "expected UTF-8, found UTF-16"),
    ],
)
def test_what_is_wrong_with_a_csv_is_one_line(refused, content, message):
    assert refused(content) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "expected at least one row, found none"),
        (
            [{"image": "0.jpg", "texts": "a"}, {"image": "1.jpg", "texts": "b"}],
            "unknown key 'texts' (did you mean 'text'?) in every line; expected image, text, id, label, split",
        ),
        ([{"image": "0.jpg"}, {"image": "1.jpg"}], "no line has the key 'text'"),
        ([{"text": "a"}], "no line has the key 'image'"),
        (
            [{"image": "0.jpg", "text": "a", "label": 3}, {"image": "1.jpg", "text": "b", "label": None}],
            "expected a label in every row or in none, found none in 1 of 2 rows, the first in line 2",
        ),
        (
            '{"image": "0.jpg", "text": "a"}'.encode("utf-16-be").join([b"\xfe\xff", b""]),
            "expected UTF-8, found UTF-16",
        ),
    ],
)
def test_what_is_wrong_with_a_jsonl_is_one_line(refused, content, message):
    assert refused(content, ".jsonl") == message


def test_a_table_must_be_a_file_of_a_known_kind_and_the_images_in_a_folder(tmp_path, images):
    folder, other, table = tmp_path / "folder.csv", tmp_path / "table.tsv", tmp_path / "table.CSV"
    folder.mkdir()
    other.touch()
    table.write_text("image,text\n0.jpg,a\n")
    for path, message in (
        (folder, "expected a .csv or .jsonl file, found a folder"),
        (other, "expected a file called .csv or .jsonl"),
        (tmp_path / "none.csv", "no such file"),
    ):
        with pytest.raises(ValueError) as error:
            read_table(path, images)
        assert str(error.value) == f"{path}: {message}"
    with pytest.raises(ValueError, match=r"no-images: expected the folder of the images, found no such folder"):
        read_table(table, tmp_path / "no-images")
    assert len(read_table(table, images)) == 1


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("9999.jpg,a", MISSING),
        ("more,a", MISSING),
        (f"{'long' * 200}.jpg,a", MISSING),
        (",a", "no image is named"),
        ("../secret.jpg,a", "the image is outside the folder"),
        ("more/../../secret.jpg,a", "the image is outside the folder"),
        ("..\\secret.jpg,a", "the image is outside the folder"),
        ("/etc/passwd,a", "the image is outside the folder"),
        ("\\secret.jpg,a", "the image is outside the folder"),
        ("1.jpg,", EMPTY),
        ('1.jpg," \n\t"', EMPTY),
        ("1.jpg\0,a", "the image has NUL characters"),
        ("1.jpg,a\0b", "the text has NUL characters"),
        (b"1.jpg,caf\xe9", "the text is not UTF-8"),
        (b"caf\xe9.jpg,a", "the image is not UTF-8"),
        (b"1.jpg,\xf0\x9f\x98", "the text is not UTF-8"),
        ("1.jpg", "the number of cells is 1, the header's is 2"),
        ("1.jpg,a,b", "the number of cells is 3, the header's is 2"),
        ("0.jpg,a", "the image, its id, is that of line 2"),
        ("./0.jpg,a", "the image, its id, is that of line 2"),
    ],
)
def test_what_is_wrong_with_a_row_of_a_csv_is_its_problem(read, row, problem):
    row = row if isinstance(row, bytes) else row.encode()
    pairs = read(b"image,text\n0.jpg,first\n" + row + b"\n2.jpg,last\n")
    assert problems(pairs) == [None, problem, None]
    assert [pairs[0].id, pairs[2].id] == ["0.jpg", "2.jpg"] and len({pair.id for pair in pairs}) == 3


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"image": "1.jpg", "text": "a"', "the line is not JSON"),
        ("1.jpg,a", "the line is not JSON"),
        ("[" * 100_000, "the line is not JSON"),
        ('{"image": "1.jpg", "text": "a", "label": ' + "1" * 10_000 + "}", "the line is not JSON"),
        ('["1.jpg", "a"]', "the line is a list, expected an object"),
        ("null", "the line is null, expected an object"),
        ('{"image": "1.jpg", "text": "a", "text": "b"}', "the line has a key twice"),
        ('{"image": "1.jpg", "text": "a", "lable": 3}', "unknown key 'lable' (did you mean 'label'?)"),
        ('{"text": "a"}', "no image is named"),
        ('{"image": 3, "text": "a"}', "the image is a number, expected a string"),
        ('{"image": "1.jpg"}', "there is no text"),
        ('{"image": "1.jpg", "text": null}', "there is no text"),
        ('{"image": "1.jpg", "text": []}', "there is no text"),
        ('{"image": "1.jpg", "text": [" "]}', EMPTY),
        ('{"image": "1.jpg", "text": ["a", ""]}', "one of the texts is empty"),
        ('{"image": "1.jpg", "text": 3}', "the text is a number, expected a string or a list of strings"),
        ('{"image": "1.jpg", "text": {"en": "a"}}', "the text is an object, expected a string or a list of strings"),
        ('{"image": "1.jpg", "text": ["a", null]}', "the text is null, expected a string or a list of strings"),
        ('{"image": "1.jpg", "text": ["a", ["b"]]}', "the text is a list, expected a string or a list of strings"),
        ('{"image": "1.jpg", "text": "a\\u0000"}', "the text has NUL characters"),
        ('{"image": "1.jpg", "text": "a\\ud83d"}', "the text is not UTF-8"),
        (b'{"image": "1.jpg", "text": ["a", "caf\xe9"]}', "the text is not UTF-8"),
        ('{"image": "1.jpg", "text": "a", "id": true}', "the id is true or false, expected a string or a whole number"),
        ('{"image": "1.jpg", "text": "a", "id": "0.jpg"}', "the id is that of line 1"),
    ],
)
def test_what_is_wrong_with_a_line_of_a_jsonl_is_its_problem(read, line, problem):
    line = line if isinstance(line, bytes) else line.encode()
    good = [json.dumps({"image": f"{row}.jpg", "text": "good"}).encode() for row in (0, 2)]
    pairs = read(b"\n".join([good[0], line, good[1]]), ".jsonl")
    assert problems(pairs) == [None, problem, None]
    assert [pairs[0].id, pairs[2].id] == ["0.jpg", "2.jpg"] and len({pair.id for pair in pairs}) == 3


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("label", 1.5, "the label is a decimal number, expected a string or a whole number"),
        ("label", True, "the label is true or false, expected a string or a whole number"),
        ("label", "a\0", "the label has NUL characters"),
        ("split", "trian", "the split is 'trian', expected train, validation or test"),
        ("split", 3, "the split is '3', expected train, validation or test"),
        ("split", 1.0, "the split is a decimal number, expected a string or a whole number"),
        ("split", "x" * 1000, f"the split is '{'x' * 40}...', expected train, validation or test"),
    ],
)
def test_a_label_or_split_that_cannot_be_is_a_problem_of_its_row(read, key, value, problem):
    rows = [{"image": f"{row}.jpg", "text": "a", "label": "x", "split": 0} for row in range(3)]
    rows[1][key] = value
    assert problems(read(rows)) == [None, problem, None]


def test_a_pair_with_a_problem_keeps_what_could_be_read(read, images):
    pair = read("image,text,label,split\n0.jpg,a,x,0\n9999.jpg,b,y,test\n")[1]
    assert pair == Pair("9999.jpg", images / "9999.jpg", ("b",), "y", 2, MISSING)
    assert read("image,text\n0.jpg,a\n../1.jpg,b\n")[1] == Pair(
        "line 3", Path(), ("b",), None, None, "the image is outside the folder"
    )


def test_lines_are_counted_as_an_editor_does(read, refused):
    pairs = read('image,text\n0.jpg,"of\nthree\nlines"\n\n1.jpg\n')
    assert pairs[1].id == "line 6"
    assert refused('image,text\n0.jpg,"of\ntwo"\n1.jpg,"\n').startswith("line 4: ")


def test_ids_stay_unique_whatever_a_table_calls_its_rows(read):
    pairs = read("image,text,id\n0.jpg,a,line 3\n1.jpg\n2.jpg,a,x\n3.jpg,a,x (line 6)\n4.jpg,a,x\n5.jpg,a,x\n")
    assert len({pair.id for pair in pairs}) == 6
    assert problems(pairs) == [
        None,
        "the number of cells is 1, the header's is 3",
        None,
        None,
        "the id is that of line 4",
        "the id is that of line 4",
    ]


def test_labels_and_splits_may_lack_where_no_usable_row_has_one(read):
    pairs = read("image,text,label,split\n0.jpg,a,,\n1.jpg,b,,\n9999.jpg,c,x,test\n")
    assert [(pair.label, pair.split) for pair in pairs[:2]] == [(None, None)] * 2


def bad_csv(number):
    """A row with a problem, of a dozen kinds; no two with one id."""
    return [
        f"missing-{number}.jpg,text {number}".encode(),
        f"../{number}.jpg,outside".encode(),
        f"/{number}.jpg,outside".encode(),
        f"{number}.jpg,".encode(),
        f'{number}.jpg,"  \n "'.encode(),
        f"{number}.jpg,nul \0".encode(),
        f"{number}.jpg,\xe9\xff".encode("latin-1"),
        f"{number}.jpg,\xe9,too many".encode("latin-1"),
        f"{number}.jpg".encode(),
        b",no image",
        b"0.jpg,a second text of an image",
        f"\xff{number}.jpg,name".encode("latin-1"),
    ][number % 12]


def bad_json(number):
    """A line with a problem, of a dozen kinds; no two with one id."""
    whole = json.dumps({"image": f"{number}.jpg", "text": f"text {number}"}).encode()
    return [
        whole[: 1 + number % (len(whole) - 1)],
        whole[:-1],
        b"[" + whole + b"]",
        whole.replace(b"text ", b"t\xe9xt "),
        whole.replace(b"text ", b"t\\u0000xt "),
        whole.replace(b"text ", b"t\\udc00xt "),
        json.dumps({"image": f"{number}.jpg", "text": [[], {}, 0, 1.5, True, "", [" "], [1]][number % 8]}).encode(),
        json.dumps({"image": [[], {}, 0, None, "", "no such", "..", "/x", "more"][number % 9], "text": "a"}).encode(),
        json.dumps({"image": f"{number}.jpg", "text": "a", "colour": "b"}).encode(),
        json.dumps({"image": "0.jpg", "text": "a second text of an image"}).encode(),
        json.dumps({"image": f"{number}.jpg"}).encode(),
        b'"' + whole,
    ][number % 12]


@pytest.mark.parametrize(("suffix", "bad"), [(".csv", bad_csv), (".jsonl", bad_json)])
def test_many_bad_rows_among_good_ones_are_all_named_and_the_good_ones_all_there(read, images, suffix, bad):
    (images / "good").mkdir()
    rows = [(None, bad(number)) for number in range(1, 253)]
    for number in range(200):
        name, text = f"good/{number}.jpg", f"text, {number}"
        (images / name).touch()
        row = f'{name},"{text}"' if suffix == ".csv" else json.dumps({"image": name, "text": [text]})
        rows.append(((name, (text,)), row.encode()))
    random.Random(0).shuffle(rows)
    rows.insert(0, (("0.jpg", ("0",)), b"0.jpg,0" if suffix == ".csv" else b'{"image": "0.jpg", "text": "0"}'))
    pairs = read(b"\n".join([*([b"image,text"] if suffix == ".csv" else []), *(row for _, row in rows)]), suffix)
    assert [None if pair.problem else (pair.id, pair.texts) for pair in pairs] == [good for good, _ in rows]
    assert len({pair.id for pair in pairs}) == len(pairs) and len({pair.problem for pair in pairs}) >= 10
    assert all(len(pair.id) < 40 and len(pair.problem or "") < 80 for pair in pairs)
    "".join(pair.id + (pair.problem or "") for pair in pairs).encode()  # they are printed and written


def test_unused_counts_the_images_that_no_row_names(read, images):
    pairs = read("image,text\n0.jpg,a\nmore/0.jpg,b\n./1.jpg,\n9999.jpg,c\n../2.jpg,d\n")
    assert unused(images, pairs) == 298
    (images / "notes.txt").touch()
    (images / ".hidden.jpg").touch()
    (images / ".folder").mkdir()
    (images / ".folder" / "0.jpg").touch()
    assert unused(images, pairs) == 298
    (images / "more" / "OTHER.JPEG").touch()
    assert unused(f"{images}/", pairs) == 299
    assert unused(images, []) == 302


def some_pairs(labels):
    return [Pair(f"{row}", Path(f"{row}.jpg"), ("a",), label) for row, label in enumerate(labels)]


def test_a_split_is_drawn_with_each_class_in_proportion(tmp_path):
    pairs = some_pairs([f"class {row % 4 % 3}" for row in range(200)])
    drawn = with_splits(pairs)
    assert Counter((pair.label, pair.split) for pair in drawn) == {
        (f"class {label}", split): share * (2 if label == 0 else 1)
        for label in range(3)
        for split, share in enumerate((40, 5, 5))
    }
    assert [(pair.id, pair.label) for pair in drawn] == [(pair.id, pair.label) for pair in pairs]
    assert [pair.split for pair in drawn] != [pair.split for pair in with_splits(pairs, seed=1)]
    assert Counter(pair.split for pair in with_splits(pairs, (2, 0, 2))) == {0: 100, 2: 100}


@pytest.mark.parametrize("labels", [None, [f"{row % 12}" for row in range(120)]])
def test_the_split_is_that_of_features_that_come_without_one(tmp_path, labels):
    rows = np.arange(120, dtype=np.float32)[:, None]
    arrays = {"image": rows, "text": rows} | ({} if labels is None else {"label": np.array(labels)})
    np.savez(tmp_path / "mine.npz", **arrays)
    data = load_dataset("npz", path=tmp_path / "mine.npz")
    drawn = with_splits(some_pairs(labels or [None] * 120))
    for part, split in enumerate((data.train, data.validation, data.test)):
        assert split.images[:, 0].astype(int).tolist() == [int(pair.id) for pair in drawn if pair.split == part]


def test_a_pair_that_cannot_be_used_moves_no_other_into_another_split(read):
    table = "image,text,label\n" + "".join(f"{row}.jpg,a,{row % 3}\n" for row in range(90))
    good, bad = with_splits(read(table)), with_splits(read(table.replace("7.jpg", "none-7.jpg")))
    assert [pair.split for pair in good] == [pair.split for pair in bad]
    assert problems(good) == [None] * 90 and problems(bad).count(MISSING) == 9


def test_a_split_that_is_there_stays():
    pairs = [Pair("0", Path("0.jpg"), ("a",), split=2), Pair("1", Path(), (), problem=EMPTY)]
    assert with_splits(pairs) == pairs and with_splits([]) == []
    for shares in ((0.8, 0.2), (1, -1, 1), (0, 0, 0)):
        with pytest.raises(ValueError):
            with_splits(some_pairs("ab"), shares)


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
    return releases.wikipedia(root)[row]


def test_wikipedia_has_the_official_pairs_and_splits(wikipedia):
    pair = wikipedia_pair(wikipedia, XML.format("<text>\nA  knight,\n\nof old.\n</text>"), 5)
    assert pair == Pair("text-5.2", wikipedia / "images/art/image-5.jpg", ("A knight, of old.",), "6", 0)
    pairs = releases.wikipedia(wikipedia)
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
        (XML.format("<text>caf\xe9</text>").encode("latin-1"), "the text is not UTF-8"),
        (XML.format("<text>a\0</text>"), "the text has NUL characters"),
    ],
)
def test_what_is_wrong_with_a_wikipedia_text_is_its_problem(wikipedia, xml, problem):
    pair = wikipedia_pair(wikipedia, xml)
    assert (pair.texts, pair.problem) == ((), problem)


def test_a_wikipedia_text_may_lack(wikipedia):
    wikipedia_pair(wikipedia, "<text>a</text>", 3)
    (wikipedia / "texts" / "text-3.2.xml").unlink()
    assert releases.wikipedia(wikipedia)[3].problem == "there is no such text file"
    (wikipedia / "texts" / "text-3.2.xml").mkdir()
    assert releases.wikipedia(wikipedia)[3].problem == "the text file cannot be read (Is a directory)"


def test_wikipedia_classes_have_names_where_there_are_some(wikipedia, tmp_path):
    root = shutil.copytree(wikipedia, tmp_path / "copy")
    names = [f"class {number}" for number in range(1, 11)]
    (root / "categories.list").write_text("\n".join(names) + "\n")
    assert [pair.label for pair in releases.wikipedia(root)[:20]] == names * 2
    for wrong in (names[:9], names[:9] + names[:1]):
        (root / "categories.list").write_text("\n".join(wrong))
        with pytest.raises(ValueError, match=r"categories\.list: expected 10 different class names, .* found 9$"):
            releases.wikipedia(root)
    (root / "categories.list").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"categories\.list: the class name is not UTF-8$"):
        releases.wikipedia(root)


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
            releases.wikipedia(root)
    path.unlink()
    with pytest.raises(ValueError, match=r"testset_txt_img_cat\.list: no such file"):
        releases.wikipedia(root)
    path.write_text("".join(lines))
    shutil.rmtree(root / "texts")
    with pytest.raises(ValueError, match="expected a folder texts, found none"):
        releases.wikipedia(root)
    with pytest.raises(ValueError, match="none: no such folder"):
        releases.wikipedia(tmp_path / "none")


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
    assert releases.pascal(tmp_path) == [Pair(id, tmp_path / image, sentences, label)]


def test_a_pascal_pair_may_lack_an_image_or_sentences(tmp_path):
    files = {"a/1.jpg": None, "a/1txt": b"good", "a/2.jpg": None, "b/3txt": b"no image"}
    files |= {"b/4.jpg": None, "b/4txt": b"\n \n", "b/5.jpg": None, "b/5txt": b"good\n\xff"}
    for name, content in files.items():
        path = tmp_path / ("dataset" if content is None else "sentence") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or b"")
    pairs = releases.pascal(tmp_path)
    assert [pair.id for pair in pairs] == ["a/1", "a/2", "b/3", "b/4", "b/5"]
    assert [pair.label for pair in pairs] == ["a", "a", "b", "b", "b"]
    assert problems(pairs) == [None, "there is no such text file", MISSING, EMPTY, "the text is not UTF-8"]
    (tmp_path / "dataset" / "a" / "1.png").touch()
    with pytest.raises(ValueError, match=r"expected one file called a/1, found 1\.\w+ and 1\.\w+$"):
        releases.pascal(tmp_path)


def test_pascal_needs_both_folders_and_something_in_them(tmp_path):
    with pytest.raises(ValueError, match="expected a folder dataset or images, found none"):
        releases.pascal(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="expected a folder sentence or sentences, found none"):
        releases.pascal(tmp_path)
    (tmp_path / "sentence").mkdir()
    with pytest.raises(ValueError, match="expected images in images and texts in sentence, found none"):
        releases.pascal(tmp_path)


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
    pairs = releases.nuswide(root, per_class=20)
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
    assert {row: pair.split for row, pair in by_row(releases.nuswide(root, per_class=10, seed=3)).items()} == expected


def test_a_nuswide_pair_that_cannot_be_used_is_named_and_another_takes_its_place(nuswide):
    root, _ = nuswide
    before = by_row(releases.nuswide(root, per_class=10))
    gone, bare, other, broken = [row for row, pair in before.items() if pair.label == "toy"][:4]
    (root / "Flickr" / before[gone].id).unlink()
    path = root / "NUS_WID_Tags" / "All_Tags.txt"
    lines = path.read_bytes().split(b"\r\n")
    lines[bare], lines[other], lines[broken] = b"%d  " % (bare + 7), b"8 a", b"%d \xff" % (broken + 7)
    path.write_bytes(b"\n".join(lines))
    after = by_row(releases.nuswide(root, per_class=10))
    assert {row: pair.problem for row, pair in after.items() if pair.problem} == {
        gone: MISSING,
        bare: EMPTY,
        other: "the tags are those of another image",
        broken: "the text is not UTF-8",
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
    found = releases.nuswide(root, per_class=29)
    assert {pair.id: pair.problem for pair in found if pair.problem} == {
        f"line {classes.index({number}) + 1}": "the image is outside the folder" for number in (4, 5)
    }


def test_nuswide_images_may_be_elsewhere_and_in_one_folder(nuswide, tmp_path):
    root, _ = nuswide
    expected = releases.nuswide(root, per_class=5)
    (root / "Flickr" / "actor").rename(root / "elsewhere")
    (root / "Flickr").rmdir()
    with pytest.raises(ValueError, match="expected a folder flickr or images, found none"):
        releases.nuswide(root, per_class=5)
    found = releases.nuswide(root, root / "elsewhere", per_class=5)
    assert [pair.id for pair in found] == [pair.id for pair in expected]
    assert [pair.image for pair in found] == [root / "elsewhere" / Path(pair.id).name for pair in expected]


def test_nuswide_says_which_class_has_too_few_pairs_and_why(nuswide):
    root, _ = nuswide
    with pytest.raises(ValueError) as error:
        releases.nuswide(root, per_class=31)
    assert str(error.value) == f"{root}: expected 31 usable pairs of the class animal, found 30 of 30"
    pair = next(pair for pair in releases.nuswide(root, per_class=30) if pair.label == "window")
    pair.image.unlink()
    with pytest.raises(ValueError) as error:
        releases.nuswide(root, per_class=30)
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
            releases.nuswide(root, per_class=30)
        path.write_bytes(good[path])
    for path in (names, tags):
        path.write_bytes(b"".join(good[path].splitlines(keepends=True)[:200] * 2))
    with pytest.raises(ValueError, match=r"actor/\d+_\d+\.jpg is in the lists twice"):
        releases.nuswide(root, per_class=30)
    for path in good:
        path.write_bytes(good[path])
    assert len(releases.nuswide(root, per_class=30)) == 300
    for path in good:
        path.unlink()
        with pytest.raises(ValueError, match=f"expected a file .*{path.name}, found none"):
            releases.nuswide(root, per_class=30)
        path.write_bytes(good[path])
