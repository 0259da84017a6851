"""Reads the rows of caption files in JSON: COCO, Karpathy's splits, Pascal Sentence, lists of objects; and Parquet.

A row is (where it is, a value for each role), or (where it is, what is wrong with it); see `table_columns`.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpldan_jax._extras import needed_for
from gpldan_jax.extraction.delimited_tables import Rows
from gpldan_jax.extraction.pairs import Unusable
from gpldan_jax.extraction.table_columns import NAMES, find_columns, warn_of_unused

_CAPTIONS = ("captions", "sentences", "caption", "texts", "text")
_FORMS = (
    "COCO (images and annotations), Karpathy (images with sentences), an object from image names to captions, or a "
    "list of objects with image and text"
)


def json_rows(path: Path, columns: Mapping[str, str] | None, images: Path) -> Rows:
    """Returns the rows of a .json file; each caption of an image is a row.

    Args:
        path: the file: COCO's `captions_*.json`, Karpathy's `dataset_*.json`, an object from the names of images to
            {"captions": [...], "category": ...}, or a list of objects.
        columns: names of keys by role, for a list of objects.
        images: the folder of the images, where Karpathy's files may lie in folders of their own.

    Returns:
        The rows.

    Raises:
        ValueError: no JSON, or another form.

    References:
        The forms are those of the COCO annotations (cocodataset.org/#format-data) and of the splits of Karpathy and
        Fei-Fei, Deep visual-semantic alignments for generating image descriptions, CVPR 2015.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the file is not JSON ({error})") from None
    if isinstance(content, list):
        return _list_rows(path, content, columns)
    if isinstance(content, dict):
        entries, annotations = content.get("images"), content.get("annotations")
        if isinstance(entries, list) and isinstance(annotations, list):
            return _coco_rows(path, entries, annotations)
        if isinstance(entries, list):
            return _karpathy_rows(entries, images)
        if content and all(isinstance(of, dict) and _caption_key(of) for of in content.values()):
            return _named_rows(path, content)
    raise ValueError(f"{path}: expected {_FORMS}; found another form of JSON")


def jsonl_rows(path: Path, columns: Mapping[str, str] | None) -> Rows:
    """Returns the rows of a .jsonl file, one object in each line.

    Args:
        path: the file.
        columns: names of keys by role, see `find_columns`.

    Returns:
        The rows.

    Raises:
        ValueError: keys that do not fit.
    """
    counts: Counter[str] = Counter()
    objects = 0
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
        for text in stream:
            row = _json_object(text) if text.strip() else ""
            if isinstance(row, dict):
                objects += 1
                counts.update(row.keys())
    in_all = [name for name, count in counts.items() if count == objects]
    found = find_columns(list(counts), str(path), columns, kind="key", usual=in_all) if objects else {}
    warn_of_unused(path, counts, found, kind="key")
    return _jsonl_rows(path, found)


def parquet_rows(path: Path, columns: Mapping[str, str] | None) -> Rows:
    """Returns the rows of a Parquet file.

    Args:
        path: the file; its columns are strings, whole numbers or lists of strings.
        columns: names of columns by role, see `find_columns`.

    Returns:
        The rows.

    Raises:
        ImportError: pyarrow is missing.
        ValueError: no Parquet file, columns that do not fit, or pictures inside the file.
    """
    with needed_for("a Parquet file", "parquet"):
        import pyarrow
        import pyarrow.parquet
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a Parquet file: {' '.join(str(error).split())}") from None
    schema = file.schema_arrow
    found = find_columns(schema.names, str(path), columns)
    if pyarrow.types.is_struct(schema.field(found["image"]).type):
        raise ValueError(
            f"{path}: the column {found['image']!r} holds the pictures themselves; write them to files, and their "
            "paths to a column of strings"
        )
    warn_of_unused(path, schema.names, found)
    return _parquet_rows(file, found)


def _parquet_rows(file, found) -> Rows:
    number = 0
    for batch in file.iter_batches(columns=list(found.values())):
        for row in batch.to_pylist():
            number += 1
            yield f"row {number}", {role: row[name] for role, name in found.items()}


def _list_rows(path: Path, entries: list, columns: Mapping[str, str] | None) -> Rows:
    names = list(dict.fromkeys(name for entry in entries if isinstance(entry, dict) for name in entry))
    found = find_columns(names, str(path), columns, kind="key")
    warn_of_unused(path, names, found, kind="key")
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, dict):
            yield f"entry {number}", {role: entry.get(name) for role, name in found.items()}
        else:
            yield f"entry {number}", "the entry is no object"


