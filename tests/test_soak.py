"""The soak: it finds nothing in a short run, and it finds what it is made to find."""

import json
import subprocess
import sys
import time

import pytest
from soaking import attacks, damages, faults, leaving, readers, table
from soaking.workspace import Called

from tests.commands import ROOT

QUICK, LONGER = 4, 100  # mutated inputs for each reader


def soak(folder, *flags):
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), f"--folder={folder}", *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_a_short_soak_finds_nothing(tmp_path):
    done = soak(tmp_path, "--seed=7", "--damages=20", "--interruptions=2", f"--trials={tmp_path / 'found.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads((tmp_path / "found.json").read_text())
    assert {trial["kind"] for trial in trials} == {"damage", "interruption"} and len(trials) > 40
    assert "damage: 20, " in done.stdout and damages.REFUSED in done.stdout


def count_mutated(tmp_path, count):
    found = list(readers.mutate(tmp_path, seed=1, count=count, until=time.time() + 600))
    assert not [record for record in found if record["outcome"] in readers.BAD]
    return sum(record["count"] for record in found if record["outcome"] == readers.REFUSED), len(found) // 2


@pytest.mark.slow
def test_readers_have_only_errors_of_their_own(tmp_path):
    pytest.importorskip("PIL.Image", reason="thumbnails need Pillow")
    refused, count = count_mutated(tmp_path, LONGER)
    assert count > 20 and refused > LONGER * count / 2


def test_a_damage_is_never_without_effect_on_the_bytes(tmp_path):
    import random

    done = set()
    for number in range(300):
        path = tmp_path / "file.json"
        path.write_bytes(content := b'{"figure": 0.5}\n' if number % 3 else b"")
        done.add(faults.damage(path, random.Random(number)).split()[0])
        assert not path.exists() or path.read_bytes() != content
    assert {"bit", "cut", "digit", "line", "removed", "replaced", "emptied"} <= done


@pytest.mark.parametrize(
    ("called", "left", "outcome"),
    [
        (Called(0, "map 0.5 after 3 s", ""), {"a": "1"}, damages.SAME),
        (Called(0, "map 0.4 after 3 s", ""), {"a": "1"}, damages.SILENT),
        (Called(0, "map 0.5 after 3 s", ""), {"a": "2"}, damages.SILENT),
        (Called(0, "map 0.5", "warning: trial/run/a.json is damaged"), {"a": "1"}, damages.REPAIRED),
        (Called(0, "map 0.4", "warning: trial/run/a.json has no checksum"), {"a": "2"}, damages.UNKNOWN),
        (Called(2, "", "error: trial/run/a.json is damaged"), {}, damages.REFUSED),
        (Called(2, "", "error: something is damaged"), {}, damages.UNNAMED),
        (Called(2, "", "error: trial/run/a.json is damaged\nand\nmore"), {}, damages.UNNAMED),
        (Called(-1, "", "", "KeyError: 'a'"), {}, damages.TRACEBACK),
        (Called(1, "", "Traceback (most recent call last):\n"), {}, damages.TRACEBACK),
    ],
)
def test_outcomes(tmp_path, called, left, outcome):
    case = damages.Case("run", "run", {})
    reference = Called(0, "map 0.5 after 2 s", ""), {"a": "1"}
    found, _ = damages.judge(reference, (called, left), case, "report", tmp_path / "trial" / "run" / "a.json")
    assert found == outcome


def test_times_are_no_difference():
    assert leaving.plain("  took 3.5 s   on 2026-11-26 10:00:00") == leaving.plain("took 12 s on 2025-01-01 11:11:11")
    assert leaving.new_lines("a\nb", "a\nc\nd") == "c | d"


def test_a_summary_counts_each_damage_once_and_names_what_was_found():
    found = {"file": "a.json", "done": "bit 3", "command": "run", "said": "5 lines differ"}
    records = [
        {**found, "kind": "damage", "case": "run", "seed": "1/0", "outcome": damages.SAME},
        {**found, "kind": "damage", "case": "run", "seed": "1/0", "outcome": damages.SILENT},
        {**found, "kind": "damage", "case": "run", "seed": "1/1", "outcome": damages.SAME},
        {**found, "kind": "reader", "case": ".npz", "seed": "1", "outcome": readers.REFUSED, "count": 20},
        {**found, "kind": "attack", "case": "uploads", "seed": "", "outcome": attacks.SERVED, "said": "median 3 ms"},
    ]
    summary = table.summarize(records, seed=1)
    assert summary["faults"] == {"damage": 2, "reader": 20, "attack": 1}
    assert [one["seed"] for one in summary["findings"]] == ["1/0"] and summary["attacks"] == {"uploads": "median 3 ms"}
    printed = list(table.lines(summary))
    assert "damage: 2, reader: 20, attack: 1; 24 trials" in printed
    assert printed[-1] == "SILENT: run a.json, bit 3, run (damage 1/0): 5 lines differ"
    assert any(line.split() == ["damage:", "run", "2", "0", "1", "0", "0"] for line in printed)
