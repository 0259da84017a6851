"""One process of several works in a child, whose parent says in one line how it ended.

When a process of a run is lost, the runtime of JAX ends the others at once, from a thread in C++: with a page of its
own lines, a stack trace and SIGABRT, which no exception handler sees. The parent keeps these lines back.
"""

import contextlib
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable

LOST = (
    "another process of this run has ended, or can no longer be reached; when all have ended, the same commands "
    "continue the run"
)
"""What is said where JAX's runtime has ended a process."""
_NOISE = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d|\*\*\* |WARNING: All log messages before absl|(ERROR|WARNING):absl:")
_OURS = ("error: ", "warning: ", "stopped")
_POLL = 0.2  # seconds


def supervised(work: Callable[[], int], must_leave: Callable[[], bool]) -> int:
    """Does the work in a child process; where there is no `fork`, or jax is loaded already, in this one.

    Args:
        work: returns an exit status, after it has printed its errors.
        must_leave: whether the child ends at once after the work, without waiting for the other processes.

    Returns:
        The exit status of the work; 1 where the runtime has ended the child, and 128 and the number of another signal.
    """
    if not hasattr(os, "fork") or "jax" in sys.modules or threading.current_thread() is not threading.main_thread():
        return work()
    sys.stdout.flush()
    sys.stderr.flush()
    (lines, lines_end), (life, life_end) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        for descriptor in (lines_end, life):
            os.close(descriptor)
        return _watch(child, lines)
    for descriptor in (lines, life_end):
        os.close(descriptor)
    _begin_child(lines_end, life)
    status = work()
    if must_leave():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _begin_child(lines_end, life):
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which passes it on
    os.dup2(lines_end, 2)
    os.close(lines_end)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    def end_with_parent():
        os.read(life, 1)  # until the parent ends, which never writes
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()


def _watch(child: int, lines: int) -> int:
    """Passes signals on and lines through, and returns the exit status."""
    previous = {
        number: signal.signal(number, lambda number, _: _send(child, number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    passing = _Lines()
    try:
        status, is_open = None, True
        while status is None or is_open:
            # Processes that the child has started may keep its output open.
            ready = is_open and select.select([lines], [], [], _POLL if status is None else 0)[0]
            if ready:
                content = os.read(lines, 1 << 16)
                is_open = bool(content)
                passing.write(content)
            elif status is not None:
                break
            elif not is_open:
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status is None:
                ended, code = os.waitpid(child, os.WNOHANG)
                status = os.waitstatus_to_exitcode(code) if ended else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(lines)
    return passing.finish(status)


def _send(child, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


class _Lines:
    """Writes the lines of a child to our own errors, but for those of the runtime and what follows them."""

    def __init__(self):
        self._rest, self._held, self._said = b"", [], False

    def write(self, content: bytes) -> None:
        """Takes what came."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            self._pass(line.decode(errors="replace"))

    def _pass(self, line):
        if line.startswith(_OURS):
            self._said = self._said or line.startswith("error: ")
            print(line, file=sys.stderr, flush=True)
        elif self._held or _NOISE.match(line):
            self._held.append(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def finish(self, status: int) -> int:
        """Says what is left to say; returns the exit status."""
        if self._rest:
            self._pass(self._rest.decode(errors="replace"))
        if status == -signal.SIGABRT:
            if not self._said:
                print(f"error: {LOST}", file=sys.stderr)
            return 1
        if status < 0:
            name = signal.Signals(-status).name
            print(f"error: {name} has ended this process of the run", file=sys.stderr)
            return 128 - status
        if status and not self._said and not status > 128:  # something unexpected: all of it
            print("\n".join(self._held), file=sys.stderr)
        return status
