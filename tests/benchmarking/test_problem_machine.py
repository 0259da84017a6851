"""The machine: which peers run there, and memory measured or predicted."""

import importlib.util

import jax
import numpy as np

from gpldan_jax.benchmarking import problem
from gpldan_jax.training import mesh

NAMES = ("dense", "torch-matmul", "numpy-broadcast")


def test_why_peers_cannot_run(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert problem.peer_obstacles(NAMES) == {}
    assert problem.peer_obstacles(NAMES, "has another loss") == {"torch-matmul": "has another loss"}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "set JAX_PLATFORMS=cpu" in problem.peer_obstacles(NAMES, "has another loss")["torch-matmul"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expected = "needs torch: pip install 'gpldan_jax[peers]' (without a GPU, first: pip install torch --index-url https"
    assert problem.peer_obstacles(NAMES, "has another loss")["torch-matmul"].startswith(expected)


def test_the_machine_is_described():
    found = problem.describe()
    assert found["devices"] == jax.device_count() and found["versions"]["numpy"] == np.__version__
    assert problem.machine_title(found) == f"{found['cpu']}, {found['cores']} cores"
    accelerators = {"platform": "gpu", "device_kind": "NVIDIA H100", "devices": 2}
    assert problem.machine_title(accelerators) == "NVIDIA H100 x 2"


def test_memory_of_this_process():
    now, peak = problem.process_memory("VmRSS"), problem.process_memory("VmHWM")
    assert 0 < now <= peak


def test_memory_of_a_process_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "bytes").write_text("123")
    assert problem.measure_memory(1000, "json.tool", tmp_path / "bytes") == (123, None)  # it prints the file
    memory, reason = problem.measure_memory(1000, "gpldan_jax.nothere")
    assert memory is None and reason.startswith("a trial ended with exit status 1: ") and "nothere" in reason
    monkeypatch.setattr(mesh, "available_memory", lambda device=None: 999_999_999)
    assert problem.measure_memory(10**9, "gpldan_jax.nothere") == (10**9, "does not fit (predicted 1.0 GB)")
