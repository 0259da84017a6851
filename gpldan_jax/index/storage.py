"""The folder of an index: arrays that are mapped from files, and a manifest that names the files that count.

    index.json            what the index is; the size and the SHA-256 of each of its files, and its own
    values-1f0c....npy    arrays; the name holds a hash of the content, so a file never changes
    model-9a41....safetensors

A file is written under a temporary name and renamed when it is whole; the manifest comes last. So an interruption at
any moment leaves the index that was there before. The next writer removes all files that the manifest does not name.
Nothing is ever unpickled.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._checksums import DamagedError, check_record, write_record
from gpldan_jax._files import TEMPORARY, naming, one_line, sha256_of, sync
from gpldan_jax._locks import HOLDER, LOCK, LockedError, NoLocksError, locked
from gpldan_jax.index.candidates import VectorIndex
from gpldan_jax.index.gallery import EncodedBatch, Gallery, Segment
from gpldan_jax.models import Projector, TrainedModel, load_model, save_model

MANIFEST = "index.json"
_FORMAT, _VERSION = "gpldan_jax index", 1
_NAME = re.compile(r"[a-z]+(-[a-z0-9_]+)*-[0-9a-f]{16}\.[a-z]+")
_FILE_NAMES = {"values": "values", "attention": "attention", "gram": "products"}  # of `EncodedBatch`, since version 0.1
_SMALL = 1 << 20  # bytes of a file that is always compared
_IDS, _FIELD, _ENDS = "ids", "field-", "-ends"


class DamagedIndexError(ValueError):
    """A folder holds no index or a damaged one; the message names the file and what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class File:
    """A file of an index.

    Attributes:
        path: where it is.
        size: in bytes.
        sha256: in hex.
    """

    path: Path
    size: int
    sha256: str


class Texts(Sequence):
    """n texts in one array of UTF-8, with the end of each, so that they can be mapped from files.

    Example:
        >>> list(Texts.pack(["one", "", "zwei"]))
        ['one', '', 'zwei']
    """

    def __init__(self, characters: np.ndarray, ends: np.ndarray):
        self.characters, self.ends = characters, ends  # uint8 [bytes], int64 [n]

    @classmethod
    def pack(cls, texts: Sequence[str]) -> "Texts":
        """Packs strings.

        Args:
            texts: n strings.

        Returns:
            The same strings.
        """
        if isinstance(texts, Texts):
            return texts
        encoded = [text.encode() for text in texts]
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([len(text) for text in encoded], dtype=int))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position: int) -> str:  # type: ignore[override]  # no slices
        start = self.ends[position - 1] if position else 0
        return bytes(self.characters[start : self.ends[position]]).decode(errors="replace")


