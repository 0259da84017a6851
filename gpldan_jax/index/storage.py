"""The folder of an index: arrays that are read where they lie, and a manifest that says which of them count.

    index.json            what the index is, and of each file its size and SHA-256
    values-1f0c....npy    arrays, named by what they hold, so that none is ever changed
    model-9a41....safetensors

Everything is written under a temporary name first, and the manifest last, in one rename: whoever is interrupted at
whatever moment leaves the index that was there before. What a manifest does not name is swept away by the next that
writes. Nothing is ever unpickled.

How the parts of an index lie in its folder, and how they come back.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._files import HOLDER, LOCK, TEMPORARY, LockedError, locked, sha256_of, sync
from gpldan_jax.index.candidates import Candidates
from gpldan_jax.index.gallery import EncodedBatch, Gallery, Segment
from gpldan_jax.models import Projector, TrainedModel, load_model, save_model

MANIFEST = "index.json"
_FORMAT, _VERSION = "gpldan_jax index", 1
_NAME = re.compile(r"[a-z]+(-[a-z0-9_]+)*-[0-9a-f]{16}\.[a-z]+")
_CHUNK = 1 << 24  # bytes


class DamagedIndexError(ValueError):
    """A folder that is no index, or not a whole one; the message says which file, and what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class File:
    """A file of an index.

    Attributes:
        path: where it lies.
        size: in bytes.
        sha256: in hex.
    """

    path: Path
    size: int
    sha256: str


class Texts(Sequence):
    """n texts as UTF-8 in one array, with where each of them ends: what can be read where it lies.

    Example:
        >>> list(Texts.packed(["one", "", "zwei"]))
        ['one', '', 'zwei']
    """

    def __init__(self, characters: np.ndarray, ends: np.ndarray):
        self.characters, self.ends = characters, ends  # uint8 [bytes], int64 [n]

    @classmethod
    def packed(cls, texts: Sequence[str]) -> "Texts":
        """From any sequence of strings."""
        if isinstance(texts, Texts):
            return texts
        encoded = [text.encode() for text in texts]
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([len(text) for text in encoded], dtype=int))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position: int) -> str:
        start = self.ends[position - 1] if position else 0
        return bytes(self.characters[start : self.ends[position]]).decode(errors="replace")


class ArrayWriter(contextlib.AbstractContextManager):
    """Writes an array of known shape to a `.npy` file, some rows at a time."""

    def __init__(self, folder: Path, kind: str, shape: Sequence[int], dtype: np.dtype | type):
        self._folder, self._kind = folder, kind
        self._header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
            "fortran_order": False,
            "shape": tuple(shape),
        }
        self._temporary = folder / f"{TEMPORARY}{kind}"
        self._digest, self._size = hashlib.sha256(), 0

    def __enter__(self) -> "ArrayWriter":
        self._file = open(self._temporary, "wb")
        with contextlib.ExitStack() as stack:
            stack.push(self)
            np.lib.format.write_array_header_1_0(self, self._header)
            stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def write(self, data: bytes | np.ndarray) -> None:
        """The next rows, C-contiguous."""
        data = memoryview(data).cast("B") if len(data) else b""
        self._digest.update(data)
        self._file.write(data)
        self._size += len(data)

    def finish(self) -> File:
        """Gives the file its name once it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        sha256 = self._digest.hexdigest()
        path = self._folder / f"{self._kind}-{sha256[:16]}.npy"
        os.replace(self._temporary, path)
        return File(path, self._size, sha256)


@contextlib.contextmanager
def writing(folder: str | os.PathLike) -> Iterator[Path]:
    """Makes or opens the folder of an index and keeps every other writer out of it meanwhile.

    Raises:
        DamagedIndexError: another process writes there, or the folder holds something that is not ours.
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
        raise DamagedIndexError(f"{error}; wait for it") from error


def write_array(folder: Path, kind: str, array: np.ndarray) -> File:
    """Writes an array whole."""
    with ArrayWriter(folder, kind, array.shape, array.dtype) as writer:
        writer.write(np.ascontiguousarray(array))
        return writer.finish()


