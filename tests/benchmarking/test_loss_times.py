"""The benchmark: its arithmetic, what it refuses, and that it measures what it says. No test depends on a time."""

import dataclasses
import doctest
import importlib.util
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import gpldan_jax
from gpldan_jax.benchmarking import loss_times as jax_losses
from gpldan_jax.benchmarking import machine, problem, results, timing
from gpldan_jax.cli import benchmark
from tests.commands import ROOT

SMALL = ("--width=16", "--representations=2", "--image_inputs=6", "--text_inputs=5", "--ceiling_size=16", "--rounds=2")
# Peers compute in float32 in another order; they agree to 1e-6 where they are right.
PEER_TOLERANCE = 1e-4

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the peers need torch")


def run_loss(out, *flags):
    return benchmark.main(["loss", *SMALL, f"--out={out}", *flags])


def row(**changes):
    found = {"n": 8, "implementation": "dense", "mode": "forward", "precision": "highest"}
    return results.Row(**found | {"loss": 1.0, "median_s": 2.0, "memory_bytes": 1000} | changes)


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


@pytest.mark.usefixtures("quick_compilation")
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


@pytest.mark.parametrize("module", [machine, problem, results, timing])
def test_examples(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


def test_floor_of_the_value_alone():
    assert problem.floor_flops(problem.Problem(3, 4, 256, 4096, 1024), "forward") == 9 * (16384 + 2 * 5120)


@pytest.mark.parametrize("what", ["loss", "gradient_norm"])
@pytest.mark.usefixtures("quick_compilation")
def test_a_wrong_implementation_ends_the_run(tmp_path, capsys, monkeypatch, what):
    right = jax_losses.loss_function

    def loss_function(implementation, *options):
        loss = right(implementation, *options)
        if implementation != "dense":
            return loss
        if what == "loss":
            return lambda *arrays: 1.01 * loss(*arrays)
        return lambda *arrays: 1.01 * loss(*arrays) - 0.01 * jax.lax.stop_gradient(loss(*arrays))

    monkeypatch.setattr(jax_losses, "loss_function", loss_function)
    mode = "forward" if what == "loss" else "forward_and_grad"
    flags = ("--sizes=4", f"--mode={mode}", "--implementations", "dense", "vmap")
    assert run_loss(tmp_path / "found.json", *flags) == 1
    assert f"disagree on the {what} at n = 4: dense ({mode}) " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_agreement_is_of_each_size_and_of_the_highest_precision():
    rows = [row(), row(implementation="vmap", loss=1.0005), row(n=4, loss=7.0), row(precision="bfloat16", loss=1.1)]
    results.check_agreement([*rows, row(implementation="blocked", loss=None, not_run="does not fit")])
    with pytest.raises(results.Disagreement, match=r"blocked \(forward\) nan"):
        results.check_agreement([*rows, row(implementation="blocked", loss=float("nan"))])


@pytest.mark.usefixtures("quick_compilation")
def test_what_does_not_fit_or_is_refused_is_recorded_and_not_run(tmp_path, capsys, monkeypatch):
    names = ["dense", "vmap"] + (["torch-matmul"] if importlib.util.find_spec("torch") else [])
    right = jax_losses.loss_function
    monkeypatch.setattr(machine, "available_memory", lambda device=None: 1000)
    monkeypatch.setattr(
        jax_losses, "loss_function", lambda name, *rest: refuse() if name == "vmap" else right(name, *rest)
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


def test_every_call_is_timed_every_round_and_products_in_some():
    counts = dict.fromkeys("abp", 0)

    def call(name):
        return lambda: counts.update({name: counts[name] + 1})

    samples = timing.interleaved({"a": call("a"), "b": call("b")}, {"p": call("p")}, rounds=10, seconds=0)
    assert {name: len(seconds) for name, seconds in samples.items()} == {"a": 10, "b": 10, "p": 5}
    # Short calls run twice a turn, and once more a turn before the rounds.
    assert counts == {"a": 22, "b": 22, "p": 10}


@needs_torch
@pytest.mark.usefixtures("quick_compilation")
def test_peers_compute_the_same_loss_and_gradients():
    import torch

    from gpldan_jax.benchmarking import torch_losses

    arrays = problem.arrays(problem.Problem(n=9, k=3, h=8, image_inputs=12, text_inputs=10))

    def loss(*features):
        return gpldan_jax.graph_pattern_loss(*features, *arrays[4:], alpha=1.0, beta=0.1, implementation="dense")[0]

    expected, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2, 3))(*arrays[:4])
    for name, peer in torch_losses.LOSSES.items():
        found, peer_gradients = torch_losses.evaluate(peer, list(map(torch.from_numpy, arrays)), "forward_and_grad")
        assert float(found) == pytest.approx(float(expected), rel=PEER_TOLERANCE), name
        value_alone, _ = torch_losses.evaluate(peer, list(map(torch.from_numpy, arrays)), "forward")
        assert float(value_alone) == float(found)
        for i, (ours, theirs) in enumerate(zip(gradients, peer_gradients, strict=True)):
            ours, theirs = np.asarray(ours), np.asarray(theirs)
            if i >= 2:  # what happens as attention leaves the simplex is not defined
                theirs = theirs - (theirs * arrays[i]).sum(1, keepdims=True)
                ours = ours - (ours * arrays[i]).sum(1, keepdims=True)
            np.testing.assert_allclose(theirs, ours, atol=PEER_TOLERANCE * np.abs(ours).max(), err_msg=name)


