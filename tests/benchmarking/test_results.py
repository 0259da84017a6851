"""Results: agreement, times, fractions of a ceiling, files, and two runs side by side."""

import dataclasses
import json
from pathlib import Path

import pytest

from gpldan_jax.benchmarking import results
from tests.benchmarking.records import assert_one_line, benchmark, record, row, write
from tests.commands import ROOT


def test_agreement_is_of_each_size_and_of_the_highest_precision():
    rows = [row(), row(implementation="vmap", loss=1.0005), row(n=4, loss=7.0), row(precision="bfloat16", loss=1.1)]
    results.check_agreement([*rows, row(implementation="blocked", loss=None, not_run="does not fit")])
    with pytest.raises(results.Disagreement, match=r"blocked \(forward\) nan"):
        results.check_agreement([*rows, row(implementation="blocked", loss=float("nan"))])


def test_fractions_of_several_devices_are_of_all_their_ceilings():
    ceilings = record(flops_per_s=100.0)["ceilings"]
    one = row(implementation="sharded", devices=4, flops=400)
    assert results.with_fractions(one, ceilings, shared=True).fraction_of_ceiling == 2.0  # 200 flop/s of 100
    assert results.with_fractions(one, ceilings, shared=False).fraction_of_ceiling == 0.5


def test_what_is_written_can_be_read(tmp_path):
    found = record() | {"rows": [row(), row(n=4)]}
    results.write(found, tmp_path / "new" / "found.json")
    assert results.read(tmp_path / "new" / "found.json") == found


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks" / "results").iterdir()), ids=lambda file: file.name)
def test_files_of_earlier_versions_are_read(file):
    content = json.loads(file.read_text())
    if content["benchmark"] in ("quality", "compile", "all"):  # which cannot be compared
        with pytest.raises(ValueError, match="expected results of loss or train or search or features, found those of"):
            results.read(file)
        return
    found = results.read(file)
    assert [dataclasses.asdict(one) | old for one, old in zip(found["rows"], content["rows"], strict=True)] == [
        dataclasses.asdict(one) for one in found["rows"]
    ]
    assert all(ratio == same == 1 for _, ratio, same in results.compare(found, found))


def test_compare_by_hand(tmp_path, capsys):
    # The new machine is twice as fast and the new time half as long: nothing gained. At n = 4 it should have been.
    old = write(tmp_path / "old.json", record(row(), row(n=4), row(n=2)))
    new = write(tmp_path / "new.json", record(row(median_s=1.0), row(n=4, median_s=1.2), row(n=99), flops_per_s=2e9))
    assert benchmark("compare", old, new) == 1
    _, _, same, slower = capsys.readouterr().out.splitlines()
    assert " ".join(same.split()) == "dense, value, highest, n = 8 2.000 1.000"
    assert " ".join(slower.split()) == "dense, value, highest, n = 4 1.667 0.833 slower"
    assert benchmark("compare", old, new, "--threshold=0.8") == 0


@pytest.mark.parametrize(
    "other, message",
    [
        (record(row(), machine={"device_kind": "H100"}), "different device_kind: cpu and H100"),
        (record(row(), problem={"k": 1}), "different problem: k 2 and 1, h 8 and None"),
        (record(row(), benchmark="train"), "different benchmark: loss and train"),
        (record(row(n=2), row(median_s=None)), "no implementation, mode, precision and size in common"),
        (record(row(), rows=[{"n": 3, "speed": 2}]), "new.json cannot be read as results of a benchmark"),
        ({"rows": []}, "new.json cannot be read as results of a benchmark"),
        (record(row(), benchmark="quality"), "found those of quality"),
    ],
)
def test_runs_that_cannot_be_compared(tmp_path, capsys, other, message):
    old, new = write(tmp_path / "old.json", record(row())), write(tmp_path / "new.json", other)
    assert benchmark("compare", old, new) == 2
    assert_one_line(capsys, message)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"nothere\.json cannot be read"):
        results.read(Path("nothere.json"))


def test_a_changed_figure_is_found(tmp_path):
    path = tmp_path / "loss.json"
    results.write({"benchmark": "loss", "rows": [results.Row(64, "tiles", "forward", "highest", loss=0.5)]}, path)
    assert results.read(path)["rows"][0].loss == 0.5
    path.write_text(path.read_text().replace("0.5", "0.7"))
    with pytest.raises(ValueError, match=r"loss\.json is damaged"):
        results.read(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"loss\.json"):
        results.read(path)
