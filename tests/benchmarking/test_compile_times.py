"""Programs compiled for devices that are not there: on the CPU always, for a TPU where libtpu is installed."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import pytest

from gpldan_jax import config
from gpldan_jax.benchmarking import compile_targets, compile_times, peaks, presentation, problem
from tests.benchmarking.records import benchmark
from tests.commands import ROOT

SHAPE = {"width": 16, "representations": 2, "image_inputs": 6, "text_inputs": 5}
PROBLEM = problem.Problem(n=8, k=2, h=8, image_inputs=6, text_inputs=5)
FLAGS = [f"--{name}={value}" for name, value in SHAPE.items()]
NO_LIBTPU = compile_targets.missing_library("tpu")


@pytest.mark.slow
def test_the_figures_of_the_loss_on_a_cpu_by_hand(tmp_path, capsys):
    out = tmp_path / "found.json"
    assert benchmark("compile", "--platform=cpu", "--sizes", "8", *FLAGS, f"--out={out}", "--markdown") == 0
    found = json.loads(out.read_text())
    (row,) = found["rows"]
    asked = {"platform": "cpu", "topology": "", "device_kind": "cpu", "devices": 1, "hosts": 1}
    assert found["target"] == asked | {"compiler": None}
    assert (row["n"], row["what"], row["precision"], row["devices"]) == (8, "loss", "highest", 1)
    features, attention, inputs = 2 * 8 * 16, 2 * 8 * 2, 8 * (6 + 5)
    assert row["argument_bytes"] == 4 * (features + attention + inputs)
    assert row["output_bytes"] >= 4 * (1 + features + attention)
    assert (
        row["compile_s"] > 0
        and row["compile_cpu_s"] > 0
        and row["lower_s"] > 0
        and row["temp_bytes"] > 0
        and row["xla_bytes"] > 0
    )
    least = problem.minimum_flops(PROBLEM, "forward_and_grad")
    assert row["minimum_flops"] == {"highest": least} and row["xla_flops"] > least
    assert row["exchange"]["collectives"] == [] and row["sent_bytes"] == 0
    assert row["roofline"] is None and row["not_run"] is None  # there is no table of CPUs
    shown = capsys.readouterr().out
    assert shown.startswith("compiled for 1 x cpu on ") and "|loss, highest" in shown.replace("| ", "|")


@pytest.mark.slow
@pytest.mark.parametrize("devices, by_host", [(4, False), (8, True)])
def test_a_sharded_loss_sends_shares_around_the_ring(devices, by_host):
    record = compile_times.measure([8], platform="cpu", devices=devices, by_host=by_host, **SHAPE)
    (row,) = record["rows"]
    assert row.not_run is None and row.devices == devices and record["target"]["devices"] == devices
    assert record["target"]["hosts"] == 1  # all are of this process
    kinds = {one.kind: one for one in row.exchange.collectives}
    assert set(kinds) == {"all-reduce", "collective-permute"}  # no device gathers all features
    assert kinds["collective-permute"].executions > 2 and row.sent_bytes > 4 * 2 * 8 / devices * 16
    assert row.minimum_flops["highest"] == problem.minimum_flops(PROBLEM, "forward_and_grad") / devices


@pytest.mark.slow
def test_a_training_step_with_both_losses_on_two_devices():
    asked = {"what": ["step"], "loss": "soft_contrastive", "devices": 2}
    (row,) = compile_times.measure([8], platform="cpu", **asked, **SHAPE)["rows"]
    assert row.not_run is None and row.what == "step"
    assert row.minimum_flops["highest"] == 2 * problem.minimum_flops(PROBLEM, "forward_and_grad") / 2
    hidden = config.default("model.hidden")
    inputs = 4 * 8 * (6 + 5) * hidden / 2  # the first layers, forward and the gradient of their kernels
    assert inputs < row.minimum_flops["default"] < row.xla_flops
    kinds = {one.kind: one for one in row.exchange.collectives}
    assert kinds["all-reduce"].bytes > 4 * hidden * (6 + 5)  # the gradients


def test_what_xla_refuses_is_recorded(monkeypatch, capsys):
    def refuse(*_):
        raise ValueError("no such thing\nat all")

    monkeypatch.setattr(compile_times, "_timed", refuse)
    record = compile_times.measure([8], **SHAPE)
    assert record["rows"][0].not_run == "no such thing"
    presentation.show(record | {"machine": problem.describe()})
    assert "loss, highest, n = 8: no such thing" in capsys.readouterr().out


def test_losses_are_traced_as_on_the_accelerator(monkeypatch):
    seen = []
    monkeypatch.setattr(compile_times, "_loss_program", lambda *_: seen.append(jax.default_backend()) or 1 / 0)
    place = compile_times._Place("tpu", jax.devices()[0], None)
    with pytest.raises(ZeroDivisionError):
        compile_times._compile(PROBLEM, "loss", "highest", place, None)
    assert seen == ["tpu"] and jax.default_backend() == "cpu"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"what": ["epoch"]}, "what must be of loss, step, got 'epoch'"),
        ({"loss": "infonce"}, "loss must be of graph_pattern, soft_contrastive, got 'infonce'"),
        ({"precisions": ["double"]}, "precisions must be of highest, default, bfloat16, got 'double'"),
        ({"what": ["step"], "precisions": ["default"]}, "precisions of what=step must be highest, got default"),
        ({"devices": 1000}, "devices must be at most 8, the devices of cpu, got 1000"),
        ({"what": ["step"], "by_host": True}, "by_host is of what=loss and all devices"),
        ({"by_host": True, "devices": 4}, "by_host is of what=loss and all devices"),
        ({"width": 15}, "representations must divide width"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        compile_times.measure([8], **{**SHAPE, **changes})


@pytest.mark.slow
@pytest.mark.skipif(bool(NO_LIBTPU), reason=f"compiling for a TPU {NO_LIBTPU}")
def test_a_tpu_that_is_not_there(tmp_path):
    out = tmp_path / "found.json"
    flags = ["--platform=tpu", "--topology=v5e:2x2", "--sizes=8", *FLAGS, f"--out={out}"]
    # In another process: libtpu reads its variables when jax is imported.
    command = [sys.executable, "-m", "gpldan_jax", "benchmark", "compile", *flags]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["target"]["device_kind"] == "TPU v5 lite" and found["target"]["devices"] == 4
    assert found["target"]["compiler"].startswith("libtpu ")
    (row,) = found["rows"]
    assert row["code_bytes"] > 0 and row["temp_bytes"] > 0
    kinds = {one["kind"]: one for one in row["exchange"]["collectives"]}
    assert set(kinds) == {"all-reduce", "collective-permute"} and row["exchange"]["unknown_loops"] == 0
    assert kinds["collective-permute"]["asynchronous"] == kinds["collective-permute"]["sites"]
    least = {"highest": sum(row["minimum_flops"].values()) / peaks.PEAKS["v5e"].flops_per_s["highest"]}
    assert row["roofline"]["flops_s"] == pytest.approx(least["highest"])
    assert "peaks of a device: highest 32.83 Tflop/s" in done.stdout


@pytest.mark.skipif(not NO_LIBTPU, reason="libtpu is installed")
def test_without_libtpu_one_line_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert benchmark("compile", "--platform=tpu") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: --platform=tpu needs libtpu: pip install 'gpldan_jax[tpu]'"
    assert importlib.util.find_spec("libtpu") is None and not list(tmp_path.iterdir())
