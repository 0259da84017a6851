"""What one client can have of the server: limits, a queue of searches, and pure ASGI middleware.

Searches are computed in one thread, one after the other, so that the event loop always answers. A client is an IP
address; see `client_at`.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
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
        pixels: of a picture, when it is decoded.
        jpeg_pixels: of a JPEG file; a large one is decoded to an eighth, a quarter or half of its size.
        shorter_side: a picture is reduced by a whole number as long as no side gets fewer pixels.
        decoding_bytes: of memory to decode a picture (on Linux).
        decoding_seconds: in which a picture must be decoded.
        uploads: pictures that arrive or wait at a time.
        uploads_of_one: the same, of one client.
        waiting: searches in the queue.
        waiting_of_one: the same, of one client.
        waiting_seconds: after which a search in the queue is given up.
        connections: of one client at a time (not on Windows); one more is closed.
        rate: requests of one client per second, of any kind, in the long run; twice as many new connections.
        burst: requests of one client at once; twice as many new connections.
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
    pixels: int = 16_000_000
    jpeg_pixels: int = 40_000_000
    shorter_side: int = 1024
    decoding_bytes: int = 400_000_000
    decoding_seconds: float = 10
    uploads: int = 8
    uploads_of_one: int = 4
    waiting: int = 2048
    waiting_of_one: int = 256
    waiting_seconds: float = 20
    connections: int = 256
    rate: float = 100
    burst: int = 600
    clients: int = 4096
    idle_seconds: float = 5
    drain_seconds: float = 5
    read_seconds: float = 20


class BusyError(Exception):
    """The queue is full, or a call has waited too long.

    Attributes:
        of_one: too many calls of this client wait; other clients are served.
    """

    def __init__(self, of_one: bool = False):
        super().__init__()
        self.of_one = of_one


class Worker:
    """Calls functions in one thread, one after the other. Clients take turns, so no client waits for all of another's.

    Args:
        limits: of the server: `waiting`, `waiting_of_one` and `waiting_seconds`.
        name: of the thread.
    """

    def __init__(self, limits: Limits, name: str):
        self._limits, self._is_busy = limits, False
        # The calls that wait, by client; the first client's first call is the next.
        self._waiting: dict[str, collections.deque[asyncio.Future[None]]] = {}
        self._thread = concurrent.futures.ThreadPoolExecutor(1, name)

    async def __call__(self, client: str, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function when its turn comes. If this is cancelled before, the function is never called.

        Args:
            client: who asks.
            function: the function.
            *args: its arguments.

        Returns:
            What the function returns.

        Raises:
            BusyError: its turn does not come.
        """
        if self._is_busy:
            await self._turn_of(client)
        self._is_busy = True
        call = asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        call.add_done_callback(self._end)
        return await asyncio.shield(call)  # a thread cannot be stopped, so the next turn comes when it is done

    async def _turn_of(self, client):
        if len(self._waiting.get(client, ())) >= self._limits.waiting_of_one:
            raise BusyError(of_one=True)
        if sum(map(len, self._waiting.values())) >= self._limits.waiting:
            raise BusyError
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, collections.deque()).append(turn)
        try:
            async with asyncio.timeout(self._limits.waiting_seconds):
                await turn
        except TimeoutError:
            self._leave(client, turn)
            raise BusyError from None
        except asyncio.CancelledError:
            self._leave(client, turn)
            raise

    def _leave(self, client, turn):
        if turn in self._waiting.get(client, ()):
            self._waiting[client].remove(turn)
        elif not turn.cancelled():  # the turn came in the same moment
            self._next()

    def _end(self, call):
        if not call.cancelled():
            call.exception()  # nobody else may ask for it
        self._next()

    def _next(self):
        while self._waiting:
            client = next(iter(self._waiting))
            calls = self._waiting.pop(client)
            while calls and (turn := calls.popleft()):
                if not turn.done():  # else it was cancelled, and has not left yet
                    if calls:
                        self._waiting[client] = calls  # behind the other clients
                    return turn.set_result(None)
        self._is_busy = False
        return None


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


class RealClient:
    """Replaces the address of a trusted proxy by that of its client, the last untrusted one in X-Forwarded-For.

    Hypercorn's `ProxyFixMiddleware` does not fit: it believes every sender, and X-Forwarded-Host, which a page of
    another site can send to get past `KnownHosts`.
    """

    def __init__(self, app, proxies: Collection[Network]):
        self._app, self._proxies = app, proxies

    async def __call__(self, scope, receive, send):
        """Answers one request."""
        client, port = scope["client"] or ("", 0)
        names = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        for name in reversed(names.split(",")):
            if not is_among(client, self._proxies):
                break
            try:
                client, port = str(ipaddress.ip_address(name.strip())), 0
            except ValueError:
                break
        await self._app(scope | {"client": (client, port)}, receive, send)


class Allowance:
    """What each client may do: `burst` times at once, and `rate` times more each second up to as many.

    Args:
        limits: of the server: `rate`, `burst` and `clients`.
        clock: the time in seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._limits, self._clock = limits, clock
        # What is left to each client, and when that was.
        self._clients: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def take(self, client: str) -> bool:
        """Returns whether a client may do it once more, and counts it."""
        now = self._clock()
        left, since = self._clients.pop(client, (self._limits.burst, now))
        left = min(self._limits.burst, left + (now - since) * self._limits.rate)
        is_allowed = left >= 1
        self._clients[client] = (left - is_allowed, now)
        if len(self._clients) > self._limits.clients:
            self._clients.popitem(last=False)
        return is_allowed


class RateLimit:
    """Allows each client so many requests, see `Allowance`."""

    def __init__(self, app, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._app, self._rate, self._requests = app, limits.rate, Allowance(limits, clock)

    async def __call__(self, scope, receive, send):
        """Answers one request."""
        if not self._requests.take(client_of(scope)):
            message = f"too many requests: {self._rate:g} each second"
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


def client_of(scope: Mapping[str, Any]) -> str:
    """Returns the client of a request or of its ASGI scope, see `client_at`."""
    return client_at((scope["client"] or ("",))[0])


def client_at(address: str) -> str:
    """Returns the client at an address: the address, or of IPv6 the first 64 bits, all of which one client has.

    Args:
        address: an IP address, or any other name.

    Returns:
        A name of the client.

    Example:
        >>> client_at("::ffff:10.0.0.1"), client_at("2001:db8::1"), client_at("")
        ('10.0.0.1', '2001:db8::/64', '')
    """
    found = _ip(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address if found is None else str(found)


def is_among(address: str, networks: Collection[Network]) -> bool:
    """Returns whether an IP address is in one of some networks.

    Args:
        address: an IP address, or any other name.
        networks: the networks.

    Returns:
        Whether it is.

    Example:
        >>> is_among("10.0.0.1", [ipaddress.ip_network("10.0.0.0/8")])
        True
    """
    found = _ip(address)
    return found is not None and any(found in network for network in networks)


def _ip(address):
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
