"""The accelerators to compile for: their names, and what must be installed."""

import importlib.util

import pytest

from gpldan_jax.benchmarking import compile_targets, peaks


@pytest.mark.parametrize(
    "platform, topology, message",
    [
        ("rocm", None, "platform must be cpu, cuda, tpu, got 'rocm'"),
        ("cpu", "v5e:2x2", "topology is of accelerators, platform=cpu has none, got 'v5e:2x2'"),
        ("tpu", "v9:2x2", "topology must be like v5e:2x2, .* of v4, v5e, v5p, v6e; got 'v9:2x2'"),
        ("tpu", "v5e", "topology must be like v5e:2x2"),
        ("tpu", "h100:1", "topology must be like v5e:2x2"),
        ("cuda", "v5e:2x2", "topology must be like h100:8, .* of h100, a100; got 'v5e:2x2'"),
        ("cuda", "h100:9", "topology must have 1 to 8 GPUs of one machine, got 'h100:9'"),
    ],
)
def test_wrong_names_are_refused(platform, topology, message):
    with pytest.raises(ValueError, match=message):
        compile_targets.check_target(platform, topology)


@pytest.mark.parametrize(
    "platform, hint", [("tpu", r"pip install 'gpldan_jax\[tpu\]'"), ("cuda", "pip install jax-cuda12-plugin")]
)
def test_a_missing_library_is_named(monkeypatch, platform, hint):
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"platform={platform} needs .*{hint}"):
        compile_targets.check_target(platform, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert compile_targets.check_target(platform, None) == compile_targets.DEFAULT_TOPOLOGIES[platform]


def test_gpus_are_described_as_xla_wants_it():
    for name in ("a100", "h100"):
        text = compile_targets._gpu_config(name)
        assert text.count("{") == text.count("}") and name.upper() in text
        # The memory bandwidth that XLA counts with is that of our table, rounded.
        bandwidth = float(text.partition("memory_bandwidth: ")[2].split()[0])
        assert bandwidth == pytest.approx(peaks.PEAKS[name].memory_bytes_per_s, rel=1e-3)
