"""Clients that misbehave: how long searches of others take meanwhile, and what memory the server keeps afterwards."""

import contextlib
import http.client
import io
import multiprocessing
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from soaking import processes

SERVED, RETURNED = "others are served in time", "memory is returned"
WAITED, TURNED_AWAY, KEPT = "OTHERS WAIT", "OTHERS ARE REFUSED", "MEMORY IS KEPT"
BAD = (WAITED, TURNED_AWAY, KEPT)
_LONGEST, _MOST = 1.0, 100e6  # seconds of others' median search; bytes of memory
_SECONDS, _PAUSE = 15, 0.1  # of an attack; between two searches of another client
_ATTACKER, _OTHERS = "127.0.0.2", ("127.0.0.3", "127.0.0.4", "127.0.0.5")
_SEARCH = b"GET /api/search?words=red+heart HTTP/1.1\r\nHost: localhost\r\n\r\n"
_LARGE = 100  # uploads


def attack(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields a record for each attack on the page of the shipped emoji; Linux only, for its many local addresses.

    Args:
        folder: to work in; a collection of an earlier call is used again.
    """
    collection = _collection(folder)
    attacks: dict[str, Callable] = {
        "950 silent connections": _silent,
        "300 dropped searches a second": _dropped,
        "8 uploads of 39.7 megapixels": lambda port, until: _uploads(port, until, _picture(6300, 6300)),
        "8 uploads of 15.9 megapixels": lambda port, until: _uploads(port, until, _picture(3990, 3990)),
    }
    for name, misbehave in attacks.items():
        with _serving(folder, collection) as (port, _):
            times, refused = _searches_during(port, misbehave)
        median = statistics.median(times)
        outcome = TURNED_AWAY if refused else WAITED if median > _LONGEST else SERVED
        said = f"{len(times)} searches of {len(_OTHERS)} others: median {median * 1e3:.0f} ms, slowest "
        yield _record(name, outcome, f"{said}{max(times) * 1e3:.0f} ms, {refused} refused")
    with _serving(folder, collection) as (port, server):
        for _ in range(20):
            _ask(port, _OTHERS[0])
        before = _memory(server.pid)
        files = [_picture(3990, 3990), _picture(6900, 5700, "JPEG")]
        statuses = [_upload(port, _OTHERS[0], files[number % 2]) for number in range(_LARGE)]
        after = _memory(server.pid)
    said = f"{statuses.count(200)} of {_LARGE} accepted; {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after"
    yield _record(f"{_LARGE} large uploads", RETURNED if after - before < _MOST else KEPT, said)


def _record(name, outcome, said):
    record = {"kind": "attack", "case": name, "file": "", "done": name, "command": "search serve", "seed": ""}
    return {**record, "outcome": outcome, "said": said}


def _collection(folder):
    run, collection = folder / "emoji", folder / "emoji-collection"
    for argv in (
        ["run", "--dataset=emoji", "--config.train.epochs=1", f"--workdir={run}"],
        ["search", "build", f"--workdir={run}", f"--out={collection}"],
    ):
        ended = processes.finish(folder, argv)
        if ended.status:
            raise RuntimeError(f"{argv}: status {ended.status}: {ended.err}")
    return collection


@contextlib.contextmanager
def _serving(folder, collection):
    server = processes.start(folder, ["search", "serve", str(collection), "--port=0"])
    try:
        lines = iter(server.stdout)
        port = next(int(found[1]) for line in lines if (found := re.search(r"^http://\S+?:(\d+)", line)))
        _ask(port, _OTHERS[0])  # the first search compiles
        yield port, server
    finally:
        server.terminate()
        server.communicate()


def _searches_during(port, misbehave):
    """Searches of others, one after the other, during an attack: seconds of each, and how many were refused."""
    until = time.monotonic() + _SECONDS
    found: list[tuple[int, float]] = []

    def search(address):
        while time.monotonic() < until:
            started = time.monotonic()
            try:
                status = _ask(port, address)
            except (OSError, http.client.HTTPException):
                status = 0
            found.append((status, time.monotonic() - started))
            time.sleep(_PAUSE)

    # In a process of its own, so that the others do not wait for it in this one.
    attacker = multiprocessing.get_context("fork").Process(target=misbehave, args=(port, until))
    attacker.start()
    time.sleep(0.5)
    others = [threading.Thread(target=search, args=(address,)) for address in _OTHERS]
    for other in others:
        other.start()
    for thread in [*others, attacker]:
        thread.join()
    if attacker.exitcode:
        raise RuntimeError(f"the attacker failed with status {attacker.exitcode}: there was no attack to measure")
    return [seconds for _, seconds in found], sum(status != 200 for status, _ in found)


def _connect(port, address):
    return socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(address, 0))


def _silent(port, until):
    """Holds 950 connections that say nothing; one that the server closes is opened again."""
    held: list[socket.socket] = []
    while time.monotonic() < until:
        while len(held) < 950:
            with contextlib.suppress(OSError):
                held.append(_connect(port, _ATTACKER))
        time.sleep(0.5)
        held = [connection for connection in held if not _is_closed(connection)]
    for connection in held:
        connection.close()


def _is_closed(connection):
    try:
        connection.setblocking(False)
        closed = connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        closed = True
    connection.close()
    return closed


def _dropped(port, until):
    """Asks for 300 searches at once and is gone, each second."""
    while time.monotonic() < until:
        connections = []
        for _ in range(300):
            with contextlib.suppress(OSError):
                connections.append(_connect(port, _ATTACKER))
                connections[-1].sendall(_SEARCH)
        for connection in connections:
            connection.close()
        time.sleep(1)


def _uploads(port, until, file):
    """Eight uploads at a time, again and again."""

    def again():
        while time.monotonic() < until:
            with contextlib.suppress(OSError, http.client.HTTPException):
                _upload(port, _ATTACKER, file)

    threads = [threading.Thread(target=again) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _picture(width, height, kind="PNG"):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, kind)
    return file.getvalue()


def _ask(port, address):
    return _request(port, address, "GET", "/api/search?words=red", None, {})


def _upload(port, address, file):
    return _request(port, address, "POST", "/api/search", file, {"Content-Type": "image/png"})


def _request(port, address, method, path, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(address, 0))
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _memory(process):
    """Bytes of resident memory of a process and of those that it started."""
    total, left = 0, [process]
    while left:
        one = left.pop()
        with contextlib.suppress(OSError):
            of = Path(f"/proc/{one}")
            total += int(re.search(r"VmRSS:\s+(\d+) kB", (of / "status").read_text())[1]) * 1024
            for task in (of / "task").iterdir():
                left += [int(child) for child in (task / "children").read_text().split()]
    return total
