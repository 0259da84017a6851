"""The folder of a run: who works in it, with which config, and what it holds.

config.json        the config, a fingerprint of the data, where they lie, versions
metrics.jsonl      a line for each epoch, with its CRC
checkpoints/       Orbax
results.json       the figures of the selected model; its presence says that the run is finished
model.safetensors  the selected model
README.md          what the model is, how good it is and how it was made
tensorboard/       scalars, where tensorboardX is installed
neighbours.npz     the nearest training pairs of each, where there are very many and a recipe asks for them
"""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax import _checksums, _files, _locks
from gpldan_jax.config import COMPUTING_GROUP, SETTINGS, flat, with_values
from gpldan_jax.models.trained import CARD_FILE, MODEL_FILE
from gpldan_jax.training.loop import without_evaluation

CONFIG, METRICS, RESULTS, MODEL = "config.json", "metrics.jsonl", "results.json", MODEL_FILE
CHECKPOINTS, TENSORBOARD, NEIGHBOURS = "checkpoints", "tensorboard", "neighbours.npz"
RUN = (CHECKPOINTS, TENSORBOARD, NEIGHBOURS, METRICS, RESULTS, MODEL, CARD_FILE)
EPOCHS = "train.epochs"
EPOCHS_DONE, RECORDED_FROM = "epochs", "recorded_from"
"""Keys of `results.json`: how many epochs were trained, and the first one with a record, where it is not 1."""
DATA_PATH = "data_path"
"""The key of `config.json` with the absolute path where the data were last found; absent in old workdirs."""
# Where a run is computed and where its data lie do not make it another run; the fingerprint says whether they are its.
_PLACES = (f"{COMPUTING_GROUP}.", "dataset.path")
_DIGITS = 12  # of a fingerprint, in messages
_ABSENT = object()
_CONFIG_NEEDS = {"config": dict, "data": str}


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
            stack.enter_context(_locks.locked(directory))
        except _locks.LockedError as error:
            raise WorkdirError(f"{error}; wait for it, or choose another {name}") from error
        except _locks.NoLocksError as error:
            raise WorkdirError(str(error)) from error
        except OSError as error:
            raise WorkdirError(f"cannot write to the workdir {directory}: {error.strerror or error}") from error
        for leftover in (directory / f"{CONFIG}.tmp", *directory.glob(f"{_files.TEMPORARY}*")):
            leftover.unlink(missing_ok=True)  # of a process that was killed while it wrote
        if fresh and (directory / CONFIG).exists():  # without it what lies there is not ours to delete
            _delete(directory, holds)
            _checksums.write_record(directory / CONFIG, description)
        check_same_run(directory, description, name, may_differ)
        if not (directory / CONFIG).exists():
            _checksums.write_record(directory / CONFIG, description)
        if place := description.get(DATA_PATH):
            known = read_json(directory / CONFIG)
            if known.get(DATA_PATH) != place:
                _checksums.write_record(directory / CONFIG, known | {DATA_PATH: place})
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
    _checksums.write_record(directory / CONFIG, known | {"config": with_values(known["config"], {EPOCHS: epochs})})


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line with its CRC to a JSON-lines file."""
    _locks.check_there(path.parent)  # else `open` would begin a new file
    with _files.naming(path), open(path, "a", encoding="utf-8") as file:
        file.write(_checksums.checked_line(record) + "\n")


def keep_records(
    path: Path, epoch: int, known: Sequence[Mapping[str, Any]] = (), *, without_last_evaluation: bool = False
) -> str:
    """Makes a JSON-lines file that of a run after `epoch` epochs, whose next ones come again.

    Args:
        path: of the file.
        epoch: epochs done.
        known: the records of the last of these epochs, from the checkpoint; their lines are written anew. Lines without
            a record stay as they are: checkpoints of older versions have none.
        without_last_evaluation: leave out what the line of the last epoch says of its evaluation; the last one of
            `known` says nothing of it already.

    Returns:
        What was wrong with the file and is right again, or is lost; empty where it was right.

    Raises:
        WorkdirError: a line without a record is missing or damaged.
    """
    first = known[0]["epoch"] if known else epoch + 1
    exists = path.exists()
    text = path.read_text(encoding="utf-8", errors="replace") if exists else ""
    lines = _lines_before(path, text, first)
    if without_last_evaluation and lines and not known:
        lines[-1] = _checksums.checked_line(without_evaluation(_checksums.read_line(lines[-1])[0]))
    unknown = len(lines)
    lines += map(_checksums.checked_line, known)
    if lines or exists:
        _files.write_text(path, "".join(f"{line}\n" for line in lines))
    same = lines[unknown : -1 if without_last_evaluation else None]
    if known and text.split("\n")[unknown : unknown + len(same)] != same:
        return f"{path} was damaged or lacked lines; it is written again from the checkpoint"
    return "" if exists or not epoch or known else f"{path} is gone, and with it the records of {epoch} epochs"


def read_records(path: Path, results: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Reads the records of a JSON-lines file, without their CRC.

    Args:
        path: of the file.
        results: of the run, which say how many epochs it had; `None` where it is not finished.

    Returns:
        The records, of epochs that follow each other.

    Raises:
        DamagedError: a line is damaged or missing.
        OSError: the file cannot be read.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    records = [record for _, record in _read_lines(path, text)]
    if results and EPOCHS_DONE in results:  # absent in those of older versions
        expected = [results.get(RECORDED_FROM, 1), results[EPOCHS_DONE]]
        found = [records[0]["epoch"], records[-1]["epoch"]] if records else []
        if found != expected:
            held = f"{found[0]} to {found[1]}" if found else "none"
            raise _checksums.DamagedError(
                f"{path} is damaged: expected the epochs {expected[0]} to {expected[1]}, found {held}"
            )
    return records


def _lines_before(path, text, first):
    """The lines of the epochs before `first`; a file that begins later, once damaged and deleted, has none."""
    lines = []
    try:
        for line, record in _read_lines(path, text if first > 1 else ""):
            if record["epoch"] >= first:
                break
            lines.append((line, record["epoch"]))
            if record["epoch"] == first - 1:  # what comes later is made again, and may be half a line
                break
        if lines and lines[-1][1] != first - 1:
            raise _checksums.DamagedError(f"{path} is damaged: it lacks the line of epoch {lines[-1][1] + 1}")
    except _checksums.DamagedError as error:
        advice = "delete it to go on without these records, or use fresh to start over"
        raise WorkdirError(f"{error}; {advice}") from error
    return [line for line, _ in lines]


def _read_lines(path, text):
    """Yields each line and its record; `DamagedError` for one that is damaged, or not of the next epoch."""
    before = with_crc = None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            record, has_crc = _checksums.read_line(line)
            epoch = record["epoch"]
            if isinstance(epoch, bool) or not isinstance(epoch, int) or (with_crc and not has_crc):
                raise ValueError("it has no epoch" if has_crc else "it lacks its CRC-32")
            if any(isinstance(value, str) for value in record.values()):
                raise ValueError("a text where a number was expected")  # a damaged name of the CRC
            if before is not None and epoch != before + 1:
                raise ValueError(f"expected epoch {before + 1}, found {epoch}")
        except (KeyError, ValueError, RecursionError) as error:
            what = "it has no epoch" if isinstance(error, KeyError) else _files.one_line(error)
            raise _checksums.DamagedError(f"{path} is damaged: line {number}: {what}") from error
        yield line, record
        before, with_crc = epoch, has_crc


def read_json(path: Path, needs: Mapping[str, type] | None = None) -> Any:
    """Reads a JSON file without its checksum.

    Args:
        path: of the file.
        needs: the keys that it must have, with the type of each value; of `config.json` they are known.

    Returns:
        Its content.

    Raises:
        WorkdirError: it cannot be read, is damaged, or lacks something.
    """
    again = "delete it, and the same command makes it again"
    advice = "use fresh to start over" if path.name == CONFIG else again
    needs = _CONFIG_NEEDS if path.name == CONFIG else needs or {}
    try:
        found = _checksums.read_record(path)
    except _checksums.DamagedError as error:
        raise WorkdirError(f"{error}; {advice}") from error
    except OSError as error:
        raise WorkdirError(f"{path} cannot be read ({error.strerror or error}); {advice}") from error
    if needs and not isinstance(found, dict):
        raise WorkdirError(f"{path} is damaged: expected a JSON object, found {type(found).__name__}; {advice}")
    for key, kind in needs.items():
        if not isinstance(found.get(key), kind):
            what = f"found {type(found[key]).__name__}" if key in found else "there is none"
            raise WorkdirError(f"{path} is damaged: expected {key!r} as {kind.__name__}, {what}; {advice}")
    return found


def _is_ours(name):
    """Whether a run that was killed in its first moment leaves such a file."""
    return name in (_locks.LOCK, _locks.HOLDER, f"{CONFIG}.tmp") or name.startswith(_files.TEMPORARY)


def _delete(directory, names):
    for path in (directory / name for name in names):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
