"""`gpldan summarize` as a user calls it."""

import json
import warnings

import pytest

from gpldan_jax.cli.main import run_command


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the command changes


def test_the_tables_are_printed(tmp_path, capsys):
    figures = {"image_to_text": 0.5, "text_to_image": 0.25, "average": 0.375}
    results = {"dataset": "mine", "test": {"map@50": figures}, "chance": {"map@50": 0.125}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert run_command("summarize", [str(tmp_path)], "gpldan summarize") == 0
    assert capsys.readouterr().out.splitlines()[2] == "| mine | map@50 | 1 | 0.500 | 0.250 | 0.375 | 0.125 |"
    assert run_command("summarize", [], "gpldan summarize") == 0 and capsys.readouterr().out == ""


def test_a_folder_that_is_no_finished_run_is_named(tmp_path, capsys):
    assert run_command("summarize", [str(tmp_path)], "gpldan summarize") == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds no results.json and no table2.json")
