"""Fitting the methods of a comparison: choices on validation, labels, failures, and kept results."""

import dataclasses
import json
import random

import numpy as np
import pytest

from gpldan_jax import config as settings
from gpldan_jax import retrieval
from gpldan_jax.baselines import Method
from gpldan_jax.baselines.chance import random_distances
from gpldan_jax.baselines.registry import METHODS
from gpldan_jax.data import PairedSplit
from gpldan_jax.studies import fitting
from tests.damage import damage
from tests.training import tiny


def never(train, validation, score, **settings):
    raise FloatingPointError("the loss is not finite in epoch 3")


def test_a_method_that_fails_says_so_in_its_row_and_stops_no_other(tmp_path):
    failing = Method("never", "Never", "supervised", "nowhere", never)
    counts, options = [], {"criterion": "map", "report": lambda line: None}
    methods = [failing, METHODS["chance"]]
    rows = fitting.fit_all(methods, tiny.dataset(), (0,), tmp_path, **options, on_fits=counts.append)
    assert counts[-1] == 2
    assert rows[0].failed == "the loss is not finite in epoch 3" and not rows[1].failed
    assert not (tmp_path / "never" / "settings.json").exists()  # so that it is tried again


def test_settings_that_fail_leave_the_others(tmp_path):
    def fit(train, validation, score, *, seed, width):
        if width != 8:
            raise FloatingPointError(f"the loss is not finite with width {width}")
        return lambda images, texts: np.zeros((len(images), len(texts)))

    method = Method("some", "Some", "unsupervised", "nowhere", fit, settings=tuple({"width": w} for w in (4, 8, 16)))
    lines, counts = [], []
    options = {"criterion": "map", "report": lines.append, "on_fits": counts.append}
    (row,) = fitting.fit_all([method], tiny.dataset(), (0, 1), tmp_path, **options)
    assert row.settings == {"width": 8} and len(row.trials) == 3 and not row.failed
    assert "failed: the loss is not finite with width 16" in lines[2]
    assert sorted(counts) == counts and counts[-1] == fitting._fit_count(method, (0, 1)) == 4
    counts.clear()
    fitting.fit_all([method], tiny.dataset(), (0, 1), tmp_path, **options)
    assert counts[-1] == 4


@pytest.mark.parametrize(("own", "asked", "trained"), [(30, 80, 80), (30, 20, 30), (None, 80, None)])
def test_methods_are_trained_at_least_as_long_as_gpldan(tmp_path, own, asked, trained):
    found = []

    def fit(train, validation, score, *, seed, epochs=own):
        found.append(epochs)
        return lambda images, texts: np.zeros((len(images), len(texts)))

    def untrained(train, validation, score, *, seed):
        return fit(train, validation, score, seed=seed)

    method = Method("some", "Some", "unsupervised", "nowhere", fit if own else untrained, epochs=own)
    fitting.fit_all([method], tiny.dataset(), (0,), tmp_path, criterion="map", epochs=asked, report=lambda line: None)
    assert found == [trained]


def test_a_fit_that_is_best_is_not_repeated(tmp_path):
    fits = []

    def fit(train, validation, score, *, seed, width):
        fits.append((seed, width))
        return lambda images, texts: np.zeros((len(images), len(texts)))

    method = Method("some", "Some", "unsupervised", "nowhere", fit, settings=({"width": 4}, {"width": 8}))
    fitting.fit_all([method], tiny.dataset(), (3, 5), tmp_path, criterion="map", report=lambda line: None)
    assert fits == [(3, 4), (3, 8), (5, 4)]
    record = json.loads((tmp_path / "some" / "seed-3.json").read_text())
    assert set(record["classes"]["average"]) == {"0", "1"} and len(record["curves"]["average"]) == 21


@pytest.mark.parametrize("name", ["settings", "seed-0"])
def test_a_kept_result_that_is_damaged_is_named_and_made_again_once_deleted(tmp_path, name):
    path, rng = tmp_path / "chance" / f"{name}.json", random.Random(3)
    options = {"criterion": "map", "report": lambda line: None}
    (expected,) = fitting.fit_all([METHODS["chance"]], tiny.dataset(), (0,), tmp_path, **options)
    for _ in range(10):
        whole = path.read_bytes()
        damage(path, rng)
        with pytest.raises(
            ValueError, match=rf"^{path} is damaged: .*; delete it, and the same command makes it again"
        ):
            fitting.fit_all([METHODS["chance"]], tiny.dataset(), (0,), tmp_path, **options)
        path.write_bytes(whole)
    path.unlink()
    (found,) = fitting.fit_all([METHODS["chance"]], tiny.dataset(), (0,), tmp_path, **options)
    assert found.figures == expected.figures


