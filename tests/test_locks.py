"""The lock of a folder: who holds it, a holder that is gone, and file systems without locks."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest

from gpldan_jax import _locks, config
from gpldan_jax.cli import arguments
from gpldan_jax.index import storage
from gpldan_jax.index.storage import DamagedIndexError
from gpldan_jax.runs import workdir
from tests.commands import ROOT

RUN = {"config": {}, "data": "old"}
HOUR = 3600


@pytest.fixture
def held(tmp_path):
    """Holds the lock of the folder as a file server does for a machine that is gone, and writes who holds it."""
    lock = filelock.FileLock(tmp_path / _locks.LOCK, timeout=0)

    def write(ago, host="node7", process=77):
        command = "gpldan run --dataset=emoji"
        text = {"host": host, "process": process, "since": "2026-01-02 03:04:05 UTC", "command": command}
        (tmp_path / _locks.HOLDER).write_text(json.dumps(text))
        os.utime(tmp_path / _locks.HOLDER, (time.time() - ago,) * 2)

    with lock:
        yield write


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_held_by_one_at_a_time_and_names_it(tmp_path):
    with _locks.locked(tmp_path):
        with pytest.raises(_locks.LockedError) as caught, _locks.locked(tmp_path):
            pass
        assert files(tmp_path) == [_locks.LOCK, _locks.HOLDER]
        known = json.loads((tmp_path / _locks.HOLDER).read_text())
        assert str(caught.value) == (
            f"{tmp_path} is in use by process {os.getpid()} on {socket.gethostname()} "
            f"({known['command'][:100]}), since {known['since']}"
        )
        assert not caught.value.is_silent
    with _locks.locked(tmp_path):
        pass
    assert files(tmp_path) == [_locks.LOCK]


def test_the_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(_locks, "_BEAT", 0.02)
    with _locks.locked(tmp_path):
        os.utime(tmp_path / _locks.HOLDER, (1, 1))
        deadline = time.monotonic() + 10
        while (tmp_path / _locks.HOLDER).stat().st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("ago", "silence"),
    [(5, ""), (90, "1 minute"), (3 * HOUR + 30, "3 hours"), (49 * HOUR, "2 days")],
)
def test_a_holder_that_is_silent_is_named_with_since_when(tmp_path, held, ago, silence):
    held(ago)
    with pytest.raises(_locks.LockedError) as caught, _locks.locked(tmp_path):
        pass
    end = f", without a sign of life for {silence}" if silence else ""
    assert str(caught.value).endswith(
        f"process 77 on node7 (gpldan run --dataset=emoji), since 2026-01-02 03:04:05 UTC{end}"
    )
    assert caught.value.is_silent == bool(silence)
    assert files(tmp_path) == [_locks.LOCK, _locks.HOLDER]


def test_a_folder_that_vanishes_before_it_is_locked(tmp_path, monkeypatch):
    def gone(folder):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))

    monkeypatch.setattr(_locks, "_acquired", gone)
    with pytest.raises(_locks.VanishedError, match="run: the folder is gone"), _locks.locked(tmp_path / "run"):
        pass


def test_who_works_in_a_folder_that_vanishes_is_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(_locks, "_BEAT", 0.01)
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(_locks.VanishedError, match="run: the folder is gone: it was deleted"), _locks.locked(folder):
        folder.rename(tmp_path / "moved")
        folder.mkdir()  # as whoever writes there next would
        for _ in range(3000):  # of a work that takes hours
            time.sleep(0.01)
        pytest.fail("nobody interrupted it")


def fail(message):
    raise ValueError(message)


@pytest.mark.parametrize(
    "fails",
    [
        lambda folder: (folder / "checkpoints" / "3").read_bytes(),
        lambda folder: os.rename("commit_success.txt", "3"),
        lambda folder: fail("NOT_FOUND: Error opening a driver"),  # here stands for a library
    ],
)
def test_what_fails_while_its_folder_is_deleted_is_the_folder(tmp_path, fails):
    folder = tmp_path / "run"
    folder.mkdir()
    deletion = threading.Timer(0.2, shutil.rmtree, [folder])  # it has deleted the checkpoints already
    with pytest.raises(_locks.VanishedError, match="run: the folder is gone"), _locks.locked(folder):
        deletion.start()
        fails(folder)
    deletion.join()


def test_what_fails_for_another_reason_is_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(_locks, "_DELETING", 0.02)
    with pytest.raises(ValueError, match=r"^no room$"), _locks.locked(tmp_path):
        fail("no room")


def test_a_check_of_ours_that_refuses_does_not_wait_for_a_deletion(tmp_path, monkeypatch):
    monkeypatch.setattr(_locks, "_DELETING", 1000)
    with pytest.raises(ValueError, match=r"alpha must be"), _locks.locked(tmp_path):
        config.check("loss.alpha", -1.0)


def test_a_silent_lock_of_another_machine_can_be_broken(tmp_path, held):
    held(HOUR)
    _locks.break_lock(tmp_path)
    assert files(tmp_path) == []
    with _locks.locked(tmp_path), pytest.raises(_locks.LockedError), _locks.locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("holder", "message"),
    [
        ({"ago": 30}, "a sign of life 30 seconds ago; its lock can be broken after 60 seconds without one"),
        ({"ago": HOUR, "host": socket.gethostname(), "process": os.getpid()}, "runs on this machine; end it first"),
    ],
)
def test_a_lock_is_not_broken_while_its_process_lives(tmp_path, held, holder, message):
    held(**holder)
    with pytest.raises(_locks.LockedError, match=message):
        _locks.break_lock(tmp_path)
    assert files(tmp_path) == [_locks.LOCK, _locks.HOLDER]


@pytest.mark.parametrize("text", [None, "process 77 on node7 (run.py)", "{}"])
def test_a_lock_without_signs_of_life_is_not_broken(tmp_path, held, text):
    if text:
        (tmp_path / _locks.HOLDER).write_text(text)
        os.utime(tmp_path / _locks.HOLDER, (1, 1))
    with pytest.raises(_locks.LockedError, match=r"which gives no signs of life; if it is gone, delete .*\.lock"):
        _locks.break_lock(tmp_path)
    with pytest.raises(_locks.LockedError, match="is in use by") as caught:
        _locks._acquired(tmp_path)
    assert str(caught.value).endswith(text if text and text[0] == "p" else "another process")
    assert (tmp_path / _locks.LOCK).exists()


def test_a_process_that_died_on_this_machine_can_be_followed(tmp_path, held):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    held(HOUR, socket.gethostname(), gone.pid)
    _locks.break_lock(tmp_path)
    assert files(tmp_path) == []


def test_a_lock_that_is_free_needs_no_breaking(tmp_path):
    (tmp_path / _locks.HOLDER).write_text("process 1 on a machine")
    _locks.break_lock(tmp_path)
    with _locks.locked(tmp_path):
        pass


def test_of_several_that_break_a_lock_one_succeeds(tmp_path, held, monkeypatch):
    held(HOUR)
    replace = os.replace

    def late(old, new):  # another one has broken the lock and holds it by now
        monkeypatch.setattr(os, "replace", replace)
        held(0, "node8")
        os.replace(old, new)

    monkeypatch.setattr(os, "replace", late)
    with pytest.raises(_locks.LockedError, match="on node8"):
        _locks.break_lock(tmp_path)
    assert "node8" in (tmp_path / _locks.HOLDER).read_text() and (tmp_path / _locks.LOCK).exists()


def test_who_lost_the_lock_is_told_and_leaves_that_of_the_next_alone(tmp_path, held):
    (tmp_path / _locks.LOCK).unlink()
    message = "was broken, and process 77 on node8 .* has written there"
    with pytest.warns(UserWarning, match=message), _locks.locked(tmp_path):
        held(0, "node8")
    assert "node8" in (tmp_path / _locks.HOLDER).read_text()


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def write(self, text, encoding):
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left on device"):
        patched.setattr(Path, "write_text", write)
        with _locks.locked(tmp_path):
            pass
    assert files(tmp_path) == [_locks.LOCK]
    with _locks.locked(tmp_path):
        pass


def no_locks(monkeypatch, number):
    """Lets the system refuse locks as a file system without them does."""
    fcntl = pytest.importorskip("fcntl")

    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_called_so(tmp_path, monkeypatch, number):
    no_locks(monkeypatch, number)
    message = rf"the file system of {tmp_path}.* has no locks \(.*\), so .*: choose a folder on a local disk, or mount"
    for work in (
        lambda: _locks.locked(tmp_path).__enter__(),
        lambda: _locks.break_lock(tmp_path),
        lambda: workdir.open_workdir(tmp_path / "run", RUN).__enter__(),
        lambda: storage.locked_folder(tmp_path / "index").__enter__(),
    ):
        with pytest.raises((_locks.NoLocksError, workdir.WorkdirError, DamagedIndexError), match=message) as caught:
            work()
        assert "in use" not in str(caught.value)


@pytest.mark.parametrize("error", [filelock.Timeout("x"), NotImplementedError("FileSystem does not appear to")])
def test_old_versions_of_filelock_say_it_otherwise(tmp_path, monkeypatch, error):
    def acquire(self, *args, **settings):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(_locks.NoLocksError, match="has no locks"), _locks.locked(tmp_path):
        pass
    assert not [name for name in files(tmp_path) if name.startswith(".tmp-")]


def command(tmp_path, capsys, *argv):
    """Status and messages of a command that locks a folder."""

    def work(argv, program):
        parser = arguments.Parser(prog=program)
        arguments.add_break_lock(parser.add_argument)
        parser.parse_args(argv)
        with workdir.open_workdir(tmp_path, RUN):
            print("in")
        return 0

    status = arguments.call(work, argv, "gpldan run", stopped="stopped")
    return status, *capsys.readouterr()


def test_the_command_says_how_to_break_a_lock_and_breaks_it(tmp_path, held, capsys):
    held(3 * HOUR + 30)
    status, out, err = command(tmp_path, capsys)
    who = "process 77 on node7 (gpldan run --dataset=emoji), since 2026-01-02 03:04:05 UTC"
    assert (status, out) == (2, "")
    assert err == (
        f"error: {tmp_path} is in use by {who}, without a sign of life for 3 hours; wait for it, or choose another "
        "workdir\nIf that process is gone: the same command with --break_lock\n"
    )
    status, out, err = command(tmp_path, capsys, "--break-lock")
    assert (status, out, err) == (0, "in\n", f"warning: broke the lock of {tmp_path} that {who} held\n")


def test_the_command_breaks_no_lock_of_a_process_that_lives(tmp_path, held, capsys):
    held(1)
    status, out, err = command(tmp_path, capsys)
    assert status == 2 and "--break_lock" not in err
    status, out, err = command(tmp_path, capsys, "--break_lock")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "which gave a sign of life" in err
    assert (tmp_path / _locks.HOLDER).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "sweep", "compare", "ablate", "extract", "demo", "search build"])
def test_commands_that_lock_a_folder_can_break_its_lock(name):
    shown = subprocess.run(
        [sys.executable, "-m", "gpldan_jax", *name.split(), "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert "--break_lock" in shown.stdout
