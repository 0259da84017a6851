"""From pairs to a feature file: images, then texts of the pairs whose image could be read, then one file of both.

`features.npz.parts` holds what is finished until the file is there; it is a workdir like that of a run, with blocks.
The file has image, text, split and id, label where the pairs have one, and `manifest`, JSON that says how it was made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich.console

from gpldan_jax.data import DataError, read_arrays
from gpldan_jax.data.paired import SPLITS
from gpldan_jax.extraction import encoders as models
from gpldan_jax.extraction import feature_blocks as blocks
from gpldan_jax.extraction.encoders import Words, WordsEncoder
from gpldan_jax.extraction.feature_blocks import write_npz
from gpldan_jax.extraction.skipping import Skipped
from gpldan_jax.extraction.sources import Pair
from gpldan_jax.features import read_images
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs

MAX_BYTES = 2**28  # of an image file
_BLOCKS = "blocks"
_SHOWN = 10  # skipped pairs on the terminal


def extract(
    pairs: Sequence[Pair],
    image: Callable,
    text: Callable | Words,
    out: Path,
    *,
    sentences: str,
    max_skipped: float,
    max_pixels: int,
    batch: int,
    threads: int,
    settings: dict[str, Any],
    fresh: bool,
) -> None:
    """Makes the file, or goes on making it.

    Args:
        pairs: with splits.
        image: an image encoder.
        text: a text encoder, or how to make a bag of words.
        out: the file.
        sentences: of a pair with several: "joined" with blanks, or "averaged" after encoding.
        max_skipped: the share of pairs that may be unusable.
        max_pixels: of an image.
        batch: how many images or texts are encoded at a time.
        threads: how many images are decoded at a time.
        settings: what else the manifest should say.
        fresh: replace what is there.

    Raises:
        TooManySkippedError: it stops as soon as it is sure; what is finished is kept.
        ValueError: the file or its parts are there already and made otherwise, or an encoder does not do its part.
    """
    console = rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    started = time.perf_counter()
    plan = _plan(image, text, sentences, max_pixels, settings)
    known = hashlib.sha256(json.dumps([plan, _fingerprint(pairs, dated=False)]).encode()).hexdigest()
    if out.exists() and not fresh:
        if _finished(out, known):
            console.print(f"{out} is finished (--fresh starts over)")
            return
        raise ValueError(f"{out} is there already and was made otherwise; choose another --out, or --fresh")
    folder = out.with_name(out.name + ".parts")
    description = {"config": plan, "data": _fingerprint(pairs, dated=True)}
    with workdirs.opened(folder, description, fresh=fresh, holds=[_BLOCKS], flag="--out"):
        (folder / _BLOCKS).mkdir(exist_ok=True)
        skipped = Skipped(pairs, max_skipped, out.with_name(out.name + ".skipped.json"))
        usable = [position for position, pair in enumerate(pairs) if pair.problem is None]
        skipped.check()
        kept, image_digest = _images(folder, pairs, usable, image, skipped, console, max_pixels, batch, threads)
        skipped.write()
        if not kept:
            raise ValueError(f"none of {len(pairs)} pairs can be used; {skipped.path} says why")
        chosen = [pairs[position] for position in kept]
        if isinstance(text, Words):
            text = WordsEncoder(text, chosen)
        text_digest = _texts(folder, chosen, text, sentences, console, batch)
        manifest = {
            **plan,
            "image": models.description(image) | {"sources_sha256": image_digest},
            "text": models.description(text) | {"sources_sha256": text_digest},
            "pairs": len(kept),
            "skipped": skipped.listed(),
            "made_of_sha256": known,
        }
        if hasattr(text, "too_long"):
            documents = [document for pair in chosen for document in _documents(pair.texts, sentences)]
            manifest["too_long"] = {"texts": int(np.sum(text.too_long(documents))), "of": len(documents)}
        widths = _write(folder, out, chosen, len(usable), manifest)
    shutil.rmtree(folder)
    _report(console, out, chosen, widths, skipped, manifest, time.perf_counter() - started)


def _plan(image, text, sentences, max_pixels, settings):
    if isinstance(text, Words):
        given = {"vocabulary": list(text.given)} if text.given else dataclasses.asdict(text)
        described = {"extractor": models.BAG_OF_WORDS, **given}
    else:
        described = models.description(text)
    names = (models.description(image)["extractor"], described["extractor"])
    return {
        "image": models.description(image),
        "text": described,
        "sentences": sentences,
        "max_pixels": max_pixels,
        **settings,
        "versions": models.versions(names),
    }


def _fingerprint(pairs, *, dated):
    """Of what is known of the pairs before their images are read; dates are not the same on another machine."""
    digest = hashlib.sha256()
    for pair in pairs:
        known = [pair.id, pair.texts, pair.label, pair.split, pair.problem]
        if pair.problem is None:
            status = pair.image.stat()
            known += [status.st_size, *([status.st_mtime_ns] if dated else ())]
        digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def _finished(out, known):
    try:
        manifest = json.loads(str(read_arrays(out, ["manifest"])["manifest"]))
        return manifest.get("made_of_sha256") == known
    except (DataError, ValueError, AttributeError):
        return False


def _images(folder, pairs, usable, encode, skipped, console, max_pixels, batch, threads):
    """The positions of the pairs whose image could be read, and a digest of these images."""
    prepare, kept, digest = getattr(encode, "prepare", lambda picture: picture), [], hashlib.sha256()

    def read(positions):
        found = [_content(pairs[position].image) for position in positions]
        good = [row for row, content in enumerate(found) if isinstance(content, bytes)]
        pictures = read_images([found[row] for row in good], prepare, threads=threads, max_pixels=max_pixels)
        for row, picture in zip(good, pictures, strict=True):
            known = hashlib.sha256(found[row]).digest()
            found[row] = picture if isinstance(picture, ValueError) else (picture, known)
        return found

    with _progress(console, "images", len(usable)) as progress:

        def on_block(start, block):
            kept.extend(usable[start + row] for row in block.rows.tolist())
            skipped.reasons.update({usable[start + row]: reason for row, reason in block.problems.items()})
            digest.update(block.digests.tobytes())
            progress(start + len(block.rows) + len(block.problems))
            skipped.check()

        blocks.compute(folder / _BLOCKS, "image", usable, read, encode, batch=batch, on_block=on_block)
    return kept, digest.hexdigest()


@contextlib.contextmanager
def _progress(console, kind, total):
    """A function that is told how many are done; on a terminal it moves a bar, elsewhere it prints ten lines."""
    with session.progress_bar(console, kind) as bar:
        task, printed = bar.add_task(kind, total=total), 0

        def progress(done):
            nonlocal printed
            bar.update(task, completed=done)
            if not console.is_terminal and 10 * done // total > printed:
                printed = 10 * done // total
                console.print(f"{kind}: {done:,} of {total:,}")

        yield progress


def _content(path):
    try:
        if not path.is_file():
            raise ValueError("the image is no regular file")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"the image has more than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        return ValueError(f"the image cannot be read: {error.strerror}")
    except ValueError as error:
        return error


def _texts(folder, pairs, encode, sentences, console, batch):
    """Makes the blocks of texts, and returns a digest of the texts."""
    digest = hashlib.sha256()

    def read(part):
        return [(texts, hashlib.sha256("\n".join(texts).encode()).digest()) for texts in (p.texts for p in part)]

    def encode_pairs(found):
        documents = [_documents(texts, sentences) for texts in found]
        counts = np.array([len(several) for several in documents])
        features = blocks.checked(encode([document for several in documents for document in several]), counts.sum())
        return np.add.reduceat(features, np.cumsum(counts) - counts, axis=0) / counts[:, None].astype(np.float32)

    with _progress(console, "texts", len(pairs)) as progress:

        def on_block(start, block):
            digest.update(block.digests.tobytes())
            progress(start + len(block.rows))

        blocks.compute(folder / _BLOCKS, "text", pairs, read, encode_pairs, batch=batch, on_block=on_block)
    return digest.hexdigest()


def _documents(texts, sentences):
    return [" ".join(texts)] if sentences == "joined" else list(texts)


def _write(folder, out, pairs, usable, manifest):
    """Puts the blocks together, and returns the widths of images and texts."""

    def parts(kind, count):
        for start in range(0, count, blocks.SIZE):
            block = blocks.read_block(blocks.path_of(folder / _BLOCKS, kind, start))
            if len(block.rows):
                yield block.features

    counts = {"image": usable, "text": len(pairs)}
    widths = {kind: next(parts(kind, count)).shape[1] for kind, count in counts.items()}
    for kind, count in counts.items():
        for features in parts(kind, count):
            if features.shape[1] != widths[kind]:
                raise ValueError(
                    f"the {kind} encoder gave {widths[kind]} features and then {features.shape[1]}: expected one number"
                )
    arrays = {kind: ((len(pairs), widths[kind]), parts(kind, count)) for kind, count in counts.items()}
    if all(pair.label is not None for pair in pairs):
        arrays["label"] = np.array([pair.label for pair in pairs])
    arrays["split"] = np.array([pair.split for pair in pairs], np.int8)
    arrays["id"] = np.array([pair.id for pair in pairs])
    arrays["manifest"] = np.array(json.dumps(manifest, ensure_ascii=False))
    write_npz(out, arrays)
    return widths


def _report(console, out, pairs, widths, skipped, manifest, seconds):
    listed = skipped.listed()
    for entry in listed[:_SHOWN]:
        console.print(f"skipped {entry['id']}: {entry['reason']}")
    if len(listed) > _SHOWN:
        console.print(f"... and {len(listed) - _SHOWN:,} more, all in {skipped.path}")
    if "too_long" in manifest:
        long = manifest["too_long"]
        console.print(f"{long['texts']:,} of {long['of']:,} texts are longer than the encoder takes at once")
    counts = ", ".join(f"{sum(pair.split == part for pair in pairs):,} {name}" for part, name in enumerate(SPLITS))
    made = ", ".join(f"{kind} {widths[kind]} ({manifest[kind]['extractor']})" for kind in widths)
    console.print(f"{out}: {len(pairs):,} pairs ({counts}), {made}, {len(listed):,} skipped, {seconds:.1f} s")
    selection = " --config.train.selection=map" if pairs[0].label is not None else ""
    console.print(f"next: python experiments/run.py --config=configs/npz.py --config.dataset.path={out}{selection}")
