"""The plots of a page as SVG elements."""

import re

import pytest

pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install 'gpldan_jax[report]'")

from gpldan_jax.reports import charts

SCRIPT = "<script>alert('x')</script> & $x_1$"
TEXTS = {"caption": "Loss.", "alt": SCRIPT, "key": "s1-loss"}


def plots():
    return [
        charts.training_curve({SCRIPT: {1: 0.5, 2: 0.25}}, 2, SCRIPT, **TEXTS),
        charts.bars({SCRIPT: {"a": 0.5, "b": 0.25}}, SCRIPT, **TEXTS),
        charts.averages([(SCRIPT, "a", 0.5, None), ("y", "b", 0.25, 0.1)], SCRIPT, **TEXTS),
        charts.precision_recall({SCRIPT: [0.5] * 21}, share=0.125, key="s1-loss"),
    ]


def test_a_plot_is_an_element_in_the_colour_of_the_page_with_ids_of_its_own():
    for figure in plots():
        assert figure.svg.startswith("<svg viewBox=") and figure.svg.endswith("</svg>") and figure.alt
        assert "#010203" not in figure.svg and "currentColor" in figure.svg and "<style" not in figure.svg
        assert all(name.startswith("s1-loss-") for name in re.findall(r'\bid="([^"]*)"', figure.svg))
        assert all(name.startswith("s1-loss-") for name in re.findall(r"url\(#([^)]*)\)", figure.svg))


def test_names_are_text_and_no_formula_or_markup():
    for figure in plots():
        assert "<script" not in figure.svg and "$x_1$" in figure.svg


def test_the_same_plot_has_the_same_bytes():
    assert plots() == plots()


def test_precision_against_recall_says_what_it_shows():
    values = [1 - level / 40 for level in range(21)]
    figure = charts.precision_recall({"x": values}, of=", image to text", share=0.125, key="k")
    assert figure.alt == "Precision against recall, image to text; at half of the recall: x 0.750"
    assert figure.caption.endswith("A random ranking finds about the share of relevant items, 0.125.")
    assert "random" not in charts.precision_recall({"x": values}, key="k").caption
