"""`gpldan ablate` as a user calls it."""

import csv
import json

import pytest

from tests.commands import SMALL
from tests.studies.ablations import NAMES


@pytest.mark.slow
def test_an_ablation_from_features_to_tables(run, features, tmp_path, monkeypatch):
    shared = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=2", "--config.train.selection=map")
    workdir = tmp_path / "ablate"
    flags = (*shared, f"--workdir={workdir}", "--seeds=2")
    first = run(*flags, script="ablate.py")
    assert first.returncode == 0, first.stderr
    table = (workdir / "table3.md").read_text()
    assert table in first.stdout
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [line.strip("| ").partition(" |")[0] for line in lines] == [
        "1. L_pd alone",
        "2. + L_md",
        "3. + L_ud",
        "4. + L_md + L_ud",
        "5. + modality classifier",
        "6. + diversified attention",
    ]
    assert "published" not in table and (workdir / "table3.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((workdir / "table3.json").read_text())
    assert [of["name"] for of in record["rows"]] == NAMES and record["seeds"] == [0, 1] and "jax" in record["versions"]
    averages = [[figures["map@50"]["average"] for figures in of["figures"]] for of in record["rows"]]
    assert len({tuple(pair) for pair in averages}) == 6  # no two rows are the same run
    with open(workdir / "table3.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 6 * 2 * 6  # rows, seeds, metrics

    # What is finished is not done again; without matplotlib there is no figure, and no old one beside new tables.
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('hidden')")
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/*.json")}
    assert len(before) == 6 * 3
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path))
        again = run(*flags, script="ablate.py")
    assert again.returncode == 0 and "validation " not in again.stdout.partition("|")[0]
    assert again.stderr.splitlines() == [
        "table3.png needs matplotlib: pip install 'gpldan_jax[plots]', then the same command"
    ]
    assert before == {path: path.stat().st_mtime_ns for path in workdir.glob("*/*.json")}
    assert (workdir / "table3.md").read_text() == table and not (workdir / "table3.png").exists()

    # The last row is the run of run.py, down to the last bit.
    alone = run(*shared, "--config.train.seed=1", f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    results = json.loads((tmp_path / "alone" / "results.json").read_text())
    assert results["test"] == record["rows"][5]["figures"][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, message",
    [
        (("--config.loss.beta=0",), "config.loss.beta is 0.0, so two rows of Table 3 would be the same"),
        (("--config.train.selection=last",), "train.selection=last chooses nothing on validation"),
        (("--coordinator=a:1", "--processes=1", "--process=0"), "unknown flag --coordinator"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(run, tmp_path, flags, message):
    refused = run(*flags, script="ablate.py")
    assert refused.returncode == 2 and message in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not list((tmp_path / "somewhere").iterdir())
