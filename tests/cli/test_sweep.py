"""`gpldan sweep` as a user calls it, and its grid of flags."""

import csv
import json
import time

import pytest

from gpldan_jax import config as settings
from gpldan_jax.cli.sweep import parse_grid
from gpldan_jax.studies.grid_points import AXES, Grid
from tests.commands import SMALL

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'gpldan_jax[plots]'")


def parse(seeds="1", *, first=0, **flags):
    return parse_grid(settings.with_values(settings.default_config(), {"train.seed": first}), flags, seeds)


def test_flags_in_any_order_give_the_axes_in_theirs_with_the_values_as_given():
    grid = parse("2", beta="0,0.1", alpha="3,1", learning_rate=None)
    assert grid == Grid((("loss.alpha", (3.0, 1.0)), ("loss.beta", (0.0, 0.1))), (0, 1))
    assert parse() == Grid((), (0,)) and list(AXES)[:2] == ["alpha", "beta"]


@pytest.mark.parametrize(
    ("seeds", "first", "expected"),
    [("3", 0, (0, 1, 2)), ("3", 7, (7, 8, 9)), ("1", 7, (7,)), ("0,3,7", 5, (0, 3, 7)), ("7, 0", 0, (7, 0))],
)
def test_seeds_are_counted_from_the_config_or_listed(seeds, first, expected):
    assert parse(seeds, first=first).seeds == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"alpha": ""}, "--alpha=: expected numbers separated by commas, got ''"),
        ({"alpha": "1,,2"}, "--alpha=1,,2: expected numbers separated by commas, got ''"),
        ({"beta": "0,a"}, "--beta=0,a: expected numbers separated by commas, got 'a'"),
        ({"alpha": "1,2,1.0"}, "--alpha=1,2,1.0: 1.0 is there twice"),
        ({"alpha": "-1"}, "--alpha=-1: config.loss.alpha must be a number of at least 0, got -1.0"),
        ({"adversarial": "nan"}, "--adversarial=nan: config.loss.adversarial must be a number of at least 0, got nan"),
        ({"beta": "1e999"}, "--beta=1e999: config.loss.beta must be a number of at least 0, got inf"),
        ({"learning_rate": "0"}, "--learning_rate=0: config.optim.learning_rate must be a number above 0, got 0.0"),
        ({"seeds": "1.5"}, "--seeds=1.5: expected whole numbers separated by commas, got '1.5'"),
        ({"seeds": "1,1"}, "--seeds=1,1: 1 is there twice"),
        ({"seeds": "0,-1"}, "--seeds=0,-1: config.train.seed must be a whole number from 0 to 4294967295, got -1"),
        (
            {"seeds": "0"},
            "--seeds=0: a single number says how many, from 1 to 1000; one seed alone is "
            "--config.train.seed=0 --seeds=1",
        ),
    ],
)
def test_a_flag_that_cannot_be_used_is_named_in_one_line(flags, message):
    with pytest.raises(ValueError) as error:
        parse(**flags)
    assert str(error.value) == message


def test_a_seed_taken_for_a_count_is_refused():
    with pytest.raises(ValueError, match=r"one seed alone is --config\.train\.seed=20240101 --seeds=1"):
        parse("20240101")


