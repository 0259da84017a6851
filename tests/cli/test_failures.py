"""What the machine refuses a command is one line with the file and what to do, and exit status 1."""

import contextlib
import errno
import logging
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from gpldan_jax import _files, _locks
from gpldan_jax.cli import arguments, failures
from gpldan_jax.runs.workdir import WorkdirError, open_workdir
from tests.commands import SMALL

NOISE = """
import sys, threading
from gpldan_jax.cli import main, report
def noisy(argv, program):
    def fail():
        try: raise RuntimeError("Event loop is closed")
        except RuntimeError: sys.excepthook(*sys.exc_info())
        class Loop:
            def __del__(self): raise RuntimeError("Event loop is closed")
        Loop()
    thread = threading.Thread(target=fail); thread.start(); thread.join()
    import logging
    logging.getLogger("absl").error("[thread=x] _SignalingThread.run() raised an exception: RESOURCE_EXHAUSTED")
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    raise OSError(28, "No space left on device", "runs/a/results.json")
report.main = noisy
sys.exit(main.main(["report"]))
"""


def refuse(error, capsys):
    """The line of a command in which an error is raised."""

    def work(argv, program):
        raise error

    assert arguments.call(work, [], "gpldan run", stopped="stopped") == failures.STATUS == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    "number, what",
    [
        (errno.ENOSPC, "the disk is full; free space"),
        (errno.EDQUOT, "your quota of the disk is used up; delete files"),
        (errno.EFBIG, "the file would be larger than this process may write; raise the limit"),
        (errno.EROFS, "the file system is read-only; choose another folder"),
        (errno.EACCES, "no permission; change the permissions"),
        (errno.EMFILE, "too many open files; raise the limit"),
        (errno.EIO, "the disk failed to read or write; check the disk"),
    ],
)
def test_each_refusal_is_one_line_with_the_file_and_what_to_do(number, what, capsys):
    error = OSError(number, os.strerror(number), "runs/a/results.json")
    assert refuse(error, capsys).startswith(f"error: runs/a/results.json: {what}")
    wrapped = WorkdirError(f"cannot write to the workdir: {os.strerror(number)}")
    wrapped.__cause__ = error
    assert refuse(wrapped, capsys).startswith(f"error: runs/a/results.json: {what}")


OF_TENSORSTORE = (
    'RESOURCE_EXHAUSTED: Error writing "a.b/0" in OCDBT database at local file "/r/checkpoints/21.orbax-checkpoint-tmp/'
    'state.orbax-checkpoint-tmp/ocdbt.process_0/": Failed to write [OS error 28: ENOSPC No space left on device]'
)


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError(OF_TENSORSTORE), "/r/checkpoints/21: the disk is full; "),
        (sqlite3.OperationalError("database or disk is full"), ": the disk is full; "),
        (OSError("1000 requested and 512 written"), ": the file could not be written to its end: a full disk"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
            "not enough memory (RESOURCE_EXHAUSTED",
        ),
        (MemoryError(), "not enough memory; make the work smaller"),
        (MemoryError("Unable to allocate 8. GiB"), "not enough memory (Unable to allocate 8. GiB); make the work"),
        (ImportError("x.so: failed to map segment from shared object"), "not enough memory (x.so: failed to map"),
        (ExceptionGroup("several", [ValueError("x"), OSError(errno.ENOSPC, "", "a.npz")]), "a.npz: the disk is full; "),
    ],
)
def test_libraries_have_words_of_their_own(error, line, capsys):
    assert line in refuse(error, capsys)


def test_bad_input_is_no_refusal(tmp_path, capsys):
    assert failures.describe(FileNotFoundError(errno.ENOENT, "No such file", "absent.npz")) is None
    assert failures.describe(ValueError("epochs must be at least 1")) is None
    shown = ValueError("expected 3 columns")
    shown.__context__ = OSError(errno.ENOSPC, "No space left on device", "x")
    shown.__suppress_context__ = True  # raised `from None`
    assert failures.describe(shown) is None


