"""`experiments/run.py` as a user calls it: another process, another folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# A model small enough that a run is mostly its start.
SMALL = ("--config.model.hidden=32", "--config.model.width=16", "--config.train.batch_size=20")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A folder for the programs that commands compile; of one worker, since jax does not write them at once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache):
    """Starts the command in an empty folder; `wait=False` gives the process, else what came of it."""

    def start(*flags, config="npz.py", script="run.py", wait=True, optimized=False):
        command = [
            sys.executable,
            str(ROOT / "experiments" / script),
            f"--config={ROOT / 'configs' / config}",
            *flags,
        ]
        folder = tmp_path / "somewhere"
        folder.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "GPLDAN_DATA_DIR"}
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(not optimized)  # half the compilation time
        if wait:  # one that runs beside others, or is killed, could leave half a program there
            environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
            environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return start


@pytest.fixture
def features(tmp_path):
    """A `.npz` of 1,000 pairs with labels: 800 train, 100 validation, 100 test."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(1000, 8))
    path = tmp_path / "mine.npz"
    np.savez(
        path,
        image=latent @ rng.normal(size=(8, 30)),
        text=latent @ rng.normal(size=(8, 20)),
        label=latent[:, :3].argmax(1),
        split=np.repeat([0, 1, 2], [800, 100, 100]),
    )
    return path
