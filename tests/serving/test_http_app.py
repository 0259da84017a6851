"""The answers of the page's interface: good ones, and what a bad request is told."""

import io
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from gpldan_jax import features
from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.serving import http_app
from gpldan_jax.serving.collection import encode_png
from gpldan_jax.serving.limits import Limits
from tests.serving import served

PICTURE = {"Content-Type": "image/png"}


LONG = "x" * 301


BAD = [
    ("GET", "/api/search", 400, "ask by one of words, image, text at least, got none"),
    ("GET", "/api/search?not_words=red", 400, "ask by one of words, image, text at least"),
    ("GET", "/api/search?words=red&image=nobody", 404, "no image 'nobody'"),
    ("GET", "/api/search?" + "&".join(["words=red"] * 9), 400, "a query may have 8 sides, got 9"),
    ("GET", "/api/search?words=red&group=Nothing", 400, "no item has the group 'Nothing'"),
    ("GET", "/api/search?words=red&split=test&split=train", 400, "split must come once, got 2"),
    ("GET", "/api/search?words=", 400, "words must not be empty"),
    ("GET", "/api/search?words=+", 400, "words must not be empty"),
    ("GET", f"/api/search?words={LONG}", 400, "at most 300 characters, got 301"),
    ("GET", f"/api/search?words={LONG * 20}", 414, "at most 4096 bytes"),
    ("GET", "/api/search?words=red&k=1&k=2", 400, "k must come once"),
    ("GET", "/api/search?words=red&colour=1", 400, "unknown parameter 'colour'"),
    ("GET", "/api/search?words", 400, "name=value"),
    ("GET", "/api/search?words=%zz", 400, "hexadecimal"),
    ("GET", "/api/search?words=%ff%fe", 400, "UTF-8"),
    ("GET", "/api/search?words=%ed%a0%80", 400, "UTF-8"),
    ("GET", "/api/search?" + "&".join(["words=a"] * 13), 400, "at most 12"),
    ("GET", "/api/search?words=red&k=0", 400, "k must be a whole number from 1 to 200, got '0'"),
    ("GET", "/api/search?words=red&k=201", 400, "from 1 to 200"),
    ("GET", "/api/search?words=red&k=-1", 400, "from 1 to 200"),
    ("GET", "/api/search?words=red&k=1e1", 400, "from 1 to 200"),
    ("GET", "/api/search?words=red&k=" + "9" * 200, 400, "from 1 to 200"),
    ("GET", "/api/search?words=red&k=%D9%A3", 400, "from 1 to 200"),
    ("GET", "/api/search?words=red&gallery=sound", 400, "gallery must be image or text, got 'sound'"),
    ("GET", "/api/search?image=nobody", 404, "no image 'nobody'"),
    ("GET", "/api/search?text=%00", 404, "no text"),
    ("GET", "/api/pair?image=ogre", 400, "two of words, image and text"),
    ("GET", "/api/pair?words=xyzzy&image=ogre", 400, "never seen"),
    ("GET", "/api/suggestions", 400, "ask by image or by text"),
    ("GET", "/api/about?x=1", 400, "there is none here"),
    ("GET", "/api/", 404, "nothing at this address"),
    ("GET", "/api/about/", 404, "nothing at this address"),
    ("GET", "/page.css/", 404, "nothing at this address"),
    ("PUT", "/api/search", 405, "does not take PUT"),
    ("DELETE", "/", 405, "does not take DELETE"),
    ("OPTIONS", "/api/about", 405, "does not take OPTIONS"),
    ("POST", "/api/about", 405, "does not take POST"),
    ("BREW", "/api/search?words=red", 405, "does not take BREW"),
    ("POST", "/api/search", 415, "Content-Type"),
]


