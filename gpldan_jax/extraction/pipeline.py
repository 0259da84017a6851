"""From pairs to a feature file: first images, then the texts of the pairs whose image could be read.

The result is a `.npz` file, or for features larger than memory a folder of `.npy` files. It has image, text, split, id,
label and group where the pairs have them, `image_of` where pairs share images, captions and image files for searches
(see `gpldan_jax.data.descriptions`), and `manifest`, JSON that says how it was made. The folder `FILE.npz.parts` beside
it holds the finished blocks until the result is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import rich.console

from gpldan_jax import _console
from gpldan_jax._checksums import FOLDER_FILE, check_folder
from gpldan_jax._extras import needed_for
from gpldan_jax._files import check_writable
from gpldan_jax.data import DataError, read_arrays
from gpldan_jax.data.descriptions import pack_captions
from gpldan_jax.data.files.checks import first_few
from gpldan_jax.data.files.npy import NAMES
from gpldan_jax.data.files.npz import check_archive
from gpldan_jax.data.paired import SPLITS
from gpldan_jax.extraction.encoders import BAG_OF_WORDS, Words, words_encoder
from gpldan_jax.extraction.feature_blocks import (
    Block,
    check_features,
    compute_blocks,
    read_features,
    write_folder,
    write_npz,
)
from gpldan_jax.extraction.pairs import Pair, SkippedPairs, member_matrix
from gpldan_jax.features import read_images
from gpldan_jax.features.networks import ARCHITECTURES
from gpldan_jax.features.pictures import MAX_PIXELS, read_file
from gpldan_jax.features.sentence_encoder import mean_by_group
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.runs.provenance import package_versions

SENTENCES = ("joined", "averaged")
_BLOCKS, _SCRATCH = "blocks", "scratch"  # in the folder of the parts
# The packages that make features: always, and by extractor.
_ALWAYS = ("gpldan_jax", "numpy", "pillow")
_PACKAGES = {
    **dict.fromkeys(ARCHITECTURES, ("jax", "jaxlib", "flax")),
    "hog_hsv": ("scikit-image",),
    BAG_OF_WORDS: ("scikit-learn",),
    "transformers": ("transformers", "torch"),
    "timm": ("timm", "torch", "torchvision"),
    "open_clip": ("open_clip_torch", "torch", "torchvision"),
}


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What `extract` wrote.

    Attributes:
        path: the feature file, or the folder of the features.
        manifest: the JSON in the file, which says how it was made.
        splits: how many pairs it holds, by the name of the split.
        widths: how many features an image and a text have.
        labelled: whether the pairs have labels.
        skipped_path: the file that lists the skipped pairs, where there are any.
        seconds: how long it took.
    """

    path: Path
    manifest: Mapping[str, Any]
    splits: Mapping[str, int]
    widths: Mapping[str, int]
    labelled: bool
    skipped_path: Path
    seconds: float


@dataclasses.dataclass(frozen=True)
class _Work:
    """Where blocks are written, how many items are encoded at a time, and where progress is shown."""

    blocks: Path
    batch: int
    console: rich.console.Console


