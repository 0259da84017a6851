"""Reads the rows of tables with separators: .csv, .tsv and .txt, and the older caption files of Flickr8k.

A row is (where it is, a value for each role), or (where it is, what is wrong with it); see `table_columns`.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpldan_jax.extraction.table_columns import NAMES, ROLES, MissingColumnError, find_columns, warn_of_unused

Rows = Iterator[tuple[str, dict[str, Any] | str]]
"""For each row where it is, such as "line 7", and its values by role, or what is wrong with it."""
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
_TOKEN = re.compile(r"(?P<image>[^\t]+\.\w+)#\d+\t(?P<text>.*)")  # of Flickr8k.token.txt, which has no header
_ESCAPED_QUOTE = re.compile(r'\\"(?!\s*(?:[,;\t|]|$))')


def check_separator(separator: str | None) -> str | None:
    """Returns the character between cells, from the character itself or its name in `SEPARATORS`; `None` stays.

    Raises:
        ValueError: anything else.

    Example:
        >>> check_separator("semicolon"), check_separator("^")
        (';', '^')
    """
    if separator is None:
        return None
    character = SEPARATORS.get(separator, separator)
    if len(character) != 1 or character in '"\\\r\n':
        raise ValueError(f"separator={separator!r}: expected {', '.join(SEPARATORS)} or one character")
    return character


def delimited_rows(path: Path, columns: Mapping[str, str] | None, separator: str | None) -> Rows:
    """Returns the rows of a table.

    Args:
        path: a file with a header, or the older file of Flickr8k with "NAME.jpg#0", a tab and the caption.
        columns: names of columns by role, see `find_columns`.
        separator: the character between cells; `None` finds it in the header.

    Returns:
        The rows.

    Raises:
        ValueError: no or several separators that fit, a header that does not fit, or quotes that do not pair up.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        first = next((line for line in stream if line.strip()), "")
    if columns is None and _TOKEN.fullmatch(first.rstrip("\r\n")):
        return _token_rows(path)
    return _rows(path, columns, separator or _find_separator(path, first, columns), found=separator is None)


def _find_separator(path: Path, header: str, columns: Mapping[str, str] | None) -> str:
    """The separator with which the header has an image and a text; without any, the one that it has most."""
    fitting = []
    for name, separator in SEPARATORS.items():
        with contextlib.suppress(ValueError):
            find_columns(_cells(header, separator), "", columns)
            fitting.append(name)
    if len(fitting) > 1:
        raise ValueError(f"{path}: line 1: {' and '.join(fitting)} may each separate the cells; say which: separator")
    if fitting:
        return SEPARATORS[fitting[0]]
    return max(SEPARATORS.values(), key=header.count)


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


def _rows(path: Path, columns: Mapping[str, str] | None, separator: str, *, found: bool) -> Rows:
    """The rows of a table with a header; `found` says that the separator is a guess."""
    escaped = _has_escaped_quotes(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        last = [""]
        reader = csv.reader(_lines(stream, escaped, separator, last), delimiter=separator, strict=True)
        rows = _csv_lines(path, reader)
        line, header = next(rows, (1, []))
        header = [cell.strip() for cell in header]
        try:
            chosen = find_columns(header, f"{path}: line {line}", columns)
        except MissingColumnError as error:
            raise ValueError(f"{error}{_what_helps(header, columns, separator, found)}") from None
        warn_of_unused(path, header, chosen)
        places = {role: header.index(name) for role, name in chosen.items()}
        # In captions.txt of Flickr8k texts may have commas and no quotes: the text goes on to the end of the line.
        is_last = path.suffix.lower() == ".txt" and len(header) == 2 and places["text"] == 1
        joined = 0
        for line, cells in rows:
            text = last[0].rstrip("\r\n").partition(separator)[2]
            if is_last and len(cells) > 2 and line == reader.line_num and not text.lstrip().startswith('"'):
                cells = [cells[0], text]
                joined += 1
            if len(cells) == len(header):
                yield f"line {line}", {role: cells[place] for role, place in places.items()}
            else:
                yield f"line {line}", f"the number of cells is {len(cells)}, the header's is {len(header)}"
    if joined:
        warnings.warn(
            f"{path}: {joined:,} texts have {separator!r} and no quotes; each was read to the end of its line",
            stacklevel=2,
        )


def _what_helps(header: list[str], columns: Mapping[str, str] | None, separator: str, found: bool) -> str:
    """The end of the message that a header lacks a column: what else than its name may be wrong."""
    usual = {name for names in NAMES.values() for name in names}
    known = usual & {name.lower() for name in header}
    word = next((word for word, character in SEPARATORS.items() if character == separator), repr(separator))
    if not found:
        return f"; the separator given is {word}"
    there = [word for word, character in SEPARATORS.items() if any(character in name for name in header)]
    if there or (len(header) == 1 and not known):
        named = f" ({', '.join(there)}?)" if there else ""
        return f"; if not {word} but another character{named} separates the cells, say which: separator"
    if columns is None and header and not known:
        return "; if the table has no header, write one, such as image,text, as its first line"
    return ""


def _lines(stream, escaped: bool, separator: str, last: list[str]) -> Iterator[str]:
    """The lines for the csv module, to which a quote opens a cell only at its beginning, and a double one is a quote.

    Where the header has spaces after its separators, those before a quoted cell are left out, but not in Flickr30k's
    results.csv: bars separate its cells, and its quotes belong to the captions.
    """
    mark = re.escape(separator)
    quoted = re.compile(rf'(?<={mark})[ ]+("(?:[^"]|"")*"\s*(?={mark}|$))')
    spaced = None
    for line in stream:
        last[0] = line
        if spaced is None and line.strip():
            spaced = separator not in "|\t" and f"{separator} " in line
        if escaped:
            line = line.replace('\\"', '""')
        yield quoted.sub(r"\1", line) if spaced and '"' in line else line


def _has_escaped_quotes(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        return any(_ESCAPED_QUOTE.search(line) for line in stream)


def _csv_lines(path, reader):
    """Yields (first line, cells) of each row that is not blank."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # where the next row begins is not known
            raise ValueError(
                f"{path}: line {line}: quotes do not pair up in the row that begins here ({error}); write a quote "
                "inside a quoted cell twice"
            ) from None
        if any(cell.strip() for cell in cells):
            yield line, cells


def _token_rows(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
        for number, line in zip(itertools.count(1), stream, strict=False):
            if not line.strip():
                continue
            match = _TOKEN.fullmatch(line.rstrip("\r\n"))
            if match:
                yield f"line {number}", {role: match[role] for role in ROLES[:2]}
            else:
                yield f"line {number}", "expected NAME.jpg#0, a tab and a caption"
