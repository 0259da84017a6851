"""One of two processes is killed, has a full disk or another folder: a clear line each, and the run goes on."""

import functools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gpldan_jax.cli import supervision
from tests.commands import SMALL
from tests.runs.test_crashes import outcome, records, wait_until
from tests.runs.test_processes import free_port

LONGEST = 280  # seconds until a process must have noticed that another one is gone; the runtime takes up to 100
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="without fork there is no parent that says it")

# Runs the command; `--limit=BYTES` before all others is the most that a file may have.
LIMITED = """
import sys
from gpldan_jax.cli.main import run_command
if sys.argv[1].startswith("--limit="):
    import resource
    limit = int(sys.argv.pop(1).partition("=")[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(run_command("run", sys.argv[1:], "gpldan run"))
"""


def start_pair(run, *of_both, of_first=(), of_second=()):
    address = f"--coordinator=127.0.0.1:{free_port()}"
    return [
        run(*own, *of_both, address, "--processes=2", f"--process={index}", wait=False)
        for index, own in enumerate((of_first, of_second))
    ]


def ended(process):
    """Exit status, output and errors; a process that hangs fails the test."""
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"hung: {process.communicate()}")
    return process.returncode, out, err


def is_one_line(err):
    lines = err.splitlines()
    return len(lines) == 1 and lines[0].startswith("error: ")


@pytest.fixture
def flags(features):
    few_steps = "--config.train.batch_size=200"  # each of them waits for both processes
    return (*SMALL, few_steps, f"--config.dataset.path={features}", "--config.train.epochs=30")


@pytest.mark.slow
def test_a_run_whose_processes_are_killed_ends_with_the_same_bits(run, flags, tmp_path):
    whole = [ended(process) for process in start_pair(run, *flags, f"--workdir={tmp_path / 'whole'}")]
    assert [status for status, *_ in whole] == [0, 0], whole
    workdir = tmp_path / "killed"
    for count, killed in ((5, [1]), (10, [0]), (15, [1, 0])):
        pair = start_pair(run, *flags, f"--workdir={workdir}")
        wait_until(lambda count=count: len(records(workdir)) >= count, pair[0], LONGEST)
        for index in killed:
            pair[index].kill()
        for index, process in enumerate(pair):
            status, _, err = ended(process)
            if index in killed:
                assert status == -signal.SIGKILL
            else:
                assert status == 1 and is_one_line(err) and "another process of this run has ended" in err, err
    assert not (workdir / "results.json").exists()
    last = [ended(process) for process in start_pair(run, *flags, f"--workdir={workdir}")]
    assert [status for status, *_ in last] == [0, 0] and "continuing" in last[0][1], last
    assert outcome(workdir) == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_signal_to_one_process_stops_and_saves_in_both(run, flags, tmp_path):
    pair = start_pair(run, *flags, f"--workdir={tmp_path / 'run'}")
    wait_until(lambda: len(records(tmp_path / "run")) >= 2, pair[0], LONGEST)
    pair[1].terminate()
    first, second = map(ended, pair)
    assert first[0] == second[0] == 143, first[2] + second[2]
    assert "stopped and saved" in first[1] and not first[2] and not second[2]


@pytest.mark.slow
def test_a_workdir_that_is_not_shared_is_said(run, flags, tmp_path):
    places = {f"of_{name}": (f"--workdir={tmp_path / name}",) for name in ("first", "second")}
    for status, _, err in map(ended, start_pair(run, *flags, **places)):
        assert status == 2 and is_one_line(err) and "process 1 does not see" in err, err
    assert not (tmp_path / "second").exists()
    assert not [path for path in (tmp_path / "first").iterdir() if path.name.startswith(".tmp-")]


@pytest.mark.slow
@pytest.mark.parametrize("full", [0, 1])
def test_a_full_disk_of_one_process_ends_both(run, flags, tmp_path, full):
    (tmp_path / "limited.py").write_text(LIMITED)
    start = functools.partial(run, config=None, script=tmp_path / "limited.py")
    flags, workdir = (*flags, "--dataset=npz"), tmp_path / "run"
    limit = {("of_first", "of_second")[full]: ("--limit=4000",)}
    pair = [ended(process) for process in start_pair(start, *flags, f"--workdir={workdir}", **limit)]
    for status, _, err in pair:
        assert status in (1, 2) and "Traceback" not in err and err.count("error: ") == 1, err
    again = [ended(process) for process in start_pair(start, *flags, f"--workdir={workdir}")]
    assert [status for status, *_ in again] == [0, 0], again
    assert json.loads((workdir / "results.json").read_text())["epochs"] == 30


def supervised(work, *arguments):
    """Starts a process that calls `supervised` with a function of these lines."""
    lines = "\n    ".join(work)
    code = f"import os, sys, time\nfrom gpldan_jax.cli import supervision\ndef work():\n    {lines}\n"
    code += "sys.exit(supervision.supervised(work, lambda: False))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_lines_of_the_runtime_are_kept_back_and_an_end_by_it_is_one_line():
    said = b"ours\nF1126 19:54:13.667158 1 client.h:80] Terminating\n    @ 0x7f\n"
    assert ended(supervised([f"os.write(2, {said!r})", "os.abort()"])) == (1, "", f"ours\nerror: {supervision.LOST}\n")


@pytest.mark.parametrize("status", [0, 2])
def test_the_status_and_the_errors_of_the_work_are_passed_on(status):
    said = b"E1126 19:54:13.667158 1 client.h:80] noise\nerror: ours\nmore noise\n"
    assert ended(supervised([f"os.write(2, {said!r})", f"return {status}"])) == (status, "", "error: ours\n")


def test_an_unexpected_error_is_shown_whole():
    said = b"E1126 19:54:13.667158 1 client.h:80] noise\n"
    status, _, err = ended(supervised([f"os.write(2, {said!r})", "raise KeyError('unexpected')"]))
    assert status == 1 and err.startswith("E1126") and err.endswith("KeyError: 'unexpected'\n")


def test_a_signal_reaches_the_work_once(tmp_path):
    work = [
        "import signal",
        "signal.signal(signal.SIGINT, lambda *_: print('came', flush=True))",
        "open(sys.argv[1], 'w').close()",
        "time.sleep(1.5)",
        "return 130",
    ]
    process = supervised(work, tmp_path / "ready")
    wait_until((tmp_path / "ready").exists, process)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "came\n", "")


def test_a_child_ends_with_its_parent(tmp_path):
    path = tmp_path / "child"
    work = [f"open({str(path)!r}, 'w').write(str(os.getpid()))", "time.sleep(100)"]
    parent = supervised(work)
    wait_until(lambda: path.exists() and path.read_text(), parent)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 60
    while is_alive(int(path.read_text())):
        assert time.monotonic() < until
        time.sleep(0.01)
    parent.communicate()


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Nobody may wait for it where no init does: it is a zombie then.
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
