"""Reads the pairs of a user's table of captions beside a folder of images, in any form that circulates.

What is wrong with one row becomes the `problem` of its pair: it does not end the run, and it is reported. What is wrong
with the whole table is a `ValueError`.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import itertools
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax.data.splits import SPLIT_NAMES
from gpldan_jax.extraction.caption_files import json_rows, jsonl_rows, parquet_rows
from gpldan_jax.extraction.delimited_tables import Rows, check_separator, delimited_rows
from gpldan_jax.extraction.pairs import NO_IMAGE, Pair, Unusable, clean_path, clean_text
from gpldan_jax.extraction.table_columns import ROLES

SUFFIXES = (".csv", ".tsv", ".txt", ".token", ".jsonl", ".json", ".parquet")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of a Hugging Face `imagefolder`
_LONGEST_CELL = 2**24  # characters; without a bound, a quote that is never closed takes the whole file into memory
_KINDS = {bool: "true or false", int: "a number", float: "a decimal number"}
_KINDS |= {str: "a string", list: "a list", dict: "an object"}
_SEPARATED = re.compile(r"\S[;|]\s?\S")


def read_table(
    path: str | os.PathLike,
    images: str | os.PathLike,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    label_separator: str | None = None,
) -> list[Pair]:
    r"""Reads the pairs of a table.

    The forms: `.csv`, `.tsv` and `.txt` with a header; the older caption files of Flickr8k and Flickr30k; `.jsonl`, one
    object per line; `.json` of COCO (`captions_*.json`), of Karpathy (`dataset_*.json`), from image names to captions,
    or a list of objects; `.parquet`; and a folder with `metadata.csv`, `.jsonl` or `.parquet` in it or in its folders
    train, validation and test. Files are UTF-8, with or without a byte order mark. Blank lines are ignored.

    The columns are found by their names, in any case (`table_columns.NAMES`): the image, a path inside the folder of
    the images; the text, which in JSON may be a list of sentences; and, if wanted, id (otherwise the path of the image;
    "PATH#2" in the second row with this image), label, split (`SPLIT_NAMES`), and group, the same in rows that belong
    together. Without a group, rows with the same image are a group. Other columns are named in a warning.

    If two rows have the same id, the second cannot be used.

    Args:
        path: the table.
        images: the folder of the images; a symbolic link in it may point outside.
        columns: the names of columns, `{"image": NAME, "text": NAME, ...}`, where they cannot be guessed.
        separator: of cells: "comma", "semicolon", "tab", "bar" or another character; by default the header shows it.
        label_separator: what separates several classes in a label, such as ";"; by default a label is one class.

    Returns:
        A pair per row, in the order of the file. If not even an id can be read, the id says where the row is. The label
        is a string, a tuple where `label_separator` is given or the file has lists, or `None` for no class.

    Raises:
        ValueError: no such file or folder, another form, no rows, columns that do not fit, quotes that do not pair up,
            or a split or group in only some of the usable rows. The message names the file and the place.
        ImportError: pyarrow is missing, for a Parquet file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "cat.jpg").write_bytes(b"...")
        ...     _ = Path(folder, "my.csv").write_text("Image;Caption\ncat.jpg;a cat\ndog.jpg;a dog\n")
        ...     [(pair.id, pair.texts, pair.problem) for pair in read_table(f"{folder}/my.csv", folder)]
        [('cat.jpg', ('a cat',), None), ('dog.jpg', ('a dog',), 'there is no such image file')]
    """
    path, images = Path(path), Path(images)
    if unknown := set(columns or {}) - set(ROLES):
        raise ValueError(f"columns: expected names for {', '.join(ROLES)}, found one for {min(unknown)!r}")
    separator = check_separator(separator)
    if label_separator is not None and not label_separator:
        raise ValueError("label_separator='': expected what is between two classes, such as ;")
    rows = _rows(path, images, columns, separator)
    if not images.is_dir():
        raise ValueError(f"{images}: expected the folder of the images, found no such folder")
    is_file = functools.cache(os.path.isfile)  # an image of several captions is looked for once
    readers = {**_READERS, "label": functools.partial(_label, separator=label_separator)}
    pairs: list[Pair] = []
    places: dict[str, str] = {}
    uses: Counter[Path] = Counter()  # of each image
    restval = 0
    with _long_cells():
        for place, row in rows:
            pair = _pair(row, images, place, places, uses, readers, is_file)
            restval += isinstance(row, dict) and str(row.get("split")).strip().lower() == "restval"
            places[pair.id] = place
            pairs.append(pair)
    if not pairs:
        raise ValueError(f"{path}: expected at least one row, found none")
    for name in ("split", "group"):
        _check_all_or_none(path, name, pairs, places)
    if any(pair.label for pair in pairs):
        _warn_of_labels(path, pairs, label_separator)
    else:  # a column without any class says no more than no column
        pairs = [dataclasses.replace(pair, label=None) for pair in pairs]
    if restval:
        warnings.warn(f"{path}: {restval:,} rows of the split restval are training pairs", stacklevel=2)
    if any(pair.group is not None for pair in pairs):
        return pairs
    of_images = {image: image.relative_to(images).as_posix() for image, count in uses.items() if count > 1}
    return [dataclasses.replace(pair, group=of_images.get(pair.image)) for pair in pairs]


def _rows(path: Path, images: Path, columns: Mapping[str, str] | None, separator: str | None) -> Rows:
    if path.is_dir():
        return _folder_rows(path, images, columns, separator)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file called {', '.join(SUFFIXES)}, found {suffix or 'no such ending'}")
    with path.open("rb") as stream:
        start = stream.read(64)
    if not start:
        raise ValueError(f"{path}: the file is empty")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start[:2]:
        raise ValueError(f"{path}: expected UTF-8, found UTF-16")
    if suffix in (".jsonl", ".json", ".parquet") and separator:
        raise ValueError(f"{path}: separator is for tables with cells, not for {suffix}")
    if suffix == ".jsonl" and not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return jsonl_rows(path, columns)
    if suffix in (".json", ".jsonl"):  # a list of objects, under another name
        return json_rows(path, columns, images)
    return parquet_rows(path, columns) if suffix == ".parquet" else delimited_rows(path, columns, separator)


def _folder_rows(folder: Path, images: Path, columns: Mapping[str, str] | None, separator: str | None) -> Rows:
    """The rows of the metadata of an `imagefolder`; a folder called as a split gives its rows that split."""
    parts = [("", None), *((part.name, part.name) for part in sorted(folder.iterdir()) if part.is_dir())]
    parts = [(part, split) for part, split in parts if split is None or split.lower() in SPLIT_NAMES]
    found = [(folder / part / name, part, split) for part, split in parts for name in _METADATA]
    found = [of for of in found if of[0].is_file()]
    for (first, part, _), (second, other, _) in itertools.pairwise(found):
        if part == other:
            raise ValueError(f"{second}: expected one file of metadata in a folder, found {first.name} beside it")
    if not found:
        raise ValueError(
            f"{folder}: expected a table of captions, or a folder with {' or '.join(_METADATA)} in it or in its "
            "folders train, validation and test; found neither"
        )
    return _rows_of_parts(found, folder, images, columns, separator)


def _rows_of_parts(found, folder, images, columns, separator) -> Rows:
    for file, part, split in found:
        for place, row in _rows(file, images, columns, separator):
            if isinstance(row, dict):
                # Paths are relative to the metadata, and the folder of the images may be another one.
                if part and isinstance(row.get("image"), str) and folder.resolve() == images.resolve():
                    row["image"] = f"{part}/{row['image']}"
                row.setdefault("split", split)
            yield f"{file.relative_to(folder)}, {place}", row


def _pair(
    row: dict[str, Any] | str,
    images: Path,
    place: str,
    places: dict[str, str],
    uses: Counter[Path],
    readers: Mapping[str, Any],
    is_file: Callable[[Path], bool],
) -> Pair:
    """The pair of a row; `places` has the place of each earlier id, `uses` how often each image was named."""
    found, problems = {}, []
    if isinstance(row, str):
        problems.append(row)
    else:
        for name, read in readers.items():
            try:
                found[name] = read(row.get(name), name)
            except Unusable as error:
                problems.append(str(error))
    image = images / found["image"] if "image" in found else Path()
    if "image" in found and not is_file(image):
        problems.append(NO_IMAGE)
    id = found.get("id") or found.get("image") or place
    if "image" in found:
        uses[image] += 1
        if uses[image] > 1 and not found.get("id"):
            id = f"{id}#{uses[image]}"
    if id in places:
        problems.append(f"the id is that of {places[id]}")
        id = f"{id} ({place})"
        while id in places:
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
    if value.lower() not in SPLIT_NAMES:
        raise Unusable(f"the split is {_shown(value)}, expected train, validation or test")
    return SPLIT_NAMES[value.lower()]


def _label(value, name, *, separator):
    values = value if isinstance(value, list) else None
    if values is None and separator is not None and isinstance(value, str):
        values = value.split(separator)
    if values is None:
        label = _name(value, name)
        return label if label is None or separator is None else (label,)
    parts = (_name(part, name) for part in values)
    return tuple(dict.fromkeys(part for part in parts if part))


_READERS = {"image": _image, "text": _texts, "id": _name, "split": _split, "group": _name}


def _warn_of_labels(path: Path, pairs: Sequence[Pair], separator: str | None) -> None:
    usable = [pair for pair in pairs if pair.problem is None]
    without = sum(not pair.label for pair in usable)
    if 0 < without < len(usable):
        warnings.warn(f"{path}: {without:,} of {len(usable):,} rows have no label", stacklevel=3)
    labels = [pair.label for pair in usable if isinstance(pair.label, str)]
    if separator is None and labels and 2 * sum(bool(_SEPARATED.search(label)) for label in labels) > len(labels):
        warnings.warn(
            f"{path}: most labels look like several classes, such as {_shown(labels[0])}; each counts as one class. "
            "Give label_separator to make several of them",
            stacklevel=3,
        )


def _check_all_or_none(path, name, pairs, places):
    usable = [pair for pair in pairs if pair.problem is None]
    lacking = [pair for pair in usable if getattr(pair, name) is None]
    if lacking and len(lacking) < len(usable):
        raise ValueError(
            f"{path}: expected a {name} in every row or in none, found none in {len(lacking)} of {len(usable)} rows, "
            f"the first in {places[lacking[0].id]}"
        )


@contextlib.contextmanager
def _long_cells():
    """Lets the csv module read long cells; the limit belongs to the process, so the old one is put back."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _shown(value):
    return ascii(value if len(value) <= 40 else f"{value[:40]}...")


def _kind(value):
    return _KINDS.get(type(value), "null" if value is None else f"of type {type(value).__name__}")
