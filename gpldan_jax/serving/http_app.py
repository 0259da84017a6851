"""The query string of a request, checked: what a user may have typed, pasted or made up.

The HTTP interface of a collection. Answers are JSON.

    GET  /api/about                          what can be searched and how, and the limits
    GET  /api/search?words=red+heart         the nearest pictures; where there are none, the nearest texts
    GET  /api/search?image=ID                what is nearest to an image of the collection
    GET  /api/search?text=ID                 what is nearest to a text of the collection
    POST /api/search                         what is nearest to a picture: its file is the body, its type image/...
         &gallery=image|text                 what to look for; the other modality than the query's unless given
         &k=24                               how many
    GET  /api/pair?words=red+heart&image=ID  two of words, image and text: their distance and how much each
                                             representation counts in it; the first is the query
    POST /api/pair?image=ID                  likewise of a picture and an item
    GET  /api/suggestions?image=PART         ids that have this in them; or text=PART

`Collection` says what the answers hold. What is wrong gets a status of 4xx and {"error": "one line"}; a server that is
busy 429 or 503, with Retry-After in seconds.
"""

import asyncio
import re
import urllib.parse
from collections.abc import Collection as Names
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpldan_jax.serving.collection import MOST_RESULTS, Collection, NotAPictureError, UnknownItemError
from gpldan_jax.serving.limits import (
    BusyError,
    KnownHosts,
    Limits,
    OneLineErrors,
    RateLimit,
    SafeHeaders,
    Worker,
    failure,
)

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOST = 8