def test_a_refused_allocation_of_xla_is_memory(capsys):
    import jax
    import jax.numpy as jnp

    with pytest.raises((jax.errors.JaxRuntimeError, MemoryError)) as caught:
        jnp.ones(1 << 46, jnp.float32).block_until_ready()
    assert "not enough memory" in refuse(caught.value, capsys)


def test_a_refused_allocation_of_numpy_is_memory(capsys):
    with pytest.raises(MemoryError) as caught:
        np.ones(1 << 60, np.uint8)
    assert "not enough memory (Unable to allocate" in refuse(caught.value, capsys)


def test_noise_of_threads_stays_out_and_the_error_does_not():
    done = subprocess.run([sys.executable, "-c", NOISE], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: runs/a/results.json: the disk is full; free space there and repeat the same command\n"


@contextlib.contextmanager
def quiet():
    be_loud = failures.stay_quiet()
    yield
    be_loud()


def test_an_import_that_an_extension_prints_is_the_reason(capsys):
    with quiet():
        inner = ImportError("READ THIS\n\nOriginal error was: blas.so: failed to map segment from shared object")
        sys.excepthook(ImportError, inner, None)  # as PyErr_Print does
        line = refuse(ImportError("Encountered an error while initializing the extension."), capsys)
    assert line.startswith("error: not enough memory (Original error was: blas.so: failed to map segment from shared")
    assert failures.describe(ImportError("Encountered an error while initializing the extension.")) is None


def test_only_that_noise_stays_out(capsys):
    hook, unraisable = sys.excepthook, sys.unraisablehook
    with quiet():
        sys.excepthook(ValueError, ValueError("of a user's callback"), None)
        assert "of a user's callback" in capsys.readouterr().err
        record = logging.LogRecord("absl", logging.ERROR, "", 1, "another problem", (), None)
        assert logging.getLogger("absl").filter(record)
    assert sys.excepthook is hook and sys.unraisablehook is unraisable


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("flags", [["--version"], ["--help"], ["run", "--help"]])
def test_an_output_that_cannot_be_written_is_said(flags):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "gpldan_jax", *flags]
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(command, env=buffered, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "output" in done.stderr and ": the disk is full; " in done.stderr


@pytest.mark.parametrize("write", ["_files.write_text('a.txt', 'x' * 100_000)", "np.save('a.npy', np.ones(20_000))"])
def test_a_limit_on_the_size_of_files(tmp_path, write):
    code = f"""
import resource, sys
import numpy as np
from gpldan_jax import _files
from gpldan_jax.cli import arguments
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
sys.exit(arguments.call(lambda *_: {write}, [], 'gpldan run', stopped=''))
"""
    (tmp_path / "a.txt").write_text("before")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    if "a.txt" in write:
        assert done.stderr.startswith("error: a.txt: the file would be larger than this process may write; raise")
        assert (tmp_path / "a.txt").read_text() == "before"
    assert not list(tmp_path.glob(f"{_files.TEMPORARY}*"))


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="the system has no limit of address space")
def test_a_limit_on_memory(tmp_path):
    code = """
import resource, sys
import numpy as np
from gpldan_jax.cli import arguments
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
sys.exit(arguments.call(lambda *_: np.ones(1 << 30), [], 'gpldan run', stopped=''))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: not enough memory (Unable to allocate 8.00 GiB")
    assert done.stderr.count("\n") == 1


def test_a_folder_without_permission(tmp_path):
    code = """
