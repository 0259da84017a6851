"""`gpldan summarize` as a user calls it."""

import warnings

import pytest

from gpldan_jax.cli.main import run_command
from tests.studies.test_run_summaries import write_run


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the command changes


def test_the_tables_are_printed(tmp_path, capsys):
    run = write_run(tmp_path / "a", 0.375)
    assert run_command("summarize", [str(run)], "gpldan summarize") == 0
    assert capsys.readouterr().out.splitlines()[2] == "| mine | map@50 | 1 | 0.475 | 0.275 | 0.375 | 0.125 |"
    again = write_run(tmp_path / "b", 0.375)
    assert run_command("summarize", [str(run), str(again), "--latex"], "gpldan summarize") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"\begin{tabular}{lllrrrr}" and r"mine & map@50 & 1 & 0.475 & 0.275 & 0.375 & 0.125 \\" in lines
    assert lines[-1].startswith("% - ") and "is left out" in lines[-1]


def test_no_folder_is_an_error(capsys):
    assert run_command("summarize", [], "gpldan summarize") == 2
    assert capsys.readouterr().err == "error: which folders? try gpldan summarize runs/emoji\n"


def test_a_folder_that_is_no_finished_run_is_named(tmp_path, capsys):
    assert run_command("summarize", [str(tmp_path)], "gpldan summarize") == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds no results.json and no table2.json")