@contextlib.contextmanager
def locked_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Makes or opens the folder of an index, and keeps all other writers out meanwhile.

    Args:
        folder: new, empty, or that of an index.

    Yields:
        The folder.

    Raises:
        DamagedIndexError: another process writes there, the file system has no locks, or the folder holds other files
            than those of an index.
        OSError: it cannot be written to.
    """
    folder = Path(folder)
    if folder.is_dir() and (others := sorted(path.name for path in folder.iterdir() if not _is_ours(path.name))):
        raise DamagedIndexError(f"{folder} holds other files ({others[0]}); choose an empty or a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            try:
                yield folder
            finally:
                for path in folder.glob(f"{TEMPORARY}*"):
                    path.unlink(missing_ok=True)
    except LockedError as error:
        raise DamagedIndexError(f"{error}; wait until it has finished") from error
    except NoLocksError as error:
        raise DamagedIndexError(str(error)) from error


class ArrayWriter:
    """Writes an array of known shape to a `.npy` file, some rows at a time; a context manager."""

    def __init__(self, folder: Path, kind: str, shape: Sequence[int], dtype: np.dtype | type):
        self._kind, self._temporary, self._path = kind, folder / f"{TEMPORARY}{kind}.npy", folder / f"{kind}.npy"
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._digest, self._size = hashlib.sha256(), 0

    def __enter__(self) -> "ArrayWriter":
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": self._shape,
        }
        self._file = open(self._temporary, "wb")
        try:
            np.lib.format.write_array_header_1_0(self, header)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def write(self, data: bytes | np.ndarray) -> None:
        """Writes the next rows.

        Args:
            data: C-contiguous.
        """
        view: Any = memoryview(data).cast("B") if len(data) else b""  # type: ignore[arg-type]  # before Python 3.12
        self._digest.update(view)
        with naming(self._path):
            self._file.write(view)
        self._size += len(view)

    def finish(self) -> File:
        """Gives the file its final name, once it is on the disk.

        Returns:
            The file.
        """
        with naming(self._path):
            self._file.flush()
        return _rename_to_final(self._temporary, self._kind, self._size, self._digest.hexdigest())


def write_items(folder: Path, blocks: Iterable[EncodedBatch], n: int, projector: Projector) -> dict[str, File]:
    """Writes n items, block by block.

    Args:
        folder: of `locked_folder`.
        blocks: n items together.
        n: the number of items.
        projector: the network that encoded them.

    Returns:
        The files, for `Segment.files`.
    """
    with contextlib.ExitStack() as stack:
        writers = {
            field: stack.enter_context(ArrayWriter(folder, _FILE_NAMES[field], (n, width), np.float32))
            for field, width in _widths(projector).items()
        }
        for block in blocks:
            for field, array in block._asdict().items():
                writers[field].write(np.ascontiguousarray(array))
        return {_FILE_NAMES[field]: writer.finish() for field, writer in writers.items()}


def write_index(
    folder: Path, model: TrainedModel, modality: str, segments: Sequence[Segment], candidates: VectorIndex | None
) -> None:
    """Writes all files that are not in the folder yet, then the manifest.

    Args:
        folder: of `locked_folder`.
        model: of the index.
        modality: of the items.
        segments: the items.
        candidates: the vector index, if there is one.
    """
    manifest = {
        "modality": modality,
        "model": _add_file(folder, "model", ".safetensors", lambda path: save_model(path, model)),
        "segments": [{"items": len(segment), "files": _store(folder, segment)} for segment in segments],
    }
    if candidates is not None:
        manifest["candidates"] = {
            "file": _add_file(folder, "candidates", ".faiss", candidates.write),
            "probes": candidates.probes,
            "recalls": [dataclasses.asdict(recall) for recall in candidates.recalls],
        }
    _write_manifest(folder, manifest)


def read_manifest(folder: str | os.PathLike) -> dict[str, Any]:
    """Reads the manifest of an index.

    Args:
        folder: of the index.

    Returns:
        What `write_index` wrote, with `File` for files.

    Raises:
        DamagedIndexError: there is none, or it is damaged or of another version.
    """
    folder = Path(folder)
    path = folder / MANIFEST

    def restore(entry):
        if entry.keys() != {"file", "bytes", "sha256"}:
            return entry
        if not (isinstance(entry["file"], str) and _NAME.fullmatch(entry["file"])):
            raise ValueError(f"{entry['file']!r} is no name of a file of an index")
        return File(folder / entry["file"], entry["bytes"], entry["sha256"])

    try:
        record, _ = check_record(path)
        manifest = json.loads(json.dumps(record), object_hook=restore)
    except FileNotFoundError as error:
        raise DamagedIndexError(f"{folder} is no index of gpldan_jax: there is no {MANIFEST}") from error
    except DamagedError as error:
        raise DamagedIndexError(str(error)) from error
    except (OSError, ValueError) as error:
        raise DamagedIndexError(f"{path} is damaged: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise DamagedIndexError(f"{path} is not the manifest of an index of gpldan_jax")
    if manifest.get("version") != _VERSION:
        raise DamagedIndexError(
            f"{path} is of version {manifest.get('version')}, expected {_VERSION}; build the index again"
        )
    return manifest


def read_index(manifest: Mapping[str, Any], *, verify: bool) -> dict[str, Any]:
    """Opens the files of an index.

    Args:
        manifest: of `read_manifest`.
        verify: whether to compare the SHA-256 of every file, and not only of small ones.

    Returns:
        The arguments of `Index`; arrays are mapped from their files.

    Raises:
        DamagedIndexError: a file is missing or damaged.
        KeyError, TypeError, AttributeError: the manifest is damaged.
    """
    if manifest["modality"] not in ("image", "text") or not manifest["segments"]:
        raise TypeError(
            "expected modality 'image' or 'text' and at least one segment, "
            f"got {manifest['modality']!r} and {len(manifest['segments'])}"
        )
    for file in files_of(manifest):
        check_file(file, whole=verify)
    candidates = manifest.get("candidates")
    try:
        model = load_model(manifest["model"].path, verify=not verify)  # with `verify` it has just been compared
    except ValueError as error:
        raise DamagedIndexError(str(error)) from error
    return {
        "model": model,
        "modality": manifest["modality"],
        "gallery": Gallery(
            tuple(_open_segment(entry["items"], entry["files"], model.projector) for entry in manifest["segments"])
        ),
        "candidates": candidates
        and VectorIndex.read(candidates["file"].path, candidates["probes"], candidates["recalls"]),
    }


def files_of(manifest: Mapping[str, Any]) -> list[File]:
    """Returns the files that a manifest names; raises as `read_index` where it is damaged."""
    candidates = manifest.get("candidates")
    files = [manifest["model"], *(file for entry in manifest["segments"] for file in entry["files"].values())]
    return [*files, *([candidates["file"]] if candidates else [])]


def check_file(file: File, *, whole: bool) -> None:
    """Compares the size of a file with its manifest, and its SHA-256 where `whole` or where it is small.

    Raises:
        DamagedIndexError: they differ, or the file cannot be read.
    """
    try:
        size = file.path.stat().st_size
        if size != file.size:
            raise DamagedIndexError(f"{file.path} is damaged: expected {file.size} bytes, found {size}")
        if (whole or size <= _SMALL) and sha256_of(file.path) != file.sha256:
            raise DamagedIndexError(f"{file.path} is damaged: its SHA-256 is not that of the manifest")
    except OSError as error:
        raise DamagedIndexError(f"{file.path} cannot be read: {error.strerror or error}") from error


def _store(folder, segment):
    """Returns the files of a segment; copies those of another folder and writes those that do not exist."""
    arrays = {_IDS: segment.ids}
    if segment.encoded is not None:
        arrays |= {_FILE_NAMES[field]: array for field, array in segment.encoded._asdict().items()}
    for name, texts in segment.fields.items():
        texts = Texts.pack(texts)
        arrays |= {f"{_FIELD}{name}": texts.characters, f"{_FIELD}{name}{_ENDS}": texts.ends}
    files = {kind: _copy_into(folder, kind, file) for kind, file in segment.files.items()}
    return files | {kind: _write_array(folder, kind, array) for kind, array in arrays.items() if kind not in files}


def _open_segment(n, files, projector):
    if not isinstance(n, int) or n < 1:
        raise TypeError(f"items must be a number of at least 1, got {n!r}")
    widths = _widths(projector)
    encoded = EncodedBatch(
        **{field: _map_array(files[_FILE_NAMES[field]], (n, widths[field]), "f") for field in widths}
    )
    fields = {
        kind.removeprefix(_FIELD).removesuffix(_ENDS): Texts(
            _map_array(files[kind.removesuffix(_ENDS)], (None,), "u"), _map_array(file, (n,), "i")
        )
        for kind, file in files.items()
        if kind.endswith(_ENDS)
    }
    return Segment(_map_array(files[_IDS], (n,), "Uiu"), encoded, fields, files)


def _widths(projector):
    k = projector.parts
    return {"values": projector.width, "attention": k, "gram": k * (k + 1) // 2}


def _write_array(folder, kind, array):
    with ArrayWriter(folder, kind, array.shape, array.dtype) as writer:
        writer.write(np.ascontiguousarray(array))
        return writer.finish()


def _add_file(folder, kind, suffix, write: Callable[[Path], None]):
    temporary = folder / f"{TEMPORARY}{kind}{suffix}"
    with naming(folder / f"{kind}{suffix}", temporary):
        write(temporary)
    return _rename_to_final(temporary, kind, temporary.stat().st_size, sha256_of(temporary))


def _copy_into(folder, kind, file):
    path = folder / file.path.name
    if path.exists() and path.samefile(file.path):
        return file
    temporary = folder / f"{TEMPORARY}{kind}{path.suffix}"
    shutil.copyfile(file.path, temporary)
    if sha256_of(temporary) != file.sha256:
        raise DamagedIndexError(f"{file.path} has changed since it was opened")
    return _rename_to_final(temporary, kind, file.size, file.sha256)


def _rename_to_final(temporary, kind, size, sha256):
    """The one place where a file gets its name, which says what it holds; see `_NAME`."""
    sync(temporary)
    path = temporary.with_name(f"{kind}-{sha256[:16]}{temporary.suffix}")
    os.replace(temporary, path)
    return File(path, size, sha256)


def _write_manifest(folder, manifest):
    """Writes the manifest, with entries for `File`s, and removes the files that it does not name."""
    named = set()

    def describe(value):
        if not isinstance(value, File):
            raise TypeError(f"not JSON: {value!r}")
        named.add(value.path.name)
        return {"file": value.path.name, "bytes": value.size, "sha256": value.sha256}

    record = json.loads(json.dumps({"format": _FORMAT, "version": _VERSION, **manifest}, default=describe))
    sync(folder)  # the new names are on the disk before the manifest names them
    write_record(folder / MANIFEST, record)
    sync(folder)
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) and path.name not in named:
            path.unlink()


def _map_array(file, shape: Sequence[int | None], kinds: str) -> np.ndarray:
    """Maps an array from its file, read-only; it must have this shape (`None`: any size) and a dtype of these kinds."""
    try:
        with open(file.path, "rb") as opened:
            np.lib.format.read_magic(opened)
            found, is_fortran, dtype = np.lib.format.read_array_header_1_0(opened)
            start = opened.tell()
    except (OSError, SyntaxError, TypeError, ValueError, tokenize.TokenError) as error:  # of a header that is Python
        raise DamagedIndexError(f"{file.path} is damaged: {one_line(error)}") from error
    fits = len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found, strict=True))
    if not fits or is_fortran or dtype.kind not in kinds or start + math.prod(found) * dtype.itemsize != file.size:
        raise DamagedIndexError(f"{file.path}: expected {list(shape)} of kind {kinds!r}, found {list(found)} {dtype}")
    if 0 in found:
        return np.empty(found, dtype)
    return np.memmap(file.path, dtype, "r", start, found).view(np.ndarray)


def _is_ours(name):
    return name in (MANIFEST, LOCK, HOLDER) or name.startswith(TEMPORARY) or bool(_NAME.fullmatch(name))
