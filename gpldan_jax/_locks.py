"""The lock of a folder: one process at a time writes there, and others are told which process that is.

The system holds the lock (`filelock`), and releases it when the process ends, however it ends. Beside it the file
`HOLDER` says which process that is, and is touched every few seconds. A file server may hold the lock of a machine that
is gone for ever; then `HOLDER` is silent, and `break_lock` removes both files.
"""

import _thread
import contextlib
import dataclasses
import errno
import json
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from gpldan_jax._files import TEMPORARY, is_running, naming

LOCK, HOLDER = ".lock", ".lock-holder"
_BEAT = 5.0  # seconds between two signs of life
SILENT = 60.0  # seconds after which a process is perhaps gone: several beats, as file servers tell news late
_DELETING = 1.0  # seconds that it may take to delete a folder
_LONGEST_COMMAND = 100  # characters, in messages
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

_HELD: dict[Path, tuple[int, int] | None] = {}  # the folders whose locks are held, and which ones they were then
_ENDING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        text: what it is, for the user; its host, number and command, and since when it holds the lock.
        host: where it runs; "" if that is not known.
        process: its number there; 0 if that is not known.
        silence: seconds since its last sign of life, by the clock of the file system; -1 if it gives none, as version
            0.1.0 did not.
    """

    text: str
    host: str
    process: int
    silence: float


class LockedError(OSError):
    """Another process holds the lock of a folder; the message names the folder and the process.

    Attributes:
        folder: the folder.
        holder: the process, where it is known.
    """

    def __init__(self, folder: Path, holder: Holder | None, more: str = ""):
        super().__init__(f"{folder} is in use by {_described(holder)}{more}")
        self.folder, self.holder = folder, holder

    @property
    def is_silent(self) -> bool:
        """Whether the process has given no sign of life for long, and may be gone."""
        return self.holder is not None and self.holder.silence > SILENT


class VanishedError(OSError):
    """The folder whose lock is held was deleted or moved."""

    def __init__(self, folder: Path):
        super().__init__(f"{folder}: the folder is gone: it was deleted or moved while this command worked in it")


class NoLocksError(OSError):
    """The file system of a folder has no locks; the message says so, and what to do."""


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Holds the lock of a folder that exists, so that no second process writes there.

    If the folder is deleted or moved, the main thread is interrupted within some seconds, as by Ctrl-C.

    Args:
        folder: the folder.

    Yields:
        Nothing; the lock is held inside.

    Raises:
        LockedError: another process holds it.
        NoLocksError: the file system has no locks.
        VanishedError: the folder was deleted or moved meanwhile.
        OSError: the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(folder):
        ...     (Path(folder) / HOLDER).exists()
        True
    """
    folder = Path(folder)
    try:
        lock = _acquired(folder)
    except FileNotFoundError as error:
        raise VanishedError(folder) from error
    before = _identity(folder)
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    command = " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
    mine = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": since, "command": command})
    ended = threading.Event()
    try:
        with naming(folder / HOLDER):
            (folder / HOLDER).write_text(mine, encoding="utf-8")
    except BaseException as error:  # such as a full disk
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()
        if isinstance(error, FileNotFoundError):
            raise VanishedError(folder) from error
        raise
    try:
        _HELD[folder.absolute()] = before
        interrupt = _thread.interrupt_main if threading.current_thread() is threading.main_thread() else None
        arguments = (folder / HOLDER, ended, interrupt)
        threading.Thread(target=_beat, args=arguments, name="lock", daemon=True).start()
        try:
            with naming(folder):
                yield
        except (Exception, KeyboardInterrupt) as error:
            if _is_gone(folder) or (_may_be_of_deletion(error) and _vanishes(folder)):
                raise VanishedError(folder) from error
            raise
        check_there(folder)  # what was written last is in another one, if anywhere
    finally:
        with _ENDING:
            ended.set()
        _HELD.pop(folder.absolute(), None)
        is_mine = _has(folder / HOLDER, mine)
        if is_mine:
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()
        if not is_mine and (folder / HOLDER).exists():
            warnings.warn(
                f"the lock of {folder} was broken, and {_described(_holder_of(folder))} has written there since",
                stacklevel=3,
            )


def check_there(folder: str | os.PathLike) -> None:
    """Checks that a folder whose lock this process holds is still the same one.

    Raises:
        VanishedError: it was deleted or moved; what is written there now is in a new folder.
    """
    folder = Path(folder)
    if _is_gone(folder):
        raise VanishedError(folder)


def _is_gone(folder):
    before = _HELD.get(folder.absolute())
    # Both, because some file servers number their files anew, and a user may delete one of ours.
    return before is not None and _identity(folder) != before and not (folder / HOLDER).exists()


def _may_be_of_deletion(error):
    """Whether a file is missing, or a library failed, which may have missed one: not where a check of ours refused."""
    while error is not None:
        of = error.__traceback__
        while of is not None and of.tb_next is not None:
            of = of.tb_next
        is_ours = of is None or str(of.tb_frame.f_globals.get("__name__")).startswith("gpldan_jax.")
        if isinstance(error, FileNotFoundError) or not is_ours:
            return True
        error = error.__cause__ or error.__context__
    return False


