"""`gpldan benchmark all`: what it plans, what it writes and when, and that a part that fails stops no other."""

import json

import pytest

from gpldan_jax import _checksums
from gpldan_jax.cli import benchmark_all, benchmark_parts
from gpldan_jax.cli.benchmark_parts import Part, Speeds
from tests.benchmarking.records import assert_one_line, benchmark, record, row

# Not of a real device: what they measure is only whether the plan follows from them.
FAST = Speeds("gpu", {"highest": 5e13, "default": 3e14, "bfloat16": 6e14}, has_torch=True)
SLOW = Speeds("cpu", {"highest": 1e11, "default": 1e11, "bfloat16": 2e10}, has_torch=False)
PARTS = {part.name: part for part in benchmark_parts.parts()}


def plan(name, speeds, limit=None):
    return benchmark_parts.plan(PARTS[name], speeds, limit or PARTS[name].seconds)


def test_every_part_of_the_issue_is_there():
    commands = [part.flags[0] for part in PARTS.values()]
    assert commands[0] == "products" and {*commands} == {"products", "loss", "train", "search", "features"}
    sizes = {part.pairs for part in PARTS.values() if part.pairs}
    assert sizes == {256, 1024, 4096, 16384, 65536, 262144}
    assert [*PARTS] == list(dict.fromkeys(PARTS)) and len(PARTS) == len(benchmark_parts.parts(tiny=True))
    assert "--members=25" in PARTS["train"].flags and "--sizes=1000000" in PARTS["search"].flags


def test_precisions_are_left_out_by_the_time_that_they_take():
    flags, left_out = plan("loss-4096", FAST)
    assert flags[flags.index("--precisions") + 1 :] == ["highest", "default", "bfloat16"] and left_out is None
    flags, left_out = plan("loss-262144", FAST)
    assert flags[flags.index("--precisions") + 1 :] == ["default", "bfloat16"]
    # 3 evaluations of 262144^2 (6 * 2 * 256 * 16 + 2 * 5120) operations at 0.4 of 5e13 a second
    assert left_out.startswith("highest would take 612 s; ") and left_out.endswith(" s are left for it")
    # On a CPU "default" is "highest", so it is not measured twice.
    flags, left_out = plan("loss-256", SLOW)
    assert flags[flags.index("--precisions") + 1 :] == ["highest", "bfloat16"]
    assert plan("loss-65536", SLOW)[0] is None
    assert {"--sizes=8", "--seconds=8"} <= {*plan("features", SLOW)[0]}
    assert {"--sizes=32", "--seconds=3"} <= {*plan("features", FAST)[0]}


def test_pytorch_takes_part_where_it_computes_on_the_same_device():
    def names(flags):
        rest = flags[flags.index("--implementations") + 1 :]
        return rest[: rest.index("--precisions")] if "--precisions" in rest else rest

    assert names(plan("loss-1024", FAST)[0]) == ["default", "torch-matmul"]
    assert names(plan("loss-1024", SLOW)[0]) == ["default"]
    assert plan("compiled-train", SLOW) == (None, "PyTorch does not compute on the device of jax")
    assert names(plan("compiled-train", FAST)[0]) == ["epoch", "torch-matmul", "torch-compiled"]
    assert names(plan("loss-65536", None)[0]) == ["default", "torch-matmul"]  # nothing is known, so all is tried


FOUND = record(row(min_s=1.9), ceilings={"jax": {"highest": {"flops_per_s": 1e9, "median_s": 1.0, "shape": [1, 1, 1]}}})


@pytest.fixture
def outcomes(monkeypatch):
    """What parts give instead of being run, by their first two flags."""
    given = {}
    monkeypatch.setattr(benchmark_all, "run_part", lambda flags, limit: given[flags[1]]() or (FOUND, None))
    return given


def some_parts(*names):
    return [Part(name, 60, ("features", name)) for name in names]


