"""What one client can have of the server: limits, a queue of searches, and pure ASGI middleware.

Searches are computed in one thread, one after the other, so that the event loop always answers.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import Callable, Collection
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response

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
    """The limits of a server.

    Attributes:
        characters: of words, or of an id.
        query_bytes: of a query string.
        head_bytes: of the first line and the headers of a request.
        body_bytes: of the file of a picture.
        body_seconds: in which a picture must have arrived.
        uploads: pictures that arrive or wait at a time.
        waiting: searches in the queue.
        waiting_seconds: after which a search in the queue is given up.
        rate: requests of one client per second, of any kind, in the long run.
        burst: requests of one client at once.
        clients: clients that are remembered; then the one that has been silent for longest is forgotten.
        idle_seconds: after which a connection is closed that has sent no request, or not the whole head of one.
        drain_seconds: in which the rest of a refused body must have arrived; then its connection is closed.
        read_seconds: after which a connection is closed whose client does not read its answers (on Linux).
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
    idle_seconds: float = 5
    drain_seconds: float = 5
    read_seconds: float = 20


class BusyError(Exception):
    """The queue is full, or a call has waited too long."""


class Worker:
    """Calls functions in one thread, one after the other, in the order in which they came.

    Args:
        waiting: how many calls may wait; more are refused.
        seconds: how long a call may wait.
    """

    def __init__(self, waiting: int, seconds: float):
        self._limit, self._seconds = waiting, seconds
        self._waiting, self._turn = 0, asyncio.Lock()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "search")

    async def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function when its turn comes.

        Args:
            function: the function.
            *args: its arguments.

        Returns:
            What the function returns.

        Raises:
            BusyError: its turn does not come.
        """
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


class SafeHeaders:
    """Tells browsers to run and show only what this server sent, and to keep no answer unless it says so."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        """Answers one request."""

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class PlainHttp:
    """Passes on HTTP/1 requests alone, and reads the rest of a body before the answer.

    A client that is still sending its body does not read the answer, and closing its connection would lose the answer.
    HTTP/2 is refused without a body, because its clients can make a server wait for ever before it may send one.
    """

    def __init__(self, app, drain_seconds: float):
        self._app, self._seconds = app, drain_seconds

    async def __call__(self, scope, receive, send):
        """Answers one request."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close"})
        if scope["type"] != "http":
            return None
        if scope["http_version"] not in ("1.0", "1.1"):
            return await Response(status_code=505)(scope, receive, send)
        is_whole = False

        async def receive_part():
            nonlocal is_whole
            message = await receive()
            is_whole = not message.get("more_body", False)
            return message

        async def send_after_body(message):
            if message["type"] == "http.response.start":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds):
                        while not is_whole:
                            await receive_part()
            await send(message)

        return await self._app(scope, receive_part, send_after_body)


class OneLineErrors:
    """Answers an unexpected error with nothing about this machine, and logs it in one line."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        """Answers one request."""
        has_started = False

        async def send_noting(message):
            nonlocal has_started
            has_started = True
            with contextlib.suppress(OSError):  # the client is gone
                await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            text = " ".join(str(error).split())
            _LOG.error("error: %s %r: %s: %s", scope["method"], scope["path"][:200], type(error).__name__, text[:500])
            if has_started:
                raise
            await failure(500, "something went wrong; the server's log says what")(scope, receive, send)


class KnownHosts:
    """Answers only requests that call the server by one of its names.

    A page of another site whose name resolves to this machine (DNS rebinding) gets nothing.
    """

    def __init__(self, app, hosts: Collection[str]):
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope, receive, send):
        """Answers one request."""
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or match[1].lower() not in self._hosts:
            message = f"this server answers only as {' or '.join(sorted(self._hosts))}"
            return await failure(421, message)(scope, receive, send)
        await self._app(scope, receive, send)


class RateLimit:
    """Allows each client `burst` requests, and `rate` more each second up to as many."""

    def __init__(self, app, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._app, self._limits, self._clock = app, limits, clock
        # Requests left to each client, and when that was.
        self._clients: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    async def __call__(self, scope, receive, send):
        """Answers one request."""
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
    """Returns an answer that says in one line what is wrong.

    Args:
        status: the HTTP status.
        message: the line.
        headers: more headers.

    Returns:
        The answer.
    """
    return JSONResponse({"error": message}, status, headers)
