"""The times of the loss: its figures, and what it refuses. No test depends on a time."""

import importlib.util
import json

import jax
import pytest

import gpldan_jax
from gpldan_jax import losses
from gpldan_jax.benchmarking import loss_times, problem
from gpldan_jax.training import mesh
from tests.benchmarking.records import benchmark

SMALL = ("--width=16", "--representations=2", "--image_inputs=6", "--text_inputs=5", "--ceiling_size=16", "--rounds=2")


def run_loss(out, *flags):
    return benchmark("loss", *SMALL, f"--out={out}", *flags)


@pytest.mark.slow
def test_the_figures_of_a_run_by_hand(tmp_path, capsys):
    out = tmp_path / "new" / "found.json"
    assert run_loss(out, "--sizes", "8", "4", "--implementations=dense", "--markdown") == 0
    found = json.loads(out.read_text())
    assert [one["n"] for one in found["rows"]] == [4, 8]
    ceiling = found["ceilings"]["jax"]["highest"]
    rows, inner, columns = ceiling["shape"]
    assert ceiling["flops_per_s"] == pytest.approx(2 * rows * inner * columns / ceiling["median_s"])
    for one in found["rows"]:
        n = one["n"]
        assert one["flops"] == n**2 * (2 * 3 * 2 * 8 * 2**2 + 2 * (6 + 5))  # h = 8, k = 2
        assert one["rounds"] == 2 and 0 < one["min_s"] <= one["median_s"]
        assert one["pairs_per_s"] == pytest.approx(n / one["median_s"])
        fraction = one["flops"] / one["median_s"] / ceiling["flops_per_s"]
        assert one["fraction_of_ceiling"] == one["fraction_of_best_ceiling"] == pytest.approx(fraction)
        # Arguments, and at least the gradients as results.
        least = 4 * n * (2 * (2 * 16 + 2 * 2) + 6 + 5)
        assert one["memory_bytes"] >= least + one["temp_bytes"] and one["lower_s"] > 0 and one["compile_s"] > 0
    arrays = problem.arrays(problem.Problem(n=8, k=2, h=8, image_inputs=6, text_inputs=5))
    loss, _ = gpldan_jax.graph_pattern_loss(*arrays, alpha=1.0, beta=0.1, implementation="vmap")
    assert one["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert {"machine", "date", "command", "commit", "peak_memory_bytes"} <= found.keys()
    assert found["machine"]["versions"]["jax"] == jax.__version__ and "--sizes 8 4" in found["command"]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 4 and "|median ms" in table[0].replace(" |", "|").replace("| ", "|")


@pytest.mark.slow
def test_the_soft_contrastive_loss(tmp_path, capsys):
    names = ["default", "dense"] + (["torch-matmul"] if importlib.util.find_spec("torch") else [])
    out = tmp_path / "found.json"
    assert run_loss(out, "--loss=soft_contrastive", "--sizes=8", "--implementations", *names) == 0
    found = json.loads(out.read_text())
    assert found["problem"] == {"k": 2, "h": 8, "image_inputs": 6, "text_inputs": 5, "loss": "soft_contrastive"}
    arrays = problem.arrays(problem.Problem(n=8, **found["problem"]))
    assert arrays[4].shape == (8, 6 + 5) and (arrays[4] ** 2).sum(1) == pytest.approx(1)
    loss = losses.soft_contrastive(*arrays[:4], similarity_rows=arrays[4], scale=20.0, implementation="dense")
    assert [one["implementation"] for one in found["rows"]] == names
    for one in found["rows"]:
        assert one["loss"] == pytest.approx(float(loss), rel=1e-5) and one["fraction_of_ceiling"] > 0
        assert one["flops"] == 8**2 * (2 * 3 * 2 * 8 * 2**2 + 2 * (6 + 5))
    assert "value and gradient, soft contrastive, " in capsys.readouterr().out
    assert run_loss(out, "--loss=soft_contrastive", "--sizes=8", "--implementations=dense", f"--compare={out}") in (
        0,
        1,
    )
    assert run_loss(tmp_path / "other.json", "--sizes=4", "--implementations=dense", f"--compare={out}") == 2
    assert "cannot compare runs of different problem: loss soft_contrastive and None" in capsys.readouterr().err


def test_an_implementation_that_the_loss_does_not_have_is_named(tmp_path, capsys):
    flags = ("--loss=soft_contrastive", "--sizes=4", "--implementations", "dense", "torch-broadcast")
    assert run_loss(tmp_path / "found.json", *flags) == 2
    assert "torch-broadcast is no implementation of soft_contrastive, which has default, " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["loss", "gradient_norm"])
def test_a_wrong_implementation_ends_the_run(tmp_path, capsys, monkeypatch, what):
    right = loss_times.make_loss

    def loss_function(implementation, *names, **options):
        loss = right(implementation, *names, **options)
        if implementation != "dense":
            return loss
        if what == "loss":
            return lambda *arrays: 1.01 * loss(*arrays)
        return lambda *arrays: 1.01 * loss(*arrays) - 0.01 * jax.lax.stop_gradient(loss(*arrays))

    monkeypatch.setattr(loss_times, "make_loss", loss_function)
    mode = "forward" if what == "loss" else "forward_and_grad"
    flags = ("--sizes=4", f"--mode={mode}", "--implementations", "dense", "vmap")
    assert run_loss(tmp_path / "found.json", *flags) == 1
    assert f"disagree on the {what} at n = 4: dense ({mode}) " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_does_not_fit_or_is_refused_is_recorded_and_not_run(tmp_path, capsys, monkeypatch):
    names = ["dense", "vmap"] + (["torch-matmul"] if importlib.util.find_spec("torch") else [])
    right = loss_times.make_loss
    monkeypatch.setattr(mesh, "available_memory", lambda device=None: 1000)
    monkeypatch.setattr(
        loss_times,
        "make_loss",
        lambda name, *rest, **options: refuse() if name == "vmap" else right(name, *rest, **options),
    )

    def refuse():
        raise ValueError("no such thing\nat all")

    out = tmp_path / "found.json"
    assert run_loss(out, "--sizes=4", "--mode=forward", "--implementations", *names) == 0
    found = {one["implementation"]: one for one in json.loads(out.read_text())["rows"]}
    assert all(one["median_s"] is None and one["loss"] is None for one in found.values())
    assert found["vmap"]["not_run"] == "no such thing"
    for name in {"dense", "torch-matmul"} & set(names):
        assert found[name]["not_run"] == "does not fit (predicted 0.0 GB)" and found[name]["memory_bytes"] > 1000
    assert "dense, value, highest, n = 4: does not fit (predicted 0.0 GB)" in capsys.readouterr().out


@pytest.mark.slow
def test_sharded_on_two_devices_of_a_cpu(command, tmp_path):
    flags = (
        "--sizes=4",
        "--mode=forward",
        "--implementations",
        "sharded",
        "default",
        "--devices=2",
        "--out=found.json",
    )
    done = command("loss", *SMALL, *flags)
    assert done.returncode == 0, done.stderr
    sharded, default = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert sharded["not_run"] is None and (sharded["devices"], default["devices"]) == (2, 1)
    assert sharded["loss"] == pytest.approx(default["loss"], rel=1e-5)


def test_without_torch_or_a_second_device_they_are_left_out(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert loss_times._choose(None, ["highest"]) == ["default", "vmap", "dense", "blocked"]
