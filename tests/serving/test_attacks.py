"""One client misbehaves, at 127.0.0.2; another, at 127.0.0.1, searches meanwhile."""

import contextlib
import io
import socket
import statistics
import sys
import threading
import time

import pytest
from PIL import Image

from tests.serving import served

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
SEARCH = b"GET /api/search?words=red+heart HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Counting(served.Slow):
    """A collection whose searches take a while, and are counted."""

    def __init__(self, indexes, pause):
        super().__init__(indexes, pause)
        object.__setattr__(self, "searches", [])

    def search(self, *args):
        self.searches.append(args)
        return super().search(*args)


def attack(port, content):
    connection = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=("127.0.0.2", 0))
    connection.sendall(content)
    return connection


def searches(port, number):
    """How long each of some searches takes that come one after the other, in seconds; none may be refused."""
    times = []
    for _ in range(number):
        started = time.monotonic()
        assert served.ask(port, "/api/search?words=red")[0] == 200
        times.append(time.monotonic() - started)
    return times


def test_nobody_waits_for_all_searches_of_another(emoji):
    collection = Counting(emoji.indexes, 0.03)
    with contextlib.ExitStack() as stack, served.serving(collection) as port:
        for _ in range(60):
            stack.enter_context(attack(port, SEARCH))
        searches(port, 4)
        assert len(collection.searches) < 40  # each of the four waits for one or two of the others


def test_searches_of_clients_that_are_gone_are_not_made(emoji):
    collection = Counting(emoji.indexes, 0.1)
    with served.serving(collection) as port:
        for connection in [attack(port, SEARCH) for _ in range(40)]:
            connection.close()
        served.ask(port, "/api/about")  # waits for its turn
        assert served.ask(port, "/api/search?words=red")[0] == 200
        time.sleep(0.3)
    assert len(collection.searches) < 20


def test_too_many_searches_of_one_client_are_refused_and_of_another_not(emoji):
    with contextlib.ExitStack() as stack, served.serving(served.Slow(emoji.indexes, 0.1), waiting_of_one=2) as port:
        connections = [stack.enter_context(attack(port, SEARCH)) for _ in range(6)]
        assert searches(port, 1)
        heads = [connection.recv(65536) for connection in connections]
    assert sorted(head[9:12] for head in heads) == [b"200"] * 3 + [b"429"] * 3
    assert any(b"too many of your searches are waiting: at most 2" in head for head in heads)


def upload(port, file, statuses):
    head = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nConnection: close\r\n"
    with attack(port, head + b"Content-Length: %d\r\n\r\n" % len(file) + file) as connection:
        statuses.append(connection.recv(12)[9:])
        while connection.recv(65536):
            pass


@pytest.mark.slow
def test_pictures_that_decode_to_many_pixels_keep_nobody_waiting(emoji):
    file = io.BytesIO()
    Image.new("RGB", (3990, 3990), "red").save(file, "png")
    statuses = []
    with served.serving(emoji) as port:
        searches(port, 3)
        uploads = [threading.Thread(target=upload, args=(port, file.getvalue(), statuses)) for _ in range(6)]
        for one in uploads:
            one.start()
        times = searches(port, 20)
        for one in uploads:
            one.join()
    assert statistics.median(times) < 1
    assert sorted(statuses) == [b"200"] * 4 + [b"429"] * 2