def test_a_part_that_fails_stops_no_other_and_each_is_written_at_once(tmp_path, outcomes, capsys):
    out, seen = tmp_path / "found.json", []
    outcomes["first"] = lambda: None
    outcomes["second"] = lambda: (None, "exit status 1: out of memory")
    outcomes["third"] = lambda: seen.append([part["name"] for part in json.loads(out.read_text())["parts"]])
    benchmark_all.measure(some_parts("first", "second", "third"), out, {"command": "gpldan benchmark all"})
    assert seen == [["first", "second"]]
    found = json.loads(out.read_text())
    assert found["benchmark"] == "all" and found["command"] == "gpldan benchmark all"
    assert found["machine"] == FOUND["machine"] and found["budget_s"] == benchmark_all.BUDGET
    first, second, third = found["parts"]
    assert first["record"] == third["record"] == FOUND and first["failed"] is None
    assert first["command"] == "gpldan benchmark features first"
    assert second["record"] is None and second["failed"] == "exit status 1: out of memory"
    assert "second: exit status 1: out of memory" in capsys.readouterr().err


def test_parts_that_no_time_is_left_for_are_not_begun(tmp_path, outcomes):
    out = tmp_path / "found.json"
    found = benchmark_all.measure(some_parts("first"), out, {}, budget=9)
    assert found["parts"][0]["failed"] == "not begun: the 9 s for all parts were over"
    assert _checksums.read_record(out) == found


def test_a_command_that_fails_says_why_in_its_last_line():
    found, failed = benchmark_all.run_part(["losss"], 60)
    assert found is None and failed.startswith("exit status 2: argument command: invalid choice: 'losss'")


@pytest.mark.slow
def test_a_command_that_takes_too_long_is_ended():
    found, failed = benchmark_all.run_part(["products"], 0.5)
    assert found is None and failed == "stopped after 0 s; it last said: nothing"


def test_show_prints_the_tables_again(tmp_path, outcomes, capsys):
    out = tmp_path / "found.json"
    outcomes["first"] = outcomes["second"] = lambda: None
    outcomes["third"] = lambda: (None, "exit status 1: no room")
    benchmark_all.measure(some_parts("first", "second", "third"), out, {})
    assert benchmark("show", out, "--markdown") == 0
    shown = capsys.readouterr().out
    assert shown.count("dense") == 2 and shown.count("median ms") == 1  # one table for one problem
    assert "exit status 1: no room" in shown and shown.count("finished") == 2


@pytest.mark.parametrize(
    "flags, message",
    [
        (["all", "--out=found.txt"], "found.txt must end in .json"),
        (["all", "--parts", "nothing"], "--parts must be of products, loss-256, "),
        (["all", "--budget=0"], "must be at least 1, got 0"),
        (["show", "nothere.json"], "nothere.json cannot be read"),
    ],
)
def test_bad_flags_get_one_line_and_write_nothing(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    assert benchmark(*flags) == 2
    assert_one_line(capsys, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_part_of_each_kind_at_tiny_sizes(tmp_path, monkeypatch, quick_environment, capsys):
    for name, value in quick_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    out = tmp_path / "found.json"
    names = ["products", "loss-4", "train", "tiles-6", "search", "features"]  # the others are these at other sizes
    assert benchmark("all", "--tiny", "--budget=900", "--parts", *names, f"--out={out}") == 0
    found = json.loads(out.read_text())
    assert [part["name"] for part in found["parts"]] == names
    assert {part["name"]: part["failed"] for part in found["parts"] if part["failed"]} == {}
    kinds = {part["record"]["benchmark"] for part in found["parts"]}
    assert kinds == {"products", "loss", "train", "search", "features"}
    (products, loss), rows = found["parts"][:2], found["parts"][1]["record"]["rows"]
    assert products["record"]["ceilings"]["jax"].keys() == {"highest", "default", "bfloat16"}
    assert loss["command"].startswith("gpldan benchmark loss --sizes=4 --errors")
    exact = [one for one in rows if one["library"] == "jax"]
    assert exact and all(one["loss_error"] < 1e-5 and one["gradient_error"] < 1e-5 for one in exact)
    assert {one["block_size"] for one in found["parts"][3]["record"]["rows"]} == {2, 3}
    shown = capsys.readouterr().out
    assert "grid of 2" in shown and shown.count("finished") == len(names)
