"""What is read from workdirs, and what of them is refused."""

import json
import re
import shutil

import pytest

from gpldan_jax.reports import folders
from gpldan_jax.studies.tables import DIRECTIONS, MeanSd
from tests.reports.workdirs import ablation, changed, comparison, sweep, write

FIGURE = dict.fromkeys(DIRECTIONS, 0.5)
DAMAGES = [
    ("run", "results.json", ["selection"], None, "it lacks 'selection'"),
    ("run", "results.json", ["test", "map@50", "average"], "0.5", "expected a finite number, got '0.5'"),
    ("run", "results.json", ["chance"], [1], "is damaged: "),
    ("run", "results.json", ["test"], {}, "there are no figures"),
    ("run", "config.json", ["config"], [1], "is damaged: "),
    ("comparison", "table2.json", ["methods", 0, "figures", 0, "map@50"], 0.5, "is damaged: "),
    ("comparison", "table2.json", ["methods", 1, "seconds"], float("nan"), "expected a finite number, got nan"),
    ("comparison", "ours/seed-1.json", ["curves", "average"], [0.5], "precision at 21 levels of recall, got 1"),
    ("comparison", "ours/seed-1.json", ["classes", "average"], {"0": 1.0}, "not those of the other seeds"),
    ("comparison", "table2.json", ["methods", 1, "figures", 0], {"recall@10": FIGURE}, "map@50, others have not"),
    ("sweep", "sweep.json", ["points", 0, "value", "sd"], True, "expected a finite number, got True"),
    ("ablation", "table3.json", ["rows", 0, "terms"], None, "it lacks 'terms'"),
    ("ablation", "table3.json", ["metric"], "map@5", "some figures lack map@5"),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind, file, keys, new, message", DAMAGES)
def test_damaged_files_are_one_line(made, tmp_path, kind, file, keys, new, message):
    makers = {"comparison": comparison, "sweep": sweep, "ablation": ablation}
    folder = shutil.copytree(made, tmp_path / "run") if kind == "run" else makers[kind](tmp_path / kind)
    write(folder / file, changed(json.loads((folder / file).read_text()), keys, new))
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        folders.read(folder)
    assert str(raised.value).startswith(str(folder / file)) and "\n" not in str(raised.value)
    for content in ('{"half', "[]", "7", "null", "\x00", "[" * 100_000):
        (folder / file).write_text(content)
        with pytest.raises(ValueError, match="is damaged: ") as raised:
            folders.read(folder)
        assert str(raised.value).startswith(str(folder / file)) and "\n" not in str(raised.value)


def test_a_folder_is_known_by_its_files(made, tmp_path):
    run, found = folders.read(made), folders.read(sweep(tmp_path / "sweep"))
    assert isinstance(run, folders.Run) and len(run.epochs) == 3 and run.versions == "gpldan_jax 0.1.0, on cpu"
    assert isinstance(found, folders.Sweep) and found.points[0].value == MeanSd(0.25, 0.01)
    compared, ablated = folders.read(comparison(tmp_path / "c")), folders.read(ablation(tmp_path / "a"))
    assert not compared.is_ablation and ablated.is_ablation and ablated.methods[0].published == "0.202"
    assert compared.methods[1].classes["average"] == {"0": 0.625, "1": 0.3125}


def test_folders_that_hold_nothing_finished_are_named(made, tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "going" / "config.json", {})
    (shutil.copytree(made, tmp_path / "short") / "metrics.jsonl").unlink()
    (shutil.copytree(made, tmp_path / "torn") / "metrics.jsonl").write_text('{"epoch": 1}\n{"ep')
    for name, message in (
        ("nowhere", f"no folder {tmp_path / 'nowhere'}"),
        ("empty", f"{tmp_path / 'empty'} is not the workdir of a run, a sweep, a comparison or an ablation: no "),
        ("going", f"{tmp_path / 'going'} is not finished"),
        ("short", f"{tmp_path / 'short' / 'metrics.jsonl'} cannot be read"),
        ("torn", f"{tmp_path / 'torn' / 'metrics.jsonl'} is damaged"),
    ):
        with pytest.raises(ValueError) as error:
            folders.read(tmp_path / name)
        assert str(error.value).startswith(message) and "\n" not in str(error.value)
