"""How many connections a client may have."""

import contextlib
import http.client
import ipaddress
import json
import socket
import subprocess
import sys

import pytest

from gpldan_jax.serving.connections import BoundedListener
from gpldan_jax.serving.limits import Limits
from tests.commands import ROOT
from tests.serving import served

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")


def connect(port, client="127.0.0.2"):
    return socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(client, 0))


def refusal(connection):
    """The status, the time to wait and the message of a connection that is refused."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.headers["Retry-After"], json.loads(response.read())["error"]


def test_one_client_with_many_silent_connections_keeps_nobody_out(emoji):
    with contextlib.ExitStack() as stack, served.serving(emoji, connections=5, idle_seconds=60) as port:
        silent = [stack.enter_context(connect(port)) for _ in range(9)]
        message = "too many connections from 127.0.0.2: at most 5"
        assert [refusal(connection) for connection in silent[5:]] == [(429, "5", message)] * 4
        assert served.ask(port, "/api/search?words=red")[0] == 200
        for connection in silent[:5]:
            connection.close()
        statuses = []
        while statuses.count(200) < 8:  # connections that were closed do not count, once the server knows
            with connect(port) as again:
                again.sendall(b"GET /page.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                response = http.client.HTTPResponse(again)
                response.begin()
                response.read()
            statuses.append(response.status)
            assert len(statuses) < 500


@contextlib.contextmanager
def listening(*args, **settings):
    with BoundedListener(socket.create_server(("127.0.0.1", 0)), *args, **settings) as listener:
        yield listener, listener.getsockname()[1]


def test_one_client_that_opens_and_closes_many_connections_is_refused():
    limits = Limits(connections=3, burst=5, rate=0.001)
    with contextlib.ExitStack() as stack, listening(limits) as (listener, port):
        for _ in range(10):
            with connect(port), listener.accept()[0] as accepted:
                pass
            accepted.close()
        refused, other = stack.enter_context(connect(port)), stack.enter_context(connect(port, "127.0.0.3"))
        accepted, (address, _) = listener.accept()
        accepted.close()
        assert address == "127.0.0.3"
        assert refusal(refused) == (429, "5", "too many new connections from 127.0.0.2: 0.002 each second")
        other.close()


def test_all_clients_together_have_a_limit():
    with contextlib.ExitStack() as stack, listening(Limits(connections=5), total=3) as (listener, port):
        clients = [stack.enter_context(connect(port, f"127.0.0.{2 + row}")) for row in range(4)]
        accepted = [stack.enter_context(listener.accept()[0]) for _ in range(3)]
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):  # the fourth is refused, and there is no fifth
            listener.accept()
        assert refusal(clients[3]) == (429, "5", "too many connections")
        accepted[0].close()
        clients.append(stack.enter_context(connect(port)))
        stack.enter_context(listener.accept()[0])


def test_a_trusted_proxy_may_have_any_number():
    with (
        contextlib.ExitStack() as stack,
        listening(Limits(connections=1), [ipaddress.ip_network("127.0.0.2")]) as (listener, port),
    ):
        for _ in range(3):
            stack.enter_context(connect(port))
            stack.enter_context(listener.accept()[0])


def test_a_flood_of_connections_lets_the_event_loop_do_something_else():
    with contextlib.ExitStack() as stack, listening(Limits(connections=1)) as (listener, port):
        listener.setblocking(False)
        for _ in range(102):
            stack.enter_context(connect(port))
        stack.enter_context(listener.accept()[0])
        with pytest.raises(BlockingIOError):
            listener.accept()
        connection, _ = socket.socket.accept(listener)  # the last one still waits
        connection.close()


def test_connections_that_a_client_has_closed_count_less():
    with contextlib.ExitStack() as stack, listening(Limits(connections=2)) as (listener, port):
        for _ in range(8):
            connect(port).close()
            accepted = stack.enter_context(listener.accept()[0])
            assert accepted.recv(1) == accepted.recv(1) == b""
        ninth = stack.enter_context(connect(port))
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()
        assert refusal(ninth)[0] == 429
        accepted.close()
        accepted.close()
        stack.enter_context(connect(port))
        stack.enter_context(listener.accept()[0])


def test_a_server_may_have_as_many_files_as_the_system_allows():
    code = (
        "import resource; from gpldan_jax.serving import connections; "
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE); "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, most)); assert connections._open_files() == 300; "
        "connections.allow_many_files(); assert connections._open_files() == most"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
