"""Signals and processes of a run: how it is asked to stop, and what several processes agree on.

Several processes, on one machine or many, use JAX's own distributed runtime.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from gpldan_jax.models.column_statistics import Share


class Interruption:
    """Which signal asked the run to stop."""

    signal_number: int = 0  # 0 before a signal comes

    def __bool__(self) -> bool:
        return self.signal_number != 0


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Within the block the first SIGINT or SIGTERM is only noted; the second one acts as usual, at once.

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
        noted.signal_number = number
        restore()

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
def together() -> Iterator[None]:
    """If the block fails in one process, it ends in all of them: otherwise the others would wait for minutes."""
    error = None
    try:
        yield
    except Exception as failure:  # raised again below
        error = failure
    failed = np.flatnonzero(gathered(error is not None))
    if error:
        raise error
    if len(failed):
        raise ValueError(f"process {failed[0]} could not start; its own message says why")


def gathered(number: int) -> np.ndarray:
    """Returns the number that each process has, `[processes]`."""
    if jax.process_count() == 1:
        return np.array([number])
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.int32(number))).ravel()
