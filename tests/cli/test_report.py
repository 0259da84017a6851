"""`gpldan report` as a user calls it."""

import importlib.util
import re
import subprocess
import sys
import warnings

import pytest

pytest.importorskip("jinja2", reason="a report needs jinja2: pip install 'gpldan_jax[report]'")
pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install 'gpldan_jax[report]'")

from gpldan_jax.cli.main import run_command
from tests.commands import ROOT, SMALL
from tests.reports.workdirs import Page, assert_figures_are_those_of, comparison, features_file, untrained_run

HOW_TO_OPEN = "; next: open it in a browser, it needs no other file"


@pytest.fixture
def main(monkeypatch, capsys):
    """The command in this process: its status and what it printed."""

    def start(*arguments):
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which it changes
        status = run_command("report", [*map(str, arguments)], "gpldan report")
        return status, *capsys.readouterr()

    return start


@pytest.mark.slow
def test_from_features_to_the_page(run, features, tmp_path):
    workdir = tmp_path / "run"
    done = run(*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=2", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    command = [sys.executable, str(ROOT / "experiments" / "report.py"), str(workdir), f"--out={tmp_path / 'a.html'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"written to {tmp_path / 'a.html'}{HOW_TO_OPEN}\n" and not done.stderr
    text = (tmp_path / "a.html").read_text()
    assert_figures_are_those_of(workdir, Page(text))
    assert "precision against recall" in text.lower() and "Examples of retrieval" in text and not Page(text).notes
    assert "model.hidden" in text and "train.epochs" in text and "loss.alpha" not in text  # what differs


def test_a_page_says_with_which_command_it_was_made(main, tmp_path):
    status, printed, error = main(comparison(tmp_path / "c"), f"--out={tmp_path / 'out' / 'a.html'}")
    assert (status, printed, error) == (0, f"written to {tmp_path / 'out' / 'a.html'}{HOW_TO_OPEN}\n", "")
    page = Page((tmp_path / "out" / "a.html").read_text())
    assert f"gpldan report {tmp_path / 'c'} --out={tmp_path / 'out' / 'a.html'}" in page.commands


def test_a_folder_that_cannot_be_shown_is_one_line_and_status_2(main, tmp_path):
    out = tmp_path / "out" / "report.html"
    status, printed, error = main(comparison(tmp_path / "c"), tmp_path / "nowhere", f"--out={out}")
    assert status == 2 and not printed and error == f"error: no folder {tmp_path / 'nowhere'}\n"
    assert not out.parent.exists()


@pytest.mark.slow
def test_data_that_moved_are_asked_for_and_found(main, tmp_path, monkeypatch):
    for name, seed in (("first", 0), ("second", 1), ("third", 2)):
        features_file(tmp_path / f"{name}.npz", seed=seed)
    runs = [
        untrained_run(tmp_path / name, name="npz", path=str(tmp_path / f"{name}.npz")) for name in ("first", "second")
    ]
    moved = [(tmp_path / f"{name}.npz").rename(tmp_path / f"{name}-moved.npz") for name in ("first", "second")]
    out = tmp_path / "a.html"
    status, printed, error = main(*runs, f"--out={out}")
    assert status == 0 and printed == f"written to {out}{HOW_TO_OPEN}\n"
    lines = error.splitlines()
    assert len(lines) == 2 and all(line.startswith("warning: ") for line in lines)
    assert lines[0].startswith(f"warning: {runs[0]}: Precision against recall, figures of classes and examples of ret")
    assert f"the data of {runs[0]} are not there (" in lines[0] and "first.npz does not exist" in lines[0]
    assert lines[0].endswith("; say where they are now with --data=PATH")
    assert len(Page(out.read_text()).notes) == 2 and "--data" not in Page(out.read_text()).notes[0]
    # In any order, each workdir takes its own.
    status, printed, error = main(*runs, f"--data={moved[1]}", f"--data={moved[0]}", f"--out={out}")
    assert (status, error) == (0, "") and not Page(out.read_text()).notes
    before = out.read_bytes()
    status, printed, error = main(*runs, f"--data={tmp_path / 'third.npz'}", f"--out={out}")
    assert status == 2 and not printed and error.count("\n") == 1 and out.read_bytes() == before
    assert error.startswith(f"error: other data: {tmp_path / 'third.npz'} has SHA-256 ")
    status, _, error = main(comparison(tmp_path / "c"), f"--data={moved[0]}", f"--out={out}")
    assert status == 2 and error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "which folders?"),
        (["x", "--out=report.pdf"], "report.pdf must end in .html"),
        (["x", "--oot=report.html"], "unknown flag --oot; did you mean --out?"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(main, arguments, message):
    status, printed, error = main("--out=report.html", *arguments)
    assert status == 2 and not printed and message in error and error.count("\n") == 1


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_one_line_and_status_2(main, tmp_path, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    status, printed, error = main(tmp_path, f"--out={tmp_path / 'a.html'}")
    assert (
        status == 2 and not printed and error == f"error: a report needs {package}: pip install 'gpldan_jax[report]'\n"
    )
    assert not list(tmp_path.iterdir())


def test_help_needs_no_jax():
    command = [sys.executable, "-X", "importtime", str(ROOT / "experiments" / "report.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "--out" in done.stdout
    assert not re.search(r"\| +(jax|matplotlib|jinja2)$", done.stderr, re.MULTILINE)
