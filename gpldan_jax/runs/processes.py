"""Signals and processes of a run: how it is asked to stop, and what several processes agree on.

Several processes, on one machine or many, use JAX's own distributed runtime.
"""

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpldan_jax._files import TEMPORARY, one_line
from gpldan_jax.models.column_statistics import Share
from gpldan_jax.training.mesh import from_first_process

_FILE_SERVER = 30.0  # seconds after which a file server shows a new file to all
_ONE_SIGNAL = 1.0  # seconds
_COLLECTIVE = re.compile(r"Gloo|NCCL|coordination service|UNAVAILABLE: ")
_KNOWN = "_is_known_to_all_processes"  # an attribute of an exception


class LostProcessError(RuntimeError):
    """Another process of the run has ended; the message says what to do."""


class Interruption:
    """Which signal asked the run to stop."""

    signal_number: int = 0  # 0 before a signal comes
    time: float = 0.0  # when it came, of `time.monotonic`

    def __bool__(self) -> bool:
        return self.signal_number != 0


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Within the block the first SIGINT or SIGTERM is only noted; the second one acts as usual, at once.

    A cluster sends a signal to a process and to its child, which then gets it twice: of several processes, signals
    within a second count as one.

    Example:
        >>> import os, signal
        >>> with interruption() as interrupted:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     print(bool(interrupted), interrupted.signal_number == signal.SIGTERM)
        True True
    """
    noted = Interruption()
    previous: dict[signal.Signals, Any] = {}

    def restore():
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number, frame):
        if not noted:
            noted.signal_number, noted.time = number, time.monotonic()
            if jax.process_count() == 1:
                restore()
        elif time.monotonic() - noted.time > _ONE_SIGNAL:
            restore()
            signal.raise_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, note)
    try:
        yield noted
    finally:
        restore()


def join(coordinator: str | None = None, count: int | None = None, index: int | None = None) -> None:
    """Joins the processes of a run; call it before anything else of jax.

    The coordinator is `host:port` of the first process, the index counts from 0. With `None`, give no other argument:
    the environment of SLURM, Open MPI or Kubernetes says everything.
    """
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        if coordinator is None:
            reason += "; outside SLURM, Open MPI and Kubernetes give coordinator, count and index"
        raise ValueError(f"the processes of the run cannot join: {reason}") from error


def is_first() -> bool:
    """Returns whether this is the process that prints and writes."""
    return jax.process_index() == 0


def share() -> Share | None:
    """Returns which rows of features this process reads for statistics; `None` where it is the only process."""
    if jax.process_count() == 1:
        return None
    from jax.experimental import multihost_utils

    def tell(values: np.ndarray, source: int) -> np.ndarray:
        bits = np.ascontiguousarray(values).view(np.uint32)  # without x64 a float64 would lose half of them
        told = multihost_utils.broadcast_one_to_all(bits, is_source=jax.process_index() == source)
        return np.asarray(told).view(values.dtype).reshape(values.shape)

    return Share(jax.process_index(), jax.process_count(), tell)


@contextlib.contextmanager
def naming_lost_processes() -> Iterator[None]:
    """If the block fails because another process is gone, the error says so.

    Raises:
        LostProcessError: another process of the run has ended.
    """
    try:
        yield
    except Exception as error:
        # What the libraries for collectives raise has no class of its own.
        lost = isinstance(error, jax.errors.JaxRuntimeError) or _COLLECTIVE.search(str(error))
        if not lost or not is_left_alone(error):
            raise
        raise LostProcessError(
            f"another process of this run has ended, or can no longer be reached ({one_line(error)[:100]}); when "
            "all have ended, the same commands continue the run"
        ) from error


def is_left_alone(error: BaseException) -> bool:
    """Returns whether a failure is one of this process and not of the others: then it must not wait for them to end."""
    return jax.process_count() > 1 and not hasattr(error, _KNOWN)


def check_shared(directory: Path) -> None:
    """Checks that all processes see the same folder; all of them call it, once the first one has made the folder.

    Args:
        directory: the workdir.

    Raises:
        ValueError: a process does not see what the first one writes there.
    """
    if jax.process_count() == 1:
        return
    number = int(from_first_process(float(random.SystemRandom().getrandbits(48))))
    path = directory / f"{TEMPORARY}shared-{number}"
    with together():
        if is_first():
            path.touch()
    seen, until = False, time.monotonic() + _FILE_SERVER
    while not (seen := path.exists()) and time.monotonic() < until:
        with contextlib.suppress(OSError):
            os.listdir(directory)  # a file server may answer from what it knew before
        time.sleep(0.1)
    missing = np.flatnonzero(gathered(seen) == 0)
    if is_first():
        path.unlink(missing_ok=True)
    if len(missing):
        raise _known_to_all(
            ValueError(
                f"process {missing[0]} does not see what the first process writes to {directory}; expected the same "
                "folder in all processes, on a file system that they share"
            )
        )


@contextlib.contextmanager
def together() -> Iterator[None]:
    """If the block fails in one process, it ends in all of them: otherwise the others would wait for minutes."""
    error = None
    try:
        yield
    except Exception as failure:  # raised again below
        error = failure
    failed = np.flatnonzero(gathered(error is not None))
    if error:
        raise _known_to_all(error)
    if len(failed):
        raise _known_to_all(ValueError(f"process {failed[0]} could not start; its own message says why"))


def _known_to_all(error):
    setattr(error, _KNOWN, True)
    return error


def gathered(number: int) -> np.ndarray:
    """Returns the number that each process has, `[processes]`."""
    if jax.process_count() == 1:
        return np.array([number])
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.int32(number))).ravel()
