"""Where progress bars are drawn."""

import importlib.util

import pytest

from gpldan_jax import _console


@pytest.mark.parametrize(
    "is_terminal, is_jupyter, has_widgets, expected",
    [(True, False, False, True), (False, True, True, True), (False, True, False, False), (False, False, True, False)],
)
def test_bars_are_drawn_on_a_terminal_and_in_a_notebook_with_widgets(
    monkeypatch, is_terminal, is_jupyter, has_widgets, expected
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: (has_widgets or None) if name == "ipywidgets" else find(name)
    )
    console = _console.make_console()
    console._force_terminal, console.is_jupyter = is_terminal, is_jupyter
    assert _console.shows_bars(console) is expected
    assert _console.progress_bar(console, "GPLDAN").disable is not expected


def test_a_pipe_is_no_terminal_in_jupyter_which_sets_force_color(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = _console.make_console()
    assert console.is_terminal and not _console.shows_bars(console)


def test_progress_prints_ten_lines_where_there_is_no_bar(capsys):
    with _console.progress(_console.make_console(), "images", 1000) as advance:
        for done in range(0, 1001, 10):
            advance(done)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and lines[0] == "images: 100 of 1,000" and lines[-1] == "images: 1,000 of 1,000"
