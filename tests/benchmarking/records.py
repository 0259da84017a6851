"""Rows and records of benchmarks as tests need them, and a call of the command in this process."""

import dataclasses
import json
import warnings

from gpldan_jax import config as settings
from gpldan_jax.benchmarking import results
from gpldan_jax.cli.main import run_command


def benchmark(*flags):
    """Calls `gpldan benchmark`; returns the exit status."""
    show = warnings.formatwarning  # which commands replace
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)  # called by ml_collections
            return run_command("benchmark", [str(flag) for flag in flags], "gpldan benchmark")
    finally:
        warnings.formatwarning = show


def row(**changes):
    values = {"n": 8, "implementation": "dense", "mode": "forward", "precision": "highest"}
    return results.Row(**values | {"loss": 1.0, "median_s": 2.0, "memory_bytes": 1000} | changes)


def record(*rows, flops_per_s=1e9, **changes):
    return {
        "benchmark": "loss",
        "problem": {"k": 2, "h": 8, "image_inputs": 6, "text_inputs": 5},
        "machine": {"device_kind": "cpu", "platform": "cpu", "devices": 1, "cpu": "Tiny", "cores": 1},
        "ceilings": {"jax": {"highest": {"flops_per_s": flops_per_s, "median_s": 1.0, "shape": [1, 1, 1]}}},
        "rows": [dataclasses.asdict(one) for one in rows],
    } | changes


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


def tiny_config(**changes):
    """Settings for a tiny model without denoising, on one device; `changes` by group."""
    groups = settings.default_config()
    groups["model"] |= {"hidden": 16, "width": 8, "parts": 2, "classifier_hidden": 8}
    groups["denoise"] |= {"image": 0.0, "text": 0.0}
    groups["optim"] |= {"learning_rate": 1e-2}
    groups["train"] |= {"batch_size": 12}
    groups["mesh"] |= {"data": 1}
    return {name: group | changes.get(name, {}) for name, group in groups.items()}


def assert_one_line(capsys, message):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
