"""Reads the rows of tables with separators: .csv, .tsv and .txt, and the older caption files of Flickr8k.

A row is (where it is, a value for each role), or (where it is, what is wrong with it); see `table_columns`.
"""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpldan_jax.extraction.table_columns import ROLES, find_columns, warn_of_unused

Rows = Iterator[tuple[str, dict[str, Any] | str]]
"""For each row where it is, such as "line 7", and its values by role, or what is wrong with it."""
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
_TOKEN = re.compile(r"(?P<image>[^\t]+\.\w+)#\d+\t(?P<text>.*)")  # of Flickr8k.token.txt, which has no header
_ESCAPED_QUOTE = re.compile(r'\\"(?!\s*(?:[,;\t|]|$))')


def delimited_rows(path: Path, columns: Mapping[str, str] | None, separator: str | None) -> Rows:
    """Returns the rows of a table.

    Args:
        path: a file with a header, or the older file of Flickr8k with "NAME.jpg#0", a tab and the caption.
        columns: names of columns by role, see `find_columns`.
        separator: one of `SEPARATORS`, or the character; `None` finds it in the header.

    Returns:
        The rows.

    Raises:
        ValueError: no or several separators that fit, a header that does not fit, or quotes that do not pair up.
    """
    separator = SEPARATORS.get(separator or "", separator)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        first = next((line for line in stream if line.strip()), "")
    if columns is None and _TOKEN.fullmatch(first.rstrip("\r\n")):
        return _token_rows(path)
    return _rows(path, columns, separator or _find_separator(path, first, columns))


def _find_separator(path: Path, header: str, columns: Mapping[str, str] | None) -> str:
    """The separator with which the header has an image and a text; without any, the one that it has most."""
    fitting, reasons = [], {}
    for name, separator in SEPARATORS.items():
        try:
            find_columns(_cells(header, separator), "", columns)
            fitting.append(name)
        except ValueError as error:
            reasons[separator] = error
    if len(fitting) > 1:
        raise ValueError(f"{path}: line 1: {' and '.join(fitting)} may each separate the cells; say which: separator")
    if fitting:
        return SEPARATORS[fitting[0]]
    return max(SEPARATORS.values(), key=header.count)


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


def _rows(path: Path, columns: Mapping[str, str] | None, separator: str) -> Rows:
    escaped = _has_escaped_quotes(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        last = [""]
        reader = csv.reader(_lines(stream, escaped, last), delimiter=separator, strict=True)
        rows = _csv_lines(path, reader)
        line, header = next(rows, (1, []))
        header = [cell.strip() for cell in header]
        found = find_columns(header, f"{path}: line {line}", columns)
        warn_of_unused(path, header, found)
        places = {role: header.index(name) for role, name in found.items()}
        # In captions.txt of Flickr8k texts may have commas and no quotes: the text goes on to the end of the line.
        is_last = path.suffix.lower() == ".txt" and len(header) == 2 and places["text"] == 1
        joined = 0
        for line, cells in rows:
            if is_last and len(cells) > 2 and '"' not in last[0]:
                cells = [cells[0], separator.join(cells[1:])]
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


def _lines(stream, escaped: bool, last: list[str]) -> Iterator[str]:
    """The lines for the csv module, with quotes doubled that were written as a backslash and a quote."""
    for line in stream:
        last[0] = line
        yield line.replace('\\"', '""') if escaped else line


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
                f"{path}: line {line}: quotes do not pair up in the row that begins here ({error})"
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
