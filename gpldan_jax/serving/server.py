"""Runs the page of a collection on this machine, with hypercorn.

Hypercorn closes a connection that takes too long to send a request; uvicorn waits for it for ever. Hypercorn does not
close a connection whose client does not read its answers; Linux does, with the socket option TCP_USER_TIMEOUT.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpldan_jax._extras import needed_for
from gpldan_jax.serving.collection import Collection

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from gpldan_jax.serving.limits import Limits, Network

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_BACKLOG = 2048
_LAST_ANSWERS = 3  # seconds that searches may take to end when the server stops
_LOG = logging.getLogger("gpldan_jax.serve")


def serve(
    collection: str | os.PathLike,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    sources: Mapping[str, Path | None] | None = None,
    images: str | os.PathLike | None = None,
    candidates: int | None = None,
    proxies: Sequence[str] = (),
    log: Callable[[str], None] = print,
) -> None:
    """Serves the page of a collection until the process is interrupted.

    On a loopback address it answers only requests that call it by a name of this machine. On other addresses everyone
    who can reach the address can search and can read what is in the collection, and the image files if `images` is
    given, but nothing else.

    Args:
        collection: the folder; see `Collection.load`.
        host: the address to listen on.
        port: the port; 0 for any free one.
        sources: by modality, the files of the model's extractors that need some.
        images: the folder of the image files; then everyone who can search can open those that the collection names.
        candidates: rank only so many nearest items of the vector indexes; by default all items.
        proxies: IP addresses or networks of proxies, which are trusted to name their client in X-Forwarded-For. Limits
            count by client, so without this all clients of a proxy count as one.
        log: takes the lines for the user; the address comes once the page can be opened.

    Raises:
        ImportError: a library is missing; the message says how to install it.
        ValueError: there is no collection, the address cannot be used, or one in `proxies` is none.
    """
    with needed_for("the page", "serve"):
        import hypercorn.asyncio  # noqa: F401, before the model is loaded, which takes longer

        from gpldan_jax.serving import connections, http_app, limits

    trusted = [_network(address) for address in proxies]
    connections.allow_many_files()
    with _listen(host, port) as listener:
        close_slow_readers(listener, limits.Limits())
        loaded = Collection.load(collection, sources, images, candidates)
        loaded.warm_up()
        is_loopback = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
        name = f"[{host}]" if ":" in host else host
        log(f"http://{name}:{listener.getsockname()[1]}/ (Ctrl-C ends it)")
        if not is_loopback:
            log("everyone who can reach this address can search")
        hosts = (*_LOOPBACK_NAMES, host.lower()) if is_loopback else ()
        app = http_app.create_app(loaded, hosts=hosts, proxies=trusted)
        with contextlib.suppress(KeyboardInterrupt):  # on Windows; elsewhere `run` handles the signal
            asyncio.run(run(app, listener, limits.Limits(), proxies=trusted))
    log("stopped")


def close_slow_readers(listener: socket.socket, limits: "Limits") -> None:
    """Lets the kernel close connections whose clients do not read their answers; on Linux only.

    Connections inherit this from the listener, those that are made from now on.

    Args:
        listener: a socket that listens.
        limits: the `Limits` of the server; `read_seconds` is how long a client may read nothing.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * limits.read_seconds))


async def run(
    app: "Starlette",
    listener: socket.socket,
    limits: "Limits",
    stop: asyncio.Event | None = None,
    proxies: Sequence["Network"] = (),
) -> None:
    """Answers requests until SIGINT, SIGTERM or `stop`, and then for a few seconds those that have begun.

    Args:
        app: of `http_app.create_app`.
        listener: a socket that listens, see `close_slow_readers`.
        limits: the `Limits` of the server.
        stop: an event that ends it.
        proxies: networks whose addresses may have any number of connections.
    """
    import hypercorn.asyncio

    from gpldan_jax.serving.connections import BoundedListener

    stop, loop = stop or asyncio.Event(), asyncio.get_running_loop()
    loop.set_exception_handler(_log_in_one_line)
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows; not the main thread
            loop.add_signal_handler(number, stop.set)
    bounded = BoundedListener(listener.dup(), limits, proxies)

    class Config(hypercorn.Config):
        def create_sockets(self):
            bounded.setblocking(False)
            return hypercorn.config.Sockets([], [bounded], [])

    config = Config()
    config.backlog = _BACKLOG
    config.errorlog = config.accesslog = None  # a line for each broken request would let anyone fill a disk
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.head_bytes
    config.keep_alive_timeout = limits.idle_seconds
    config.graceful_timeout = _LAST_ANSWERS
    app.state.decoder.start()
    server = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait, mode="asgi"))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({server, stopped}, return_when=asyncio.FIRST_COMPLETED)
    # Hypercorn may wait for connections without a limit; `asyncio.run` cancels what is left, without complaints.
    await asyncio.wait({server}, timeout=_LAST_ANSWERS + 1)
    app.state.decoder.close()
    loop.set_exception_handler(lambda loop, context: None)
    if server.done():
        server.result()


def _log_in_one_line(loop, context):
    """Logs an error of the event loop, but not that a client is gone or that there are too many connections.

    Anyone can cause thousands of those in a second.
    """
    expected, error = (OSError, asyncio.CancelledError), context.get("exception")
    others = error.split(expected)[1] if isinstance(error, BaseExceptionGroup) else error
    if others is not None and not isinstance(others, expected):
        _LOG.error("error: %s: %s: %s", context["message"], type(others).__name__, " ".join(str(others).split())[:500])


def _network(address):
    try:
        return ipaddress.ip_network(address)
    except ValueError:
        raise ValueError(f"proxies must be IP addresses or networks, such as 10.0.0.0/8; got {address!r}") from None


def _listen(host, port):
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be from 0 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ValueError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None
