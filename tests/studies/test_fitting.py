"""Fitting the methods of a comparison: choices on validation, labels, failures, and kept results."""

import json

import numpy as np
import pytest

from gpldan_jax import config as settings
from gpldan_jax.baselines import Method
from gpldan_jax.baselines.registry import METHODS
from gpldan_jax.studies import fitting
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


def test_gpldan_and_our_changes_try_equally_many_settings():
    config = settings.default_config()
    methods = fitting.gpldan_methods(config, tiny.dataset())
    assert tuple(methods) == fitting.GPLDAN_NAMES and {len(of.settings) for of in methods.values()} == {3}
    assert methods["gpldan"].settings[0] == {} and methods["gpldan"].title == "GPLDAN"
    for method in methods.values():
        for changes in method.settings:
            settings.validate(settings.with_values(config, changes))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train.selection": "last"}, "train.selection=last chooses nothing on validation; use map or recall"),
        ({"train.batch_size": 10**6}, "batch_size must not exceed the training pairs"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fitting.load_comparable(settings.with_values(settings.dataset_config("emoji"), changes))