def add_file(folder: Path, kind: str, temporary: Path) -> File:
    """Takes in a file that someone has written to a temporary name, see `temporary_name`."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    size, sha256 = temporary.stat().st_size, sha256_of(temporary)
    path = folder / f"{kind}-{sha256[:16]}{temporary.suffix}"
    os.replace(temporary, path)
    return File(path, size, sha256)


def temporary_name(folder: Path, kind: str, suffix: str) -> Path:
    """Where a file may be written before `add_file`."""
    return folder / f"{TEMPORARY}{kind}{suffix}"


def copy_into(folder: Path, file: File) -> File:
    """A file of an index in the folder of another one, or of the same one."""
    path = folder / file.path.name
    if path.exists() and path.samefile(file.path):
        return file
    kind = file.path.name.rsplit("-", 1)[0]
    temporary = temporary_name(folder, kind, file.path.suffix)
    with open(file.path, "rb") as source, open(temporary, "wb") as target:
        while data := source.read(_CHUNK):
            target.write(data)
    if sha256_of(temporary) != file.sha256:
        raise DamagedIndexError(f"{file.path} has changed since it was read")
    return add_file(folder, kind, temporary)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Makes a manifest that of the folder; `File`s in it become their entries, and files it does not name go."""
    named = set()

    def entry(value):
        if not isinstance(value, File):
            raise TypeError(f"not JSON: {value!r}")
        named.add(value.path.name)
        return {"file": value.path.name, "bytes": value.size, "sha256": value.sha256}

    text = json.dumps({"format": _FORMAT, "version": _VERSION, **manifest}, indent=1, default=entry)
    temporary = folder / f"{TEMPORARY}{MANIFEST}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync(folder)
    os.replace(temporary, folder / MANIFEST)
    sync(folder)
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) and path.name not in named:
            path.unlink()


def read_manifest(folder: str | os.PathLike) -> dict[str, Any]:
    """What `write_manifest` wrote, its files as `File`; `DamagedIndexError` where there is none."""
    folder = Path(folder)
    path = folder / MANIFEST

    def restored(entry):
        if entry.keys() != {"file", "bytes", "sha256"}:
            return entry
        if not (isinstance(entry["file"], str) and _NAME.fullmatch(entry["file"])):
            raise ValueError(f"{entry['file']!r} is no name of a file of an index")
        return File(folder / entry["file"], entry["bytes"], entry["sha256"])

    try:
        manifest = json.loads(path.read_text(encoding="utf-8"), object_hook=restored)
    except FileNotFoundError as error:
        raise DamagedIndexError(f"{folder} is no index of gpldan_jax: there is no {MANIFEST}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedIndexError(f"{path} is damaged: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise DamagedIndexError(f"{path} is not that of an index of gpldan_jax")
    if manifest.get("version") != _VERSION:
        raise DamagedIndexError(
            f"{path} is of version {manifest.get('version')}, expected {_VERSION}; build the index again"
        )
    return manifest


def check(file: File, *, whole: bool) -> None:
    """`DamagedIndexError` where a file is not as its manifest says; `whole` reads all of it."""
    try:
        size = file.path.stat().st_size
        if size != file.size:
            raise DamagedIndexError(f"{file.path} is damaged: expected {file.size} bytes, found {size}")
        if whole and sha256_of(file.path) != file.sha256:
            raise DamagedIndexError(f"{file.path} is damaged: its SHA-256 is not that of the manifest")
    except OSError as error:
        raise DamagedIndexError(f"{file.path} cannot be read: {error.strerror or error}") from error


def read_array(file: File, shape: Sequence[int | None], kinds: str) -> np.ndarray:
    """An array where it lies, read-only.

    Args:
        file: checked.
        shape: what it must be; `None` for any size.
        kinds: the kinds of dtype it may have, as `"f"`.
    """
    try:
        with open(file.path, "rb") as opened:
            np.lib.format.read_magic(opened)
            found, is_fortran, dtype = np.lib.format.read_array_header_1_0(opened)
            start = opened.tell()
    except (OSError, ValueError) as error:
        raise DamagedIndexError(f"{file.path} is damaged: {error}") from error
    fits = len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found, strict=True))
    if not fits or is_fortran or dtype.kind not in kinds or start + math.prod(found) * dtype.itemsize != file.size:
        raise DamagedIndexError(f"{file.path}: expected {list(shape)} of kind {kinds!r}, found {list(found)} {dtype}")
    if 0 in found:
        return np.empty(found, dtype)
    return np.memmap(file.path, dtype, "r", start, found).view(np.ndarray)


