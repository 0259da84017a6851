"""The server against clients that are broken, slow or many."""

import asyncio
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

import gpldan_jax.serving
from gpldan_jax.serving import server
from tests.commands import ROOT
from tests.serving import served


async def at_once(port, paths):
    """Answers to requests of five clients of a proxy that are all sent before the first answer is read."""
    proxy = ("127.0.0.2", 0)
    streams = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port, local_addr=proxy) for _ in paths))
    for row, ((_, writer), path) in enumerate(zip(streams, paths, strict=True)):
        client = f"X-Forwarded-For: 192.0.2.{row % 5}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{client}\r\nConnection: close\r\n\r\n".encode())
    answers = await asyncio.gather(*(reader.read() for reader, _ in streams))
    for _, writer in streams:
        writer.close()
    return answers


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


@pytest.mark.parametrize(
    "content",
    [
        b"hello\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        # The connection may be closed while these are still being sent.
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=range(10),
)
def test_what_is_no_http_gets_a_status_or_nothing(port, content):
    received = served.raw(port, content, "send no more")
    assert re.match(rb"HTTP/1.1 4\d\d ", received) or (len(content) > 100_000 and not received)
    assert served.ask(port, "/")[0] == 200


@pytest.mark.parametrize("method", ["HEAD", "GET", "POST"])
def test_what_breaks_while_an_answer_is_made_leaves_it_answering(emoji, method, caplog):
    kind = "Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n" if method == "POST" else "Connection: close\r\n"
    asked = "" if method == "POST" else "?words=red"
    begun = f"{method} /api/search{asked} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n"
    with served.serving(served.Slow(emoji.indexes, pause=0.3)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(begun.encode())
            time.sleep(0.1)
            connection.sendall(b"this is no chunk\r\n")
            head = b"".join(iter(lambda: connection.recv(65536), b""))
        assert served.ask(port, "/api/about")[0] == 200
    assert re.match(rb"HTTP/1.1 (200|400) ", head)
    assert not caplog.records


@pytest.mark.slow
def test_a_thousand_malformed_requests_leave_it_answering(emoji, capfd, caplog):
    seeded = random.Random(7)
    with served.serving(emoji, body_seconds=0.05, idle_seconds=0.2, drain_seconds=0.05) as port:
        received = [served.raw(port, *malformed(seeded)) for _ in range(1000)]
        found = served.answer(port, "/api/search", words="red heart")

    everything = b"".join(received)
    assert len(found["results"]) == 24
    for secret in (b"Traceback", b".py", str(ROOT).encode(), b"root:"):
        assert secret not in everything
    statuses = [int(one[9:12]) for one in received if one]
    assert set(statuses) <= {100, 200, 400, 404, 405, 408, 413, 414, 415, 421, 501} and len(set(statuses)) > 8
    assert "Traceback" not in capfd.readouterr().err and not caplog.records


def test_whoever_is_too_slow_is_not_waited_for(emoji):
    with served.serving(emoji, body_seconds=0.2, idle_seconds=0.4, drain_seconds=0.1, uploads=1) as port:
        begun = (
            b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nabc"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
            slow.sendall(begun)
            time.sleep(0.05)
            assert (
                served.ask(port, "/api/search", "POST", b"x", {"Content-Type": "image/png"})[0] == 503
            )  # one at a time
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: loc")
            started = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert slow.recv(1000) == b""
            assert 0.3 < time.monotonic() - started < 2
        assert served.ask(port, "/")[0] == 200


@pytest.mark.parametrize("package", ["starlette", "hypercorn"])
def test_a_missing_package_is_named(monkeypatch, package):
    for name in [*sys.modules]:
        if name.startswith((package, "gpldan_jax.serving.http_app", "gpldan_jax.serving.limits")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(gpldan_jax.serving, "http_app", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"the page: .*{package}.*: pip install 'gpldan_jax\[serve\]'"
    with pytest.raises(ImportError, match=message):
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_the_command_serves_five_hundred_at_once_until_it_is_interrupted(tmp_path, quick_environment):
    for name, index in served.indexes().items():
        index.save(tmp_path / name)
    command = [sys.executable, ROOT / "experiments" / "search.py", "serve", tmp_path, "--port=0", "--proxy=127.0.0.2"]
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


def http2(port, window=0):
    """Frames of an answer over HTTP/2 to a client that lets the server send so many bytes of a body."""
    h2 = pytest.importorskip("h2.connection", reason="h2 comes with hypercorn")
    client = h2.H2Connection()
    client.initiate_connection()
    client.update_settings({4: window})  # SETTINGS_INITIAL_WINDOW_SIZE
    names = {":method": "GET", ":path": "/page.js", ":scheme": "http", ":authority": "localhost"}
    client.send_headers(1, list(names.items()), end_stream=True)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(client.data_to_send())
        return [event for part in iter(lambda: connection.recv(65536), b"") for event in client.receive_data(part)]


def test_http2_is_refused_and_its_connection_closed(emoji):
    with served.serving(emoji, idle_seconds=0.3) as port:
        frames = http2(port)
    (headers,) = (frame.headers for frame in frames if hasattr(frame, "headers"))
    assert dict(headers)[b":status"] == b"505"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has TCP_USER_TIMEOUT")
def test_a_client_that_does_not_read_is_not_waited_for(emoji, caplog):
    request = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served.serving(emoji, read_seconds=1) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(0.5)
        with contextlib.suppress(TimeoutError):  # until nothing fits between the two any more
            for _ in range(5000):
                client.sendall(request)
        assert served.ask(port, "/")[0] == 200
        deadline = time.monotonic() + 60  # the kernel closes the connection, when it comes to it
        with pytest.raises(ConnectionError):
            while time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):
                    client.sendall(request)
    assert not caplog.records


@pytest.mark.slow
def test_it_stops_although_a_client_does_not_read(emoji):
    with served.serving(emoji, read_seconds=60) as port:
        client = socket.create_connection(("127.0.0.1", port))
        client.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            for _ in range(5000):
                client.sendall(b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        started = time.monotonic()
    assert time.monotonic() - started < 8
    client.close()


def test_too_many_connections_are_not_logged_and_other_errors_are_one_line(caplog):
    for error in (OSError(24, "Too many open files"), ExceptionGroup("", [TimeoutError(110, "timed out")]), None):
        server._log_in_one_line(None, {"message": "cannot", "exception": error})
    assert not caplog.records
    server._log_in_one_line(None, {"message": "it failed", "exception": KeyError("two\nlines")})
    assert [record.getMessage() for record in caplog.records] == ["error: it failed: KeyError: 'two\\nlines'"]
