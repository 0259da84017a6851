"""The tables of several workdirs, which make the figures of the README."""

import json

import pytest

from gpldan_jax.studies.overview import overview_tables


def write_run(folder, dataset, average, metric="map@50"):
    folder.mkdir()
    figures = {"image_to_text": average + 0.1, "text_to_image": average - 0.1, "average": average}
    results = {"dataset": dataset, "test": {metric: figures}, "chance": {metric: 0.125}}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_mean_and_standard_deviation_by_hand(tmp_path):
    folders = [write_run(tmp_path / str(i), "mine", average) for i, average in enumerate([0.5, 0.6, 0.7])]
    folders.append(write_run(tmp_path / "bare", "other", 0.25, metric="recall@10"))
    lines = overview_tables(folders)
    assert lines[:2] == [
        "| dataset | metric | runs | image to text | text to image | average | chance |",
        "|---|---|---|---|---|---|---|",
    ]
    assert lines[2] == "| mine | map@50 | 3 | 0.700 ± 0.100 | 0.500 ± 0.100 | 0.600 ± 0.100 | 0.125 |"
    assert lines[3] == "| other | recall@10 | 1 | 0.350 | 0.150 | 0.250 | 0.125 |"


def test_a_folder_without_figures_is_named(tmp_path):
    with pytest.raises(ValueError, match="not a run or a comparison, or not finished"):
        overview_tables([tmp_path])
    (tmp_path / "results.json").write_text('{"dataset": "mine", "test": null, "chance": null}')
    with pytest.raises(ValueError, match="has no test figures"):
        overview_tables([tmp_path])
    (tmp_path / "results.json").write_text('{"half')
    with pytest.raises(ValueError, match="cannot be read"):
        overview_tables([tmp_path])


def write_comparison(folder, dataset, averages):
    def figures(values):
        return [{"map@50": {"average": value}} for value in values]

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
