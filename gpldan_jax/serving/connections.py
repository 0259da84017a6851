"""A listening socket that bounds how many connections a client has and makes, and how many there are.

Hypercorn accepts all connections. A process can have only so many open files, so one client that opens many would keep
all others out. Hypercorn also takes time for each new connection, so one client that opens and closes very many would
make all others wait.
"""

import collections
import contextlib
import dataclasses
import json
import socket
from collections.abc import Collection

from gpldan_jax.serving.limits import Allowance, Limits, Network, client_at, is_among

_RESERVED = 128  # open files for everything but connections
_CLOSED = 4
_NEW = 2  # so that one who makes a connection for each request is told first of too many requests
_REFUSED_AT_ONCE = 100  # before the event loop does something else


class BoundedListener(socket.socket):
    """A listening socket whose `accept` closes connections that are too many, after an answer that says so.

    Connections that the client has closed count less: Hypercorn keeps them until they have been idle for long enough.
    The event loop of asyncio calls `accept` everywhere but on Windows.

    Args:
        listener: the socket to listen with; it is detached.
        limits: of the server: `connections` of one client, `_CLOSED` times as many with those that it has closed; of
            new ones `_NEW` times `rate` and `burst`.
        proxies: networks whose addresses may have more.
        total: connections of all clients; by default as many as this process may have open files.
    """

    def __init__(
        self, listener: socket.socket, limits: Limits, proxies: Collection[Network] = (), total: int | None = None
    ):
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self._most, self._proxies, self._total = limits.connections, proxies, total or _open_files() - _RESERVED
        self._rate = _NEW * limits.rate
        self._new = Allowance(dataclasses.replace(limits, rate=self._rate, burst=_NEW * limits.burst))
        # Connections of each client: those that it has not closed, and all of which this process has the file.
        self._alive: collections.Counter[str] = collections.Counter()
        self._open: collections.Counter[str] = collections.Counter()

    def accept(self):
        """Accepts a connection that is not too many."""
        for _ in range(_REFUSED_AT_ONCE):
            accepted, address = super().accept()
            client = client_at(address[0])
            is_many = self._alive[client] >= self._most or self._open[client] >= _CLOSED * self._most
            if self._open.total() >= self._total:
                _refuse(accepted, "too many connections")
            elif is_among(address[0], self._proxies):
                return _Connection(accepted, client, self._alive, self._open), address
            elif is_many:
                _refuse(accepted, f"too many connections from {client}: at most {self._most}")
            elif not self._new.take(client):
                _refuse(accepted, f"too many new connections from {client}: {self._rate:g} each second")
            else:
                return _Connection(accepted, client, self._alive, self._open), address
        raise BlockingIOError


class _Connection(socket.socket):
    """A socket that counts as alive until its client has closed it, and as open until it is closed here."""

    def __init__(self, accepted, client, *counters):
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._client, self._counters = client, [*counters]
        for counter in counters:
            counter[client] += 1

    def recv(self, *args):
        content = super().recv(*args)
        if not content:
            self._count_no_more(len(self._counters) - 1)  # still open
        return content

    def close(self):
        super().close()
        self._count_no_more(len(self._counters))

    def _count_no_more(self, number):
        for _ in range(number):
            counter = self._counters.pop(0)
            counter[self._client] -= 1
            if not counter[self._client]:
                del counter[self._client]


def allow_many_files() -> None:
    """Lets this process have as many open files as the system allows it; does nothing on Windows."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _open_files() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 2**20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


def _refuse(connection, message):
    content = json.dumps({"error": message})
    head = (
        f"HTTP/1.1 429 Too Many Requests\r\nContent-Length: {len(content)}\r\nConnection: close\r\nRetry-After: 5\r\n"
    )
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(f"{head}Connection: close\r\nContent-Type: application/json\r\n\r\n{content}".encode())
        connection.shutdown(socket.SHUT_WR)
