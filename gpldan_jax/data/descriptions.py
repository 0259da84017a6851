"""What pages and tables show of the pairs of a dataset: ids, captions and image files. Training uses none of it.

A feature file keeps them beside the features, for each pair: `id`, `caption` and `image_file`, the path of its image in
the folder that the manifest calls `images_folder`. `extract` writes captions as UTF-8 in one array, `caption_utf8`,
with the end of each in `caption_ends`, because an array of strings takes as much memory for each as for the longest.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax.data.arrays import check_ids
from gpldan_jax.data.files.checks import DataError
from gpldan_jax.data.files.npy import is_npy_folder
from gpldan_jax.data.files.reading import read_arrays
from gpldan_jax.data.paired import SPLITS, PairedDataset
from gpldan_jax.data.shipped import SHIPPED, shipped_arrays, shipped_pictures

KEYS = ("id", "caption", "caption_utf8", "caption_ends", "image_file")
"""The keys of a feature file that only describe its pairs."""


@dataclass(frozen=True)
class Descriptions:
    """The ids of n pairs, and the captions and image files if they are known.

    Attributes:
        ids: n different ids, strings or whole numbers.
        captions: n strings, or `None`.
        files: n paths of images, relative to `folder`, "" for none; or `None`.
        folder: the folder of the images, or `None`. It may not exist any more.
        shipped: the dataset of this package that has the pictures, or `None`.
        shipped_rows: n rows of that dataset.
    """

    ids: list[Any]
    captions: list[str] | None = None
    files: list[str] | None = None
    folder: Path | None = None
    shipped: str | None = None
    shipped_rows: np.ndarray | None = None

    def pictures(self, rows: Sequence[int], folder: str | os.PathLike | None = None) -> list[Any]:
        """Returns the pictures of some pairs.

        Args:
            rows: of the n pairs.
            folder: where the images lie now; by default `self.folder`.

        Returns:
            For each row the path of its image, or the picture itself, uint8 `[h, w, 3]`; nothing where no pictures are
            known.

        Raises:
            FileNotFoundError: the folder of the images is gone.
            ImportError: Pillow is missing, for the pictures of this package.
        """
        if self.shipped is not None and self.shipped_rows is not None:
            return list(shipped_pictures(self.shipped)[self.shipped_rows[list(rows)]])
        place = self.folder if folder is None else Path(folder)
        if self.files is None or place is None:
            return []
        if not place.is_dir():
            raise FileNotFoundError(f"the folder of the images, {place}, is not there")
        return [place / self.files[row] for row in rows]


def pack_captions(captions: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the arrays of a feature file that hold captions.

    Args:
        captions: n strings.

    Returns:
        `caption_utf8`, uint8, and `caption_ends`, `[n]` int64.

    Example:
        >>> pack_captions(["a cat", "a dog"])["caption_ends"]
        array([ 5, 10])
    """
    encoded = [caption.encode() for caption in captions]
    ends = np.cumsum([len(caption) for caption in encoded], dtype=np.int64)
    return {"caption_utf8": np.frombuffer(b"".join(encoded), np.uint8), "caption_ends": ends}


def describe(dataset: PairedDataset, path: str | os.PathLike | None, splits: Sequence[str]) -> Descriptions:
    """Reads what the file of a dataset says of the pairs of some splits.

    Args:
        dataset: as `load_dataset` returns it.
        path: the file or the folder that it was read from; `None` for data without files.
        splits: names of splits, in the order of the pairs.

    Returns:
        The descriptions of all pairs of these splits. Without ids a pair is called by its split and its row there.

    Raises:
        DataError: captions or image files that do not fit the pairs, or a file that cannot be read.

    Example:
        >>> from gpldan_jax.data import load_dataset
        >>> describe(load_dataset("npz", synthetic=True), None, ["test"]).ids[:2]
        ['test 0', 'test 1']
    """
    ids = [f"{name} {row}" for name in splits for row in range(len(getattr(dataset, name)))]
    if dataset.file_rows is None:
        return Descriptions(ids)
    n = sum(map(len, dataset.file_rows))
    rows = np.concatenate([np.empty(0, np.int64), *(dataset.file_rows[SPLITS.index(name)] for name in splits)])
    if dataset.name in SHIPPED:
        names = shipped_arrays(dataset.name).names
        return Descriptions([names[row] for row in rows], shipped=dataset.name, shipped_rows=rows)
    path = Path(path or "")
    if not (path.is_file() or is_npy_folder(path)):
        return Descriptions(ids)
    arrays = read_arrays(path, [], optional=[*KEYS, "manifest"])
    captions, files = _read_captions(arrays, n, path), _read_strings(arrays, "image_file", n, path)
    return Descriptions(
        _read_ids(arrays, n, rows, path) or ids,
        captions and [captions[row] for row in rows],
        files and [files[row] for row in rows],
        _images_folder(arrays, path),
    )


def _read_ids(arrays, n, rows, path) -> list[Any] | None:
    """The ids of some rows; `None`, with a warning, where they are no different strings or whole numbers."""
    if "id" not in arrays:
        return None
    try:
        ids = check_ids(np.ravel(arrays["id"]), n)
    except ValueError as error:
        warnings.warn(f"{path}: id is not used ({error}); pairs are called by split and row", stacklevel=3)
        return None
    return ids[rows].tolist()


def _read_captions(arrays, n, path) -> list[str] | None:
    if "caption_utf8" not in arrays or "caption_ends" not in arrays:
        return _read_strings(arrays, "caption", n, path)
    content, ends = np.ravel(arrays["caption_utf8"]), np.ravel(arrays["caption_ends"])
    if content.dtype != np.uint8 or ends.dtype.kind not in "iu" or len(ends) != n:
        raise DataError(f"{path}[caption_ends]: expected {n} whole numbers and caption_utf8 of bytes")
    starts = np.concatenate([np.zeros(1, ends.dtype), ends[:-1]])
    if n and ((ends < starts).any() or ends[-1] != len(content)):
        raise DataError(f"{path}[caption_ends]: expected ends that grow up to {len(content)}")
    text = content.tobytes()
    return [text[a:b].decode(errors="replace") for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _read_strings(arrays, key, n, path) -> list[str] | None:
    if key not in arrays:
        return None
    values = np.ravel(arrays[key])
    if len(values) != n:
        raise DataError(f"{path}[{key}]: expected {n} strings, one for each pair, found {len(values)}")
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _images_folder(arrays, path) -> Path | None:
    try:
        folder = json.loads(str(arrays["manifest"]))["images_folder"]
    except (KeyError, TypeError, ValueError):
        return None
    return Path(os.path.normpath(path.absolute().parent / folder)) if isinstance(folder, str) else None