def _is_ours(name):
    return name in (MANIFEST, LOCK, HOLDER) or name.startswith(TEMPORARY) or bool(_NAME.fullmatch(name))


_MODEL, _FIELD = "model", "field"


def write_items(folder: Path, blocks: Iterable[EncodedBatch], n: int, projector: Projector) -> dict[str, File]:
    """Writes n items as they come, and gives their files by the names of `EncodedBatch`."""
    widths = dict(zip(EncodedBatch._fields, _widths(projector), strict=True))
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(ArrayWriter(folder, name, (n, width), np.float32))
            for name, width in widths.items()
        }
        for block in blocks:
            for name, array in block._asdict().items():
                writers[name].write(np.ascontiguousarray(array))
        return {name: writer.finish() for name, writer in writers.items()}


def write_index(
    folder: Path, model: TrainedModel, modality: str, segments: Sequence[Segment], candidates: Candidates | None
) -> None:
    """Writes what is not in the folder yet, and the manifest that makes it an index."""
    entries = [{"items": len(segment), "files": _stored(folder, segment)} for segment in segments]
    temporary = temporary_name(folder, _MODEL, ".safetensors")
    save_model(temporary, model)
    manifest = {"modality": modality, "model": add_file(folder, _MODEL, temporary), "segments": entries}
    if candidates is not None:
        temporary = temporary_name(folder, "candidates", ".faiss")
        candidates.write(temporary)
        recalls = [dataclasses.asdict(recall) for recall in candidates.recalls]
        manifest["candidates"] = {
            "file": add_file(folder, "candidates", temporary),
            "probes": candidates.probes,
            "recalls": recalls,
        }
    write_manifest(folder, manifest)


def read_index(manifest: Mapping[str, Any], *, verify: bool) -> dict[str, Any]:
    """The arguments of an `Index`, from what `write_index` wrote."""
    if manifest["modality"] not in ("image", "text") or not manifest["segments"]:
        raise TypeError(f"it is of {manifest['modality']!r} and has {len(manifest['segments'])} segments")
    files = [manifest["model"], *(file for entry in manifest["segments"] for file in entry["files"].values())]
    if manifest.get("candidates"):
        files.append(manifest["candidates"]["file"])
    for file in files:
        check(file, whole=verify)
    try:
        model = load_model(manifest["model"].path)
    except ValueError as error:
        raise DamagedIndexError(str(error)) from error
    segments = tuple(_segment(entry["items"], entry["files"], model.projector) for entry in manifest["segments"])
    candidates = manifest.get("candidates")
    return {
        "model": model,
        "modality": manifest["modality"],
        "gallery": Gallery(segments),
        "candidates": candidates
        and Candidates.read(candidates["file"].path, candidates["probes"], candidates["recalls"]),
    }


def _segment(n, files, projector):
    if not isinstance(n, int) or n < 1:
        raise TypeError(f"items must be a number of at least 1, got {n!r}")
    items = EncodedBatch(
        *(
            read_array(files[name], (n, width), "f")
            for name, width in zip(EncodedBatch._fields, _widths(projector), strict=True)
        )
    )
    fields = {
        name.removeprefix(f"{_FIELD}-").removesuffix("-ends"): Texts(
            read_array(files[name.removesuffix("-ends")], (None,), "u"), read_array(file, (n,), "i")
        )
        for name, file in files.items()
        if name.endswith("-ends")
    }
    return Segment(read_array(files["ids"], (n,), "Ui"), items, fields, files)


def _stored(folder, segment):
    arrays = {"ids": segment.ids, **(segment.items._asdict() if segment.items else {})}
    for name, texts in segment.fields.items():
        texts = Texts.packed(texts)
        arrays |= {f"{_FIELD}-{name}": texts.characters, f"{_FIELD}-{name}-ends": texts.ends}
    have = segment.files
    files = {name: copy_into(folder, file) for name, file in have.items()}
    return files | {name: write_array(folder, name, array) for name, array in arrays.items() if name not in have}


def _widths(projector):
    k = projector.parts
    return projector.width, k, k * (k + 1) // 2
