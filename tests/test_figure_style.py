"""How a figure is made and written."""

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'gpldan_jax[plots]'")

import matplotlib

from gpldan_jax import _figure_style as style


def test_a_figure_is_whole_or_the_old_one(tmp_path):
    figure = style.new_figure(2, 1)
    style.set_title(figure, "Mine $\\x$")  # no formula
    path = tmp_path / "new" / "figure2.png"
    style.write_figure(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG") and list(path.parent.iterdir()) == [path]
    odd = path.with_suffix(".odd")
    odd.write_text("old")
    with pytest.raises(ValueError, match="odd"):
        style.write_figure(figure, odd)
    assert odd.read_text() == "old" and len(list(path.parent.iterdir())) == 2


def test_the_styles_are_settings_of_matplotlib_and_page_colours_differ_from_the_ink():
    with matplotlib.rc_context(style.PAGE_STYLE):
        panel = style.new_figure(2, 1).subplots()
        assert panel.spines["left"].get_visible() and not panel.spines["right"].get_visible()
    assert style.STYLE.items() <= style.PAGE_STYLE.items()
    assert style.INK not in style.PAGE_COLOURS and len(style.PAGE_COLOURS) == len(style.PAGE_MARKERS) == 8
    assert len(style.COLOURS) == len(style.MARKERS) == 8


def test_pyplot_does_not_keep_the_figures():
    style.new_figure(2, 1)
    assert not matplotlib._pylab_helpers.Gcf.get_all_fig_managers()
