"""Tables of pairs: every form that is read, and every way in which a row or a table can be wrong."""

import csv
import json
import random
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from gpldan_jax.extraction import Pair, draw_splits, pair_tables, read_table
from tests.extraction.folders import EMPTY, MISSING, problems

NO_IMAGE_COLUMN = (
    "{}: no column for the image; expected image or image_path or image_name or file_name or filename or filepath or "
    "file or path, found {}; or say which with columns={{'image': NAME}}"
)
NO_TEXT_COLUMN = (
    "{} for the text; expected text or caption or title or sentence or description or comment, found {}; or say which "
    "with columns={{'text': NAME}}"
)


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


def test_rows_with_one_image_are_a_group(read, images):
    pairs = read("image,text\n0.jpg,a cat\n1.jpg,a dog\n./0.jpg,a kitten\n0.jpg,a tomcat\n")
    assert [(pair.id, pair.group, pair.problem) for pair in pairs] == [
        ("0.jpg", "0.jpg", None),
        ("1.jpg", None, None),
        ("0.jpg#2", "0.jpg", None),
        ("0.jpg#3", "0.jpg", None),
    ]
    named = read("image,text,id,group\n0.jpg,a cat,a,x\n1.jpg,a dog,b,y\n0.jpg,a kitten,c,x\n1.jpg,two,a,x\n")
    assert [(pair.id, pair.group) for pair in named[:3]] == [("a", "x"), ("b", "y"), ("c", "x")]
    assert named[3].problem == "the id is that of line 2"


@hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab")), min_size=10, max_size=60))
def test_no_drawn_split_cuts_a_group(rows):
    pairs = [
        Pair(f"{row}", Path(f"{image}.jpg"), ("a text",), label, group=f"{image}.jpg")
        for row, (image, label) in enumerate(rows)
    ]
    splits = {}
    for pair in draw_splits(pairs, (0.5, 0.25, 0.25)):
        assert splits.setdefault(pair.group, pair.split) == pair.split


def test_a_split_of_the_user_that_cuts_a_group_is_refused(read):
    pairs = read("image,text,split\n0.jpg,a cat,train\n0.jpg,a kitten,test\n1.jpg,a dog,test\n")
    with pytest.raises(ValueError, match=r"1 groups are in several splits, such as 0\.jpg; pairs of one group"):
        draw_splits(pairs)


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
    monkeypatch.setattr(pair_tables, "_LONGEST_CELL", 1000)
    message = refused('image,text\n0.jpg,"a\n' + "1.jpg,b\n" * 200)
    assert message.startswith("line 2: ") and "limit (1000)" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        (
            "\ufeff",
            NO_IMAGE_COLUMN.format("line 1", "none"),
        ),
        ("image,text\n", "expected at least one row, found none"),
        (
            "text\na\n",
            NO_IMAGE_COLUMN.format("line 1", "'text'"),
        ),
        (
            "\n\nimage\n0.jpg\n",
            NO_TEXT_COLUMN.format("line 3: no column", "'image'"),
        ),
        (
            "image,txet\n0.jpg,a\n",
            "line 1: unknown column 'txet' (did you mean 'text'?); rename or delete it, or say which with "
            "columns={'text': NAME}",
        ),
        (
            "0.jpg,a\n1.jpg,b\n",
            NO_IMAGE_COLUMN.format("line 1", "'0.jpg', 'a'")
            + "; if the table has no header, write one, such as image,text, as its first line",
        ),
        (
            "image,text,text\n0.jpg,a,b\n",
            "line 1: two columns 'text'; a row has one (of texts, a .jsonl file takes a list)",
        ),
        (
            'image,text\n0.jpg,a\n1.jpg,"b\n2.jpg,c\n3.jpg,d\n',
            "line 3: quotes do not pair up in the row that begins here (unexpected end of data); write a "
            "quote inside a quoted cell twice",
        ),
        (
            'image,text\n0.jpg,a\n1.jpg,"b\n2.jpg,c\n3.jpg,"d"\n',
            "line 3: quotes do not pair up in the row that begins here (',' expected after '\"'); write a "
            "quote inside a quoted cell twice",
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
            "unknown key 'texts' (did you mean 'text'?); rename or delete it, or say which with columns={'text': NAME}",
        ),
        ([{"image": "0.jpg"}, {"image": "1.jpg"}], NO_TEXT_COLUMN.format("no key", "'image'")),
        ([{"text": "a"}], NO_IMAGE_COLUMN.format("", "'text'").replace("no column", "no key").removeprefix(": ")),
        (
            '{"image": "0.jpg", "text": "a"}'.encode("utf-16-be").join([b"\xfe\xff", b""]),
            "expected UTF-8, found UTF-16",
        ),
    ],
)
def test_what_is_wrong_with_a_jsonl_is_one_line(refused, content, message):
    assert refused(content, ".jsonl") == message


def test_a_table_must_be_a_file_of_a_known_kind_and_the_images_in_a_folder(tmp_path, images):
    folder, other, table = tmp_path / "folder.csv", tmp_path / "table.xlsx", tmp_path / "table.CSV"
    folder.mkdir()
    other.touch()
    table.write_text("image,text\n0.jpg,a\n")
    for path, message in (
        (
            folder,
            "expected a table of captions, or a folder with metadata.csv or metadata.jsonl or metadata.parquet in it "
            "or in its folders train, validation and test; found neither",
        ),
        (other, "expected a file called .csv, .tsv, .txt, .token, .jsonl, .json, .parquet, found .xlsx"),
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
        (b"1.jpg,caf\xe9", "the text is not UTF-8 (the byte 0xe9)"),
        (b"caf\xe9.jpg,a", "the image is not UTF-8 (the byte 0xe9)"),
        (b"1.jpg,\xf0\x9f\x98", "the text is not UTF-8 (the byte 0xf0)"),
        ("1.jpg", "the number of cells is 1, the header's is 2"),
        ("1.jpg,a,b", "the number of cells is 3, the header's is 2"),
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
        (b'{"image": "1.jpg", "text": ["a", "caf\xe9"]}', "the text is not UTF-8 (the byte 0xe9)"),
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
        f"absent-{number}.jpg,no such file".encode(),
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
        json.dumps({"image": f"{number}.jpg", "text": {"en": "b"}}).encode(),
        json.dumps({"image": f"absent-{number}.jpg", "text": "no such file"}).encode(),
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
