"""What a machine can refuse to a command: room on a disk, permission, memory. One line and one exit status for each.

A refusal comes as an `OSError` of a write, or as the text of another error, because libraries in C++ have errors of
their own. It may lie under an error of ours that was raised from it.
"""

import contextlib
import errno
import logging
import os
import re
import sys
from collections.abc import Callable

from gpldan_jax import _locks
from gpldan_jax._files import one_line

STATUS = 1
"""The exit status of a command to which the machine refused something."""

_AGAIN = "and repeat the same command"
_KINDS = {
    errno.ENOSPC: ("the disk is full", f"free space there {_AGAIN}"),
    errno.EDQUOT: ("your quota of the disk is used up", f"delete files there {_AGAIN}, or choose another folder"),
    errno.EFBIG: (
        "the file would be larger than this process may write",
        f"raise the limit (ulimit -f unlimited), or choose a file system for large files, {_AGAIN}",
    ),
    errno.EROFS: ("the file system is read-only", f"choose another folder, or mount it for writing {_AGAIN}"),
    errno.EACCES: ("no permission", f"change the permissions {_AGAIN}, or choose another folder"),
    errno.EPERM: ("the system does not permit it", f"change the permissions {_AGAIN}, or choose another folder"),
    errno.EIO: ("the disk failed to read or write", "check the disk; another folder may be on a whole one"),
    errno.EMFILE: ("too many open files", f"raise the limit (ulimit -n) {_AGAIN}"),
}
_KINDS |= {errno.ENFILE: _KINDS[errno.EMFILE]}
_MEMORY = "make the work smaller (a smaller train.batch_size, features on disk with mesh.resident=False), or allow more"
_OF_TEXT = {
    errno.ENOSPC: re.compile(r"No space left on device|ENOSPC|database or disk is full"),
    errno.EDQUOT: re.compile(r"Disk quota exceeded|EDQUOT"),
    errno.EFBIG: re.compile(r"File too large|EFBIG"),
    errno.EROFS: re.compile(r"Read-only file system|EROFS|attempt to write a readonly database"),
    errno.EACCES: re.compile(r"Permission denied|EACCES|PERMISSION_DENIED"),
    errno.EIO: re.compile(r"disk I/O error"),
    errno.EMFILE: re.compile(r"Too many open files|EMFILE"),
}
_OF_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|bad_alloc|Cannot allocate memory|cannot allocate memory|failed to map segment|out of memory|"
    r"Out of memory|can't start new thread"
)
_NOISE = (
    "Unable to find the step",
    "_SignalingThread.run() raised",
    "exception was never retrieved",
    "Metadata file does not exist",
)
_PART_WRITTEN = re.compile(r"\d+ requested and \d+ written")  # of NumPy, which does not say why
_FILE = re.compile(r'file "(/[^"]+?)(?:\.orbax-checkpoint-tmp[^"]*)?"')  # of TensorStore


def describe(error: BaseException) -> str | None:
    """Returns what the machine refused, in one line: the file, what happened, and what to do.

    Args:
        error: what ended a command.

    Returns:
        The line; `None` where the error is of another kind.

    Example:
        >>> describe(OSError(errno.ENOSPC, "No space left on device", "runs/emoji/results.json"))
        'runs/emoji/results.json: the disk is full; free space there and repeat the same command'
        >>> describe(ValueError("epochs must be at least 1"))
    """
    chain = _chain(error)
    for words in (_by_type, _by_text):  # a message of ours may quote the text of its cause, which knows the file
        for one in chain:
            if line := words(one):
                return line
    hook = sys.excepthook
    if isinstance(error, ImportError) and isinstance(hook, _Hook) and hook.hidden:
        return describe(hook.hidden.pop())
    return None


def stay_quiet() -> Callable[[], None]:
    """Keeps out of stderr what the threads of Orbax and TensorStore print about an error that is also raised.

    Returns:
        A function that ends it. After such an error do not call it, because they also print when the process ends.
    """
    if isinstance(sys.excepthook, _Hook):  # it has begun
        return lambda: None
    hook, unraisable, noise = sys.excepthook, sys.unraisablehook, _Noise()

    def show_unraisable(found):
        if not _is_noise(found.exc_value):
            unraisable(found)

    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    sys.excepthook, sys.unraisablehook = _Hook(hook), show_unraisable
    for logger in loggers:
        logger.addFilter(noise)

    def restore():
        for logger in loggers:
            logger.removeFilter(noise)
        sys.excepthook, sys.unraisablehook = hook, unraisable

    return restore


class _Hook:
    """Shows an exception, but not noise; and not why a library cannot be loaded, which is `hidden` for `describe`.

    Extensions in C show that of a library that they import, and raise an error that does not say it.
    """

    def __init__(self, hook):
        self._hook = hook
        self.hidden: list[ImportError] = []

    def __call__(self, kind, error, traceback):
        if isinstance(error, ImportError) and describe(error):
            self.hidden.append(error)
        elif not _is_noise(error):
            self._hook(kind, error, traceback)


def _is_noise(error):
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"


class _Noise(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not any(words in text for words in _NOISE)


def _chain(error):
    """The error and those that it was raised from, the first cause last."""
    seen: list[BaseException] = []
    left = [error]
    while left:
        one = left.pop(0)
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        left += [*getattr(one, "exceptions", ()), one.__cause__, None if one.__suppress_context__ else one.__context__]
    return seen


def _by_type(error):
    if isinstance(error, _locks.VanishedError):
        return f"{error}; bring it back, or repeat the same command to start over"
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return _memory(error)
    if isinstance(error, OSError) and error.errno in _KINDS:
        return _line(error.errno, error.filename)
    return None


def _by_text(error):
    if isinstance(error, OSError) and error.errno is not None:
        return None
    text = str(error)
    for number, pattern in _OF_TEXT.items():
        if pattern.search(text):
            found = _FILE.search(text)
            return _line(number, found[1] if found else getattr(error, "filename", None))
    if isinstance(error, OSError) and _PART_WRITTEN.search(text):
        what = "the file could not be written to its end: a full disk, a quota or a limit of file sizes"
        return f"{_place(None)}: {what}; free space there {_AGAIN}"
    if not isinstance(error, OSError) and _OF_MEMORY.search(text):
        return _memory(error)
    return None


def _line(number, name):
    what, to_do = _KINDS[number]
    return f"{_place(name)}: {what}; {to_do}"


def _memory(error):
    lines = [line for line in str(error).splitlines() if _OF_MEMORY.search(line)]
    reason = lines[-1].strip()[:200] if lines else one_line(error)
    reason = "" if reason == type(error).__name__ else f" ({reason})"
    return f"not enough memory{reason}; {_MEMORY}"


def _place(name):
    """The file that could not be written; where an error does not name it, perhaps it is the output."""
    if name is not None:
        return os.fsdecode(name)
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
        return "standard output"
    return "the output, or a file of this command"


def drop_output() -> None:
    """Sends the rest of the output nowhere, because Python would fail at it once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