def _coco_rows(path: Path, entries: list, annotations: list) -> Rows:
    names = {
        entry["id"]: entry.get("file_name")
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), str | int)
    }
    captioned = set()
    for number, annotation in enumerate(annotations, start=1):
        where = f"annotation {number}"
        if not isinstance(annotation, dict) or "caption" not in annotation:
            yield where, "the annotation has no caption"
        elif not isinstance(annotation.get("image_id"), str | int) or annotation["image_id"] not in names:
            yield where, f"no image has the id {annotation.get('image_id')!r}"
        else:
            captioned.add(annotation["image_id"])
            yield where, {"image": names[annotation["image_id"]], "text": annotation["caption"]}
    if without := len(names) - len(captioned):
        warnings.warn(f"{path}: {without:,} of {len(names):,} images have no caption", stacklevel=2)


def _karpathy_rows(entries: list, images: Path) -> Rows:
    for number, entry in enumerate(entries, start=1):
        sentences = entry.get("sentences") if isinstance(entry, dict) else None
        if not isinstance(sentences, list) or not sentences:
            yield f"image {number}", "the image has no sentences"
            continue
        name, folder = entry.get("filename"), entry.get("filepath")
        if isinstance(folder, str) and isinstance(name, str) and (images / folder).is_dir():
            name = f"{folder}/{name}"
        for place, sentence in enumerate(sentences, start=1):
            text = sentence.get("raw") if isinstance(sentence, dict) else None
            yield f"image {number}, sentence {place}", {"image": name, "text": text, "split": entry.get("split")}


def _named_rows(path: Path, content: Mapping[str, dict]) -> Rows:
    names = list(dict.fromkeys(name for entry in content.values() for name in entry))
    roles = {role: next((name for name in names if name in NAMES[role]), None) for role in ("label", "split", "group")}
    found = {role: name for role, name in roles.items() if name is not None}
    warn_of_unused(path, (name for name in names if name not in _CAPTIONS), found, kind="key")
    for image, entry in content.items():
        captions = entry[_caption_key(entry)]
        for place, text in enumerate(captions if isinstance(captions, list) else [captions], start=1):
            values = {role: entry.get(name) for role, name in found.items()}
            yield f"{image}, caption {place}", {"image": image, "text": text, **values}


def _caption_key(entry: Mapping[str, Any]) -> str:
    return next((name for name in _CAPTIONS if name in entry), "")


def _jsonl_rows(path: Path, found: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any] | str]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
        for line, text in enumerate(stream, start=1):
            if text.strip():
                row = _json_object(text)
                values = row if isinstance(row, str) else {role: row.get(name) for role, name in found.items()}
                yield f"line {line}", values


def _json_object(text: str) -> dict[str, Any] | str:
    """The object of a line, or the problem with it."""
    try:
        row = json.loads(text, object_pairs_hook=_dict_without_repeats)
    except Unusable as error:
        return str(error)
    except (ValueError, RecursionError):
        return "the line is not JSON"
    kinds = {bool: "true or false", int: "a number", float: "a decimal number", str: "a string", list: "a list"}
    return row if isinstance(row, dict) else f"the line is {kinds.get(type(row), 'null')}, expected an object"


def _dict_without_repeats(items):
    if len({name for name, _ in items}) < len(items):
        raise Unusable("the line has a key twice")
    return dict(items)
