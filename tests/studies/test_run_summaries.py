"""The table of runs: which of them are the seeds of one row, and what a row says."""

import json

import pytest

from gpldan_jax.config import default_config, with_values
from gpldan_jax.studies.overview import overview_tables


def write_run(folder, average, *, dataset="mine", data="a" * 64, metric="map@50", split="test", **changes):
    folder.mkdir()
    figures = {"image_to_text": average + 0.1, "text_to_image": average - 0.1, "average": average}
    results = {"test": None, "validation": None, "chance": {metric: 0.125} if split == "test" else None}
    (folder / "results.json").write_text(json.dumps(results | {"dataset": dataset, split: {metric: figures}}))
    config = with_values(default_config(), {key.replace("__", "."): value for key, value in changes.items()})
    (folder / "config.json").write_text(json.dumps({"config": config, "data": data}))
    return folder


def cells(line):
    return line.strip("| ").split(" | ")


def test_mean_and_standard_deviation_by_hand(tmp_path):
    averages = [0.5, 0.6, 0.7]
    folders = [write_run(tmp_path / str(seed), of, train__seed=seed) for seed, of in enumerate(averages)]
    folders.append(write_run(tmp_path / "bare", 0.25, dataset="other", metric="recall@10"))
    assert overview_tables(folders) == [
        "| dataset | metric | runs | image to text | text to image | average | chance |",
        "|---|---|---|---:|---:|---:|---:|",
        "| mine | map@50 | 3 | 0.700 ± 0.100 | 0.500 ± 0.100 | 0.600 ± 0.100 | 0.125 |",
        "| other | recall@10 | 1 | 0.350 | 0.150 | 0.250 | 0.125 |",
    ]


def test_other_settings_and_other_data_are_other_rows_and_the_best_is_first(tmp_path):
    folders = [
        write_run(tmp_path / "a", 0.35),
        write_run(tmp_path / "b", 0.4, loss__alpha=2.0),
        write_run(tmp_path / "c", 0.2, loss__alpha=2.0, train__seed=1),
        write_run(tmp_path / "d", 0.9, data="b" * 64),
    ]
    heading, _, *rows = overview_tables(folders)
    assert cells(heading)[:5] == ["dataset", "data", "settings", "metric", "runs"]
    a, b = "SHA-256 aaaaaaaaaaaa...", "SHA-256 bbbbbbbbbbbb..."
    assert [cells(row)[:5] for row in rows] == [
        ["mine", a, "loss.alpha=1.0", "map@50", "1"],
        ["mine", a, "loss.alpha=2.0", "map@50", "2"],
        ["mine", b, "", "map@50", "1"],
    ]
    write_run(tmp_path / "e", 0.5, loss__alpha=3.0)
    rows = overview_tables([*folders[:3], tmp_path / "e"])[2:]
    assert [cells(row)[1] for row in rows] == ["loss.alpha=3.0", "loss.alpha=1.0", "loss.alpha=2.0"]


def test_where_a_run_was_computed_makes_no_other_row_and_an_older_run_had_todays_defaults(tmp_path):
    folders = [write_run(tmp_path / "a", 0.3), write_run(tmp_path / "b", 0.4, train__seed=1, mesh__data=4)]
    folders[1:] += [write_run(tmp_path / "c", 0.5, train__seed=2, dataset__path="elsewhere")]
    known = json.loads((tmp_path / "a/config.json").read_text())
    known.pop("sha256", None)
    del known["config"]["retrieval"]  # newer than version 0.1.0
    (tmp_path / "a/config.json").write_text(json.dumps(known))
    assert cells(overview_tables(folders)[2])[:3] == ["mine", "map@50", "3"]


def test_the_same_run_twice_counts_once_and_is_named(tmp_path):
    folders = [write_run(tmp_path / name, 0.3) for name in "ab"]
    lines = overview_tables(folders)
    assert cells(lines[2])[:3] == ["mine", "map@50", "1"]
    assert lines[3:] == ["", f"- {folders[1]} is left out: {folders[0]} has the same data, settings and seed."]


def test_without_test_pairs_the_figures_are_of_validation_and_the_row_says_so(tmp_path):
    folders = [write_run(tmp_path / "a", 0.3, split="validation"), write_run(tmp_path / "b", 0.4)]
    heading, _, *rows = overview_tables(folders)
    assert cells(heading)[1] == "split" and [cells(row)[1] for row in rows] == ["test", "validation"]
    assert rows[1].endswith("| 0.300 |  |")  # chance is that of the test pairs


def test_any_metric_is_shown(tmp_path):
    assert "| ndcg@50 |" in overview_tables([write_run(tmp_path / "a", 0.3, metric="ndcg@50")])[2]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"results.json": '{"half'}, "results.json is damaged"),
        ({"results.json": "{}"}, "is damaged: results.json or config.json lacks 'test'"),
        ({"results.json": '{"test": null, "validation": null}'}, "has neither test nor validation pairs"),
        ({"config.json": "{}"}, "is damaged: expected 'config' as dict, there is none"),
        ({"config.json": "[]"}, "is damaged"),
    ],
)
def test_a_damaged_run_is_named(change, message, tmp_path):
    folder = write_run(tmp_path / "a", 0.3)
    for name, text in change.items():
        (folder / name).write_text(text)
    with pytest.raises(ValueError, match=f"{folder}.*{message}"):
        overview_tables([folder])
