"""Two real processes on the loopback, with CPU collectives, against one."""

import json
import socket

import numpy as np
import pytest

from tests.commands import SMALL

# Two devices sum in another order than one; the difference grows with the steps.
CURVE_TOLERANCE = 1e-4


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pair(run, flags):
    """Both processes of a run: exit status, output and errors of each."""
    address = f"--coordinator=127.0.0.1:{free_port()}"
    started = [run(*flags, address, "--processes=2", f"--process={index}", wait=False) for index in (0, 1)]
    outcomes = []
    for process in started:
        out, err = process.communicate(timeout=300)
        outcomes.append((process.returncode, out, err))
    return outcomes


@pytest.mark.slow
def test_two_processes_train_like_one(run, features, tmp_path):
    flags = (*SMALL, f"--config.dataset.path={features}", "--config.train.selection=map")
    alone = run(*flags, "--config.train.epochs=3", f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    first, second = pair(run, (*flags, "--config.train.epochs=3", f"--workdir={tmp_path / 'both'}"))
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert "2 devices of 2 processes share each mini-batch" in first[1] and "epoch 3/3" in first[1]
    assert "epoch" not in second[1]  # one prints

    records = {}
    for name in ("alone", "both"):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        records[name] = [json.loads(line) for line in lines]
    assert [record["epoch"] for record in records["both"]] == [1, 2, 3]  # and one writes
    for term in ("loss", "pairwise", "unpaired", "mutual", "adversarial", "classifier"):
        curves = [[record[term] for record in records[name]] for name in ("alone", "both")]
        np.testing.assert_allclose(curves[1], curves[0], rtol=CURVE_TOLERANCE, err_msg=term)

    # Finished by two, shown by one; and what cannot be used ends both.
    again = run(*flags, "--config.train.epochs=3", f"--workdir={tmp_path / 'both'}")
    assert again.returncode == 0 and "is finished" in again.stdout
    refused = {
        "--config.train.epochs=2": "both cannot go on to 2 epochs: epochs must be at least 3",
        "--config.train.seed=1": "train.seed: 0 there, 1 now",
    }
    for change, message in refused.items():
        first, second = pair(run, (*flags, "--config.train.epochs=3", change, f"--workdir={tmp_path / 'both'}"))
        assert first[0] == second[0] == 2
        assert message in first[2] and len(first[2].splitlines()) == 1
        assert second[0] == 2

    # More epochs, again by two.
    first, second = pair(run, (*flags, "--config.train.epochs=4", f"--workdir={tmp_path / 'both'}"))
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert "now it is to train 4" in first[1] and "epoch 4/4" in first[1] and "epoch 3/" not in first[1]


@pytest.mark.slow
def test_flags_of_processes_that_make_no_sense(run):
    half = run("--coordinator=127.0.0.1:1", "--processes=2")
    assert half.returncode == 2 and "--coordinator, --processes and --process belong together" in half.stderr
    beyond = run("--coordinator=127.0.0.1:1", "--processes=2", "--process=2")
    assert beyond.returncode == 2 and "--process must be below --processes, got 2 of 2" in beyond.stderr
    nowhere = run("--distributed")
    assert nowhere.returncode == 2 and "cannot join" in nowhere.stderr and len(nowhere.stderr.splitlines()) == 1
