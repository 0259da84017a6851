import asyncio
import contextlib
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from PIL import Image

from gpldan_jax import features
from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.index import Index
from gpldan_jax.serving import http_app as parameters
from gpldan_jax.serving import server
from gpldan_jax.serving.collection import Collection, png
from gpldan_jax.serving.limits import BusyError, Limits, RateLimit, Worker
from tests.serving.served import ask, collection, indexes, model, serving

ROOT = Path(__file__).parents[2]
PICTURE = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def emoji():
    return collection()


@pytest.fixture(scope="module")
def port(emoji):
    with serving(emoji) as port:
        yield port


def answer(port, path, **parameters):
    status, _, content = ask(port, f"{path}?{urlencode(parameters)}")
    assert status == 200, content
    return content


def shown(found):
    """Ids and distances of an answer."""
    return [(result["id"], np.float32(result["distance"])) for result in found["results"]]


def expected(found):
    """Those of a search in an index."""
    return list(zip(found.ids[0].tolist(), found.distances[0], strict=True))


def test_words_find_what_the_index_finds(port, emoji):
    inputs = features.extractor(emoji.indexes["image"].model.metadata, "text")(["red heart"])

    found = answer(port, "/api/search", words="red heart", k=7)

    assert shown(found) == expected(emoji.indexes["image"].search(inputs, 7))
    assert (found["gallery"], found["total"], found["query"]["unknown"]) == ("image", 1870, [])
    first = found["results"][0]
    assert first["fields"].keys() == {"group", "split"} and sum(first["attention"]) == pytest.approx(1, abs=1e-6)


def test_unknown_words_are_named_and_the_others_searched_by(port):
    found = answer(port, "/api/search", words="red xyzzy heart plugh")
    assert found["query"]["unknown"] == ["xyzzy", "plugh"] and found["query"]["known"]
    assert shown(found) == shown(answer(port, "/api/search", words="red heart"))


@pytest.mark.parametrize(("words", "unknown"), [("xyzzy plugh", ["xyzzy", "plugh"]), ("! a ?", [])])
def test_words_of_which_none_is_known_find_nothing(port, words, unknown):
    found = answer(port, "/api/search", words=words)
    assert found["results"] == [] and found["query"]["known"] is False and found["query"]["unknown"] == unknown


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("gallery", ["image", "text"])
def test_an_item_finds_what_the_index_finds_but_itself(port, emoji, modality, gallery):
    query = emoji.indexes[modality].entry("woman farmer").items
    found = answer(port, "/api/search", **{modality: "woman farmer", "gallery": gallery, "k": 6})
    others = expected(emoji.indexes[gallery].search(query, 7))
    if modality == gallery:
        others = [result for result in others if result[0] != "woman farmer"]
    assert shown(found) == others[:6]
    assert (found["query"]["id"], found["query"]["modality"]) == ("woman farmer", modality)


def test_an_item_looks_for_the_other_modality_unless_told(port):
    assert answer(port, "/api/search", image="ogre")["gallery"] == "text"
    assert answer(port, "/api/search", text="ogre")["gallery"] == "image"


def test_a_picture_that_is_sent_is_searched_by_as_the_model_sees_it(port, emoji):
    row = 500
    inputs = load_emoji_arrays().image[row : row + 1]
    file = png(load_emoji_pictures()[row])

    status, _, found = ask(port, "/api/search?gallery=text&k=5", "POST", file, PICTURE)

    assert status == 200 and shown(found) == expected(emoji.indexes["text"].search(inputs, 5, modality="image"))
    assert found["query"]["picture"].startswith("data:image/png;base64,")
    pair = ask(port, "/api/pair?image=ogre", "POST", file, PICTURE)[2]
    nearest = emoji.indexes["image"].distances(inputs, modality="image")[0]
    assert np.float32(pair["distance"]) == nearest[load_emoji_arrays().names.index("ogre")]


def test_a_pair_has_the_distance_and_the_weights_of_both_sides(port, emoji):
    pair = answer(port, "/api/pair", text="red heart", image="mending heart")

    query, item = (emoji.indexes[name].entry(id) for name, id in [("text", "red heart"), ("image", "mending heart")])
    every = emoji.indexes["image"].distances(query.items)[0]
    assert np.float32(pair["distance"]) == every[load_emoji_arrays().names.index("mending heart")]
    np.testing.assert_allclose(pair["weights"], query.attention + item.attention, rtol=1e-6)
    assert (pair["query"]["id"], pair["item"]["id"]) == ("red heart", "mending heart")
    assert pair["item"]["attention"] == pytest.approx(item.attention.tolist())
    assert answer(port, "/api/pair", words="red", image="ogre")["query"]["words"] == "red"


