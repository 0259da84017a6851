"""Runs the page on this machine."""

import importlib.util
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from gpldan_jax.serving.collection import Collection

_NAMES = ("localhost", "127.0.0.1", "[::1]")  # of this machine, to itself
_BACKLOG = 2048
_LAST_ANSWERS = 3  # seconds that searches have to end when the server does


def serve(
    collection: str | os.PathLike,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    sources: Mapping[str, Path | None] | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Serves the page of a collection until it is interrupted.

    On an address of this machine alone it answers only those who call it by such an address. Elsewhere it answers
    everyone who can reach it: what is in the collection, and nothing else, can be read by them.

    Args:
        collection: its folder; see `Collection.load`.
        host: the address to listen on.
        port: 0 is any that is free.
        sources: of the model's extractors by modality, where they need some.
        log: takes the lines that a user should see; the address comes once the page can be opened.

    Raises:
        ValueError: no collection, a missing package, an address that cannot be had.
    """
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"the page needs {package}: pip install -e '.[serve]'")
    try:
        with _listening(host, port) as listener:
            loaded = Collection.load(collection, sources)
            loaded.warm_up()
            is_local = _is_loopback(listener)
            log(f"{_address(host, listener)} (Ctrl-C ends it)")
            if not is_local:
                log("everyone who can reach this address can search")
            running(loaded, (*_NAMES, host.lower()) if is_local else ()).run(sockets=[listener])
    except ImportError as error:  # of what makes features; its message says what to install
        raise ValueError(str(error)) from error
    except KeyboardInterrupt:  # uvicorn sends itself what stopped it, which a shell may have told us to ignore
        pass
    log("stopped")


def running(collection: Collection, hosts=(), limits=None):
    """A `uvicorn.Server` of the page, to be run on a socket that listens."""
    import uvicorn

    from gpldan_jax.serving import http_app as api
    from gpldan_jax.serving import protocol
    from gpldan_jax.serving.limits import Limits

    limits = limits or Limits()
    config = uvicorn.Config(
        api.app(collection, hosts=hosts, limits=limits),
        http=protocol.impatient(limits.request_seconds),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",  # ours is logged; a line for each broken request would let anyone fill a disk
        access_log=False,
        proxy_headers=False,  # a client could name itself as it likes
        server_header=False,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=limits.head_bytes,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    return uvicorn.Server(config)


def _listening(host, port):
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be from 0 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ValueError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None


def _is_loopback(listener):
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def _address(host, listener):
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}/"