import os, sys
from gpldan_jax import _files
from gpldan_jax.cli import arguments
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere
sys.exit(arguments.call(lambda *_: _files.write_text(sys.argv[1], ''), [], 'gpldan run', stopped=''))
"""
    with tempfile.TemporaryDirectory() as folder:  # that others may enter, other than `tmp_path`
        os.chmod(folder, 0o555)
        path = os.path.join(folder, "results.json")
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
        os.chmod(folder, 0o755)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {path}: no permission; change the permissions")


def test_a_folder_that_vanishes_is_said_whatever_fails_in_it(tmp_path, capsys):
    def work(argv, program):
        with open_workdir(tmp_path / "run", {"config": {}, "data": "0"}) as folder:
            shutil.rmtree(folder)
            raise ValueError("some library cannot find its file")

    assert arguments.call(work, [], "gpldan run", stopped="stopped") == 1
    gone = "the folder is gone: it was deleted or moved while this command worked in it"
    advice = "bring it back, or repeat the same command to start over"
    assert capsys.readouterr().err == f"error: {tmp_path / 'run'}: {gone}; {advice}\n"


def test_a_folder_that_was_replaced_does_not_pass_for_the_old_one(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(_locks.VanishedError, match="deleted or moved"), _locks.locked(folder):
        folder.rename(tmp_path / "moved")
        _files.write_text(folder / "results.json", "{}")  # makes the folder again
    with _locks.locked(folder):
        pass


# Real file systems.


@contextlib.contextmanager
def mounted(place, options):
    """A small file system in memory; a skip with the reason where it cannot be mounted."""
    place.mkdir(exist_ok=True)
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def test_a_full_disk_leaves_what_was_there(tmp_path, capsys):
    with mounted(tmp_path / "disk", "size=64k") as disk:
        _files.write_text(disk / "figure.txt", "before")

        def work(argv, program):
            _files.write_text(disk / "figure.txt", "x" * 200_000)

        assert arguments.call(work, [], "gpldan report", stopped="") == 1
        assert capsys.readouterr().err.startswith(f"error: {disk / 'figure.txt'}: the disk is full; free space there")
        assert os.listdir(disk) == ["figure.txt"] and (disk / "figure.txt").read_text() == "before"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["run", "--dataset=emoji", "--workdir"], ["report", "absent", "--out"]])
def test_a_file_system_that_is_read_only(tmp_path, command):
    with mounted(tmp_path / "disk", "size=64k,ro") as disk:
        place = disk / ("page.html" if command[0] == "report" else "run")
        flags = [*command[:-1], f"{command[-1]}={place}"]
        done = subprocess.run([sys.executable, "-m", "gpldan_jax", *flags], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {place}: the file system is read-only; choose another")


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [24, 150, 300])
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(run, features, tmp_path, kilobytes):
    flags = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=3")
    whole = run(*flags, f"--workdir={tmp_path / 'whole'}", optimized=True)
    assert whole.returncode == 0, whole.stderr
    with mounted(tmp_path / "disk", f"size={kilobytes}k") as disk:
        failed = run(*flags, f"--workdir={disk / 'run'}", optimized=True)
        assert failed.returncode == 1, failed.stderr
        lines = [line for line in failed.stderr.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1 and lines[0].startswith(f"error: {disk}/run/") and ": the disk is full; " in lines[0]
        remount(disk, "size=50m")
        done = run(*flags, f"--workdir={disk / 'run'}", optimized=True)
        assert done.returncode == 0, done.stderr
        for name in ("model.safetensors", "results.json"):
            assert (disk / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        names = [path.name for path in disk.rglob("*")]
        assert not [name for name in names if name.startswith(_files.TEMPORARY) or "orbax-checkpoint" in name]


@pytest.mark.slow
def test_a_run_whose_folder_is_deleted(run, features, tmp_path):
    flags = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=1000")
    process = run(*flags, f"--workdir={tmp_path / 'run'}", wait=False)
    metrics = tmp_path / "run" / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 2) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGSTOP)  # while files are deleted one by one, it would make new ones
    shutil.rmtree(tmp_path / "run")
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=120)
    lines = [line for line in errors.splitlines() if not line.startswith("warning: ")]
    assert process.returncode == 1 and len(lines) == 1, errors
    assert lines[0].startswith(f"error: {tmp_path / 'run'}: the folder is gone: ")


@pytest.mark.slow
def test_a_run_with_a_limit_on_the_size_of_files(features, tmp_path, quick_environment):
    code = """
import resource, sys
from gpldan_jax.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main.main(sys.argv[2:]))
"""
    flags = ["run", "--dataset=npz", *SMALL, f"--data={features}", "--config.train.epochs=3"]
    for limit in (500, 5000):
        command = [sys.executable, "-c", code, str(limit), *flags, f"--workdir={tmp_path / str(limit)}"]
        done = subprocess.run(command, env=os.environ | quick_environment, capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
        assert done.returncode == 1 and len(lines) == 1, done.stderr
        assert "the file would be larger than this process may write" in lines[0]
