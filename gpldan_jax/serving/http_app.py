"""The HTTP interface of a collection; `Collection` says what the answers, all JSON, hold.

    GET  /api/about                          what can be searched and how, and the limits
    GET  /api/search?words=red+heart         the nearest images; the nearest texts where there are no images
    GET  /api/search?image=ID                what is nearest to an image of the collection
    GET  /api/search?text=ID                 what is nearest to a text of the collection
    POST /api/search                         what is nearest to a picture: its file is the body, its type image/...
         ?words=red&words=heart&image=ID     several sides together, also with a picture; each name may come again
         &not_words=...&not_image=...        and not_text=...: sides that are not wanted. Results have a score: the mean
                                             distance to the wanted sides, minus half the mean distance to the others
         &group=CLASS&split=test             search only the items of this class, of this split
         &gallery=image|text                 what to search; by default the other modality than that of the query, and
                                             for several sides images
         &k=24                               how many results
    GET  /api/pair?words=red+heart&image=ID  two of words, image and text, the query first: their distance, and the
                                             weight of each representation in it
    POST /api/pair?image=ID                  a picture and an item, compared in the same way
    GET  /api/suggestions?image=PART         ids and captions of images (or of texts, with text=PART) that contain this
    GET  /pictures/NAME.webp                 a thumbnail
    GET  /original?image=ID                  the file of an image, where the server may send it

A bad request gets a status of 4xx and {"error": "one line"}; a busy server answers 429 or 503, with Retry-After in
seconds.
"""

import asyncio
import re
import urllib.parse
from collections import Counter
from collections.abc import Collection as Names
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from gpldan_jax.features.thumbnails import MEDIA_TYPE
from gpldan_jax.serving.collection import MOST_RESULTS, ORIGINALS, Collection
from gpldan_jax.serving.decoding import Decoder, DecodingError
from gpldan_jax.serving.filters import FIELDS
from gpldan_jax.serving.limits import (
    BusyError,
    KnownHosts,
    Limits,
    Network,
    OneLineErrors,
    PlainHttp,
    RateLimit,
    RealClient,
    SafeHeaders,
    Worker,
    client_of,
    failure,
)
from gpldan_jax.serving.sides import MOST_SIDES, UnknownItemError, combine

DEFAULT_RESULTS = 24
_SIDES = ("words", "image", "text")
_NOT = "not_"
_UNWANTED = tuple(_NOT + name for name in _SIDES)
_ONCE = ("gallery", "k", *FIELDS)
_MOST_PARAMETERS = 12
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FILES = {  # the only files of this machine that can be read
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("page", "asking", "drawing", "refining")
    },
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_PICTURE = re.compile(r"([0-9a-f]{32})\.webp")
_FOREVER = "public, max-age=31536000, immutable"