@pytest.mark.slow
def test_words_find_what_the_index_finds(port, emoji):
    inputs = features.extractor(emoji.indexes["image"].model.metadata, "text")(["red heart"])

    found = served.answer(port, "/api/search", words="red heart", k=7)

    assert served.shown(found) == served.expected(emoji.indexes["image"].search(inputs, 7))
    assert (found["gallery"], found["total"], found["query"]["unknown"]) == ("image", 1870, [])
    first = found["results"][0]
    assert first["fields"].keys() == {"group", "split"} and sum(first["attention"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_unknown_words_are_named_and_the_others_searched_by(port):
    found = served.answer(port, "/api/search", words="red xyzzy heart plugh")
    assert found["query"]["unknown"] == ["xyzzy", "plugh"] and found["query"]["known"]
    assert served.shown(found) == served.shown(served.answer(port, "/api/search", words="red heart"))


@pytest.mark.parametrize(("words", "unknown"), [("xyzzy plugh", ["xyzzy", "plugh"]), ("! a ?", [])])
def test_words_of_which_none_is_known_find_nothing(port, words, unknown):
    found = served.answer(port, "/api/search", words=words)
    assert found["results"] == [] and found["query"]["known"] is False and found["query"]["unknown"] == unknown


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("gallery", ["image", "text"])
def test_an_item_finds_what_the_index_finds_but_itself(port, emoji, modality, gallery):
    query = emoji.indexes[modality].entry("woman farmer").encoded
    found = served.answer(port, "/api/search", **{modality: "woman farmer", "gallery": gallery, "k": 6})
    others = served.expected(emoji.indexes[gallery].search(query, 7))
    if modality == gallery:
        others = [result for result in others if result[0] != "woman farmer"]
    assert served.shown(found) == others[:6]
    assert (found["query"]["id"], found["query"]["modality"]) == ("woman farmer", modality)


def test_an_item_looks_for_the_other_modality_unless_told(port):
    assert served.answer(port, "/api/search", image="ogre")["gallery"] == "text"
    assert served.answer(port, "/api/search", text="ogre")["gallery"] == "image"


def test_a_picture_that_is_sent_is_searched_by_as_the_model_sees_it(port, emoji):
    row = 500
    inputs = load_emoji_arrays().image[row : row + 1]
    file = encode_png(load_emoji_pictures()[row])

    status, _, found = served.ask(port, "/api/search?gallery=text&k=5", "POST", file, PICTURE)

    assert status == 200 and served.shown(found) == served.expected(
        emoji.indexes["text"].search(inputs, 5, modality="image")
    )
    assert found["query"]["picture"].startswith("data:image/png;base64,")
    pair = served.ask(port, "/api/pair?image=ogre", "POST", file, PICTURE)[2]
    nearest = emoji.indexes["image"].distances(inputs, modality="image")[0]
    assert np.float32(pair["distance"]) == nearest[load_emoji_arrays().names.index("ogre")]


def test_a_pair_has_the_distance_and_the_weights_of_both_sides(port, emoji):
    pair = served.answer(port, "/api/pair", text="red heart", image="mending heart")

    query, item = (emoji.indexes[name].entry(id) for name, id in [("text", "red heart"), ("image", "mending heart")])
    every = emoji.indexes["image"].distances(query.encoded)[0]
    assert np.float32(pair["distance"]) == every[load_emoji_arrays().names.index("mending heart")]
    np.testing.assert_allclose(pair["weights"], query.attention + item.attention, rtol=1e-6)
    assert (pair["query"]["id"], pair["item"]["id"]) == ("red heart", "mending heart")
    assert pair["item"]["attention"] == pytest.approx(item.attention.tolist())
    assert served.answer(port, "/api/pair", words="red", image="ogre")["query"]["words"] == "red"


def test_what_the_page_begins_with(port):
    about = served.answer(port, "/api/about")
    assert about["galleries"] == {"image": 1870, "text": 1870} and about["asks"] == {"words": True, "picture": True}
    assert about["title"] == about["dataset"] == "emoji" and about["pictures"] and not about["synthetic"]
    assert not about["photos"]  # the emoji are icons
    assert len(about["phrases"]) == 7 and set(about["phrases"]) <= set(load_emoji_arrays().names)
    assert len(about["shelf"]) == 18 and about["limits"] == {"characters": 300, "body_bytes": 10_000_000}


def test_suggestions_begin_with_what_was_typed_before_they_contain_it(port):
    ids = served.answer(port, "/api/suggestions", image="HEART")["ids"]
    assert len(ids) == 20 and ids[0].startswith("heart") and not ids[-1].startswith("heart")
    assert all("heart" in id for id in ids)
    assert served.answer(port, "/api/suggestions", text="xyzzy")["ids"] == []


def test_pictures_are_those_of_the_dataset_and_may_be_kept(port):
    address = served.answer(port, "/api/search", text="ogre", k=1)["results"][0]["picture"]
    status, headers, file = served.ask(port, address)
    id = served.answer(port, "/api/search", text="ogre", k=1)["results"][0]["id"]
    assert status == 200 and "immutable" in headers["Cache-Control"] and headers.get_content_type() == "image/webp"
    row = load_emoji_arrays().names.index(id)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), load_emoji_pictures()[row])