@needs_torch
def test_peers_are_finite_on_zeros_and_duplicates():
    import torch

    from gpldan_jax.benchmarking import torch_losses

    image, *rest = problem.arrays(problem.Problem(n=6, k=2, h=8, image_inputs=12, text_inputs=10))
    image[1] = 0
    for array in (image, *rest):
        array[4] = array[5]
    rest[3][2] = 0
    for arrays in ([image, *rest], [array[4:] for array in (image, *rest)], [array[:1] for array in (image, *rest)]):
        for peer in torch_losses.LOSSES.values():
            tensors = [torch.from_numpy(array) for array in arrays]
            loss, gradients = torch_losses.evaluate(peer, tensors, "forward_and_grad")
            assert all(torch.isfinite(x).all() for x in (loss, *gradients))


@needs_torch
def test_a_peer_in_a_run_has_its_own_ceiling_and_its_memory_measured(tmp_path):
    out = tmp_path / "found.json"
    flags = ("--sizes=4", "--mode=forward", "--precisions", "highest", "bfloat16", "--implementations=torch-matmul")
    assert run_loss(out, *flags) == 0
    found = json.loads(out.read_text())
    (one,) = found["rows"]
    assert one["library"] == "torch" and one["memory_bytes"] > 0 and one["temp_bytes"] is None
    rate = one["flops"] / one["median_s"]
    ceilings = {library: of["highest"]["flops_per_s"] for library, of in found["ceilings"].items()}
    assert one["fraction_of_ceiling"] == pytest.approx(rate / ceilings["torch"])
    assert one["fraction_of_best_ceiling"] == pytest.approx(rate / max(ceilings.values()))


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


def test_fractions_of_several_devices_are_of_all_their_ceilings():
    ceilings = record(flops_per_s=100.0)["ceilings"]
    one = row(implementation="sharded", devices=4, flops=400)
    assert results.with_fractions(one, ceilings, shared=True).fraction_of_ceiling == 2.0  # 200 flop/s of 100
    assert results.with_fractions(one, ceilings, shared=False).fraction_of_ceiling == 0.5


def test_a_config_that_cannot_be_used_is_named(command):
    done = command("train", "--config=nothere.py")
    assert done.returncode == 2 and done.stderr == "error: no config file nothere.py\n"


def test_compare_by_hand(tmp_path, capsys):
    # The new machine is twice as fast and the new time half as long: nothing gained. At n = 4 it should have been.
    old = write(tmp_path / "old.json", record(row(), row(n=4), row(n=2)))
    new = write(tmp_path / "new.json", record(row(median_s=1.0), row(n=4, median_s=1.2), row(n=99), flops_per_s=2e9))
    assert benchmark.main(["compare", old, new]) == 1
    _, _, same, slower = capsys.readouterr().out.splitlines()
    assert " ".join(same.split()) == "dense, value, highest, n = 8 2.000 1.000"
    assert " ".join(slower.split()) == "dense, value, highest, n = 4 1.667 0.833 slower"
    assert benchmark.main(["compare", old, new, "--threshold=0.8"]) == 0