class RefusedError(ValueError):
    """What is wrong with a request, in one line for its sender, and the HTTP status."""

    def __init__(self, message: str, status: int = 400, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers


def create_app(
    collection: Collection,
    *,
    hosts: Names[str] = (),
    limits: Limits | None = None,
    proxies: Names[Network] = (),
) -> Starlette:
    """Makes the page and its interface, an ASGI application.

    Its `state.decoder` is the `Decoder` of the pictures that users send; `close` it in the end.

    Args:
        collection: what is searched.
        hosts: names by which the server may be called; by default any.
        limits: of the server; by default those of `Limits`.
        proxies: networks of proxies that are trusted to say in X-Forwarded-For who their client is.

    Returns:
        The application.
    """
    limits = limits or Limits()
    answers = _Answers(collection, limits)
    app = Starlette(
        routes=[
            Route("/api/about", answers.about, methods=["GET"]),
            Route("/api/search", answers.search, methods=["GET", "POST"]),
            Route("/api/pair", answers.pair, methods=["GET", "POST"]),
            Route("/api/suggestions", answers.suggestions, methods=["GET"]),
            Route("/pictures/{name}", answers.picture, methods=["GET"]),
            Route("/original", answers.original, methods=["GET"]),
            *(Route(path, _file(*file), methods=["GET"]) for path, file in _FILES.items()),
        ],
        middleware=[
            Middleware(SafeHeaders),
            Middleware(PlainHttp, drain_seconds=limits.drain_seconds),
            Middleware(OneLineErrors),
            *([Middleware(KnownHosts, hosts=hosts)] if hosts else []),
            *([Middleware(RealClient, proxies=proxies)] if proxies else []),
            Middleware(RateLimit, limits=limits),
        ],
        exception_handlers={
            HTTPException: _answer_wrong_address,
            RefusedError: lambda request, error: failure(error.status, str(error), error.headers),
            BusyError: answers.busy,
        },
    )
    app.state.decoder = answers.decoder
    app.router.redirect_slashes = False
    return app


def parse_query(query: bytes, allowed: Names[str], limits: Limits) -> list[tuple[str, str]]:
    """Parses and checks a query string, which may hold anything that a user typed, pasted or made up.

    Args:
        query: the query string as it was sent.
        allowed: names of parameters that may come.
        limits: of the server.

    Returns:
        The parameters in their order.

    Raises:
        RefusedError: it is too long, has an unknown name, a value that is empty or too long, broken escapes, or is not
            UTF-8.

    Example:
        >>> parse_query(b"words=red+heart&k=5", ("words", "k"), Limits())
        [('words', 'red heart'), ('k', '5')]
    """
    if len(query) > limits.query_bytes:
        raise RefusedError(f"the query string must be at most {limits.query_bytes} bytes, got {len(query)}", 414)
    try:
        text = query.decode("ascii")
        if _BROKEN_ESCAPE.search(text):
            raise RefusedError("the query string has a % that two hexadecimal digits do not follow")
        parameters = urllib.parse.parse_qsl(text, True, bool(text), errors="strict", max_num_fields=_MOST_PARAMETERS)
    except UnicodeDecodeError:
        raise RefusedError("the query string must be UTF-8 in %-escapes") from None
    except RefusedError:
        raise
    except ValueError:
        raise RefusedError(f"the query string must be at most {_MOST_PARAMETERS} of name=value, joined by &") from None
    for name, value in parameters:
        if name not in allowed:
            names = f"expected {', '.join(allowed)}" if allowed else "there is none here"
            raise RefusedError(f"unknown parameter {name[:40]!r}: {names}")
        if not value.strip():
            raise RefusedError(f"{name} must not be empty")
        if len(value) > limits.characters:
            raise RefusedError(f"{name} must be at most {limits.characters} characters, got {len(value)}")
    return parameters


class _Answers:
    def __init__(self, collection: Collection, limits: Limits):
        self._collection, self._limits = collection, limits
        self._worker, self._decoding = Worker(limits, "search"), Worker(limits, "decode")
        self._uploads: Counter[str] = Counter()  # of each client
        self.decoder = Decoder(limits)

    async def about(self, request: Request) -> Response:
        self._parameters(request, ())
        limits = {"characters": self._limits.characters, "body_bytes": self._limits.body_bytes}
        about = await _unless_gone(request, self._worker(client_of(request), self._collection.about))
        return JSONResponse({**about, "default_results": DEFAULT_RESULTS, "limits": limits})

    async def search(self, request: Request) -> Response:
        parameters = self._parameters(request, (*_SIDES, *_UNWANTED, *_ONCE))
        values = {name: value for name, value in parameters if name in _ONCE}
        names = [name for name, _ in parameters]
        if twice := [name for name in values if names.count(name) > 1]:
            raise RefusedError(f"{twice[0]} must come once, got {names.count(twice[0])}")
        k = _whole_number(values.pop("k", str(DEFAULT_RESULTS)), "k", MOST_RESULTS)
        gallery = values.pop("gallery", None)
        if gallery not in (None, "image", "text"):
            raise RefusedError(f"gallery must be image or text, got {gallery[:20]!r}")
        sides = [(name, value) for name, value in parameters if name not in _ONCE]
        is_wanted = [True] * (request.method == "POST") + [not name.startswith(_NOT) for name, _ in sides]
        if not any(is_wanted):
            raise RefusedError(f"ask by one of {', '.join(_SIDES)} at least, got none")
        if len(is_wanted) > MOST_SIDES:
            raise RefusedError(f"a query may have {MOST_SIDES} sides, got {len(is_wanted)}")

        def find(*queries):
            wanted, unwanted = (
                [query for query, is_one in zip(queries, is_wanted, strict=True) if is_one is kind]
                for kind in (True, False)
            )
            query = queries[0] if len(queries) == 1 else combine(wanted, unwanted)
            return self._collection.search(query, gallery, k, values)

        return await self._answer(request, [(name.removeprefix(_NOT), value) for name, value in sides], find)

    async def pair(self, request: Request) -> Response:
        sides, expected = self._parameters(request, _SIDES), 1 if request.method == "POST" else 2
        if len(sides) != expected:
            wanted = "one of words, image and text" if expected == 1 else "two of words, image and text"
            raise RefusedError(f"a pair is asked for by {wanted}, got {len(sides)}")
        return await self._answer(request, sides, self._collection.pair)

    async def suggestions(self, request: Request) -> Response:
        sides = self._parameters(request, ("image", "text"))
        if len(sides) != 1:
            raise RefusedError(f"ask by image or by text, got {len(sides)} of them")
        return await self._compute(request, self._worker(client_of(request), self._collection.suggestions, *sides[0]))

    async def picture(self, request: Request) -> Response:
        pictures, name = self._collection.pictures, request.path_params["name"]
        match = _PICTURE.fullmatch(name)
        file = pictures.file(match[1]) if pictures and match else None
        if file is None:
            raise HTTPException(404)
        return Response(file, headers={"Cache-Control": _FOREVER}, media_type=MEDIA_TYPE)

    async def original(self, request: Request) -> Response:
        parameters = self._parameters(request, ("image",))
        if len(parameters) != 1:
            raise RefusedError(f"a file is asked for by one image, got {len(parameters)}")
        try:
            path = self._collection.original(parameters[0][1])
        except UnknownItemError as error:
            raise RefusedError(str(error), 404) from None
        return FileResponse(path, headers={"Cache-Control": "no-cache"}, media_type=ORIGINALS[path.suffix.lower()])

    async def _answer(self, request, sides, function):
        """Calls `function` with the queries of the request; a picture that was sent is the first."""
        client, later = client_of(request), {"Retry-After": "2"}

        def answer(*first):
            return function(*first, *(self._query(*side) for side in sides))

        if request.method != "POST":
            return await self._compute(request, self._worker(client, answer))

        async def decode_and_answer(file):
            picture = await self._decoding(client, self.decoder, file)
            return await self._worker(client, lambda: answer(self._collection.by_picture(picture)))

        try:
            self._collection.extractor_of("image")
        except ValueError as error:
            raise RefusedError(str(error)) from None
        if self._uploads[client] >= self._limits.uploads_of_one:
            raise RefusedError(f"send at most {self._limits.uploads_of_one} pictures at a time", 429, later)
        if self._uploads.total() >= self._limits.uploads:
            raise RefusedError("too many pictures are being sent", 503, later)
        self._uploads[client] += 1
        try:
            file = await self._read_picture(request)
            return await self._compute(request, decode_and_answer(file))
        finally:
            self._uploads -= Counter([client])  # forgets who has none

    async def _compute(self, request, answer):
        try:
            return JSONResponse(await _unless_gone(request, answer))
        except UnknownItemError as error:
            raise RefusedError(str(error), 404) from None
        except DecodingError as error:
            raise RefusedError(str(error), 413 if error.is_too_large else 415) from None
        except ValueError as error:
            raise RefusedError(str(error)) from error

    def busy(self, request, error):
        message = "too many searches are waiting"
        if error.of_one:
            message = f"too many of your searches are waiting: at most {self._limits.waiting_of_one}"
        return failure(429 if error.of_one else 503, message, {"Retry-After": "2"})

    def _query(self, kind, value):
        return self._collection.by_words(value) if kind == "words" else self._collection.by_item(kind, value)

    def _parameters(self, request, allowed):
        return parse_query(request.scope["query_string"], allowed, self._limits)

    async def _read_picture(self, request):
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


async def _unless_gone(request, answer):
    """Waits for an answer; gives it up when the client closes its connection."""
    work, gone = asyncio.ensure_future(answer), asyncio.create_task(_gone(request.receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise RefusedError("the client is gone", 499)  # the status is for logs; nobody reads it
        return await work
    finally:
        work.cancel()
        gone.cancel()


async def _gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


def _whole_number(text, name, most):
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise RefusedError(f"{name} must be a whole number from 1 to {most}, got {text[:20]!r}")
    return int(text)


def _file(name, media_type):
    content = (Path(__file__).parent / "page" / name).read_bytes()

    async def respond(request):
        return Response(content, headers={"Cache-Control": "no-cache"}, media_type=media_type)

    return respond


async def _answer_wrong_address(request, error):
    messages = {404: "there is nothing at this address", 405: f"this address does not take {request.method[:20]}"}
    return failure(error.status_code, messages.get(error.status_code, error.detail), error.headers)
