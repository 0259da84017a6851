"""The folder of a run: who works in it, with which config, and what it holds.

config.json        the config, a fingerprint of the data, where they lie, versions
metrics.jsonl      a line for each epoch
checkpoints/       Orbax
results.json       the figures of the selected model; its presence says that the run is finished
model.safetensors  the selected model
README.md          what the model is, how good it is and how it was made
tensorboard/       scalars, where tensorboardX is installed
"""

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpldan_jax import _files
from gpldan_jax.config import COMPUTING_GROUP, SETTINGS, flat, with_values
from gpldan_jax.models.trained import CARD_FILE, MODEL_FILE

CONFIG, METRICS, RESULTS, MODEL = "config.json", "metrics.jsonl", "results.json", MODEL_FILE
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
RUN = (CHECKPOINTS, TENSORBOARD, METRICS, RESULTS, MODEL, CARD_FILE)
EPOCHS = "train.epochs"
DATA_PATH = "data_path"
"""The key of `config.json` with the absolute path where the data were last found; absent in old workdirs."""
# Where a run is computed and where its data lie do not make it another run; the fingerprint says whether they are its.
_PLACES = (f"{COMPUTING_GROUP}.", "dataset.path")
_EVALUATION = ("validation", "selected")  # what a record says of one
_DIGITS = 12  # of a fingerprint, in messages
_ABSENT = object()


class WorkdirError(ValueError):
    """The folder cannot be used for this run; the message says why and what to do."""


@contextlib.contextmanager
def open_workdir(
    directory: str | os.PathLike,
    description: Mapping[str, Any],
    *,
    fresh: bool = False,
    holds: Iterable[str] = RUN,
    name: str = "workdir",
    may_differ: Collection[str] = (),
) -> Iterator[Path]:
    """Makes or reopens the folder of a run, and keeps every other process out of it until the block ends.

    The description is the content of `config.json`: `config` (except its group `mesh`, `dataset.path` and the keys in
    `may_differ`) and `data` must be those of the run in the folder; the rest is for information. `fresh` first deletes
    the files and folders of the run there, those that a run `holds`. `name` is the argument that chooses the folder,
    for messages. Where the data lie now is written to `config.json`.

    Raises:
        WorkdirError: the folder cannot be written to, is used by another process, or holds another run or other files.
    """
    directory = Path(directory)
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_files.locked(directory))
        except _files.LockedError as error:
            raise WorkdirError(f"{error}; wait for it, or choose another {name}") from error
        except OSError as error:
            raise WorkdirError(f"cannot write to the workdir {directory}: {error.strerror or error}") from error
        for leftover in (directory / f"{CONFIG}.tmp", *directory.glob(f"{_files.TEMPORARY}*")):
            leftover.unlink(missing_ok=True)  # of a process that was killed while it wrote
        if fresh and (directory / CONFIG).exists():  # without it what lies there is not ours to delete
            _delete(directory, holds)
            _files.write_json(directory / CONFIG, description)
        check_same_run(directory, description, name, may_differ)
        if not (directory / CONFIG).exists():
            _files.write_json(directory / CONFIG, description)
        if place := description.get(DATA_PATH):
            known = read_json(directory / CONFIG)
            if known.get(DATA_PATH) != place:
                _files.write_json(directory / CONFIG, known | {DATA_PATH: place})
        yield directory


def check_same_run(
    directory: str | os.PathLike,
    description: Mapping[str, Any],
    name: str = "workdir",
    may_differ: Collection[str] = (),
) -> None:
    """Checks that a folder is new, empty, or holds this run; the arguments are those of `open_workdir`."""
    directory = Path(directory)
    if not (directory / CONFIG).exists():
        names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
        if others := sorted(name for name in names if not _is_ours(name)):
            raise WorkdirError(
                f"{directory} is not empty and holds no {CONFIG} ({others[0]}, ...); choose another {name}"
            )
        return
    known = read_json(directory / CONFIG)
    old, new = settings_of_run(known.get("config", {})), settings_of_run(description["config"])
    changes = [
        f"{key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now"
        for key in sorted(old.keys() | new.keys())
        if key not in may_differ and old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]
    what = "another config"
    if not changes and known.get("data") != description["data"]:
        fingerprints = f"{short(known.get('data'))} there, {short(description['data'])} now"
        what, changes = "other data", [f"the data are not those it was started with: {fingerprints}"]
    if changes:
        raise WorkdirError(
            f"{directory} holds a run with {what} ({'; '.join(changes)}); choose another {name}, "
            "or use fresh to start over"
        )


def settings_of_run(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the settings that make a run what it is: not where it is computed or where its data lie.

    A setting that is newer than the config had its default then.

    Example:
        >>> found = settings_of_run({"loss": {"alpha": 2.0}, "mesh": {"data": 4}})
        >>> found["loss.alpha"], found["loss.beta"], "mesh.data" in found
        (2.0, 0.1, False)
    """
    settings = {key: setting.default for key, setting in SETTINGS.items()} | flat(config)
    return {key: value for key, value in settings.items() if not key.startswith(_PLACES)}


def short(fingerprint: Any) -> str:
    """Returns the first digits of a fingerprint, for messages.

    Example:
        >>> short("0123456789abcdef")
        'SHA-256 0123456789ab...'
    """
    return f"SHA-256 {str(fingerprint)[:_DIGITS]}..."


def change_epochs(directory: Path, epochs: int) -> None:
    """Makes a finished or interrupted run one that is to train `epochs`: it has no results until these are trained."""
    known = read_json(directory / CONFIG)
    # Results first: those of a shorter run must not pass for those of the longer one, wherever this is interrupted.
    for name in (RESULTS, MODEL, CARD_FILE):
        (directory / name).unlink(missing_ok=True)
    _files.write_json(directory / CONFIG, known | {"config": with_values(known["config"], {EPOCHS: epochs})})


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line to a JSON-lines file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def keep_records(path: Path, epoch: int, *, without_last_evaluation: bool = False) -> None:
    """Deletes the records after an epoch, and a half-written one, from a JSON-lines file: those epochs come again.

    `without_last_evaluation` also deletes what the record of that epoch says of its evaluation.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if record["epoch"] > epoch:
            break
        if without_last_evaluation and record["epoch"] == epoch:
            line = json.dumps({name: value for name, value in record.items() if name not in _EVALUATION})
        kept.append(line + "\n")
    _files.write_text(path, "".join(kept))


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises `WorkdirError` where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); use fresh to start over") from error


def _is_ours(name):
    """Whether a run that was killed in its first moment leaves such a file."""
    return name in (_files.LOCK, _files.HOLDER, f"{CONFIG}.tmp") or name.startswith(_files.TEMPORARY)


def _delete(directory, names):
    for path in (directory / name for name in names):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
