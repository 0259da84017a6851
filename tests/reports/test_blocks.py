"""The cells and words of a section."""

from gpldan_jax.reports.blocks import Cell, class_title, convention, figure_cell
from gpldan_jax.studies.tables import MeanSd


def test_a_cell_keeps_the_number_behind_its_text():
    assert figure_cell(MeanSd(0.12345, 0.25), is_best=True) == Cell("0.123 ± 0.250", 0.12345, True)
    assert figure_cell(0.12345) == Cell("0.123", 0.12345) and figure_cell(None) == Cell("-")


def test_metrics_are_explained_where_they_are_shown():
    assert "hits convention" in convention(["map@50"]) and "recall@k" not in convention(["map@50"])
    assert convention(["map@50", "recall@1"]).endswith(convention(["recall@1"])) and convention([]) == ""


def test_classes_have_their_names_where_the_dataset_is_at_hand():
    titles = ("cats", "dogs")
    assert [class_title(name, titles) for name in ("1", "2", "-1")] == ["dogs", "class 2", "class -1"]
