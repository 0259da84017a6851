"""What SIGINT (Ctrl-C) and SIGTERM do to a command, from its first moment on: one line, and exit status 130 or 143."""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM came. It ends a command as Ctrl-C does, with another exit status."""


def exit_status(error: KeyboardInterrupt) -> int:
    """Returns the exit status of a command that a signal ended: 143 for SIGTERM, 130 for SIGINT."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def raised(stopped: str = "stopped") -> Iterator[None]:
    """Within the block SIGINT raises `KeyboardInterrupt` and SIGTERM `Terminated`.

    While a module is imported, either signal ends the process at once, because an exception there becomes another one,
    or a warning, or nothing, in the start of a C extension. No command writes anything while it imports.

    Args:
        stopped: the line to print then.

    Yields:
        Nothing.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):
            with contextlib.suppress(OSError):
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{stopped}\n".encode())
            os._exit(128 + number)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    previous = {}
    with contextlib.suppress(ValueError):  # not the main thread, which alone may set handlers
        for number in _NUMBERS:
            previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def finish(status: int) -> int:
    """Makes either signal end the process at once, with the status of the command, which has done its work.

    For the last half second of a process, in which libraries end their threads.

    Args:
        status: exit status of the command.

    Returns:
        The status.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        os._exit(status)

    with contextlib.suppress(ValueError, OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        for number in _NUMBERS:
            signal.signal(number, handle)
        atexit.register(_ignore)
    return status


def _ignore():
    """Python ends by giving each signal that has a handler back to the system, which would end the process with it."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
