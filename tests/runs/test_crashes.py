"""Pulling the plug: `kill -9` and signals at any moment, and the same run in the end."""

import functools
import json
import signal
import time

import pytest

from tests.commands import SMALL


def wait_until(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the run never got that far"
        time.sleep(0.002)


def records(workdir):
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def outcome(workdir):
    """All that a run leaves but the times."""
    return (
        [{k: v for k, v in record.items() if k not in ("seconds", "crc32")} for record in records(workdir)],
        json.loads((workdir / "results.json").read_text()),
        (workdir / "model.safetensors").read_bytes(),
    )


@pytest.fixture
def flags(features):
    return (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=12")


@pytest.mark.slow
def test_a_run_killed_three_times_ends_with_the_same_bits(run, flags, tmp_path):
    run = functools.partial(run, optimized=True)  # the program that users run has to be the reproducible one
    whole = run(*flags, f"--workdir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr

    workdir = tmp_path / "killed"
    checkpoints = workdir / "checkpoints"
    moments = (
        lambda: workdir.exists(),  # before there is anything to continue from
        lambda: any("tmp" in p.name for p in checkpoints.glob("*")),  # while a checkpoint is being written
        lambda: len(records(workdir)) >= 7,  # in the middle of an epoch
    )
    for moment in moments:  # the last one compiles its program anew, as for a user
        process = run(*flags, f"--workdir={workdir}", wait=False, known=moment is not moments[-1])
        wait_until(moment, process)
        process.kill()
        process.communicate()
        assert not (workdir / "results.json").exists()
    last = run(*flags, f"--workdir={workdir}")
    assert last.returncode == 0, last.stderr
    assert "continuing" in last.stdout
    assert outcome(workdir) == outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_continues(run, flags, tmp_path, number, status):
    workdir = tmp_path / "run"
    process = run(*flags, f"--workdir={workdir}", wait=False)
    wait_until(lambda: len(records(workdir)) >= 2, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "stopped and saved" in out and "Traceback" not in err
    done = len(records(workdir))
    again = run(*flags, f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert "continuing" in again.stdout
    assert [record["epoch"] for record in records(workdir)] == list(range(1, 13))
    assert done < 12
