"""How the parts of an index lie in its folder, and how they come back."""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax.models import Projector, TrainedModel, load_model, save_model
from gpldan_jax.retrieval import storage
from gpldan_jax.retrieval.candidates import Candidates
from gpldan_jax.retrieval.gallery import Gallery, Segment
from gpldan_jax.retrieval.items import Items
from gpldan_jax.retrieval.storage import File, Texts

_MODEL, _FIELD = "model", "field"


def written(folder: Path, blocks: Iterable[Items], n: int, projector: Projector) -> dict[str, File]:
    """Writes n items as they come, and gives their files by the names of `Items`."""
    widths = dict(zip(Items._fields, _widths(projector), strict=True))
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(storage.ArrayWriter(folder, name, (n, width), np.float32))
            for name, width in widths.items()
        }
        for block in blocks:
            for name, array in block._asdict().items():
                writers[name].write(np.ascontiguousarray(array))
        return {name: writer.finish() for name, writer in writers.items()}


def commit(
    folder: Path, model: TrainedModel, modality: str, segments: Sequence[Segment], candidates: Candidates | None
) -> None:
    """Writes what is not in the folder yet, and the manifest that makes it an index."""
    entries = [{"items": len(segment), "files": _stored(folder, segment)} for segment in segments]
    temporary = storage.temporary_name(folder, _MODEL, ".safetensors")
    save_model(temporary, model)
    manifest = {"modality": modality, "model": storage.add_file(folder, _MODEL, temporary), "segments": entries}
    if candidates is not None:
        temporary = storage.temporary_name(folder, "candidates", ".faiss")
        candidates.write(temporary)
        recalls = [dataclasses.asdict(recall) for recall in candidates.recalls]
        manifest["candidates"] = {
            "file": storage.add_file(folder, "candidates", temporary),
            "probes": candidates.probes,
            "recalls": recalls,
        }
    storage.commit(folder, manifest)


def loaded(manifest: Mapping[str, Any], *, verify: bool) -> dict[str, Any]:
    """The arguments of an `Index`, from what `commit` wrote."""
    if manifest["modality"] not in ("image", "text") or not manifest["segments"]:
        raise TypeError(f"it is of {manifest['modality']!r} and has {len(manifest['segments'])} segments")
    files = [manifest["model"], *(file for entry in manifest["segments"] for file in entry["files"].values())]
    if manifest.get("candidates"):
        files.append(manifest["candidates"]["file"])
    for file in files:
        storage.check(file, whole=verify)
    try:
        model = load_model(manifest["model"].path)
    except ValueError as error:
        raise storage.DamagedIndexError(str(error)) from error
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
    items = Items(
        *(
            storage.read_array(files[name], (n, width), "f")
            for name, width in zip(Items._fields, _widths(projector), strict=True)
        )
    )
    fields = {
        name.removeprefix(f"{_FIELD}-").removesuffix("-ends"): Texts(
            storage.read_array(files[name.removesuffix("-ends")], (None,), "u"), storage.read_array(file, (n,), "i")
        )
        for name, file in files.items()
        if name.endswith("-ends")
    }
    return Segment(storage.read_array(files["ids"], (n,), "Ui"), items, fields, files)


def _stored(folder, segment):
    arrays = {"ids": segment.ids, **(segment.items._asdict() if segment.items else {})}
    for name, texts in segment.fields.items():
        texts = Texts.packed(texts)
        arrays |= {f"{_FIELD}-{name}": texts.characters, f"{_FIELD}-{name}-ends": texts.ends}
    have = segment.files
    files = {name: storage.brought(folder, file) for name, file in have.items()}
    return files | {
        name: storage.write_array(folder, name, array) for name, array in arrays.items() if name not in have
    }


def _widths(projector):
    k = projector.parts
    return projector.width, k, k * (k + 1) // 2