def extract(
    pairs: Sequence[Pair],
    image: Callable[[Sequence[np.ndarray]], Any],
    text: Callable[[Sequence[str]], Any] | Words,
    out: str | os.PathLike,
    *,
    sentences: str = "joined",
    max_skipped: float = 0.05,
    max_pixels: int = MAX_PIXELS,
    batch: int = 32,
    threads: int = 4,
    provenance: Mapping[str, Any] | None = None,
    folder: str | os.PathLike | None = None,
    fresh: bool = False,
) -> Extraction | None:
    """Writes a feature file, or continues an extraction that was interrupted.

    Args:
        pairs: with splits, see `draw_splits`.
        image: an image encoder, see `gpldan_jax.features.ImageEncoder`.
        text: a text encoder, or how to choose the vocabulary of a bag of words.
        out: the file, `.npz`; or without a suffix a folder, which gets a `.npy` file for each array.
        sentences: how the sentences of a pair become one text: "joined" with blanks, or "averaged" after encoding.
        max_skipped: the largest share of pairs that may be unusable, from 0 to 1.
        max_pixels: a larger image cannot be used.
        batch: how many images or texts are encoded at a time.
        threads: how many images are decoded at a time.
        provenance: JSON values that the manifest should hold too.
        folder: of the images; the file names them by their paths in it. By default the deepest folder that holds all.
        fresh: whether to start over and replace the file or the folder.

    Returns:
        What was written; None where the file was finished before.

    Raises:
        TooManySkippedError: more pairs than `max_skipped` cannot be used. It is raised as soon as this is certain, and
            finished blocks are kept.
        ValueError: pairs without splits; the file or its parts exist already and were made in another way; the folder
            holds other files; or an encoder returns something else than features.
        ImportError: a library is missing.
    """
    started, out = time.perf_counter(), Path(out)
    check_writable(out, (".npz",), or_folder=True)
    if sentences not in SENTENCES:
        raise ValueError(f"sentences must be {' or '.join(SENTENCES)}, got {sentences!r}")
    if not 0 <= max_skipped <= 1:
        raise ValueError(f"max_skipped must be a share from 0 to 1, got {max_skipped:g}")
    if any(pair.split is None and pair.problem is None for pair in pairs):
        raise ValueError("expected pairs with splits, found one without; draw_splits makes them")
    plan = _plan(image, text, {"sentences": sentences, "max_pixels": max_pixels, **(provenance or {}), "batch": batch})
    made_of = hashlib.sha256(json.dumps([plan, _fingerprint(pairs, dated=False)]).encode()).hexdigest()
    if out.is_dir():
        _check_folder(out)
    if not fresh and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        if _is_made_of(out, made_of):
            _check_whole(out)
            return None
        raise ValueError(
            f"{out} is there already and was made otherwise; choose another out, or use fresh to replace it"
        )
    parts = out.with_name(out.name + ".parts")
    description = {"config": plan, "data": _fingerprint(pairs, dated=True)}
    skipped = SkippedPairs(pairs, max_skipped, out.with_name(out.name + ".skipped.json"))
    with workdirs.open_workdir(parts, description, fresh=fresh, holds=[_BLOCKS, _SCRATCH], name="out"):
        work = _Work(parts / _BLOCKS, batch, _console.make_console())
        work.blocks.mkdir(exist_ok=True)
        usable, image_digest = _encode_images(work, skipped, image, max_pixels, threads)
        of_words = isinstance(text, Words)
        if isinstance(text, Words):
            text = words_encoder(text, usable)
        encoded = list(dict.fromkeys(pair.image for pair in usable))  # in the order of their blocks
        is_kept, text_digest = _encode_texts(work, skipped, usable, text, sentences)
        usable = [pair for pair, kept in zip(usable, is_kept, strict=True) if kept]
        manifest = {
            **plan,
            "image": plan["image"] | {"sources_sha256": image_digest},
            "text": _describe(text) | {"sources_sha256": text_digest},
            "pairs": len(usable),
            "skipped": skipped.entries(),
            "made_of_sha256": made_of,
        }
        if hasattr(text, "too_long"):
            documents = [document for pair in usable for document in _documents(pair.texts, sentences)]
            manifest["too_long"] = {"texts": int(np.sum(text.too_long(documents))), "of": len(documents)}
        if of_words:
            empty = sum(int(np.sum(~rows.any(axis=1))) for rows in read_features(work.blocks, "text"))
            manifest["without_known_word"] = {"texts": empty, "of": len(usable)}
        images = Path(folder or os.path.commonpath([pair.image.absolute().parent for pair in usable]))
        manifest["images_folder"] = _relative(images, out.absolute().parent)
        widths = _write_features(work.blocks, out, usable, encoded, manifest, images)
    shutil.rmtree(parts)
    splits = {name: sum(pair.split == part for pair in usable) for part, name in enumerate(SPLITS)}
    labelled = any(pair.label for pair in usable)
    return Extraction(out, manifest, splits, widths, labelled, skipped.path, time.perf_counter() - started)


