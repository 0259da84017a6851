"""The scalars of a run for TensorBoard, where tensorboardX is installed.

They are written by the thread of the run. The `SummaryWriter` of tensorboardX has a thread of its own: where the disk
is full, that ends, and the run waits for it for ever.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpldan_jax import _files

_SECONDS = 120  # between two moments at which scalars are sent to the disk


class ScalarWriter:
    """Writes scalars to a new event file; a writer that writes nothing where tensorboardX is missing.

    Args:
        folder: made where it is missing.
        step: the step after which the run goes on; scalars of later steps in older files do not count. 0 for none.
    """

    def __init__(self, folder: Path, step: int):
        self._folder = folder
        self._events: Any = None
        try:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import SessionLog
        except ImportError:
            return
        with _files.naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()
        if step:
            self._write(step, file_version="brain.Event:2")
            self._write(step, session_log=SessionLog(status=SessionLog.START))

    def add(self, name: str, value: float, step: int) -> None:
        """Writes one scalar."""
        if self._events is not None:
            from tensorboardX.summary import scalar

            self._write(step, summary=scalar(name, value))

    def close(self) -> None:
        """Sends all to the disk."""
        if self._events is not None:
            with _files.naming(self._folder):
                self._events.close()

    def _write(self, step, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with _files.naming(self._folder):
            self._events.write_event(Event(step=int(step), wall_time=time.time(), **content))
            if time.monotonic() - self._flushed > _SECONDS:
                self._events.flush()
                self._flushed = time.monotonic()


def scalars_of(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the names and the values of the scalars of an epoch."""
    for name, value in record.items():
        if name == "validation":
            yield from ((f"validation/{metric}", directions["average"]) for metric, directions in value.items())
        elif name not in ("epoch", "step", "selected", "synthetic"):
            yield f"train/{name}", value
