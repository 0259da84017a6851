"""One thread that computes, so that the event loop always answers, and the line before it.

How much of the server one client can have, and what every answer says of itself: pure ASGI middleware.
"""

import asyncio
import collections
import concurrent.futures
import dataclasses
import logging
import re
import time
from collections.abc import Callable, Collection
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse


class BusyError(Exception):
    """The line is too long, or was too slow."""


class Worker:
    """Calls functions in a thread of its own, one at a time, in the order in which they came.

    Args:
        waiting: calls in line, beyond which others are turned away.
        seconds: until a call in line is given up.
    """

    def __init__(self, waiting: int, seconds: float):
        self._limit, self._seconds = waiting, seconds
        self._waiting, self._turn = 0, asyncio.Lock()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "search")

    async def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns; `BusyError` where its turn does not come."""
        if self._waiting >= self._limit:
            raise BusyError
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise BusyError from None
        finally:
            self._waiting -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        finally:
            self._turn.release()


_LOG = logging.getLogger("gpldan_jax.serve")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        characters: of words, or of an id.
        query_bytes: of a query string.
        head_bytes: of a request's first line and headers, where they do not arrive in one piece.
        body_bytes: of a picture's file.
        body_seconds: until a picture has arrived.
        uploads: pictures that arrive or wait at a time.
        waiting: searches in line; one is made at a time.
        waiting_seconds: until a search in line is given up.
        rate: requests of a client per second, of whatever kind, in the long run.
        burst: requests of a client at once.
        clients: that are remembered; beyond, the one that asked longest ago is forgotten.
        connections: at a time.
        idle_seconds: until a connection without a request is closed.
        request_seconds: until a request that makes no progress is given up; at most twice as long.
    """

    characters: int = 300
    query_bytes: int = 4096
    head_bytes: int = 32_768
    body_bytes: int = 10_000_000
    body_seconds: float = 20
    uploads: int = 8
    waiting: int = 512
    waiting_seconds: float = 20
    rate: float = 100
    burst: int = 600
    clients: int = 4096
    connections: int = 900
    idle_seconds: float = 5
    request_seconds: float = 15


class SafeHeaders:
    """Tells browsers to run and show only what this server sent, and to keep no answer unless it says so."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        async def with_headers(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


class OneLineErrors:
    """Makes an unexpected error an answer that tells nothing of this machine, and one line of the log."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        has_started = False

        async def noting(message):
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:  # nobody but a server that ends cancels; it would log a traceback
            if not has_started:
                await failure(503, "the server is being stopped")(scope, receive, send)
        except Exception as error:
            text = " ".join(str(error).split())
            _LOG.error("error: %s %r: %s: %s", scope["method"], scope["path"][:200], type(error).__name__, text[:500])
            if has_started:
                raise
            await failure(500, "something went wrong; the server's log says what")(scope, receive, send)


class KnownHosts:
    """Answers only those who call the server by its name: a page of another name that resolves to this machine, as
    in DNS rebinding, gets nothing.
    """

    def __init__(self, app, hosts: Collection[str]):
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope, receive, send):
        found = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        match = _HOST.fullmatch(found[0]) if len(found) == 1 else None
        if match is None or match[1].lower() not in self._hosts:
            message = f"this server answers only as {' or '.join(sorted(self._hosts))}"
            return await failure(421, message)(scope, receive, send)
        await self._app(scope, receive, send)


class RateLimit:
    """Gives each client `burst` requests, and `rate` more each second up to as many."""

    def __init__(self, app, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._app, self._limits, self._clock = app, limits, clock
        self._clients = collections.OrderedDict()  # what is left of each, and when that was

    async def __call__(self, scope, receive, send):
        client, now = (scope["client"] or ("",))[0], self._clock()
        left, since = self._clients.pop(client, (self._limits.burst, now))
        left = min(self._limits.burst, left + (now - since) * self._limits.rate)
        is_allowed = left >= 1
        self._clients[client] = (left - is_allowed, now)
        if len(self._clients) > self._limits.clients:
            self._clients.popitem(last=False)
        if not is_allowed:
            message = f"too many requests: {self._limits.rate:g} each second"
            return await failure(429, message, {"Retry-After": "1"})(scope, receive, send)
        await self._app(scope, receive, send)


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says in one line what is wrong."""
    return JSONResponse({"error": message}, status, headers)