def test_what_the_page_begins_with(port):
    about = answer(port, "/api/about")
    assert about["galleries"] == {"image": 1870, "text": 1870} and about["asks"] == {"words": True, "picture": True}
    assert (
        about["dataset"] == "emoji" and about["pictures"] and not about["synthetic"] and "red heart" in about["phrases"]
    )
    assert len(about["shelf"]) == 18 and about["limits"] == {"characters": 300, "body_bytes": 10_000_000}


def test_suggestions_begin_with_what_was_typed_before_they_contain_it(port):
    ids = answer(port, "/api/suggestions", image="HEART")["ids"]
    assert len(ids) == 20 and ids[0].startswith("heart") and not ids[-1].startswith("heart")
    assert all("heart" in id for id in ids)
    assert answer(port, "/api/suggestions", text="xyzzy")["ids"] == []


def test_pictures_are_those_of_the_dataset_and_may_be_kept(port):
    address = answer(port, "/api/search", text="ogre", k=1)["results"][0]["picture"]
    status, headers, file = ask(port, address)
    row = int(re.search(r"/(\d+)\.png$", address)[1])
    assert status == 200 and "immutable" in headers["Cache-Control"]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), load_emoji_pictures()[row])


@pytest.mark.parametrize(
    "name", ["1870.png", "-1.png", "1.jpg", "1", "٣.png", "9" * 5000 + ".png", "1.png.png", "%2e%2e"]
)
def test_there_are_no_other_pictures(port, emoji, name):
    assert ask(port, f"/pictures/{emoji.pictures.version}/{quote(name, safe='%')}")[0] == 404
    assert ask(port, "/pictures/0123456789ab/1.png")[0] == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/?words=x", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")],
)
def test_the_page(port, path, kind):
    status, headers, content = ask(port, path)
    assert status == 200 and headers.get_content_type() == kind and len(content) > 1000
    assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"") and b"https://" not in content
    assert b"<script>" not in content and b"style=" not in content


@pytest.mark.parametrize(
    "path",
    ["/", "/page.js", "/api/about", "/nothing", "/api/search?k=x", "/api/search?words=red", "/icon.svg"],
)
def test_every_answer_is_safe_to_open(port, path):
    headers = ask(port, path)[1]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert headers["Cache-Control"] and "Server" not in headers


