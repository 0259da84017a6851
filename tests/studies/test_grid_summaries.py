"""What comes out of a sweep, computed by hand."""

import csv
import io
import json

import numpy as np
import pytest
import rich.console

from gpldan_jax.studies import grid_summaries
from gpldan_jax.studies.grid_points import Grid, Member
from gpldan_jax.studies.grid_summaries import PointSummary, Result
from gpldan_jax.studies.tables import MeanSd

LOW, HIGH = (("loss.alpha", 0.3),), (("loss.alpha", 1.0),)
GRID = Grid((("loss.alpha", (0.3, 1.0)),), (0, 1))
NAN = "the pairwise loss is nan at step 11"


def figures(average, metric="map@50"):
    return {metric: {"image_to_text": average + 0.25, "text_to_image": average - 0.25, "average": average}}


def result(point, seed, value, *, test=None, epoch=5):
    return Result(Member(point, seed), epoch, value, figures(value), figures(test) if test else None)


def failure(point, seed):
    return Result(Member(point, seed), 0, None, None, None, NAN)


def summary(mean, point=LOW):
    return PointSummary(point, (0,), (5,), MeanSd(mean, None), None, None)


def show(summaries, selected, **options):
    console = rich.console.Console(file=io.StringIO(), width=80, highlight=False, markup=False, soft_wrap=True)
    grid_summaries.show(summaries, selected, console, **{"criterion": "map", "dataset": "Mine"} | options)
    return console.file.getvalue()


def test_means_and_sample_standard_deviations_by_hand():
    values = [result(LOW, 0, 0.25, test=0.5, epoch=3), result(LOW, 1, 0.75, test=0.5, epoch=9)]
    low, high = grid_summaries.summarize([*values, result(HIGH, 0, 0.375)])
    assert low.point == LOW and low.seeds == (0, 1) and low.epochs == (3, 9) and not low.failed
    assert low.value == MeanSd(0.5, pytest.approx(0.125**0.5))  # (2 * 0.25²) / (2 - 1)
    assert low.validation["map@50"] == {
        "image_to_text": MeanSd(0.75, pytest.approx(0.125**0.5)),
        "text_to_image": MeanSd(0.25, pytest.approx(0.125**0.5)),
        "average": low.value,
    }
    assert low.test["map@50"]["average"] == MeanSd(0.5, 0.0)
    assert high.value == MeanSd(0.375, None) and high.test is None


def test_recall_is_the_mean_of_its_depths_with_a_spread_of_its_own():
    runs = []
    for seed, (one, five, ten) in enumerate([(0.0, 0.5, 1.0), (0.5, 0.5, 0.5)]):
        found = figures(one, "recall@1") | figures(five, "recall@5") | figures(ten, "recall@10")
        runs.append(Result(Member(LOW, seed), 5, 0.5, found, found))
    (found,) = grid_summaries.summarize(runs)
    assert found.test["recall"]["average"] == found.validation["recall"]["average"] == MeanSd(0.5, 0.0)
    assert found.test["recall@1"]["average"].sd > 0.3
    assert found.test["recall"]["image_to_text"].mean == 0.75


def test_a_point_with_a_failed_seed_has_no_mean_and_is_not_selected():
    summaries = grid_summaries.summarize(
        [result(LOW, 0, 0.9), failure(LOW, 1), result(HIGH, 0, 0.1), result(HIGH, 1, 0.1)]
    )
    assert summaries[0] == PointSummary(LOW, (0, 1), (), None, None, None, ((1, NAN),))
    assert grid_summaries.select(summaries, "map") is summaries[1]


def test_the_highest_mean_is_selected_and_a_tie_keeps_the_earlier_point():
    summaries = [summary(0.25), summary(0.5), summary(0.5, HIGH), summary(0.375)]
    assert grid_summaries.select(summaries, "recall") is summaries[1]


def test_where_every_point_failed_the_first_reason_is_given():
    summaries = grid_summaries.summarize([failure(LOW, 3), failure(HIGH, 0)])
    with pytest.raises(ValueError, match=f"alpha 0.3, seed 3: {NAN}"):
        grid_summaries.select(summaries, "map")


def test_the_last_epoch_cannot_choose():
    with pytest.raises(ValueError, match=r"^train\.selection=last cannot choose among points; use map, recall"):
        grid_summaries.select([summary(20.0), summary(30.0, HIGH)], "last")
    only = summary(20.0)
    assert grid_summaries.select([only], "last") is only  # nothing to choose


def test_csv_by_hand_and_to_the_last_bit(tmp_path):
    found = result(LOW, 0, 0.1 + 0.2)
    found = Result(found.member, 5, np.float64(0.1 + 0.2), found.validation, figures(0.5))
    path = tmp_path / "new" / "sweep.csv"
    grid_summaries.write_csv(path, [failure(LOW, 1), result(LOW, 2, 0.5), found], criterion="map")
    names = "validation/map@50,validation/map@50/image_to_text,validation/map@50/text_to_image"
    assert path.read_bytes().decode() == (
        f"alpha,seed,epoch,map,{names},{names.replace('validation', 'test')},failed\n"
        f"0.3,1,0,,,,,,,,{NAN}\n"
        "0.3,2,5,0.5,0.5,0.75,0.25,,,,\n"
        "0.3,0,5,0.30000000000000004,0.30000000000000004,0.55,0.050000000000000044,0.5,0.75,0.25,\n"
    )
    assert [one.name for one in path.parent.iterdir()] == ["sweep.csv"]