@pytest.mark.parametrize(
    "name", ["0" * 32 + ".webp", "-1.webp", "1.jpg", "1", "٣.webp", "9" * 5000 + ".webp", "' OR 1=1 --.webp", "%2e%2e"]
)
def test_there_are_no_other_pictures(port, name):
    assert served.ask(port, f"/pictures/{quote(name, safe='%')}")[0] == 404
    assert served.ask(port, "/original?image=ogre")[0] == 404  # only where the server was given a folder


def test_items_that_are_called_what_was_typed_are_said_whatever_their_rank(port, emoji):
    found = served.answer(port, "/api/search", words="  RED heart", k=1)
    assert [item["id"] for item in found["exact"]] == ["red heart"]
    index = emoji.indexes["image"]
    inputs = features.extractor(index.model.metadata, "text")(["red heart"])
    every = index.distances(inputs)[0]
    assert found["exact"][0]["distance"] == every[load_emoji_arrays().names.index("red heart")]
    assert served.answer(port, "/api/search", words="red hear")["exact"] == []
    assert "exact" not in served.answer(port, "/api/search", text="red heart")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/?words=x", "text/html"),
        ("/page.css", "text/css"),
        *((f"/{name}.js", "text/javascript") for name in ("page", "asking", "drawing", "refining")),
    ],
)
def test_the_page(port, path, kind):
    status, headers, content = served.ask(port, path)
    assert status == 200 and headers.get_content_type() == kind and len(content) > 1000
    assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"") and b"https://" not in content
    assert b"<script>" not in content and b"style=" not in content


@pytest.mark.parametrize(("method", "path", "status", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_request_is_told_what_is_wrong_in_one_line(port, method, path, status, message):
    found, headers, content = served.ask(port, path, method)
    assert found == status and content.keys() == {"error"}
    assert message in content["error"] and "\n" not in content["error"] and len(content["error"]) < 200
    assert (status != 405) or headers["Allow"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"", "image/png", 400, "send the file of a picture"),
        (b"GIF89a", "image/gif", 415, "cannot be read: expected a complete PNG"),
        (b"%PDF-1.4", "application/pdf", 415, "Content-Type"),
        (encode_png(np.zeros((64, 64, 3), np.uint8))[:-20], "image/png", 415, "cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused(port, body, kind, status, message):
    found, _, content = served.ask(port, "/api/search", "POST", body, {"Content-Type": kind})
    assert found == status and message in content["error"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(port, is_chunked):
    body = (b"x" * 100_000 for _ in range(101)) if is_chunked else b"x" * 10_000_001
    status, _, content = served.ask(port, "/api/search", "POST", body, PICTURE)
    assert status == 413 and content["error"] == "the picture is too large: at most 10,000,000 bytes"


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/..%2fserver.py",
        "/%2e%2e/%2e%2e/setup.cfg",
        "/page.js/../../server.py",
        "//etc/passwd",
        "/....//server.py",
        "/..\\server.py",
        "/page/index.html",
        "/server.py",
        "/page.js%00.png",
        "/pictures/../server.py",
        "/pictures/%2e%2e%2f/server.py",
        "http://127.0.0.1/etc/passwd",
        "file:///etc/passwd",
    ],
)
def test_nothing_but_the_page_is_readable(port, path):
    status, _, content = served.ask(port, path)
    assert status == 404 and content == {"error": "there is nothing at this address"}


@pytest.mark.parametrize(
    ("query", "found"), [(b"", []), (b"words=%C3%A9t%C3%A9+1&k=5", [("words", "été 1"), ("k", "5")])]
)
def test_parameters_are_read_as_browsers_write_them(query, found):
    assert http_app.parse_query(query, ("words", "k"), Limits()) == found