def _plan(image, text, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides the features except the pairs: two extractions with the same plan are the same."""
    described = {"image": _describe(image), "text": _describe(text)}
    versions = _versions([description["extractor"] for description in described.values()])
    return {**described, **settings, "versions": versions}


def _describe(encode: Callable | Words) -> dict[str, Any]:
    """How an encoder makes features, as JSON values, with its name under "extractor"."""
    if isinstance(encode, Words):
        return {"extractor": BAG_OF_WORDS, **encode.description}
    described = dict(getattr(encode, "description", {}))
    described.setdefault("extractor", getattr(encode, "__qualname__", type(encode).__qualname__))
    return described


def _versions(extractors: Sequence[str]) -> dict[str, str]:
    """The versions of the packages that compute features, and the device on which networks run."""
    packages = dict.fromkeys(package for name in extractors for package in (*_ALWAYS, *_PACKAGES.get(name, ())))
    with needed_for("making features"):
        versions = package_versions(list(packages))
    python = {"python": versions.pop("python")}
    device = {} if set(extractors).isdisjoint(ARCHITECTURES) else {"device": jax.devices()[0].device_kind}
    return versions | device | python


def _fingerprint(pairs, *, dated):
    """SHA-256 of what is known of the pairs before images are read; dates differ between copies on two machines."""
    digest = hashlib.sha256()
    for pair in pairs:
        known = [pair.id, pair.texts, pair.label, pair.split, pair.problem, *([pair.group] if pair.group else [])]
        if pair.problem is None:
            status = pair.image.stat()
            known += [status.st_size, *([status.st_mtime_ns] if dated else ())]
        digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def _check_folder(out: Path) -> None:
    """`ValueError` where a folder holds what no extraction writes; that must not be deleted."""
    known = {FOLDER_FILE, *(f"{key}.npy" for key in NAMES)}
    others = sorted(path.name for path in out.iterdir() if path.name not in known or path.is_dir())
    if others or (any(out.iterdir()) and not (out / FOLDER_FILE).exists()):
        what = f"files that no extraction writes ({first_few(others, limit=3)})" if others else "other features"
        raise ValueError(f"{out} holds {what}; choose another out")


def _check_whole(out):
    """`DataError` where a finished file or folder is damaged."""
    try:
        if out.is_dir():
            check_folder(out)
        else:
            check_archive(out)
    except ValueError as error:
        raise DataError(f"{error}; use fresh to make it again") from error


def _is_made_of(out, made_of):
    try:
        manifest = json.loads(str(read_arrays(out, ["manifest"])["manifest"]))
        return manifest.get("made_of_sha256") == made_of
    except (DataError, ValueError, AttributeError):
        return False


def _encode_images(work: _Work, skipped: SkippedPairs, encode, max_pixels, threads) -> tuple[list[Pair], str]:
    """Writes the blocks of images; returns the pairs whose image could be read, and a digest of these images."""
    skipped.check()
    pairs = skipped.pairs
    positions_of: dict[Path, list[int]] = {}  # an image of several pairs is read and encoded once
    for position, pair in enumerate(pairs):
        if pair.problem is None:
            positions_of.setdefault(pair.image, []).append(position)
    images = list(positions_of)
    prepare = getattr(encode, "prepare", lambda picture: picture)
    digest = hashlib.sha256()

    def read(part):
        return _read_pictures(part, prepare, threads, max_pixels)

    with _console.progress(work.console, "images", len(images)) as advance:

        def on_block(start: int, block: Block) -> None:
            for row, reason in block.problems.items():
                skipped.reasons.update(dict.fromkeys(positions_of[images[start + row]], reason))
            digest.update(block.digests.tobytes())
            advance(start + len(block.rows) + len(block.problems))
            skipped.check()

        compute_blocks(work.blocks, "image", images, read, encode, batch=work.batch, on_block=on_block)
    skipped.write()
    usable = [pair for position, pair in enumerate(pairs) if position not in skipped.reasons]
    if not usable:
        raise ValueError(f"none of {len(pairs)} pairs can be used; {skipped.path} says why")
    return usable, digest.hexdigest()


def _read_pictures(paths, prepare, threads, max_pixels) -> list[tuple[Any, bytes] | ValueError]:
    """Of each image file the prepared picture and the SHA-256 of the file, or the error why it cannot be read."""
    found: list[Any] = [_read_file(path) for path in paths]
    good = [row for row, content in enumerate(found) if isinstance(content, bytes)]
    pictures = read_images([found[row] for row in good], prepare, threads=threads, max_pixels=max_pixels)
    for row, picture in zip(good, pictures, strict=True):
        digest = hashlib.sha256(found[row]).digest()
        found[row] = picture if isinstance(picture, ValueError) else (picture, digest)
    return found


def _read_file(path):
    try:
        return read_file(path)
    except ValueError as error:
        return error


def _encode_texts(
    work: _Work, skipped: SkippedPairs, pairs: Sequence[Pair], encode, sentences
) -> tuple[np.ndarray, str]:
    """Writes the blocks of texts; returns which of the pairs can be used, and a digest of their texts."""
    digest, is_kept = hashlib.sha256(), np.ones(len(pairs), bool)
    positions = [position for position in range(len(skipped.pairs)) if position not in skipped.reasons]

    def read(part):
        return [(pair.texts, hashlib.sha256("\n".join(pair.texts).encode()).digest()) for pair in part]

    def encode_pairs(of_pairs):
        documents = [_documents(texts, sentences) for texts in of_pairs]
        counts = [len(several) for several in documents]
        features = check_features(encode([document for several in documents for document in several]), sum(counts))
        return mean_by_group(features, counts)

    with _console.progress(work.console, "texts", len(pairs)) as advance:

        def on_block(start: int, block: Block) -> None:
            digest.update(block.digests.tobytes())
            for row, reason in block.problems.items():
                is_kept[start + row] = False
                skipped.reasons[positions[start + row]] = reason
            advance(start + len(block.rows) + len(block.problems))
            skipped.check()

        compute_blocks(work.blocks, "text", pairs, read, encode_pairs, batch=work.batch, on_block=on_block)
    skipped.write()
    if not is_kept.any():
        raise ValueError(f"none of {len(skipped.pairs)} pairs can be used; {skipped.path} says why")
    return is_kept, digest.hexdigest()


def _documents(texts, sentences):
    return [" ".join(texts)] if sentences == "joined" else list(texts)


def _kept_images(blocks: Path, is_kept: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the features of the images, without those of which no text can be used."""
    start = 0
    for part in read_features(blocks, "image"):
        yield part[is_kept[start : start + len(part)]]
        start += len(part)


def _write_features(
    blocks: Path,
    out: Path,
    pairs: Sequence[Pair],
    encoded: Sequence[Path],
    manifest: Mapping[str, Any],
    folder: Path,
) -> dict[str, int]:
    """Joins the blocks; `encoded` are the images in them. Returns the widths of images and texts."""
    widths: dict[str, int] = {}
    for kind in ("image", "text"):
        for width in (part.shape[1] for part in read_features(blocks, kind)):
            if width != widths.setdefault(kind, width):
                raise ValueError(
                    f"the {kind} encoder gave {widths[kind]} features and then {width}: expected one number"
                )
    used = {pair.image for pair in pairs}
    is_kept = np.array([path in used for path in encoded])
    places = {path: place for place, path in enumerate(path for path in encoded if path in used)}
    parts = {"image": _kept_images(blocks, is_kept), "text": read_features(blocks, "text")}
    counts = {"image": len(places), "text": len(pairs)}
    arrays: dict[str, Any] = {kind: ((counts[kind], width), parts[kind]) for kind, width in widths.items()}
    if len(places) < len(pairs):
        arrays["image_of"] = np.array([places[pair.image] for pair in pairs])
    arrays |= _labels(pairs)
    if any(pair.group is not None for pair in pairs):
        arrays["group"] = np.array([f"id {pair.id}" if pair.group is None else f"group {pair.group}" for pair in pairs])
    arrays["split"] = np.array([pair.split for pair in pairs], np.int8)
    arrays["id"] = np.array([pair.id for pair in pairs])
    arrays |= pack_captions([" ".join(pair.texts) for pair in pairs])
    arrays["image_file"] = np.array([_relative(pair.image, folder) for pair in pairs])
    arrays["manifest"] = np.array(json.dumps(manifest, ensure_ascii=False))
    if out.suffix:
        write_npz(out, arrays)
    else:
        write_folder(out, arrays, blocks.with_name(_SCRATCH))
    return widths


def _relative(path: Path, folder: Path) -> str:
    """The path from a folder, with slashes; the whole path where the two are on different drives of Windows."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def _labels(pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
    """The array `label`, and `class_names` where pairs have several classes; nothing where no pair has a label."""
    if any(isinstance(pair.label, tuple) for pair in pairs):
        label, class_names = member_matrix([pair.label for pair in pairs])
        return {"label": label, "class_names": np.array(class_names)}
    if any(pair.label is not None for pair in pairs):
        return {"label": np.array([pair.label or "" for pair in pairs])}
    return {}
