"""Compares what lies on the disk with its checksums: runs, checkpoints, models, indexes, comparisons, feature files."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from gpldan_jax import _checksums
from gpldan_jax._files import TEMPORARY, one_line
from gpldan_jax.data.files.npy import is_npy_folder
from gpldan_jax.data.files.npz import check_archive
from gpldan_jax.features.thumbnails import check_thumbnails
from gpldan_jax.index import storage
from gpldan_jax.index.gallery import MODALITIES
from gpldan_jax.models import load_model
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies.grid_search import BEST

OK, DAMAGED, UNKNOWN = "ok", "damaged", "no checksum"

_RECORDS = ("config", "results", "sweep", "slices", "table2", "table3", "settings", "collection", r"seed-\d+", r"\d{4}")
_RECORD = re.compile(rf"({'|'.join(_RECORDS)})\.json")
_COLLECTION = "collection.json"  # of a collection of a run, with an index of each modality
_OLDER = "of an older version"


@dataclasses.dataclass(frozen=True)
class Checked:
    """What came of the check of a file, or of the folder of a checkpoint.

    Attributes:
        path: of the file or folder.
        state: `OK`, `DAMAGED` or `UNKNOWN`.
        reason: why it is not `OK`; empty where it is.
    """

    path: Path
    state: str
    reason: str = ""


def verify(path: str | os.PathLike) -> list[Checked]:
    """Checks a file, or all files of a folder that a later command reads.

    Args:
        path: of a run, a sweep, a comparison, an ablation, a collection or an index; a folder that holds several of
            them; a model file, a feature file (`.npz`) or a folder of extracted features, or another single file of
            these.

    Returns:
        What came of each check, in the order of the paths. Tables, figures and cards have no checksum and are left out.

    Raises:
        ValueError: the path does not exist, or there is nothing of ours.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _checksums.write_record(f"{folder}/config.json", {"config": {}, "data": ""})
        ...     before = [checked.state for checked in verify(folder)]
        ...     _ = Path(f"{folder}/config.json").write_text("{")
        ...     [*before, *(checked.state for checked in verify(folder))]
        ['ok', 'damaged']
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    found = list(_folder(path) if path.is_dir() else _file(path))
    if not found:
        raise ValueError(
            f"{path} is nothing that gpldan_jax writes: expected a run, a sweep, a comparison, a collection, an index, "
            "a model file (.safetensors), a feature file (.npz) or a folder that extract wrote"
        )
    return found


def _folder(folder: Path) -> Iterator[Checked]:
    if (folder / storage.MANIFEST).exists():
        yield from _index(folder)
        return
    if folder.name.isdecimal() and ((folder / _checksums.FOLDER_FILE).exists() or (folder / "state").is_dir()):
        yield _checked(folder, _checkpoint)
        return
    if (folder / _checksums.FOLDER_FILE).exists() and is_npy_folder(folder):
        yield _checked(folder, _features)
        return
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(TEMPORARY)]
    for path in paths:
        yield from _folder(path) if path.is_dir() else _file(path)
    if (folder / workdirs.RESULTS).exists() and (folder / workdirs.CONFIG).exists():
        for name in (workdirs.METRICS, workdirs.MODEL):
            if not (folder / name).exists():
                yield Checked(folder / name, DAMAGED, "it is missing, and the run is finished")
    if (folder / _COLLECTION).exists():
        for name in MODALITIES:
            if not (folder / name / storage.MANIFEST).exists():
                yield Checked(
                    folder / name / storage.MANIFEST, DAMAGED, "it is missing, and the collection is finished"
                )


def _file(path: Path) -> Iterator[Checked]:
    if path.suffix == ".safetensors":
        yield _checked(path, _model)
    elif path.suffix == ".npz":
        yield _checked(path, _archive)
    elif path.suffix == ".sqlite":
        yield _checked(path, _pictures)
    elif path.name == BEST:
        yield _checked(path, _source)
    elif path.name == workdirs.METRICS:
        yield _checked(path, _metrics)
    elif path.name == storage.MANIFEST:
        yield from _index(path.parent)
    elif _RECORD.fullmatch(path.name) and not _is_of_others(path):
        yield _checked(path, _record)


def _checked(path: Path, check: Callable[[Path], str]) -> Checked:
    """What a check says: it returns why a file without checksums may be damaged, and raises where it is."""
    try:
        reason = check(path)
    except OSError as error:
        return Checked(path, DAMAGED, f"it cannot be read: {error.strerror or one_line(error)}")
    except ValueError as error:
        return Checked(path, DAMAGED, one_line(error).removeprefix(f"{path} is damaged: ").removeprefix(f"{path} "))
    return Checked(path, UNKNOWN if reason else OK, reason)


def _record(path):
    return "" if _checksums.check_record(path)[1] else _OLDER


def _source(path):
    return "" if _checksums.check_source(path) else _OLDER + ", or changed by hand"


def _is_of_others(path):
    """Whether `config.json` is one of another program, such as of a folder with an image network."""
    if path.name != workdirs.CONFIG:
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    # One key may be damaged.
    return not (isinstance(content, dict) and {"config", "data", "sha256"} & content.keys())


def _checkpoint(folder):
    found = _checksums.check_folder(folder)
    for step in (found or {}).get("needs", ()):
        if not (folder.parent / str(step)).is_dir():
            raise _checksums.DamagedError(f"{folder} is damaged: it needs the checkpoint {step}, which is missing")
    return "" if found else _OLDER + ", or its process was killed before it wrote any"


def _model(path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_model(path)
    return _OLDER if any("has no checksums" in str(of.message) for of in caught) else ""


def _features(folder):
    _checksums.check_folder(folder)
    return ""


def _archive(path):
    check_archive(path)  # a `.npz` is a ZIP archive, which has a CRC-32 of each array
    return ""


def _pictures(path):
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as connection:
            check_thumbnails(connection)
    except sqlite3.Error as error:
        raise _checksums.DamagedError(one_line(error)) from error
    return ""


def _metrics(path):
    try:
        results = dict(_checksums.read_record(path.with_name(workdirs.RESULTS)))
    except (OSError, TypeError, ValueError):  # it says so itself, or the run is not finished
        results = None
    workdirs.read_records(path, results)
    lines = path.read_text(encoding="utf-8").splitlines()
    return "" if all(_checksums.read_line(line)[1] for line in lines) else _OLDER


def _file_of_index(file, _):
    storage.check_file(file, whole=True)
    return ""


def _index(folder: Path) -> Iterator[Checked]:
    path = folder / storage.MANIFEST
    try:
        files = storage.files_of(storage.read_manifest(folder))
        has_digest = _checksums.check_record(path)[1]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        yield Checked(path, DAMAGED, one_line(error).removeprefix(f"{path} is damaged: "))
        return
    yield Checked(path, OK) if has_digest else Checked(path, UNKNOWN, _OLDER)
    for file in files:
        yield _checked(file.path, functools.partial(_file_of_index, file))
