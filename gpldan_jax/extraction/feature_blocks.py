"""A `.npz` file written some rows at a time: the same content gives the same bytes.

Features block by block: what is finished lies on the disk, and an interrupted extraction goes on after it.

A block is 128 items in their order, whatever came before it, so that a run in one piece and one in many make the same.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax.data import DataError

_TEMPORARY = ".tmp"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a date that every archive has to carry, and that says nothing


def write_npz(path: Path, arrays: Mapping[str, np.ndarray | tuple[tuple[int, int], Iterable[np.ndarray]]]) -> None:
    """Writes arrays under their names, whole or not at all.

    Args:
        path: of the file; one that exists is replaced.
        arrays: each an array, or a shape and the parts that make a float32 array of this shape.
    """
    temporary = path.with_name(path.name + _TEMPORARY)
    with open(temporary, "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, value in arrays.items():
                shape, parts = value if isinstance(value, tuple) else (value.shape, [value])
                dtype = np.dtype(np.float32) if isinstance(value, tuple) else value.dtype
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    for part in parts:
                        member.write(np.ascontiguousarray(part, dtype).tobytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


SIZE = 128  # items


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """The features of some consecutive items.

    Attributes:
        features: float32 `[m, d]` of the `m` items that could be read.
        rows: int64 `[m]`, which items these are, counted from the first of the block.
        problems: why each of the others could not, by the same count.
        digests: uint8 `[m, 32]`, the SHA-256 of what the features were made of.
    """

    features: np.ndarray
    rows: np.ndarray
    problems: dict[int, str]
    digests: np.ndarray


def compute(
    folder: Path,
    kind: str,
    items: Sequence[Any],
    read: Callable[[Sequence[Any]], list[tuple[Any, bytes] | ValueError]],
    encode: Callable[[list[Any]], np.ndarray],
    *,
    batch: int,
    on_block: Callable[[int, Block], None],
) -> None:
    """Makes the blocks that the folder does not have, reading the next items while one batch is encoded.

    Args:
        folder: of the blocks; it exists.
        kind: the beginning of their names.
        items: all of them.
        read: gives of some items, at most `batch`, each what `encode` takes and the SHA-256 of the source, or why not.
        encode: takes a list of these, returns `[n, d]`.
        batch: how many are read and encoded at a time.
        on_block: called with each block and the number of its first item, in order, those included that were there.

    Raises:
        ValueError: `encode` returns something else, or a block on the disk is damaged.
    """
    starts = range(0, len(items), SIZE)
    missing = {start for start in starts if not path_of(folder, kind, start).exists()}
    pieces = (
        items[first : min(first + batch, start + SIZE)]
        for start in sorted(missing)
        for first in range(start, min(start + SIZE, len(items)), batch)
    )
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        batches = _ahead(reader, read, pieces)
        for start in starts:
            if start in missing:
                count = len(items[start : start + SIZE])
                block = _block(batches, encode, count, batch)
                write_npz(
                    path_of(folder, kind, start),
                    vars(block) | {"problems": np.array(json.dumps(block.problems))},
                )
            on_block(start, read_block(path_of(folder, kind, start)))


def path_of(folder: Path, kind: str, start: int) -> Path:
    """Where the block lies whose first item is `start`."""
    return folder / f"{kind}-{start:09d}.npz"


def read_block(path: Path) -> Block:
    """A block that `compute` wrote; ValueError where it is damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            problems = {int(row): reason for row, reason in json.loads(str(arrays["problems"])).items()}
            return Block(arrays["features"], arrays["rows"], problems, arrays["digests"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}); delete it, or start over with --fresh") from error


def _ahead(reader, read, pieces) -> Iterator[list]:
    """`map(read, pieces)`, in a thread that is one piece ahead."""
    following = None
    for piece in pieces:
        current, following = following, reader.submit(read, piece)
        if current:
            yield current.result()
    if following:
        yield following.result()


def _block(batches, encode, count, batch):
    features, rows, problems, digests = [], [], {}, []
    for start in range(0, count, batch):
        found = next(batches)
        good = [(row, *item) for row, item in enumerate(found, start) if not isinstance(item, ValueError)]
        problems |= {row: str(item) for row, item in enumerate(found, start) if isinstance(item, ValueError)}
        if good:
            rows += [row for row, _, _ in good]
            digests += [digest for _, _, digest in good]
            features.append(checked(encode([item for _, item, _ in good]), len(good)))
    if len({part.shape[1] for part in features}) > 1:
        raise ValueError(f"the encoder gave arrays of {sorted({part.shape[1] for part in features})} features")
    return Block(
        np.concatenate(features) if features else np.zeros((0, 0), np.float32),
        np.array(rows, np.int64),
        problems,
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
    )


def checked(features: np.ndarray, count: int) -> np.ndarray:
    """What an encoder gave of `count` items, in float32; ValueError where it is not `[count, d]` of finite numbers."""
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != count or not features.shape[1] or features.dtype.kind not in "biuf":
        raise ValueError(
            f"the encoder was given {count} items: expected real numbers [{count}, d], "
            f"found {features.dtype} {list(features.shape)}"
        )
    with np.errstate(over="ignore"):
        features = features.astype(np.float32, copy=False)
    if not np.isfinite(features).all():
        raise ValueError("the encoder gave features that are NaN, Inf or past the range of float32")
    return features
