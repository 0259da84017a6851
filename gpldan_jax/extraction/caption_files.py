"""Reads the rows of caption files in JSON: COCO, Karpathy's splits, Pascal Sentence, lists of objects; and Parquet.

A row is (where it is, a value for each role), or (where it is, what is wrong with it); see `table_columns`.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax._extras import failing_as, needed_for
from gpldan_jax.extraction.delimited_tables import Rows
from gpldan_jax.extraction.pairs import Unusable, is_image
from gpldan_jax.extraction.table_columns import find_columns, warn_of_unused

_CAPTIONS = ("captions", "sentences", "caption", "sentence", "texts", "text")
_FORMS = (
    "COCO (images and annotations), Karpathy (images with sentences), an object from image names to captions, or a "
    "list of objects with image and text"
)
_OF_IMAGES = ("label", "split", "group")  # what the forms of whole files may say of an image
# The keys that these forms always have; nobody expects them in a feature file.
_COCO = ("images", "annotations", "info", "licenses", "type")
_COCO_IMAGE = ("id", "file_name", "license", "coco_url", "flickr_url", "height", "width", "date_captured")
_COCO_ANNOTATION = ("id", "image_id", "caption")
_KARPATHY = ("images", "dataset")
_KARPATHY_IMAGE = ("filename", "filepath", "sentences", "imgid", "cocoid", "sentids")


def json_rows(path: Path, columns: Mapping[str, str] | None, images: Path) -> Rows:
    """Returns the rows of a .json file; each caption of an image is a row.

    Args:
        path: the file: COCO's `captions_*.json`, Karpathy's `dataset_*.json`, an object from the names of images to
            their captions or to {"captions": [...], "category": ...}, or a list of objects.
        columns: names of keys by role, where the form leaves them open.
        images: the folder of the images, where Karpathy's files may lie in folders of their own.

    Returns:
        The rows.

    Raises:
        ValueError: no JSON, or another form.

    References:
        The forms are those of the COCO annotations (cocodataset.org/#format-data) and of the splits of Karpathy and
        Fei-Fei, Deep visual-semantic alignments for generating image descriptions, CVPR 2015.
    """
    raw = path.read_bytes()
    try:
        content = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_dict_without_repeats)
    except UnicodeDecodeError as error:
        found = error.object[error.start]
        raise ValueError(f"{path}: expected UTF-8, found the byte 0x{found:02x} at position {error.start}") from None
    except Unusable as error:
        raise ValueError(f"{path}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: the file is not JSON (too many brackets inside one another)") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return jsonl_rows(path, columns)  # one object in each line, under another name
        raise ValueError(f"{path}: line {error.lineno}: the file is not JSON ({error.msg})") from None
    except ValueError:
        raise ValueError(f"{path}: the file is not JSON (a number with too many digits)") from None
    if isinstance(content, list):
        return _list_rows(path, content, columns)
    if isinstance(content, dict):
        entries, annotations = content.get("images"), content.get("annotations")
        if isinstance(entries, list) and isinstance(annotations, list):
            return _coco_rows(path, content, columns)
        if isinstance(entries, list):
            return _karpathy_rows(path, content, columns, images)
        if content and _is_by_name(path, content, columns):
            return _named_rows(path, content, columns)
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
        schema = file.schema_arrow
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a Parquet file: {' '.join(str(error).split())}") from None
    found = find_columns(schema.names, str(path), columns)
    if pyarrow.types.is_struct(schema.field(found["image"]).type):
        raise ValueError(
            f"{path}: the column {found['image']!r} holds the pictures themselves; write them to files, and their "
            "paths to a column of strings"
        )
    warn_of_unused(path, schema.names, found)
    return _parquet_rows(path, file, found)


def _parquet_rows(path, file, found) -> Rows:
    number = 0
    with failing_as(f"{path}: the Parquet file is damaged"):
        for batch in file.iter_batches(columns=list(found.values())):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", {role: row[name] for role, name in found.items()}


def _list_rows(path: Path, entries: list, columns: Mapping[str, str] | None) -> Rows:
    names = _keys(entries)
    if not names:
        raise ValueError(f"{path}: the list has no objects; expected objects with image and text")
    found = find_columns(names, str(path), columns, kind="key")
    warn_of_unused(path, names, found, kind="key")
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, dict):
            yield f"entry {number}", {role: entry.get(name) for role, name in found.items()}
        else:
            yield f"entry {number}", "the entry is no object"


def _coco_rows(path: Path, content: dict[str, Any], columns: Mapping[str, str] | None) -> Rows:
    _check_roles(path, columns, _OF_IMAGES, "a file of COCO")
    entries, annotations = content["images"], content["annotations"]
    if annotations and not any(isinstance(of, dict) and "caption" in of for of in annotations):
        raise ValueError(f"{path}: annotations: none has the key 'caption'; expected COCO's file captions_*.json")
    found = find_columns(_keys(entries), str(path), columns, kind="key", roles=_OF_IMAGES, needed=())
    others = [*_others([content], _COCO), *_others(entries, _COCO_IMAGE), *_others(annotations, _COCO_ANNOTATION)]
    warn_of_unused(path, others, found, kind="key")
    images: dict[str | int, dict[str, Any]] = {}
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, dict) and isinstance(id := entry.get("id"), str | int):
            if id in images:
                raise ValueError(f"{path}: image {number}: the id {_shown(id)} is that of an earlier image")
            images[id] = {"image": entry.get("file_name"), **{role: entry.get(name) for role, name in found.items()}}
    captioned = set()
    for number, annotation in enumerate(annotations, start=1):
        where = f"annotation {number}"
        if not isinstance(annotation, dict) or "caption" not in annotation:
            yield where, "the annotation has no caption"
        elif not isinstance(id := annotation.get("image_id"), str | int) or id not in images:
            yield where, f"no image has the id {_shown(id)}"
        else:
            captioned.add(id)
            yield where, {**images[id], "text": annotation["caption"]}
    if without := len(images) - len(captioned):
        warnings.warn(f"{path}: {without:,} of {len(images):,} images have no caption", stacklevel=2)


def _karpathy_rows(path: Path, content: dict[str, Any], columns: Mapping[str, str] | None, images: Path) -> Rows:
    _check_roles(path, columns, _OF_IMAGES, "a file of Karpathy's splits")
    entries = content["images"]
    if entries and not any(isinstance(of, dict) and "sentences" in of for of in entries):
        raise ValueError(
            f"{path}: images: none has the key 'sentences', and there are no annotations; expected {_FORMS}"
        )
    found = find_columns(_keys(entries), str(path), columns, kind="key", roles=_OF_IMAGES, needed=())
    others = [*_others([content], _KARPATHY), *_others(entries, _KARPATHY_IMAGE)]
    warn_of_unused(path, others, found, kind="key")
    for number, entry in enumerate(entries, start=1):
        sentences = entry.get("sentences") if isinstance(entry, dict) else None
        if not isinstance(sentences, list) or not sentences:
            yield f"image {number}", "the image has no sentences"
            continue
        name, folder = entry.get("filename"), entry.get("filepath")
        if isinstance(folder, str) and isinstance(name, str) and (images / folder).is_dir():
            name = f"{folder}/{name}"
        values = {"image": name, **{role: entry.get(key) for role, key in found.items()}}
        for place, sentence in enumerate(sentences, start=1):
            text = sentence.get("raw") if isinstance(sentence, dict) else sentence
            yield f"image {number}, sentence {place}", {**values, "text": text}


def _named_rows(path: Path, content: Mapping[str, Any], columns: Mapping[str, str] | None) -> Rows:
    _check_roles(path, columns, ("text", *_OF_IMAGES), "an object by the names of images")
    names = _keys(content.values())
    key = _caption_key(path, names, columns) or _CAPTIONS[0]
    entries = [of if isinstance(of, dict) else {key: of} for of in content.values()]
    given = {role: name for role, name in (columns or {}).items() if role != "text"}
    found = find_columns(
        [name for name in names if name != key], str(path), given, kind="key", roles=_OF_IMAGES, needed=()
    )
    warn_of_unused(path, (name for name in names if name != key), found, kind="key")
    for image, entry in zip(content, entries, strict=True):
        values = {"image": image, **{role: entry.get(name) for role, name in found.items()}}
        captions = entry.get(key)
        for place, text in enumerate(captions or [None] if isinstance(captions, list) else [captions], start=1):
            yield f"{_shown(image)}, caption {place}", {**values, "text": text}


def _caption_key(path: Path, names: Sequence[str], columns: Mapping[str, str] | None) -> str | None:
    """The key of the captions in an object by the names of images; None where there is none."""
    wanted = (columns["text"].lower(),) if columns and "text" in columns else _CAPTIONS
    keys = [name for name in names if name.lower() in wanted]
    if columns and "text" in columns and not keys:
        listed = ", ".join(map(_shown, names[:10])) or "none"
        raise ValueError(f"{path}: columns: no key {columns['text']!r} for the text; there are {listed}")
    if len(keys) > 1:
        listed = ", ".join(map(_shown, keys))
        raise ValueError(f"{path}: {listed} may each be the text; say which with columns={{'text': NAME}}")
    return keys[0] if keys else None


def _is_by_name(path: Path, content: Mapping[str, Any], columns: Mapping[str, str] | None) -> bool:
    """Whether an object has captions by the names of images: texts or lists of them, or objects that hold them."""
    if any(isinstance(of, dict) for of in content.values()):
        return _caption_key(path, _keys(content.values()), columns) is not None
    texts = all(isinstance(of, str | list) for of in content.values())
    return texts and any(is_image(name) for name in content)


def _check_roles(path: Path, columns: Mapping[str, str] | None, roles: Sequence[str], form: str) -> None:
    for role in columns or {}:
        if role not in roles:
            raise ValueError(f"{path}: {form} says itself what its {role} is; leave out columns={{{role!r}: NAME}}")


def _keys(entries: Iterable) -> list[str]:
    return list(dict.fromkeys(name for entry in entries if isinstance(entry, dict) for name in entry))


def _others(entries: Iterable, known: Collection[str]) -> list[str]:
    return [name for name in _keys(entries) if name not in known]


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


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
    except Unusable:
        return "the line has a key twice"
    except (ValueError, RecursionError):
        return "the line is not JSON"
    kinds = {bool: "true or false", int: "a number", float: "a decimal number", str: "a string", list: "a list"}
    return row if isinstance(row, dict) else f"the line is {kinds.get(type(row), 'null')}, expected an object"


def _dict_without_repeats(items):
    if len({name for name, _ in items}) < len(items):
        (name, _), *_ = Counter(name for name, _ in items).most_common(1)
        raise Unusable(f"the key {_shown(name)} is twice in one object")
    return dict(items)
