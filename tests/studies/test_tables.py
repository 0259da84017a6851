"""Tables in Markdown and CSV, and the means in them."""

import csv

import numpy as np
import pytest

from gpldan_jax import _checksums
from gpldan_jax.studies.tables import (
    MeanSd,
    best_of_groups,
    csv_text,
    main_metric,
    markdown_table,
    mean_and_sd,
    seeds_in_words,
    write_tables,
)


def test_the_standard_deviation_is_that_of_a_sample():
    assert mean_and_sd([0.25, 0.75]) == MeanSd(0.5, pytest.approx(0.125**0.5))  # (2 * 0.25²) / (2 - 1)
    assert mean_and_sd([0.25]) == MeanSd(0.25, None)


def test_a_mean_is_shown_with_its_standard_deviation_and_its_sign():
    assert str(MeanSd(0.5, 0.25)) == "0.500 ± 0.250" and f"{MeanSd(0.5, None)}" == "0.500"
    assert f"{MeanSd(0.5, 0.25):+}" == "+0.500 ± 0.250" and f"{MeanSd(-0.5, None):+}" == "-0.500"


def test_map_comes_before_recall():
    assert main_metric({"recall@10": 0, "map@50": 0}) == "map@50" and main_metric(["recall@10"]) == "recall@10"
    assert main_metric(["ndcg@50"]) == "ndcg@50"
    with pytest.raises(ValueError, match="there are no figures"):
        main_metric({})


def test_seeds_in_words():
    assert seeds_in_words((0, 5)) == "mean ± standard deviation over seeds 0, 5" and seeds_in_words((5,)) == "seed 5"


def test_the_best_of_each_group():
    means = [("a", "first", 0.5), ("a", "second", 0.75), ("b", "third", 0.25)]
    assert best_of_groups(means) == {"second", "third"} and best_of_groups([]) == set()


def test_a_cell_cannot_end_early_in_markdown():
    assert markdown_table(["x", "y", "z"], [["a | b", "", "c"]], "lcr") == [
        "| x | y | z |",
        "|---|:-:|---:|",
        "| a / b |  | c |",
    ]


def test_csv_keeps_every_bit_and_any_text():
    why = 'a "quoted", odd\nmessage'
    text = csv_text(["value", "why", "none"], [[np.float64(0.1 + 0.2), why, None], [1, True, 5e-05]])
    assert text.startswith('value,why,none\n0.30000000000000004,"a ""quoted"", odd\nmessage",\n')
    assert [*csv.reader(text.splitlines(keepends=True))][1:] == [
        ["0.30000000000000004", why, ""],
        ["1", "True", "5e-05"],
    ]


def test_a_table_is_written_in_three_formats(tmp_path):
    write_tables(tmp_path, ("a.md", "a.csv", "a.json"), "| ± |\n", "x\n", {"seeds": (0, 1)})
    assert (tmp_path / "a.md").read_bytes() == "| ± |\n".encode() and (tmp_path / "a.csv").read_text() == "x\n"
    assert _checksums.read_record(tmp_path / "a.json") == {"seeds": [0, 1]}