def test_csv_of_synthetic_data_says_so_and_survives_any_message(tmp_path):
    path = tmp_path / "sweep.csv"
    why = 'a "quoted", odd\nmessage'
    runs = [Result(Member(LOW, 0), 0, None, None, None, why), result(LOW, 1, 0.5)]
    grid_summaries.write_csv(path, runs, criterion="recall", synthetic=True)
    with open(path, newline="") as file:
        first, second = csv.DictReader(file)
    assert first["failed"] == why and first["synthetic"] == second["synthetic"] == "True"
    assert second["recall"] == "0.5"


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "sweep.csv"
    path.write_text("old")
    with pytest.raises(AttributeError):
        grid_summaries.write_csv(path, [result(LOW, 0, 0.5), None], criterion="map")
    with pytest.raises(UnicodeEncodeError):
        grid_summaries.write_csv(path, [Result(Member(LOW, 0), 0, None, None, None, "\udc80")], criterion="map")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_json_holds_the_points_and_the_selected_one(tmp_path):
    summaries = grid_summaries.summarize(
        [result(LOW, 0, 0.25, test=0.5), result(LOW, 1, 0.75, test=0.5), failure(HIGH, 0)]
    )
    path = tmp_path / "sweep.json"
    about = {"criterion": "map", "dataset": "Mine (synthetic)", "synthetic": True, "versions": {"jax": "1.2"}}
    about |= {"command": "sweep.py --alpha=0.3,1", "chance": {"map@50": 0.125}}
    grid_summaries.write_json(path, summaries, summaries[0], grid=GRID, about=about)
    found = json.loads(path.read_text())
    assert found["axes"] == {"loss.alpha": [0.3, 1.0]} and found["seeds"] == [0, 1]
    assert found["selected"] == found["points"][0]
    assert found["selected"]["point"] == {"loss.alpha": 0.3} and found["selected"]["title"] == "alpha 0.3"
    assert found["selected"]["test"]["map@50"]["average"] == {"mean": 0.5, "sd": 0.0}
    assert found["selected"]["value"] == {"mean": 0.5, "sd": pytest.approx(0.125**0.5)}
    assert found["points"][1]["value"] is None and found["points"][1]["failed"] == [{"seed": 0, "why": NAN}]
    assert {name: found[name] for name in about} == about
    grid_summaries.write_json(path, summaries, None, grid=GRID, about=about)
    assert json.loads(path.read_text())["selected"] is None


def test_the_table_shows_every_point_the_failed_seeds_and_the_test_figures():
    runs = [result(LOW, 0, 0.25, test=0.5, epoch=3), result(LOW, 1, 0.75, test=0.5, epoch=9)]
    summaries = grid_summaries.summarize([*runs, result(HIGH, 0, 0.9), failure(HIGH, 1)])
    lines = show(summaries, summaries[0], chance={"map@50": 0.125}).splitlines()
    assert lines[0].strip() == "Mine: 2 seeds each"
    assert [line.split() for line in lines[3:5]] == [
        ["alpha", "0.3", "0.500", "±", "0.354", "3", "to", "9", "selected"],
        ["alpha", "1", "-", "-", "seed", "1", "failed"],
    ]
    assert lines[5] == f"alpha 1, seed 1: {NAN}"
    assert "Mine on test: alpha 0.3, average validation map@50 0.500 ± 0.354 over 2 seeds" in lines[6]
    assert " ".join(lines[-1].split()) == "map@50 0.750 ± 0.000 0.250 ± 0.000 0.500 ± 0.000 0.125 0.500 ± 0.354"
    assert max(len(line) for line in lines[7:]) <= 80  # of a pipe


def test_the_table_has_recall_where_it_selects_and_no_value_of_the_last_epoch():
    found = figures(0.25, "recall@1") | figures(0.5, "recall@5")
    summaries = grid_summaries.summarize([Result(Member(LOW, 0), 5, 0.375, found, found)])
    chance = {"recall@1": 0.125, "recall@5": 0.375}
    shown = show(summaries, summaries[0], criterion="recall", chance=chance)
    assert shown.splitlines()[-1].split() == ["recall", "0.625", "0.125", "0.375", "0.250", "0.375"]
    assert show(summaries, summaries[0], criterion="map").splitlines()[-1].startswith("recall@5")
    last = show(summaries, summaries[0], criterion="last")
    assert "validation map" not in last and "0.375" not in last.splitlines()[3]
    assert "alpha 0.3" in show(grid_summaries.summarize([failure(LOW, 0)]), None)


def test_a_point_is_described_in_words():
    assert grid_summaries.describe(summary(0.5), "map") == "average validation map@50 0.500 over 1 seed"
    assert grid_summaries.describe(summary(20.0), "last") == "the last epoch, nothing chosen on validation, 1 seed"
    failed = PointSummary(LOW, (0, 1, 2), (), None, None, None, ((0, NAN), (2, NAN)))
    assert grid_summaries.failed_seeds(failed) == "seeds 0, 2"
