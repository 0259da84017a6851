"""What the table of a comparison says."""

import csv
import dataclasses
import json

import pytest

from gpldan_jax.baselines import Method
from gpldan_jax.config import dataset_config
from gpldan_jax.studies import table2
from gpldan_jax.studies.fitting import Row


def row(name, averages, *, supervision="unsupervised", transductive=False, failed="", bank=()):
    """A row of the table, its directions 0.125 beside the average; `bank` are averages with one."""
    method = Method(name, name.upper(), supervision, "nowhere", lambda *args: None, ({}, {"x": 1}), transductive)
    figures, banked = (
        [{"map@50": {"image_to_text": a - 0.125, "text_to_image": a + 0.125, "average": a}} for a in values]
        for values in (averages, bank)
    )
    trials = ({"settings": {}, "value": 0.5}, {"settings": {"x": 1}, "failed": "why"})
    return Row(method, {"x": 1}, trials, tuple(figures), tuple(figures), 2.5, failed, tuple(banked), tuple(banked))


ROWS = [
    row("jrl", (0.25, 0.5), supervision="supervised", transductive=True),
    row("cca", (0.25, 0.25)),
    row("gpldan", (0.5, 0.75), bank=(0.75, 0.75)),
    row("never", (), failed="the loss | is nan"),
]


def markdown(name="wikipedia", seeds=(0, 5)):
    about = {"dataset": "Wiki", "metric": "map@50", "criterion": "agreement", "command": "python x"}
    return table2._markdown(ROWS, name=name, seeds=seeds, **about)


def test_the_table_by_hand():
    lines = markdown().splitlines()
    assert lines[1] == "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    headings = "supervision | image to text | text to image | average | average with a bank | on validation | published"
    assert lines[0] == f"| Wiki, map@50 | {headings} | seconds |"
    assert lines[2] == (
        "| JRL | supervised, transductive | 0.250 ± 0.177 | 0.500 ± 0.177 | **0.375 ± 0.177** |  | 0.375 "
        "| 0.472 / 0.560 / 0.516 | 2.5 |"
    )
    assert lines[3].startswith("| CCA |") and "**" not in lines[3]
    assert "| **0.625 ± 0.177** | **0.750 ± 0.000** |" in lines[4]
    assert lines[5] == "| NEVER | unsupervised | failed: the loss / is nan |  |  |  |  |  |  |"
    assert lines[7].startswith("On test; mean ± standard deviation over seeds 0, 5. ")
    assert "among: JRL 2, CCA 2, GPLDAN 2, NEVER 2." in lines[7] and "VGG-19, AlexNet, BERT." in lines[7]
    assert "chosen by agreement@50 on validation, which needs no labels." in lines[7]
    assert "With a bank: the same fits, after each item was moved by 2048 training pairs at most" in lines[7]
    assert lines[-1] == "    python x"


def test_our_recipe_is_compared_with_each_unsupervised_method_query_by_query():
    def with_queries(of, value, banked=None):
        queries = ({"image_to_text": [value] * 3, "text_to_image": [value] * 3},) * 2
        moved = ({"image_to_text": [banked] * 3, "text_to_image": [banked] * 3},) * 2 if banked else ()
        return dataclasses.replace(of, queries=queries, banked_queries=moved)

    rows = [
        with_queries(row("jrl", (0.5, 0.5), supervision="supervised"), 0.5),
        with_queries(row("cca", (0.25, 0.25)), 0.25, 0.5),
        with_queries(row("ucal", (0.25, 0.25)), 0.125),
        with_queries(row("ours", (0.5, 0.75), bank=(0.75, 0.75)), 0.5, 0.75),
    ]
    about = {"dataset": "Wiki", "name": "", "metric": "map@50", "criterion": "map", "command": "python x"}
    text = table2._markdown(rows, seeds=(0, 1), **about)
    assert "| CCA | +0.250 [+0.250, +0.250] | +0.250 [+0.250, +0.250] | +0.500 [+0.500, +0.500] |" in text
    assert "| UCAL | +0.375 [+0.375, +0.375] |  | +0.625 [+0.625, +0.625] |" in text
    assert "| JRL | +" not in text and "ours less this method" not in markdown()


def test_published_figures_stand_beside_their_dataset_only():
    assert "Published" not in markdown(name="cub") and "0.516" not in markdown(name="")
    assert table2.published_text("wikipedia", "gpldan") == "0.482 / 0.543 / 0.513"


def test_csv_and_json_hold_every_seed():
    lines = [*csv.DictReader(table2._csv(ROWS, name="wikipedia").splitlines())]
    assert len(lines) == 3 * 2 + 2 and [line["bank"] for line in lines] == ["0"] * 6 + ["1"] * 2
    assert lines[-3] == {
        **{"method": "gpldan", "supervision": "unsupervised", "bank": "0", "run": "1", "metric": "map@50"},
        **{"image_to_text": "0.625", "text_to_image": "0.875", "average": "0.75", "published_average": "0.513"},
    }
    record = json.loads(json.dumps(table2._record(ROWS, {"dataset": "Wiki"})))
    jrl, *_, never = record["methods"]
    assert record["dataset"] == "Wiki" and jrl["tried"] == 2 and jrl["transductive"] and jrl["settings"] == {"x": 1}
    assert jrl["trials"][1] == {"settings": {"x": 1}, "failed": "why"} and never["failed"] == "the loss | is nan"


def test_methods_that_do_not_exist_or_need_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^methods: no method .gpldam. \(did you mean .gpldan.\?\); there are"):
        table2.compare(dataset_config("emoji"), ["gpldam"], (0,), tmp_path / "compare")
    config = dataset_config("emoji")
    config["train"]["batch_size"] = 10**6
    with pytest.raises(ValueError, match="batch_size must not exceed"):
        table2.compare(config, ["chance"], (0,), tmp_path / "compare")
    assert not list(tmp_path.iterdir()) and table2.method_names()[-5] == "gpldan"
