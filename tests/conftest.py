"""Shared by all tests: the commands as a user calls them, in another process and another folder."""

import itertools
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.commands import ROOT

jax.config.update("jax_num_cpu_devices", 8)  # virtual, for what runs over devices; before anything starts a backend


@pytest.fixture(scope="session")
def quick_environment(quick_options, tmp_path_factory):
    """Variables with which a command compiles in a quarter of the time; see `quick_compilation`."""
    flags = [
        os.environ.get("XLA_FLAGS", ""),
        *(f"--{name}={str(value).lower()}" for name, value in quick_options.items()),
    ]
    kept = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("kept"))}  # not in the home directory of whoever tests
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "True", "XLA_FLAGS": " ".join(flags).strip(), **kept}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A folder for the programs that commands compile; of one worker, since jax does not write them at once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache, quick_environment):
    """Starts the command in an empty folder; `wait=False` gives the process, else what came of it.

    With `known=False` it compiles for itself what earlier ones have compiled; with `config=None` the flags name the
    config.
    """
    copies = itertools.count()

    def start(*flags, config="npz.py", script="run.py", wait=True, optimized=False, known=True):
        command = [sys.executable, str(ROOT / "experiments" / script)]
        command += [f"--config={ROOT / 'configs' / config}"] if config else []
        command += flags
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