class RefusedError(ValueError):
    """What is wrong with a request, in one line for whoever sent it, and the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers


def parsed(query: bytes, allowed: Names[str], *, characters: int, query_bytes: int) -> list[tuple[str, str]]:
    """The parameters in their order.

    Args:
        query: as it was sent.
        allowed: names that may come.
        characters: of a value, at most.
        query_bytes: of all, at most.

    Raises:
        RefusedError: an unknown name, no or too long a value, broken escapes, something that is not UTF-8.

    Example:
        >>> parsed(b"words=red+heart&k=5", ("words", "k"), characters=300, query_bytes=4096)
        [('words', 'red heart'), ('k', '5')]
    """
    if len(query) > query_bytes:
        raise RefusedError(f"the query string must be at most {query_bytes} bytes, got {len(query)}", 414)
    try:
        text = query.decode("ascii")
        if _BROKEN_ESCAPE.search(text):
            raise RefusedError("the query string has a % that two hexadecimal digits do not follow")
        found = urllib.parse.parse_qsl(text, True, bool(text), errors="strict", max_num_fields=_MOST)
    except UnicodeDecodeError:
        raise RefusedError("the query string must be UTF-8 in %-escapes") from None
    except RefusedError:
        raise
    except ValueError:
        raise RefusedError(f"the query string must be at most {_MOST} of name=value, joined by &") from None
    for name, value in found:
        if name not in allowed:
            names = f"expected {', '.join(allowed)}" if allowed else "there is none here"
            raise RefusedError(f"unknown parameter {name[:40]!r}: {names}")
        if not value.strip():
            raise RefusedError(f"{name} must not be empty")
        if len(value) > characters:
            raise RefusedError(f"{name} must be at most {characters} characters, got {len(value)}")
    return found


def single(found: list[tuple[str, str]]) -> dict[str, str]:
    """Parameters that come at most once, by name."""
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise RefusedError(f"{name} must come once, got {names.count(name)}")
    return dict(found)


def whole_number(text: str, name: str, most: int) -> int:
    """A number from 1 to `most`."""
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise RefusedError(f"{name} must be a whole number from 1 to {most}, got {text[:20]!r}")
    return int(text)


DEFAULT_RESULTS = 24
_ASKS = ("words", "image", "text")
_FILES = {  # all that can be read of this machine
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_FOREVER = "public, max-age=31536000, immutable"


def app(collection: Collection, *, hosts: Names[str] = (), limits: Limits | None = None) -> Starlette:
    """The page and its interface, to be run by any ASGI server.

    Args:
        collection: what is searched.
        hosts: names by which the server may be called; any unless given.
        limits: what it takes of its clients; the defaults of `Limits` unless given.
    """
    limits = limits or Limits()
    answers = _Answers(collection, limits)
    routes = [
        Route("/api/about", answers.about, methods=["GET"]),
        Route("/api/search", answers.search, methods=["GET", "POST"]),
        Route("/api/pair", answers.pair, methods=["GET", "POST"]),
        Route("/api/suggestions", answers.suggestions, methods=["GET"]),
        Route("/pictures/{version}/{name}", answers.picture, methods=["GET"]),
        *(Route(path, _file(*file), methods=["GET"]) for path, file in _FILES.items()),
    ]
    made = Starlette(
        routes=routes,
        middleware=[
            Middleware(SafeHeaders),
            Middleware(OneLineErrors),
            *([Middleware(KnownHosts, hosts=hosts)] if hosts else []),
            Middleware(RateLimit, limits=limits),
        ],
        exception_handlers={
            HTTPException: _of_routing,
            RefusedError: lambda request, error: failure(error.status, str(error), error.headers),
            BusyError: lambda request, error: failure(503, "too many searches are waiting", {"Retry-After": "2"}),
        },
    )
    made.router.redirect_slashes = False
    return made


class _Answers:
    def __init__(self, collection: Collection, limits: Limits):
        self._collection, self._limits = collection, limits
        self._worker = Worker(limits.waiting, limits.waiting_seconds)
        self._uploads = 0

    async def about(self, request: Request) -> Response:
        self._parameters(request, ())
        limits = {"characters": self._limits.characters, "body_bytes": self._limits.body_bytes}
        about = await self._worker(self._collection.about)
        return JSONResponse({**about, "default_results": DEFAULT_RESULTS, "limits": limits})

    async def search(self, request: Request) -> Response:
        is_upload = request.method == "POST"
        given = single(self._parameters(request, ("gallery", "k") if is_upload else (*_ASKS, "gallery", "k")))
        k = whole_number(given.pop("k", str(DEFAULT_RESULTS)), "k", MOST_RESULTS)
        gallery = given.pop("gallery", None)
        if gallery not in (None, "image", "text"):
            raise RefusedError(f"gallery must be image or text, got {gallery[:20]!r}")
        if not is_upload and len(given) != 1:
            raise RefusedError(f"ask by one of {', '.join(_ASKS)}, got {len(given)} of them")
        return await self._answered(
            request, list(given.items()), lambda query: self._collection.search(query, gallery, k)
        )

    async def pair(self, request: Request) -> Response:
        asks, expected = self._parameters(request, _ASKS), 1 if request.method == "POST" else 2
        if len(asks) != expected:
            sides = "one of words, image and text" if expected == 1 else "two of words, image and text"
            raise RefusedError(f"a pair is asked for by {sides}, got {len(asks)}")
        return await self._answered(request, asks, self._collection.pair)

    async def suggestions(self, request: Request) -> Response:
        asks = self._parameters(request, ("image", "text"))
        if len(asks) != 1:
            raise RefusedError(f"ask by image or by text, got {len(asks)} of them")
        return await self._computed(self._collection.suggestions, *asks[0])

    async def picture(self, request: Request) -> Response:
        pictures, name = self._collection.pictures, request.path_params["name"]
        row = name.removesuffix(".png")
        if (
            pictures is None
            or request.path_params["version"] != pictures.version
            or f"{row}.png" != name
            or not (row.isascii() and row.isdecimal() and len(row) < 8 and int(row) < len(pictures))
        ):
            raise HTTPException(404)
        return Response(pictures.file(int(row)), headers={"Cache-Control": _FOREVER}, media_type="image/png")

    async def _answered(self, request, asks, answer):
        """What `answer` makes of the queries that were asked by, of the picture that was sent first."""
        if request.method != "POST":
            return await self._computed(lambda: answer(*(self._query(*ask) for ask in asks)))
        if self._uploads >= self._limits.uploads:
            raise RefusedError("too many pictures are being sent", 503, {"Retry-After": "2"})
        self._uploads += 1
        try:
            file = await self._body(request)
            return await self._computed(
                lambda: answer(self._collection.by_picture(file), *(self._query(*ask) for ask in asks))
            )
        finally:
            self._uploads -= 1

    async def _computed(self, function, *args):
        try:
            return JSONResponse(await self._worker(function, *args))
        except UnknownItemError as error:
            raise RefusedError(str(error), 404) from None
        except NotAPictureError as error:
            raise RefusedError(str(error), 415) from None
        except ValueError as error:
            raise RefusedError(str(error)) from error

    def _query(self, ask, value):
        return self._collection.by_words(value) if ask == "words" else self._collection.by_item(ask, value)

    def _parameters(self, request, allowed) -> list[tuple[str, Any]]:
        return parsed(
            request.scope["query_string"],
            allowed,
            characters=self._limits.characters,
            query_bytes=self._limits.query_bytes,
        )

    async def _body(self, request):
        most = self._limits.body_bytes
        too_large = RefusedError(f"the picture is too large: at most {most:,} bytes", 413)
        if not request.headers.get("content-type", "").startswith("image/"):
            raise RefusedError("send a picture, with its type as Content-Type: image/png, for example", 415)
        announced = request.headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > most:
                        raise too_large
        except TimeoutError:
            raise RefusedError("the picture took too long to arrive", 408, {"Connection": "close"}) from None
        except ClientDisconnect:
            raise RefusedError("the picture did not arrive whole") from None
        if not body:
            raise RefusedError("send the file of a picture as the body")
        return bytes(body)


def _file(name, media_type):
    content = (Path(__file__).parent / "page" / name).read_bytes()

    async def respond(request):
        return Response(content, headers={"Cache-Control": "no-cache"}, media_type=media_type)

    return respond


async def _of_routing(request, error):
    messages = {404: "there is nothing at this address", 405: f"this address does not take {request.method[:20]}"}
    return failure(error.status_code, messages.get(error.status_code, error.detail), error.headers)
