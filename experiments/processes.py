"""Several processes, on one machine or many, as one run: JAX's own distributed runtime and what they agree on."""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np


def join(coordinator: str | None = None, count: int | None = None, index: int | None = None) -> None:
    """Joins the processes of a run; call it before anything else of jax.

    Args:
        coordinator: `host:port` of the first process, or `None` with the rest: then the environment of SLURM, Open MPI
            or Kubernetes says it all.
        count: how many processes there are.
        index: which of them this is, the first being 0.

    Raises:
        ValueError: jax cannot find the others; the message is its own.
    """
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        if coordinator is None:
            reason += "; outside SLURM, Open MPI and Kubernetes give --coordinator, --processes and --process"
        raise ValueError(f"the processes of the run cannot join: {reason}") from error


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What fails in one process within it ends them all: the others would wait for it for minutes."""
    error = None
    try:
        yield
    except Exception as failure:  # passed on below
        error = failure
    failed = np.flatnonzero(gathered(error is not None))
    if error:
        raise error
    if len(failed):
        raise ValueError(f"process {failed[0]} could not start; its own message says why")


def gathered(number: int) -> np.ndarray:
    """The number that each process has, by process."""
    if jax.process_count() == 1:
        return np.array([number])
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.int32(number))).ravel()
