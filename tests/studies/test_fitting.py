"""`experiments/compare.py` as a user calls it."""

import csv
import json

import numpy as np
import pytest

from gpldan_jax.baselines import Method
from gpldan_jax.baselines.registry import METHODS
from gpldan_jax.studies import fitting as running
from gpldan_jax.studies import table2 as tables
from tests.commands import SMALL
from tests.training import tiny


def never(train, validation, score, **settings):
    raise FloatingPointError("the loss is not finite in epoch 3")


def test_a_comparison_from_features_to_tables(run, features, tmp_path):
    flags = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=3", "--config.train.selection=map")
    flags += ("--config.denoise.image=0", "--config.denoise.text=0")
    workdir = tmp_path / "compare"
    flags = (*flags, f"--workdir={workdir}", "--methods=gpldan,chance,cmcp,cca-ridge", "--seeds=2")
    first = run(*flags, script="compare.py")
    assert first.returncode == 0, first.stderr
    table = (workdir / "table2.md").read_text()
    assert table in first.stdout
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [line.split(" | ")[0] for line in lines] == ["| Chance", "| CMCP", "| Ridge CCA", "| GPLDAN"]
    assert "| supervised, transductive |" in lines[1] and sum("**" in line for line in lines) == 2
    record = json.loads((workdir / "table2.json").read_text())
    average = {of["name"]: np.mean([f["map@50"]["average"] for f in of["figures"]]) for of in record["methods"]}
    assert min(average[name] for name in ("cmcp", "cca-ridge", "gpldan")) > average["chance"] + 0.05
    with open(workdir / "table2.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * 2 * 6  # methods, seeds, metrics

    # What is finished is not done again.
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/*.json")}
    assert len(before) == 4 * 3
    tried = json.loads((workdir / "gpldan" / "settings.json").read_text())["tried"]
    assert len({of["value"] for of in tried}) > 1  # settings do reach the training
    again = run(*flags, script="compare.py")
    assert again.returncode == 0 and "validation" not in again.stdout.partition("|")[0]
    assert before == {path: path.stat().st_mtime_ns for path in workdir.glob("*/*.json")}
    assert (workdir / "table2.md").read_text() == table

    # GPLDAN's row is the run of run.py with the chosen settings.
    chosen = json.loads((workdir / "gpldan" / "settings.json").read_text())["chosen"]
    changes = [f"--config.{key}={value}" for key, value in chosen.items()]
    shared = [flag for flag in flags if not flag.startswith(("--methods", "--seeds", "--workdir"))]
    alone = run(*shared, *changes, "--config.train.seed=1", f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    figures = json.loads((workdir / "gpldan" / "seed-1.json").read_text())["test"]
    assert json.loads((tmp_path / "alone" / "results.json").read_text())["test"] == figures


def test_a_method_that_fails_says_so_in_its_row_and_stops_no_other(tmp_path):
    failing = Method("never", "Never", "supervised", "nowhere", never)
    rows = running.fit_all(
        [failing, METHODS["chance"]], tiny.dataset(), (0,), tmp_path, criterion="map", report=lambda line: None
    )
    assert rows[0].failed == "the loss is not finite in epoch 3" and not rows[1].failed
    text = tables.markdown(rows, dataset="tiny", name="tiny", metric="map@50", seeds=(0,), command="x")
    assert "| Never | supervised | failed: the loss is not finite in epoch 3 |" in text
    assert not (tmp_path / "never" / "settings.json").exists()  # so that it is tried again


def test_settings_that_fail_leave_the_others(tmp_path):
    def fit(train, validation, score, *, seed, width):
        if width != 8:
            raise FloatingPointError(f"the loss is not finite with width {width}")
        return lambda images, texts: np.zeros((len(images), len(texts)))

    method = Method("some", "Some", "unsupervised", "nowhere", fit, settings=tuple({"width": w} for w in (4, 8, 16)))
    lines, counts = [], []
    options = {"criterion": "map", "report": lines.append, "on_fits": counts.append}
    (row,) = running.fit_all([method], tiny.dataset(), (0, 1), tmp_path, **options)
    assert row.settings == {"width": 8} and len(row.trials) == 3 and not row.failed
    assert "failed: the loss is not finite with width 16" in lines[2]
    assert sum(counts) == running.fits(method, (0, 1)) == 4
    counts.clear()
    running.fit_all([method], tiny.dataset(), (0, 1), tmp_path, **options)
    assert sum(counts) == 4


@pytest.mark.parametrize(("own", "asked", "trained"), [(30, 80, 80), (30, 20, 30), (None, 80, None)])
def test_methods_are_trained_at_least_as_long_as_gpldan(tmp_path, own, asked, trained):
    found = []

    def fit(train, validation, score, *, seed, epochs=own):
        found.append(epochs)
        return lambda images, texts: np.zeros((len(images), len(texts)))

    def untrained(train, validation, score, *, seed):
        return fit(train, validation, score, seed=seed)

    method = Method("some", "Some", "unsupervised", "nowhere", fit if own else untrained)
    running.fit_all([method], tiny.dataset(), (0,), tmp_path, criterion="map", epochs=asked, report=lambda line: None)
    assert found == [trained]


def test_a_fit_that_was_judged_best_is_not_repeated(tmp_path):
    fits = []

    def fit(train, validation, score, *, seed, width):
        fits.append((seed, width))
        return lambda images, texts: np.zeros((len(images), len(texts)))

    method = Method("some", "Some", "unsupervised", "nowhere", fit, settings=({"width": 4}, {"width": 8}))
    running.fit_all([method], tiny.dataset(), (3, 5), tmp_path, criterion="map", report=lambda line: None)
    assert fits == [(3, 4), (3, 8), (5, 4)]
    record = json.loads((tmp_path / "some" / "seed-3.json").read_text())
    assert set(record["classes"]["average"]) == {"0", "1"} and len(record["curves"]["average"]) == 21


@pytest.mark.parametrize("supervision", ["unsupervised", "semi-supervised", "supervised"])
def test_labels_reach_only_methods_that_declare_them(tmp_path, supervision):
    splits = []

    def fit(train, validation, score, *, seed):
        splits.extend([train, validation])
        return lambda images, texts: np.zeros((len(images), len(texts)))

    method = Method("spy", "Spy", supervision, "nowhere", fit)
    running.fit_all([method], tiny.dataset(), (0,), tmp_path, criterion="map", report=lambda line: None)
    assert (splits[0].labels is None) == (supervision == "unsupervised") and splits[1].labels is None


def test_settings_are_chosen_on_validation(tmp_path):
    # Ranks partners first on validation or on test, and nowhere else.
    def fit(train, validation, score, *, seed, on, widths):
        hash(widths)  # also where the settings come back from their file
        good = getattr(tiny.dataset(), on)

        def distances(images, texts):
            same = np.array_equal(images, good.images)
            return 1 - np.eye(len(images)) if same else np.eye(len(images))

        return distances

    settings = tuple({"on": split, "widths": (8, 4)} for split in ("test", "validation"))
    method = Method("spy", "Spy", "unsupervised", "nowhere", fit, settings=settings)
    options = {"criterion": "recall", "report": lambda line: None}
    (row,) = running.fit_all([method], tiny.dataset(), (0, 1), tmp_path, **options)
    assert row.settings == {"on": "validation", "widths": (8, 4)} and len(row.trials) == 2
    assert [figures["recall@1"]["average"] for figures in row.figures] == [0.0, 0.0]


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--methods=gpldam",), "--methods=gpldam: no method 'gpldam'; there are chance, cmcp,"),
        (("--dataset=wikipedai",), "no config file"),
        (("--config.train.selection=last",), "train.selection=last chooses nothing"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(run, tmp_path, flags, message):
    refused = run(*flags, script="compare.py")
    assert refused.returncode == 2 and message in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not list((tmp_path / "somewhere").iterdir())


def test_published_figures_stand_beside_the_papers_data_only(run, tmp_path):
    flags = ("--methods=cca", "--config.dataset.synthetic", f"--workdir={tmp_path / 'made'}")
    done = run(*flags, config="wikipedia.py", script="compare.py")
    assert done.returncode == 0, done.stderr
    assert "(synthetic)" in done.stdout and "Published" not in done.stdout and "0.321" not in done.stdout