@pytest.mark.parametrize("supervision", ["unsupervised", "semi-supervised", "supervised"])
def test_labels_reach_only_methods_that_declare_them(tmp_path, supervision):
    splits = []

    def fit(train, validation, score, *, seed):
        splits.extend([train, validation])
        return lambda images, texts: np.zeros((len(images), len(texts)))

    method = Method("spy", "Spy", supervision, "nowhere", fit)
    fitting.fit_all([method], tiny.dataset(), (0,), tmp_path, criterion="map", report=lambda line: None)
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

    tried = tuple({"on": split, "widths": (8, 4)} for split in ("test", "validation"))
    method = Method("spy", "Spy", "unsupervised", "nowhere", fit, settings=tried)
    options = {"criterion": "recall", "report": lambda line: None}
    (row,) = fitting.fit_all([method], tiny.dataset(), (0, 1), tmp_path, **options)
    assert row.settings == {"on": "validation", "widths": (8, 4)} and len(row.trials) == 2
    assert [figures["recall@1"]["average"] for figures in row.figures] == [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cca-ridge", "cdpae", "infonce", "dcca"])
def test_methods_that_encode_are_evaluated_with_a_bank_as_well(tmp_path, name):
    dataset = tiny.dataset()
    small = {"infonce": {"hidden": 16, "width": 8, "batch_size": 8, "epochs": 2}}
    small |= {"cdpae": {"width": 8, "batch_size": 8, "epochs": 2}, "cca-ridge": {"ridge": 1.0, "components": (4,)}}
    small |= {"dcca": {"hidden": (16,), "width": 4, "batch_size": 40, "epochs": 2}}
    method = dataclasses.replace(METHODS[name], settings=(small[name],), epochs=None)
    (row,) = fitting.fit_all([method], dataset, (0,), tmp_path, criterion="map", report=lambda line: None)
    assert not row.failed and len(row.banked) == len(row.banked_validation) == 1
    # By hand: the same fit, moved by the same bank.
    train = dataclasses.replace(dataset.train, labels=None)
    unlabelled = PairedSplit(dataset.validation.images, dataset.validation.texts)

    def score(distances):
        return retrieval.evaluate_pairs(distances, dataset.validation)["map@50"]["average"]

    distances = METHODS[name].fit(train, unlabelled, score, seed=0, **small[name]).with_bank(train, fitting.BANK)
    expected = retrieval.evaluate_pairs(distances(dataset.test.images, dataset.test.texts), dataset.test)
    assert row.banked[0]["map@50"] == expected["map@50"] != row.figures[0]["map@50"]


def test_settings_can_be_chosen_without_labels(tmp_path):
    dataset, seen = tiny.dataset(), []

    def fit(train, validation, score, *, seed):
        seen.extend([score(random_distances(0, 12, 12)), score(1 - np.eye(12))])
        return lambda images, texts: random_distances(0, len(images), len(texts))

    method = Method("spy", "Spy", "unsupervised", "nowhere", fit)
    (row,) = fitting.fit_all([method], dataset, (0,), tmp_path, criterion="agreement", report=lambda line: None)
    relevance = retrieval.neighbourhood_relevance(dataset.validation, dataset.train)
    assert seen[0] == retrieval.agreement(random_distances(0, 12, 12), relevance)["average"] < seen[1]
    assert row.banked == ()  # it does not encode items


def test_gpldan_tries_three_settings_and_our_recipe_one_for_every_dataset():
    config = settings.default_config()
    methods = fitting.gpldan_methods(config, tiny.dataset())
    assert tuple(methods) == fitting.GPLDAN_NAMES and len(methods["gpldan"].settings) == 3
    assert {len(methods[name].settings) for name in fitting.GPLDAN_NAMES[1:]} == {1}
    recipe = settings.RECIPES["ours"] | {"retrieval.bank": 0, "train.selection": config["train"]["selection"]}
    assert methods["ours"].settings == (recipe,)
    assert methods["gpldan"].settings[0] == {} and methods["gpldan"].title == "GPLDAN"
    for method in methods.values():
        for changes in method.settings:
            settings.validate(settings.with_values(config, changes))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train.selection": "last"}, "train.selection=last chooses nothing on validation; use map, recall"),
        ({"train.batch_size": 10**6}, "batch_size must not exceed the training pairs"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fitting.load_comparable(settings.with_values(settings.dataset_config("emoji"), changes))
