"""Blocks of features on disk, and arrays in a `.npz` file or a folder whose bytes depend on their content alone.

A block holds the features of 128 consecutive items. An extraction writes block after block, and one that was
interrupted continues with the first block that is missing. The blocks do not depend on where it was interrupted.

Letters: `n` items of a batch, `m` items of a block that could be read, `d` features.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from gpldan_jax import _checksums, _files
from gpldan_jax.data import DataError, read_arrays

Parts = tuple[tuple[int, int], Iterable[np.ndarray]]
"""A float32 matrix whose rows come in parts, with its shape."""
Arrays = Mapping[str, np.ndarray | Parts]
BLOCK_SIZE = 128  # items
_MADE, _REPLACED = "made", "replaced"  # in the scratch folder of `write_folder`
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip file needs a date; always the same one, so that the bytes are the same


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """The features of consecutive items, `m` of which could be read."""

    features: np.ndarray  # float32 [m, d]
    rows: np.ndarray  # int64 [m], the positions of these items in the block
    problems: dict[int, str]  # why each of the other items cannot be used, by its position in the block
    digests: np.ndarray  # uint8 [m, 32], the SHA-256 of the source of each item


def compute_blocks(
    folder: Path,
    kind: str,
    items: Sequence[Any],
    read: Callable[[Sequence[Any]], list[tuple[Any, bytes] | ValueError]],
    encode: Callable[[list[Any]], np.ndarray],
    *,
    batch: int,
    on_block: Callable[[int, Block], None],
) -> None:
    """Computes the blocks that the folder lacks; while a batch is encoded, a thread reads the next one.

    Args:
        folder: of the blocks; it exists.
        kind: the beginning of the file names of the blocks.
        items: all items.
        read: takes at most `batch` items; returns for each what `encode` takes and the SHA-256 of its source, or the
            error why it cannot be read.
        encode: takes a list of `n`, returns `[n, d]`.
        batch: how many items are read and encoded at a time.
        on_block: called for each block in order, old or new, with the position of its first item. Items whose features
            are not finite are among its problems.
    """
    starts = range(0, len(items), BLOCK_SIZE)
    missing = {start for start in starts if not block_path(folder, kind, start).exists()}
    pieces = (
        items[first : min(first + batch, start + BLOCK_SIZE)]
        for start in sorted(missing)
        for first in range(start, min(start + BLOCK_SIZE, len(items)), batch)
    )
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        batches = _read_ahead(reader, read, pieces)
        for start in starts:
            path = block_path(folder, kind, start)
            if start in missing:
                block = _compute_block(batches, kind, encode, len(items[start : start + BLOCK_SIZE]), batch)
                write_npz(path, vars(block) | {"problems": np.array(json.dumps(block.problems))})
            on_block(start, read_block(path))


def block_path(folder: Path, kind: str, start: int) -> Path:
    """Returns the path of the block whose first item has the position `start`."""
    return folder / f"{kind}-{start:09d}.npz"


def read_block(path: Path) -> Block:
    """Reads a block that `compute_blocks` wrote."""
    try:
        arrays = read_arrays(path, ["features", "rows", "problems", "digests"])
        problems = {int(row): str(reason) for row, reason in json.loads(str(arrays["problems"])).items()}
    except (AttributeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it, or use fresh to start over") from error
    return Block(arrays["features"], arrays["rows"], problems, arrays["digests"])


def read_features(folder: Path, kind: str) -> Iterator[np.ndarray]:
    """Yields the features of the blocks in order, without blocks of which nothing could be read."""
    for start in itertools.count(step=BLOCK_SIZE):
        if not (path := block_path(folder, kind, start)).exists():
            return
        block = read_block(path)
        if len(block.rows):
            yield block.features


def check_features(features: Any, count: int) -> np.ndarray:
    """Returns what an encoder returned for some items, checked, as float32 `[count, d]`; values may be NaN or Inf.

    Example:
        >>> check_features([[1, 2]], 1)
        array([[1., 2.]], dtype=float32)
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != count or not features.shape[1] or features.dtype.kind not in "biuf":
        raise ValueError(
            f"the encoder was given {count} items: expected real numbers [{count}, d], "
            f"found {features.dtype} {list(features.shape)}"
        )
    with np.errstate(over="ignore"):
        return features.astype(np.float32, copy=False)


def write_npz(path: Path, arrays: Arrays) -> None:
    """Writes arrays to a `.npz` file, whole or not at all; the same arrays give the same bytes."""
    with _files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as member:
                _write_npy(member, value)


def write_folder(folder: Path, arrays: Arrays, scratch: Path) -> None:
    """Writes arrays to a folder of `.npy` files with their checksums, whole or not at all; it may exist.

    Args:
        folder: to write; an older one is deleted.
        arrays: by the names of their files.
        scratch: a folder on the same disk, where the new folder is made; what a killed process left there is deleted.
    """
    made, replaced = scratch / _MADE, scratch / _REPLACED
    for leftover in (made, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    made.mkdir(parents=True)
    for name, value in arrays.items():
        with _files.naming(folder / f"{name}.npy"), open(made / f"{name}.npy", "wb") as file:
            _write_npy(file, value)
        _files.sync(made / f"{name}.npy")
    _checksums.write_folder(made, {})
    _files.sync(made)
    if folder.exists():
        os.replace(folder, replaced)  # no system puts a folder in the place of one that holds files
    os.replace(made, folder)
    _files.sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _write_npy(file: IO[bytes], value: np.ndarray | Parts) -> None:
    shape, parts = value if isinstance(value, tuple) else (value.shape, [value])
    dtype = np.dtype(np.float32) if isinstance(value, tuple) else value.dtype
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for part in parts:
        file.write(np.ascontiguousarray(part, dtype).tobytes())


def _read_ahead(reader, read, pieces) -> Iterator[list]:
    """`map(read, pieces)`, in a thread that is one piece ahead."""
    following = None
    for piece in pieces:
        current, following = following, reader.submit(read, piece)
        if current:
            yield current.result()
    if following:
        yield following.result()


def _compute_block(batches, kind, encode, count, batch):
    features, rows, problems, digests = [], [], {}, []
    for start in range(0, count, batch):
        contents = next(batches)
        good = [(row, *item) for row, item in enumerate(contents, start) if not isinstance(item, ValueError)]
        problems |= {row: str(item) for row, item in enumerate(contents, start) if isinstance(item, ValueError)}
        if good:
            encoded = check_features(encode([item for _, item, _ in good]), len(good))
            is_finite = np.isfinite(encoded).all(axis=1)
            reason = f"the {kind} encoder gave features that are NaN, Inf or past the range of float32"
            problems |= {row: reason for (row, _, _), fine in zip(good, is_finite, strict=True) if not fine}
            good = [item for item, fine in zip(good, is_finite, strict=True) if fine]
            rows += [row for row, _, _ in good]
            digests += [digest for _, _, digest in good]
            features.append(encoded[is_finite])
    if len({part.shape[1] for part in features}) > 1:
        raise ValueError(f"the encoder gave arrays of {sorted({part.shape[1] for part in features})} features")
    return Block(
        np.concatenate(features) if features else np.zeros((0, 0), np.float32),
        np.array(rows, np.int64),
        problems,
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
    )
