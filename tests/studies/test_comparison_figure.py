"""What the figure of comparisons shows; how it looks was looked at."""

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'gpldan_jax[plots]'")

from gpldan_jax.studies.comparison_figure import compose_comparison


def method(name, averages, banked=(), supervision="unsupervised"):
    figures, moved = ([{"map@50": {"average": value}} for value in values] for values in (averages, banked))
    return {"name": name, "title": name.upper(), "supervision": supervision, "figures": figures, "banked": moved}


def comparison(dataset="Wiki", *methods):
    return {"dataset": dataset, "methods": methods}


def test_each_dataset_is_a_panel_and_each_unsupervised_method_a_line_the_best_first():
    wiki = comparison("Wiki", method("cca", (0.4, 0.42), (0.43, 0.45)), method("ours", (0.41, 0.41), (0.5, 0.5)))
    cub = comparison(
        "CUB", method("ucal", (0.3,)), method("jrl", (0.9,), supervision="supervised"), method("chance", (0.1,))
    )
    figure = compose_comparison([wiki, cub])
    panels = [panel for panel in figure.axes if panel.axison]
    assert [panel.get_title(loc="right") for panel in panels] == ["Wiki", "CUB"]
    assert [[of.get_text() for of in panel.get_yticklabels()] for panel in panels] == [["OURS", "CCA"], ["UCAL"]]
    points = [line for line in panels[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    drawn = [(line.get_xdata()[0], line.get_markerfacecolor()) for line in points]
    assert [(round(float(x), 3), fill == "none") for x, fill in drawn[:4]] == [
        (0.41, True),  # ours without a bank, then with one
        (0.5, False),
        (0.41, True),
        (0.44, False),
    ]


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="there is no comparison"):
        compose_comparison([])
    with pytest.raises(ValueError, match="no unsupervised method of Wiki has map@50"):
        compose_comparison([comparison("Wiki", method("jrl", (0.5,), supervision="supervised"))])
