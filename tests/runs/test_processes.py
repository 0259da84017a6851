"""Two real processes on the loopback, with CPU collectives, against one."""

import functools
import json
import os
import signal
import socket

import numpy as np
import pytest

from gpldan_jax.models import load_model
from gpldan_jax.runs import processes
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


# Runs the command and prints how many bytes of features it read, but for the fingerprint, which the first one takes.
COUNTING = """
import sys
from gpldan_jax import data
from gpldan_jax.cli.main import run_command
from gpldan_jax.data.files.npy import MappedFile

count, fingerprint = 0, data.PairedDataset.fingerprint

def counting(read):
    def counted(file, rows):
        global count
        found = read(file, rows)
        count += found.nbytes
        return found
    return counted

def uncounted(dataset):
    global count
    before = count
    found = fingerprint(dataset)
    count = before
    return found

data.PairedDataset.fingerprint = uncounted
for name in ("read_block", "read_rows"):
    setattr(MappedFile, name, counting(getattr(MappedFile, name)))
status = run_command("run", sys.argv[1:], "gpldan run")
print("bytes", count)
sys.exit(status)
"""


@pytest.mark.slow
def test_two_processes_read_half_of_the_features_each(run, features, tmp_path):
    (tmp_path / "folder").mkdir()
    for name, values in np.load(features).items():
        np.save(tmp_path / f"folder/{name}.npy", values.astype(np.float32) if values.ndim == 2 else values)
    (tmp_path / "counting.py").write_text(COUNTING)
    flags = (*SMALL, "--dataset=npz", f"--data={tmp_path / 'folder'}", "--config.mesh.resident=False")
    flags += ("--config.train.selection=last", "--config.train.epochs=8", "--config.train.evaluate_every=8")
    command = functools.partial(run, config=None, script=tmp_path / "counting.py")
    alone = command(*flags, f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    both = pair(command, (*flags, f"--workdir={tmp_path / 'both'}"))
    assert [status for status, *_ in both] == [0, 0], both
    of_one, *of_two = (int(out.split()[-1]) for out in (alone.stdout, *(out for _, out, _ in both)))
    held_out = 200 * 50 * 4  # each process evaluates, so these are read by both
    assert of_one > 8 * 800 * 50 * 4
    for count in of_two:
        assert abs(count - of_one / 2) <= 2 * held_out
    models = [load_model(tmp_path / f"{name}/model.safetensors").standardization for name in ("alone", "both")]
    for name in ("image_mean", "image_std", "text_mean", "text_std"):  # of sums that one began and the other ended
        np.testing.assert_array_equal(*(getattr(model, name) for model in models))


@pytest.mark.slow
def test_flags_of_processes_that_make_no_sense(run):
    half = run("--coordinator=127.0.0.1:1", "--processes=2")
    assert half.returncode == 2 and "--coordinator, --processes and --process belong together" in half.stderr
    beyond = run("--coordinator=127.0.0.1:1", "--processes=2", "--process=2")
    assert beyond.returncode == 2 and "--process must be below --processes, got 2 of 2" in beyond.stderr
    nowhere = run("--distributed")
    assert nowhere.returncode == 2 and "cannot join" in nowhere.stderr and len(nowhere.stderr.splitlines()) == 1


def test_of_several_processes_signals_within_a_second_are_one(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    with processes.interruption() as noted:
        for _ in range(2):  # to the process and to its parent, which passes it on
            os.kill(os.getpid(), signal.SIGINT)
        assert noted.signal_number == signal.SIGINT
        now[0] += 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
