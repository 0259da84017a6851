"""`gpldan compare` as a user calls it."""

import csv
import json

import numpy as np
import pytest

from tests.commands import SMALL


@pytest.mark.slow
def test_a_comparison_from_features_to_tables(run, features, tmp_path):
    flags = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=3", "--config.train.selection=map")
    flags += ("--config.denoise.image=0", "--config.denoise.text=0")
    workdir = tmp_path / "compare"
    flags = (*flags, f"--workdir={workdir}", "--methods=gpldan,chance,cmcp,cca-ridge", "--seeds=2")
    first = run(*flags, script="compare.py")
    assert first.returncode == 0, first.stderr
    table = (workdir / "table2.md").read_text()
    assert table in first.stdout
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [line.split(" | ")[0] for line in lines] == ["| Chance", "| CMCP", "| Ridge CCA", "| GPLDAN"]
    assert "| supervised, transductive |" in lines[1] and sum("**" in line for line in lines) == 2
    record = json.loads((workdir / "table2.json").read_text())
    average = {of["name"]: np.mean([f["map@50"]["average"] for f in of["figures"]]) for of in record["methods"]}
    assert min(average[name] for name in ("cmcp", "cca-ridge", "gpldan")) > average["chance"] + 0.05
    with open(workdir / "table2.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == (4 + 2) * 2 * 6  # methods and two of them with a bank; seeds; metrics

    # What is finished is not done again.
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/*.json")}
    assert len(before) == 4 * 3
    tried = json.loads((workdir / "gpldan" / "settings.json").read_text())["tried"]
    assert len({of["value"] for of in tried}) > 1  # settings do reach the training
    again = run(*flags, script="compare.py")
    assert again.returncode == 0 and "validation" not in again.stdout.partition("|")[0]
    assert before == {path: path.stat().st_mtime_ns for path in workdir.glob("*/*.json")}
    assert (workdir / "table2.md").read_text() == table

    # GPLDAN's row is the run of run.py with the chosen settings.
    chosen = json.loads((workdir / "gpldan" / "settings.json").read_text())["chosen"]
    changes = [f"--config.{key}={value}" for key, value in chosen.items()]
    shared = [flag for flag in flags if not flag.startswith(("--methods", "--seeds", "--workdir"))]
    alone = run(*shared, *changes, "--config.train.seed=1", f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    figures = json.loads((workdir / "gpldan" / "seed-1.json").read_text())["test"]
    assert json.loads((tmp_path / "alone" / "results.json").read_text())["test"] == figures


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ("--methods=gpldam",),
            "--methods=gpldam: no method 'gpldam' (did you mean 'gpldan'?); there are chance, cmcp,",
        ),
        (("--config.train.selection=last",), "train.selection=last chooses nothing"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(run, tmp_path, flags, message):
    refused = run(*flags, script="compare.py")
    assert refused.returncode == 2 and message in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not list((tmp_path / "somewhere").iterdir())


def test_a_mistyped_dataset_is_one_line_and_status_2(run):
    refused = run("--dataset=wikipedai", config=None, script="compare.py")
    message = "error: unknown dataset 'wikipedai' (did you mean 'wikipedia'?)"
    assert refused.returncode == 2 and refused.stderr.startswith(message) and len(refused.stderr.splitlines()) == 1


@pytest.mark.slow
def test_published_figures_stand_beside_the_papers_data_only(run, tmp_path):
    flags = ("--methods=cca", "--config.dataset.synthetic", f"--workdir={tmp_path / 'made'}")
    done = run(*flags, config="wikipedia.py", script="compare.py")
    assert done.returncode == 0, done.stderr
    assert "(synthetic)" in done.stdout and "Published" not in done.stdout and "0.321" not in done.stdout