@pytest.mark.parametrize(
    "other, message",
    [
        (record(row(), machine={"device_kind": "H100"}), "different device_kind: cpu and H100"),
        (record(row(), problem={"k": 1}), "different problem: k 2 and 1, h 8 and None"),
        (record(row(), benchmark="train"), "different benchmark: loss and train"),
        (record(row(n=2), row(median_s=None)), "no implementation, mode, precision and size in common"),
        (record(row(), rows=[{"n": 3, "speed": 2}]), "new.json cannot be read as a benchmark's results"),
        ({"rows": []}, "new.json cannot be read as a benchmark's results"),
        (
            record(row(), benchmark="quality"),
            "new.json cannot be read as a benchmark's results: it holds times to quality",
        ),
    ],
)
def test_runs_that_cannot_be_compared(tmp_path, capsys, other, message):
    old, new = write(tmp_path / "old.json", record(row())), write(tmp_path / "new.json", other)
    assert benchmark.main(["compare", old, new]) == 2
    assert_one_line(capsys, message)


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "command"),
        (["losss"], "invalid choice: 'losss'"),
        (["loss", "--size=4"], "unexpected argument '--size=4'"),
        (["loss", "--sizes=0"], "must be at least 1, got 0"),
        (["loss", "--sizes=x"], "'x'"),
        (["loss", "--implementations=fast"], "invalid choice: 'fast'"),
        (["loss", "--representations=3"], "--representations must divide --width, got 3 and 1024"),
        (["loss", "--out=found.txt"], "found.txt must end in .json"),
        (["loss", "--out=/dev/null/found.json"], "cannot write /dev/null/found.json"),
        (["loss", "--implementations=sharded"], "sharded needs more than one device: --devices 2"),
        (["train", "--config=nothere.py", "more"], "unexpected argument 'more'"),
        (["compare", "nothere.json", "nothere.json"], "nothere.json cannot be read"),
    ],
)
def test_bad_flags_get_one_line_and_write_nothing(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert benchmark.main(flags) == 2
    assert_one_line(capsys, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "missing, flags, message",
    [
        ("torch", ["loss", "--implementations=torch-matmul"], "pip install 'gpldan_jax[peers]'"),
        ("matplotlib", ["plot", "found.json", "--out=found.png"], "pip install 'gpldan_jax[plots]'"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, capsys, missing, flags, message):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    monkeypatch.chdir(tmp_path)
    assert benchmark.main(flags) == 2
    assert_one_line(capsys, message)


def test_without_torch_or_a_second_device_they_are_left_out(monkeypatch):
    from gpldan_jax.benchmarking import loss_times as loss

    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert loss._runnable(None, ["highest"]) == ["default", "vmap", "dense", "blocked"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "found.json"
    machine.write(path, lambda temporary: temporary.write_text("first"))

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        machine.write(path, fail)
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_a_plot_is_made(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    rows = [row(), row(n=64, median_s=None, not_run="does not fit"), row(precision="highest", implementation="vmap")]
    file = write(tmp_path / "found.json", record(*rows))
    assert benchmark.main(["plot", file, file, f"--out={tmp_path / 'found.png'}"]) == 0
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2
    nothing = write(tmp_path / "nothing.json", record(row(median_s=None)))
    assert benchmark.main(["plot", nothing, f"--out={tmp_path / 'nothing.png'}"]) == 2
    assert_one_line(capsys, "nothing to plot")


@pytest.mark.usefixtures("quick_compilation")
def test_a_run_draws_and_compares_itself(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    first, again, plot = (tmp_path / name for name in ("first.json", "again.json", "found.png"))
    flags = ("--sizes=4", "--mode=forward", "--implementations=dense")
    assert run_loss(first, *flags, f"--plot={plot}") == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert run_loss(again, *flags, f"--compare={first}", "--threshold=1e-9") == 0
    assert "old time / new time" in capsys.readouterr().out
    assert run_loss(again, *flags, f"--compare={first}", "--threshold=1e9") == 1
    assert run_loss(again, *flags, f"--compare={tmp_path / 'nothere.json'}") == 2


def test_a_mistyped_flag_does_not_wait_for_jax_or_torch():
    code = (
        "import runpy, sys; sys.argv = ['benchmark.py', 'loss', '--sises=4']\n"
        "try: runpy.run_path('experiments/benchmark.py', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, 'jax' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False", "False"], done.stderr


def assert_one_line(capsys, message):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
