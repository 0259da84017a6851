"""The query string of a request, checked: what a user may have typed, pasted or made up."""

import re
import urllib.parse
from collections.abc import Collection

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOST = 8


class RefusedError(ValueError):
    """What is wrong with a request, in one line for whoever sent it, and the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers


def parsed(query: bytes, allowed: Collection[str], *, characters: int, query_bytes: int) -> list[tuple[str, str]]:
    """The parameters in their order.

    Args:
        query: as it was sent.
        allowed: names that may come.
        characters: of a value, at most.
        query_bytes: of all, at most.

    Raises:
        RefusedError: an unknown name, no or too long a value, broken escapes, something that is not UTF-8.

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
