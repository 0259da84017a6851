"""Timing: every call in every round. No test depends on a time."""

import jax
import numpy as np
import pytest

from gpldan_jax.benchmarking import timing
from gpldan_jax.training import mesh
from tests.benchmarking.records import row


def test_every_call_is_timed_every_round_and_products_in_some():
    counts = dict.fromkeys("abp", 0)

    def call(name):
        return lambda: counts.update({name: counts[name] + 1})

    samples = timing._time_calls({"a": call("a"), "b": call("b")}, {"p": call("p")}, rounds=10, seconds=0)
    assert {name: len(seconds) for name, seconds in samples.items()} == {"a": 10, "b": 10, "p": 5}
    # Short calls run twice a turn, and once more a turn before the rounds.
    assert counts == {"a": 22, "b": 22, "p": 10}


def test_times_are_of_a_step_of_a_member():
    found = timing._with_times(row(n=8, steps=4, members=3), [24.0, 12.0, 36.0])
    assert (found.median_s, found.min_s, found.steps_per_s, found.pairs_per_s) == (2.0, 1.0, 0.5, 4.0)
    assert found.rounds == 3


def test_sizes_are_timed_once_each_in_ascending_order(capsys):
    seen = []

    def prepare(n):
        seen.append(n)
        return [(row(n=n, median_s=None), lambda: None), (row(n=n, median_s=None, not_run="no"), None)]

    schedule = timing.Schedule(sizes=(8, 2, 8), rounds=2, ceiling_size=4)
    rows, ceilings = timing.time_sizes(schedule, prepare, [("jax", "highest"), ("numpy", "highest")])
    assert seen == [2, 8] and [(one.n, one.rounds) for one in rows] == [(2, 2), (2, None), (8, 2), (8, None)]
    assert ceilings.keys() == {"jax", "numpy"} and ceilings["jax"].keys() == {"highest"}
    assert ceilings["numpy"]["highest"]["shape"] in ([4, 4, 4], [2, 8, 2])
    assert "n = 8: timing 1 of 2" in capsys.readouterr().err


@pytest.mark.slow
def test_a_program_is_compiled_with_its_facts(monkeypatch):
    program, facts = timing.compile_program(jax.jit(lambda x: x @ x), np.ones((4, 4), np.float32))
    assert (program(np.ones((4, 4), np.float32)) == 4).all()
    assert facts["memory_bytes"] >= 2 * 4 * 16 and facts["compile_s"] > 0 and facts["lower_s"] > 0
    monkeypatch.setattr(mesh, "available_memory", lambda device: 2 * facts["memory_bytes"])
    assert timing.with_facts(row(devices=2), facts).not_run is None
    assert timing.with_facts(row(devices=3), facts).not_run == "does not fit (predicted 0.0 GB)"
