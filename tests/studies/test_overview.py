"""The tables of several workdirs, which make the figures of the README."""

import json

import pytest

from gpldan_jax.studies.overview import overview_tables


def test_a_folder_of_something_else_is_named(tmp_path):
    with pytest.raises(ValueError, match="not a run or a comparison, or not finished"):
        overview_tables([tmp_path])
    with pytest.raises(ValueError, match="nothing to summarize"):
        overview_tables([])


def write_comparison(folder, dataset, averages, metric="map@50"):
    def figures(values):
        return [{metric: {"average": value}} for value in values]

    methods = [
        {
            "name": name,
            "title": name.upper(),
            "supervision": kind,
            "figures": figures(test),
            "validation": figures(other),
            "trials": [{"settings": {"loss.alpha": 2.0}, "value": value} for value in other[:1]],
        }
        for name, kind, test, other in averages
    ]
    folder.mkdir()
    (folder / "table2.json").write_text(json.dumps({"dataset": dataset, "methods": methods}))
    return folder


def test_comparisons_side_by_side(tmp_path):
    first = [("cmcp", "supervised", [0.9], [0.9]), ("gpldan", "unsupervised", [0.5, 0.7], [0.4, 0.6])]
    first.append(("cca", "unsupervised", [0.65, 0.65], [0.7, 0.7]))
    first += [("gpldan-own", "unsupervised", [0.5], [0.4]), ("chance", "unsupervised", [0.1], [0.1])]
    second = [("gpldan", "unsupervised", [0.3, 0.3], [0.2, 0.2]), ("cca", "unsupervised", [], [])]
    folders = [write_comparison(tmp_path / name, name, rows) for name, rows in (("one", first), ("two", second))]
    assert overview_tables(folders) == [
        "| average map@50 | supervision | one | two | on validation, mean |",
        "|---|---|---:|---:|---:|",
        "| CMCP | supervised | 0.900 |  |  |",
        "| GPLDAN | unsupervised | 0.600 ± 0.141 | **0.300 ± 0.000** | 0.350 |",
        "| CCA | unsupervised | **0.650 ± 0.000** |  |  |",
        "| GPLDAN-OWN | unsupervised | 0.500 |  |  |",
        "| CHANCE | unsupervised | 0.100 |  |  |",
        "",
        "- one: GPLDAN is number 2 of 2 unsupervised methods, 0.600 ± 0.141; the first, CCA, has 0.650 ± 0.000.",
        "- one: GPLDAN-OWN is number 2 of 2 unsupervised methods, 0.500; the first, CCA, has 0.650 ± 0.000.",
        "- two: GPLDAN is number 1 of 1 unsupervised methods.",
        "",
        "| on validation | settings | one | two | mean |",
        "|---|---|---:|---:|---:|",
        "| GPLDAN | loss.alpha=2.0 | 0.4000 | 0.2000 | **0.3000** |",
        "| GPLDAN-OWN | loss.alpha=2.0 | 0.4000 |  |  |",
    ]


def test_comparisons_by_other_metrics_or_with_the_same_title_are_told_apart(tmp_path):
    rows = [("gpldan", "unsupervised", [0.5], [0.25])]
    one, other = (write_comparison(tmp_path / name, "npz", rows) for name in ("photos", "songs"))
    bare = write_comparison(tmp_path / "bare", "bare", rows, metric="recall@10")
    assert overview_tables([one, other])[0] == (
        "| average map@50 | supervision | npz (photos) | npz (songs) | on validation, mean |"
    )
    heading, _, row, *_ = overview_tables([one, bare])
    assert heading == "| average | supervision | npz, map@50 | bare, recall@10 | on validation, mean |"
    assert row == "| GPLDAN | unsupervised | **0.500** | **0.500** |  |"  # a mean of two metrics says nothing


@pytest.mark.parametrize("key", ["validation", "title", "supervision", "figures"])
def test_a_comparison_that_lacks_something_is_named(tmp_path, key):
    folder = write_comparison(tmp_path / "one", "one", [("gpldan", "unsupervised", [0.5], [0.25])])
    record = json.loads((folder / "table2.json").read_text())
    del record["methods"][0][key]
    (folder / "table2.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"table2\.json is damaged"):
        overview_tables([folder])