def rows(folder):
    with open(folder / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_killed_sweep_ends_like_one_left_alone_and_its_members_are_runs(run, features, tmp_path):
    config = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=3", "--config.train.selection=map")
    grid = ("--alpha=0.01,1", "--learning_rate=0.001,0.01", "--seeds=3,5", "--slice=3")
    whole = run(*config, *grid, f"--workdir={tmp_path / 'whole'}", script="sweep.py")
    assert whole.returncode == 0, whole.stderr
    assert "4 points, 8 runs of 3 epochs, 3 at a time" in whole.stdout and "slice 3/3" in whole.stdout
    found = rows(tmp_path / "whole")
    assert [(row["alpha"], row["learning_rate"], row["seed"]) for row in found[:3]] == [
        ("0.01", "0.001", "3"),
        ("0.01", "0.001", "5"),
        ("0.01", "0.01", "3"),
    ]
    assert len(found) == 8 and not any(row["failed"] for row in found)

    # Chosen by validation alone; test figures are those of the chosen point, whose models are kept.
    chosen = [row for row in found if row["test/map@50"]]
    assert len(chosen) == 2
    point = {"loss.alpha": float(chosen[0]["alpha"]), "optim.learning_rate": float(chosen[0]["learning_rate"])}
    record = json.loads((tmp_path / "whole" / "sweep.json").read_text())
    assert record["selected"]["point"] == point
    best = max(record["points"], key=lambda of: of["value"]["mean"])
    assert best["point"] == point
    assert len(list((tmp_path / "whole" / "models").iterdir())) == 2
    assert (tmp_path / "whole" / "figure2.png").read_bytes().startswith(b"\x89PNG")

    # Killed in its second slice.
    flags = (*config, *grid, f"--workdir={tmp_path / 'killed'}")
    process = run(*flags, script="sweep.py", wait=False, known=False)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "slices" / "0001" / "1").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "sweep.csv").exists()
    resumed = run(*flags, script="sweep.py")
    assert resumed.returncode == 0, resumed.stderr
    assert "slice 1/3" not in resumed.stdout and "slice 2/3" in resumed.stdout
    assert (tmp_path / "killed" / "sweep.csv").read_bytes() == (tmp_path / "whole" / "sweep.csv").read_bytes()

    # The selected config runs, and gives the figures of that member; on a CPU to the last bit.
    alone = run(f"--config.train.seed={chosen[1]['seed']}", "--workdir=alone", config=tmp_path / "whole" / "best.py")
    assert alone.returncode == 0, alone.stderr
    results = json.loads((tmp_path / "somewhere" / "alone" / "results.json").read_text())
    for split in ("validation", "test"):
        for metric, figures in results[split].items():
            assert float(chosen[1][f"{split}/{metric}"]) == figures["average"]
    assert results["selection"]["epoch"] == int(chosen[1]["epoch"])


@pytest.mark.slow
def test_a_finished_sweep_is_shown_and_another_grid_refused(run, features, tmp_path):
    flags = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=1", f"--workdir={tmp_path / 'sweep'}")
    first = run(*flags, "--beta=0,0.1", "--test", script="sweep.py")
    assert first.returncode == 0, first.stderr
    before = (tmp_path / "sweep" / "sweep.csv").read_bytes()
    assert all(row["test/recall@1"] for row in rows(tmp_path / "sweep"))  # asked for, of every point
    again = run(*flags, "--beta=0,0.1", "--test", script="sweep.py")
    assert again.returncode == 0 and "slice" not in again.stdout and "on test" in again.stdout
    assert (tmp_path / "sweep" / "sweep.csv").read_bytes() == before
    other = run(*flags, "--beta=0,0.2", "--test", script="sweep.py")
    assert other.returncode == 2
    assert "sweep.axes.loss.beta: [0.0, 0.1] there, [0.0, 0.2] now" in other.stderr


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--alpha=1,x",), "--alpha=1,x: expected numbers separated by commas, got 'x'"),
        (("--alpha=1,-1",), "config.loss.alpha must be a number of at least 0, got -1.0"),
        (("--alhpa=1",), "alhpa"),
        (("--seeds=0",), "--seeds=0"),
        (("--slice=0",), "slice"),
        (("--alpha=1,2", "--config.train.selection=last"), "train.selection=last cannot choose among points"),
        (("--distributed",), "unknown flag --distributed"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(run, tmp_path, flags, message):
    refused = run(*flags, script="sweep.py")
    assert refused.returncode == 2 and message in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not list((tmp_path / "somewhere").iterdir())