LONG = "x" * 301
BAD = [
    ("GET", "/api/search", 400, "ask by one of words, image, text, got 0"),
    ("GET", "/api/search?words=a&image=b", 400, "got 2"),
    ("GET", "/api/search?words=", 400, "words must not be empty"),
    ("GET", "/api/search?words=+", 400, "words must not be empty"),
    ("GET", f"/api/search?words={LONG}", 400, "at most 300 characters, got 301"),
    ("GET", f"/api/search?words={LONG * 20}", 414, "at most 4096 bytes"),
    ("GET", "/api/search?words=red&words=blue", 400, "words must come once"),
    ("GET", "/api/search?words=red&colour=1", 400, "unknown parameter 'colour'"),
    ("GET", "/api/search?words", 400, "name=value"),
    ("GET", "/api/search?words=%zz", 400, "hexadecimal"),
    ("GET", "/api/search?words=%ff%fe", 400, "UTF-8"),
    ("GET", "/api/search?words=%ed%a0%80", 400, "UTF-8"),
    ("GET", "/api/search?" + "&".join(["words=a"] * 9), 400, "at most 8"),
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


@pytest.mark.parametrize(("method", "path", "status", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_request_is_told_what_is_wrong_in_one_line(port, method, path, status, message):
    found, headers, content = ask(port, path, method)
    assert found == status and content.keys() == {"error"}
    assert message in content["error"] and "\n" not in content["error"] and len(content["error"]) < 200
    assert (status != 405) or headers["Allow"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"", "image/png", 400, "send the file of a picture"),
        (b"GIF89a", "image/gif", 415, "cannot be read: expected a complete PNG"),
        (b"%PDF-1.4", "application/pdf", 415, "Content-Type"),
        (png(np.zeros((64, 64, 3), np.uint8))[:-20], "image/png", 415, "cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused(port, body, kind, status, message):
    found, _, content = ask(port, "/api/search", "POST", body, {"Content-Type": kind})
    assert found == status and message in content["error"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(port, is_chunked):
    body = (b"x" * 100_000 for _ in range(101)) if is_chunked else b"x" * 10_000_001
    status, _, content = ask(port, "/api/search", "POST", body, PICTURE)
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
    status, _, content = ask(port, path)
    assert status == 404 and content == {"error": "there is nothing at this address"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:1234", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1:80@evil.example", 421),
        ("evil.example:127.0.0.1", 421),
        ("", 421),
    ],
)
def test_only_those_who_call_it_by_its_name_are_answered(port, host, status):
    found, _, content = ask(port, "/api/about", headers={"Host": host})
    assert found == status
    assert status == 200 or "only as 127.0.0.1 or localhost" in content["error"]


def raw(port, content, end="wait"):
    """What the server sends to whoever sends this, and then waits, sends no more, or is gone."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(content)
        if end == "send no more":
            connection.shutdown(socket.SHUT_WR)
        while end != "be gone" and (part := connection.recv(65536)):
            received += part
    return received


@pytest.mark.parametrize(
    "content",
    [
        b"hello\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=range(10),
)
def test_what_is_no_http_is_told_so(port, content):
    head, _, body = raw(port, content, "send no more").partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 4\d\d ", head)
    assert json.loads(body).keys() == {"error"}


@pytest.mark.parametrize("method", ["HEAD", "GET", "POST"])
def test_what_breaks_while_an_answer_is_made_is_told_so(emoji, method, caplog):
    kind = "Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n" if method == "POST" else "Connection: close\r\n"
    asked = "" if method == "POST" else "?words=red"
    begun = f"{method} /api/search{asked} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n"
    with serving(Slow(emoji.indexes, pause=0.3)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(begun.encode())
            time.sleep(0.1)
            connection.sendall(b"this is no chunk\r\n")
            head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
        assert ask(port, "/api/about")[0] == 200
    assert head.startswith(b"HTTP/1.1 400 ") and (body == b"" if method == "HEAD" else "error" in json.loads(body))
    assert not caplog.records


def malformed(random):
    """A request that is broken in some way, as bytes, and what its sender does then."""
    noise = random.randbytes(random.randint(1, 60))
    words = "".join(
        random.choice(["%", "%f", "&", "=", "a", "red", "%00", "%ff", "\\", "+", ";", "?", "../", "k=9"])
        for _ in range(8)
    )
    path = random.choice(
        [
            f"/api/search?words={words}",
            f"/api/search?{words}",
            f"/api/pair?image=ogre&text={words}",
            f"/pictures/{words}",
            f"/{words}",
            f"/api/search?words=red&k={random.randint(-(10**9), 10**9)}",
            f"/api/suggestions?text={words}",
            "/api/search?words=" + "x" * random.randint(1, 9000),
            "/" + "../" * random.randint(1, 9) + "etc/passwd",
        ]
    ).replace(" ", "+")
    method = random.choice(["GET", "GET", "GET", "POST", "HEAD", "PUT", "get", "", "GET GET", "TRACE", "CONNECT"])
    if random.random() < 0.3:
        method, path = "POST", random.choice(["/api/search", "/api/pair?image=ogre", "/api/search?k=0"])
    headers = random.choice(
        [
            b"",
            b"Content-Type: image/png\r\nContent-Length: %d\r\n" % random.choice([0, 10, 100, 10**12]),
            b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: gzip\r\n",
            b"Upgrade: websocket\r\nConnection: upgrade\r\n",
            b"Expect: 100-continue\r\nContent-Type: image/png\r\nContent-Length: 5\r\n",
            b"Host: evil.example\r\n",
            b"Host localhost\r\n",
            b"X: y\r\n" * random.randint(1, 500),
            b"X:" + noise + b"\r\n",
        ]
    )
    host = random.choice([b"Host: localhost\r\n"] * 9 + [b""])
    request = f"{method} {path} HTTP/1.{random.choice('0111')}\r\n".encode() + host + headers
    request += b"Connection: close\r\n\r\n" + random.choice([b"", noise, b"a\r\n0123456789\r\n0\r\n\r\n"])
    kind = random.random()
    if kind < 0.1:
        return noise, "send no more"
    if kind < 0.3:
        return request[: random.randint(1, len(request))], random.choice(["send no more", "be gone"])
    return request, "wait"


def test_a_thousand_malformed_requests_leave_it_answering(emoji, capfd, caplog):
    seeded = random.Random(7)
    with serving(emoji, body_seconds=0.05, idle_seconds=0.05, request_seconds=0.2) as port:
        received = [raw(port, *malformed(seeded)) for _ in range(1000)]
        found = answer(port, "/api/search", words="red heart")

    everything = b"".join(received)
    assert len(found["results"]) == 24
    for secret in (b"Traceback", b".py", str(ROOT).encode(), b"root:"):
        assert secret not in everything
    statuses = [int(one[9:12]) for one in received if one]
    assert set(statuses) <= {100, 200, 400, 404, 405, 408, 413, 414, 415, 421} and len(set(statuses)) > 8
    assert "Traceback" not in capfd.readouterr().err and not caplog.records


def test_a_client_has_a_number_of_requests_and_then_some_each_second():
    time_now, answers = [0.0], []

    async def app(scope, receive, send):
        answers.append(200)

    async def send(message):
        if message["type"] == "http.response.start":
            answers.append((message["status"], dict(message["headers"])[b"retry-after"]))

    limited = RateLimit(app, Limits(rate=2, burst=3, clients=2), clock=lambda: time_now[0])

    def request(client):
        answers.clear()
        asyncio.run(limited({"type": "http", "client": (client, 1)}, None, send))
        return answers[0]

    assert [request("a") for _ in range(4)] == [200, 200, 200, (429, b"1")]
    assert request("b") == 200
    time_now[0] = 1.0
    assert [request("a") for _ in range(3)] == [200, 200, (429, b"1")]
    request("c"), request("d")
    assert len(limited._clients) == 2  # a, who asked longest ago, is forgotten
    assert request("a") == 200


def test_too_many_requests_are_refused_with_when_to_come_back(emoji):
    with serving(emoji, rate=0.001, burst=2) as port:
        found = [ask(port, "/api/about") for _ in range(3)]
    assert [status for status, _, _ in found] == [200, 200, 429]
    assert found[2][1]["Retry-After"] == "1" and "too many requests" in found[2][2]["error"]


def test_calls_are_made_one_at_a_time_and_in_order():
    made, together = [], []

    def work(number):
        together.append(threading.active_count())
        made.append(number)
        time.sleep(0.002)
        return number

    async def all_of_them():
        worker = Worker(waiting=10, seconds=5)
        return await asyncio.gather(*(worker(work, number) for number in range(10)))

    assert asyncio.run(all_of_them()) == made == list(range(10))
    assert len(set(together)) == 1


def test_a_line_that_is_full_or_too_slow_turns_calls_away():
    async def turned_away(waiting, seconds):
        worker, go_on = Worker(waiting=waiting, seconds=seconds), threading.Event()
        first = asyncio.create_task(worker(go_on.wait))
        await asyncio.sleep(0)
        others = [asyncio.create_task(worker(str)) for _ in range(3)]
        await asyncio.wait(others, timeout=0.2)
        go_on.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    assert [type(result) for result in asyncio.run(turned_away(2, 60))] == [str, str, BusyError]
    assert [type(result) for result in asyncio.run(turned_away(9, 0.05))] == [BusyError] * 3


class Failing(Collection):
    def search(self, query, gallery, k):
        raise RuntimeError("secret\nof /work/somewhere")


def test_an_unexpected_error_is_one_line_of_the_log_and_tells_nothing(emoji, caplog):
    with serving(Failing(emoji.indexes)) as port:
        status, headers, content = ask(port, "/api/search?words=red")
        assert ask(port, "/api/about")[0] == 200
    assert status == 500 and content == {"error": "something went wrong; the server's log says what"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    (record,) = caplog.records
    assert record.getMessage() == "error: GET '/api/search': RuntimeError: secret of /work/somewhere"
    assert not record.exc_info


class Slow(Collection):
    def __init__(self, indexes, pause):
        super().__init__(indexes)
        object.__setattr__(self, "pause", pause)

    def search(self, query, gallery, k):
        time.sleep(self.pause)
        return super().search(query, gallery, k)


def test_a_busy_server_says_so_and_still_answers_what_takes_no_search(emoji):
    found = []
    with serving(Slow(emoji.indexes, pause=0.5), waiting=1) as port:
        searches = [threading.Thread(target=lambda: found.append(ask(port, "/api/search?words=red"))) for _ in range(4)]
        for search in searches:
            search.start()
        time.sleep(0.2)
        started = time.monotonic()
        assert ask(port, "/page.js")[0] == 200 and time.monotonic() - started < 0.25
        for search in searches:
            search.join()
    assert sorted(status for status, _, _ in found) == [200, 200, 503, 503]
    refused = next(one for one in found if one[0] == 503)
    assert refused[1]["Retry-After"] == "2" and refused[2] == {"error": "too many searches are waiting"}


def test_whoever_is_too_slow_is_not_waited_for(emoji):
    with serving(emoji, body_seconds=0.2, request_seconds=0.4, uploads=1) as port:
        begun = (
            b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nabc"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
            slow.sendall(begun)
            time.sleep(0.05)
            assert ask(port, "/api/search", "POST", b"x", PICTURE)[0] == 503  # one at a time
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: loc")
            started = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert slow.recv(1000) == b""
            assert 0.3 < time.monotonic() - started < 2
        assert ask(port, "/")[0] == 200


def test_a_model_of_features_from_elsewhere_is_asked_by_its_items(tmp_path):
    index = Index.build(model(dataset="mine", features=None), np.eye(3, 1952, dtype=np.float32), [7, 8, 9], "image")
    index.save(tmp_path)
    with serving(Collection.load(tmp_path)) as port:
        about = answer(port, "/api/about")
        assert about["asks"] == {"words": False, "picture": False} and about["galleries"] == {"image": 3}
        assert (
            not about["pictures"]
            and not about["phrases"]
            and [item["id"] for item in about["shelf"]] == ["7", "8", "9"]
        )
        assert [id for id, _ in shown(answer(port, "/api/search", image="8"))] in (["7", "9"], ["9", "7"])
        for path, method in [
            ("/api/search?words=red", "GET"),
            ("/api/search?image=8&gallery=text", "GET"),
            ("/api/search", "POST"),
        ]:
            status, _, content = ask(port, path, method, b"x" if method == "POST" else None, PICTURE)
            assert status == 400 and ("cannot read" in content["error"] or "has no texts" in content["error"])


def test_a_model_whose_texts_went_through_a_function_of_its_user_is_served(tmp_path):
    made = {"image": {"extractor": "hog_hsv"}, "text": {"extractor": "mine:encode"}}
    index = Index.build(model(dataset="mine", features=made), np.eye(3, 1952, dtype=np.float32), [7, 8, 9], "image")
    index.save(tmp_path)
    with serving(Collection.load(tmp_path)) as port:
        assert answer(port, "/api/about")["asks"] == {"words": False, "picture": True}
    with pytest.raises(ValueError, match=r"the extractor hog_hsv needs no file, got x\.pth"):
        Collection.load(tmp_path, {"image": "x.pth"})


def test_indexes_of_different_models_are_no_collection(tmp_path):
    indexes()["image"].save(tmp_path / "image")
    indexes(model(seed=1))["text"].save(tmp_path / "text")
    with pytest.raises(ValueError, match="different models"):
        Collection.load(tmp_path)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named(monkeypatch, package):
    find = server.importlib.util.find_spec
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(ValueError, match=rf"^the page needs {package}: pip install -e '.\[serve\]'$"):
        server.serve("anywhere")


def test_an_address_that_cannot_be_had_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            server.serve(tmp_path, port=port)
    with pytest.raises(ValueError, match="port must be from 0 to 65535, got 70000"):
        server.serve(tmp_path, port=70000)
    with pytest.raises(ValueError, match=r"cannot listen on nowhere\.invalid"):
        server.serve(tmp_path, host="nowhere.invalid", port=0)
    with pytest.raises(ValueError, match="is no collection"):
        server.serve(tmp_path, port=0)


@pytest.mark.parametrize(
    ("query", "found"), [(b"", []), (b"words=%C3%A9t%C3%A9+1&k=5", [("words", "été 1"), ("k", "5")])]
)
def test_parameters_are_read_as_browsers_write_them(query, found):
    assert parameters.parsed(query, ("words", "k"), characters=300, query_bytes=4096) == found


async def at_once(port, paths):
    """Statuses of requests that are all sent before the first answer is read."""
    streams = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in paths))
    for (_, writer), path in zip(streams, paths, strict=True):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answers = await asyncio.gather(*(reader.read() for reader, _ in streams))
    for _, writer in streams:
        writer.close()
    return answers


def test_the_command_serves_five_hundred_at_once_until_it_is_interrupted(tmp_path, quick_environment):
    for name, index in indexes().items():
        index.save(tmp_path / name)
    command = [sys.executable, ROOT / "experiments" / "search.py", "serve", tmp_path, "--port=0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | quick_environment | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            line = process.stdout.readline()
            port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)\n", line)[1])
            answers = asyncio.run(at_once(port, [f"/api/search?words=red+heart&k={1 + i % 24}" for i in range(500)]))
            bodies = [json.loads(one.partition(b"\r\n\r\n")[2]) for one in answers]
            assert [int(one[9:12]) for one in answers] == [200] * 500
            assert [len(body["results"]) for body in bodies] == [1 + i % 24 for i in range(500)]
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("stopped\n", "", 0)
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port).connect()
