"""`experiments/run.py` as a user calls it: another process, another folder."""

import itertools
import os
import shutil
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
def run(tmp_path, cache, quick_environment):
    """Starts the command in an empty folder; `wait=False` gives the process, else what came of it.

    With `known=False` it compiles for itself what earlier ones have compiled.
    """
    copies = itertools.count()

    def start(*flags, config="npz.py", script="run.py", wait=True, optimized=False, known=True):
        command = [
            sys.executable,
            str(ROOT / "experiments" / script),
            f"--config={ROOT / 'configs' / config}",
            *flags,
        ]
        folder = tmp_path / "somewhere"
        folder.mkdir(exist_ok=True)
        environment = os.environ | ({} if optimized else quick_environment)
        environment.pop("GPLDAN_DATA_DIR", None)
        if known:
            programs = cache
            if not wait:  # one that runs beside others, or is killed, could leave half a program there
                programs = shutil.copytree(cache, tmp_path / f"cache-{next(copies)}")
            environment["JAX_COMPILATION_CACHE_DIR"] = str(programs)
            environment["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"  # else a program of a copy is another one
            environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return start


@pytest.fixture
def command(tmp_path, quick_environment):
    """Calls `benchmark.py` as a user does; config files can be read only once in a process."""

    def call(*flags):
        called = [sys.executable, ROOT / "experiments" / "benchmark.py", *flags]
        environment = os.environ | quick_environment
        return subprocess.run(called, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return call


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
