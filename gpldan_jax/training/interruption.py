"""SIGINT and SIGTERM as a wish that the training loop asks for, not as an exception in its middle."""

import contextlib
import signal
from collections.abc import Iterator


class Interruption:
    """The signal that came, `None` before one does."""

    signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Within it the first SIGINT or SIGTERM is only noted; a second one does what it always did, at once.

    >>> import os, signal
    >>> with interruption() as interrupted:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     print(bool(interrupted), interrupted.signal_number == signal.SIGTERM)
    True True
    """
    noted = Interruption()
    previous = {}

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