def _vanishes(folder):
    """Waits a moment for a folder to be gone, of which something may be missing: to delete it takes a while."""
    until = time.monotonic() + _DELETING
    while not (is_gone := _is_gone(folder) or not (folder / HOLDER).exists()) and time.monotonic() < until:
        time.sleep(_DELETING / 50)
    return is_gone


def _identity(folder):
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def break_lock(folder: str | os.PathLike) -> None:
    """Removes the lock of a process that is gone, so that the next can hold it; does nothing where it is free.

    Args:
        folder: the folder.

    Raises:
        LockedError: the process that holds it still gives signs of life, or runs on this machine, or is not known.
        NoLocksError: the file system has no locks.
        OSError: the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(folder):
        ...     break_lock(folder)
        Traceback (most recent call last):
        gpldan_jax._locks.LockedError: ... which gave a sign of life 0 seconds ago...
    """
    folder = Path(folder)
    try:
        _acquired(folder).release()
        return
    except LockedError as error:
        holder = error.holder
    if holder is None or holder.silence < 0:
        raise LockedError(folder, holder, f", which gives no signs of life; if it is gone, delete {folder / LOCK}")
    if holder.silence <= SILENT:
        ago = f", which gave a sign of life {holder.silence:.0f} seconds ago"
        raise LockedError(folder, holder, f"{ago}; its lock can be broken after {SILENT:g} seconds without one")
    if holder.host == socket.gethostname() and is_running(holder.process):
        raise LockedError(folder, holder, ", which runs on this machine; end it first")
    judged = (folder / HOLDER).read_bytes()
    claimed = folder / f"{TEMPORARY}{os.getpid()}-holder"
    try:
        os.replace(folder / HOLDER, claimed)  # of several that break it at once, one succeeds
    except FileNotFoundError:
        raise LockedError(folder, _holder_of(folder)) from None
    if claimed.read_bytes() != judged:  # one did, and holds the lock by now
        os.replace(claimed, folder / HOLDER)
        raise LockedError(folder, _holder_of(folder))
    (folder / LOCK).unlink(missing_ok=True)
    claimed.unlink()


def _acquired(folder):
    import filelock  # here, because `gpldan --help` should not wait for asyncio

    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        with _no_locks_named(folder):
            lock.acquire()
    except filelock.Timeout as error:
        # Old versions of filelock say so, too, where locks do not work. A new file is locked by nobody.
        probe = folder / f"{TEMPORARY}{os.getpid()}-lock"
        try:
            with _no_locks_named(folder), filelock.FileLock(probe, timeout=0):
                pass
        except filelock.Timeout:
            raise _no_locks(folder, "no file can be locked") from error
        finally:
            probe.unlink(missing_ok=True)
        raise LockedError(folder, _holder_of(folder)) from error
    return lock


@contextlib.contextmanager
def _no_locks_named(folder):
    try:
        yield
    except NotImplementedError as error:
        raise _no_locks(folder, "flock is not supported") from error
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise _no_locks(folder, os.strerror(error.errno)) from error
        raise


def _no_locks(folder, reason):
    return NoLocksError(
        f"the file system of {folder} has no locks ({reason}), so two processes could write there at once: choose a "
        "folder on a local disk, or mount the file system with locks"
    )


def _holder_of(folder):
    path = folder / HOLDER
    probe = folder / f"{TEMPORARY}{os.getpid()}-clock"  # its time is of the same clock as that of `path`
    try:
        text, beat = path.read_text(encoding="utf-8").strip(), path.stat().st_mtime
        probe.touch()
        silence = max(0, probe.stat().st_mtime - beat)
    except OSError:
        return None
    finally:
        probe.unlink(missing_ok=True)
    try:
        known = json.loads(text)
        command = known["command"][:_LONGEST_COMMAND]
        who = f"process {known['process']} on {known['host']} ({command}), since {known['since']}"
        return Holder(who, str(known["host"]), int(known["process"]), silence)
    except (ValueError, KeyError, TypeError):  # of an older version, which wrote a sentence and gave no signs of life
        return Holder("another process" if not text or text[0] == "{" else text, "", 0, -1)


def _has(path, text):
    try:
        return path.read_text(encoding="utf-8") == text
    except OSError:
        return False


def _described(holder):
    if holder is None:
        return "another process"
    if holder.silence <= SILENT:
        return holder.text
    units = {"day": 86400, "hour": 3600, "minute": 60}
    unit = next(unit for unit, seconds in units.items() if holder.silence >= seconds)
    number = int(holder.silence / units[unit])
    return f"{holder.text}, without a sign of life for {number} {unit}{'s' * (number > 1)}"


def _beat(path, ended, interrupt):
    while not ended.wait(_BEAT):
        try:
            check_there(path.parent)
            os.utime(path)
        except VanishedError:  # the block may work for hours, and make the folder anew
            with _ENDING:
                if interrupt and not ended.is_set():
                    interrupt()
            return
        except OSError:  # such as a file server that does not answer
            continue
