"""The folder of a run: who works in it, with which config, and what it holds.

config.json        the config, a fingerprint of the data, versions
metrics.jsonl      a line for each epoch
checkpoints/       Orbax
results.json       the figures of the selected model; its presence says that the run is finished
model.safetensors  the selected model
tensorboard/       scalars, where tensorboardX is installed
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

CONFIG, METRICS, RESULTS, MODEL = "config.json", "metrics.jsonl", "results.json", "model.safetensors"
CHECKPOINTS, TENSORBOARD, _LOCK = "checkpoints", "tensorboard", ".lock"
RUN = (CHECKPOINTS, TENSORBOARD, METRICS, RESULTS, MODEL)
_TEMPORARY = ".tmp"
_PLACE = "mesh."  # where a run is computed does not make it another run


class WorkdirError(ValueError):
    """The folder cannot be used for this run; the message says why and what to do."""


@contextlib.contextmanager
def opened(
    directory: str | os.PathLike,
    description: Mapping[str, Any],
    *,
    fresh: bool = False,
    holds: Iterable[str] = RUN,
    flag: str = "--workdir",
) -> Iterator[Path]:
    """Makes or reopens the folder of a run and keeps every other process out of it meanwhile.

    Args:
        directory: the folder; made where it does not exist.
        description: what `config.json` holds: `config` (but for its group `mesh`) and `data` must be those of the run
            found there; the rest informs.
        fresh: delete the run found there first.
        holds: the names of what that deletes, files and folders.
        flag: which chooses the folder, for messages.

    Yields:
        The folder.

    Raises:
        WorkdirError: not a folder one can write to, in use by another process, something else than a run in it, or a
            run with another config.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / _LOCK, "a+")  # noqa: SIM115, closed below
    except OSError as error:
        raise WorkdirError(f"cannot write to the workdir {directory}: {error.strerror or error}") from error
    with lock:
        _take(lock, directory, flag)
        if fresh and (directory / CONFIG).exists():  # without it what lies there is not ours to delete
            _delete(directory, holds)
            write_json(directory / CONFIG, description)
        check_same_run(directory, description, flag)
        if not (directory / CONFIG).exists():
            write_json(directory / CONFIG, description)
        yield directory


def check_same_run(directory: str | os.PathLike, description: Mapping[str, Any], flag: str = "--workdir") -> None:
    """`WorkdirError` where the folder holds a run with another config or data, or something that is not a run."""
    directory = Path(directory)
    if not (directory / CONFIG).exists():
        ours = (_LOCK, CONFIG + _TEMPORARY)  # what a run killed in its first moment leaves
        others = sorted(p.name for p in directory.iterdir() if p.name not in ours) if directory.is_dir() else []
        if others:
            raise WorkdirError(
                f"{directory} is not empty and holds no {CONFIG} ({others[0]}, ...); choose another {flag}"
            )
        return
    found = read_json(directory / CONFIG)
    old, new = _flat(found.get("config", {})), _flat(description["config"])
    changes = [
        f"{key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now"
        for key in sorted(old.keys() | new.keys())
        if not key.startswith(_PLACE) and old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]
    if not changes and found.get("data") != description["data"]:
        changes = ["the data are not those it was started with"]
    if changes:
        raise WorkdirError(
            f"{directory} holds a run with another config ({'; '.join(changes)}); choose another {flag}, or --fresh"
        )


def read_results(directory: str | os.PathLike) -> dict[str, Any] | None:
    """The results of a finished run, `None` where there are none."""
    path = Path(directory) / RESULTS
    return read_json(path) if path.exists() else None


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line to a JSON-lines file."""
    with open(path, "a") as file:
        file.write(json.dumps(record) + "\n")


def keep_records(path: Path, epoch: int) -> None:
    """Drops the lines after `epoch`, and a half-written one: that part of the run comes again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if record["epoch"] > epoch:
            break
        kept.append(line + "\n")
    _replace(path, "".join(kept))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    _replace(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file; `WorkdirError` where it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); --fresh starts over") from error


_ABSENT = object()


def _flat(config: Mapping, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _take(lock, directory, flag):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however the process ends
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        raise WorkdirError(f"{directory} is in use by {holder}; wait for it, or choose another {flag}") from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()} ({' '.join(sys.argv)})")
    lock.flush()


def _delete(directory, names):
    for path in (directory / name for name in names):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _replace(path, text):
    temporary = path.with_name(path.name + _TEMPORARY)
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
