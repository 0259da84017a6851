"""Reads the pairs of a user's table, a `.csv` or `.jsonl` file beside a folder of images.

What is wrong with one row becomes the `problem` of its pair: it does not end the run, and it is reported. What is wrong
with the whole table is a `ValueError`.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import difflib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpldan_jax.extraction.pairs import NO_IMAGE, Pair, Unusable, clean_path, clean_text

COLUMNS = ("image", "text", "id", "label", "split", "group")
_NEEDED = COLUMNS[:2]
_SPLITS = {"train": 0, "validation": 1, "valid": 1, "val": 1, "test": 2, "0": 0, "1": 1, "2": 2}
_LONGEST_CELL = 2**24  # characters; without a bound, a quote that is never closed takes the whole file into memory
_KINDS = {bool: "true or false", int: "a number", float: "a decimal number"}
_KINDS |= {str: "a string", list: "a list", dict: "an object"}


def read_table(path: str | os.PathLike, images: str | os.PathLike) -> list[Pair]:
    r"""Reads the pairs of a `.csv` or `.jsonl` file.

    A `.csv` file has a header, and commas between cells. A `.jsonl` file has one object per line. The columns or keys
    are `image`, a path inside the folder of the images; `text`, which in a `.jsonl` file may be a list of sentences;
    and, if wanted, `id` (otherwise the path of the image; "PATH#2" in the second row with this image), `label`, `split`
    (train, validation or test; or 0, 1, 2), and `group`, the same in rows that belong together. Without that column,
    rows with the same image are a group. Files are UTF-8, with or without a byte order mark. Blank lines are ignored.

    If two rows have the same value of the column `id`, the second cannot be used.

    Args:
        path: the table.
        images: the folder of the images; a symbolic link in it may point outside.

    Returns:
        A pair per row, in the order of the file. If not even an id can be read, the id is "line" and the line number.

    Raises:
        ValueError: no such file or folder, another format, no rows, a header that lacks a column or has an unknown one,
            quotes that do not pair up, or a label, split or group in only some of the usable rows. The message names
            the file and the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "cat.jpg").write_bytes(b"...")
        ...     _ = Path(folder, "my.csv").write_text("image,text\ncat.jpg,a cat\ndog.jpg,a dog\n")
        ...     [(pair.id, pair.texts, pair.problem) for pair in read_table(f"{folder}/my.csv", folder)]
        [('cat.jpg', ('a cat',), None), ('dog.jpg', ('a dog',), 'there is no such image file')]
    """
    path, images = Path(path), Path(images)
    rows = _rows(path)
    if not images.is_dir():
        raise ValueError(f"{images}: expected the folder of the images, found no such folder")
    pairs: list[Pair] = []
    lines: dict[str, int] = {}
    uses: Counter[Path] = Counter()  # of each image
    with _long_cells():
        for line, row in rows:
            pair = _pair(row, images, line, lines, uses)
            lines[pair.id] = line
            pairs.append(pair)
    if not pairs:
        raise ValueError(f"{path}: expected at least one row, found none")
    for name in ("label", "split", "group"):
        _check_all_or_none(path, name, pairs, lines)
    if any(pair.group is not None for pair in pairs):
        return pairs
    of_images = {image: image.relative_to(images).as_posix() for image, count in uses.items() if count > 1}
    return [dataclasses.replace(pair, group=of_images.get(pair.image)) for pair in pairs]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yields (line, columns) of each row, or (line, problem)."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if path.is_dir():
        raise ValueError(f"{path}: expected a .csv or .jsonl file, found a folder")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: expected a file called .csv or .jsonl")
    with path.open("rb") as stream:
        start = stream.read(2)
    if not start:
        raise ValueError(f"{path}: the file is empty")
    if start in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path}: expected UTF-8, found UTF-16")
    return readers[path.suffix.lower()](path)


def _csv_rows(path):
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        rows = _csv_lines(path, csv.reader(stream, strict=True))
        line, header = next(rows, (1, []))
        header = [cell.strip() for cell in header]
        _check_header(path, line, header)
        for line, cells in rows:
            if len(cells) == len(header):
                yield line, dict(zip(header, cells, strict=True))
            else:
                yield line, f"the number of cells is {len(cells)}, the header's is {len(header)}"


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
        if cells:
            yield line, cells


def _check_header(path, line, header):
    where, expected = f"{path}: line {line}", "expected a header with image, text and, if any, id, label, split, group"
    for place, name in enumerate(header):
        if name not in COLUMNS:
            raise ValueError(f"{where}: unknown column {_unknown(name)}; {expected}, separated by commas")
        if name in header[:place]:
            raise ValueError(f"{where}: two columns {name!r}; a row has one (of texts, a .jsonl file takes a list)")
    for name in _NEEDED:
        if name not in header:
            raise ValueError(f"{where}: no column {name!r}; {expected}")


def _json_rows(path):
    objects, keys = 0, Counter()
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            row = _json_object(text)
            if isinstance(row, dict):
                objects += 1
                keys.update(row.keys())  # `update(row)` would add up the values
                other = next((key for key in row if key not in COLUMNS), None)
                row = row if other is None else f"unknown key {_unknown(other)}"
            yield line, row
    for key, count in keys.items():
        if key not in COLUMNS and count == objects:
            raise ValueError(f"{path}: unknown key {_unknown(key)} in every line; expected {', '.join(COLUMNS)}")
    for key in _NEEDED:
        if objects and key not in keys:
            raise ValueError(f"{path}: no line has the key {key!r}")


def _json_object(text):
    """The object of a line, or the problem with it."""
    try:
        row = json.loads(text, object_pairs_hook=_dict_without_repeats)
    except Unusable as error:
        return str(error)
    except (ValueError, RecursionError):
        return "the line is not JSON"
    return row if isinstance(row, dict) else f"the line is {_kind(row)}, expected an object"


def _dict_without_repeats(items):
    if len({name for name, _ in items}) < len(items):
        raise Unusable("the line has a key twice")
    return dict(items)


def _pair(row: dict[str, Any] | str, images: Path, line: int, lines: dict[str, int], uses: Counter[Path]) -> Pair:
    """The pair of a row; `lines` has the line of each earlier id, `uses` how often each image was named."""
    found, problems = {}, []
    if isinstance(row, str):
        problems.append(row)
    else:
        for name, read in _READERS.items():
            try:
                found[name] = read(row.get(name), name)
            except Unusable as error:
                problems.append(str(error))
    image = images / found["image"] if "image" in found else Path()
    if "image" in found and not os.path.isfile(image):
        problems.append(NO_IMAGE)
    id = found.get("id") or found.get("image") or f"line {line}"
    if "image" in found:
        uses[image] += 1
        if uses[image] > 1 and not found.get("id"):
            id = f"{id}#{uses[image]}"
    if id in lines:
        problems.append(f"the id is that of line {lines[id]}")
        id = f"{id} (line {line})"
        while id in lines:
            id += "'"
    texts, label, split = found.get("text", ()), found.get("label"), found.get("split")
    return Pair(id, image, texts, label, split, problems[0] if problems else None, found.get("group"))


def _image(value, name):
    if isinstance(value, str):
        return clean_path(value)
    raise Unusable("no image is named" if value is None else f"the image is {_kind(value)}, expected a string")


def _texts(value, name):
    values = value if isinstance(value, list) else [value]
    if value is None or not values:
        raise Unusable("there is no text")
    wrong = [item for item in values if not isinstance(item, str)]
    if wrong:
        raise Unusable(f"the text is {_kind(wrong[0])}, expected a string or a list of strings")
    texts = tuple(clean_text(item, name) for item in values)
    if not all(texts):
        raise Unusable("the text is empty" if len(texts) == 1 else "one of the texts is empty")
    return texts


def _name(value, name):
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Unusable(f"the {name} is {_kind(value)}, expected a string or a whole number")
    return clean_text(value, name) or None


def _split(value, name):
    value = _name(value, name)
    if value is None:
        return None
    if value.lower() not in _SPLITS:
        raise Unusable(f"the split is {_shown(value)}, expected train, validation or test")
    return _SPLITS[value.lower()]


_READERS = {"image": _image, "text": _texts, "id": _name, "label": _name, "split": _split, "group": _name}


def _check_all_or_none(path, name, pairs, lines):
    usable = [pair for pair in pairs if pair.problem is None]
    lacking = [pair for pair in usable if getattr(pair, name) is None]
    if lacking and len(lacking) < len(usable):
        raise ValueError(
            f"{path}: expected a {name} in every row or in none, found none in {len(lacking)} of {len(usable)} rows, "
            f"the first in line {lines[lacking[0].id]}"
        )


@contextlib.contextmanager
def _long_cells():
    """Lets the csv module read long cells; the limit belongs to the process, so the old one is put back."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _unknown(name):
    near = difflib.get_close_matches(name.lower(), COLUMNS, n=1)
    return _shown(name) + (f" (did you mean {near[0]!r}?)" if near else "")


def _shown(value):
    return ascii(value if len(value) <= 40 else f"{value[:40]}...")


def _kind(value):
    return _KINDS.get(type(value), "null")
