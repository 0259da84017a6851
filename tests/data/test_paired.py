"""Paired datasets: what they check, what raw arrays become, and how they are scaled."""

import dataclasses

import numpy as np
import pytest

from gpldan_jax.data import DataError, PairedDataset, PairedSplit, class_titles, paired_dataset, standardize
from gpldan_jax.data.paired import Pairs, dataset_from_checked

LABELS = np.array([0, 1, 0, 1])
# Means and variances of a few hundred float32 values.
FLOAT32_TOLERANCE = 1e-5


def triple(count=4, image_dim=3, text_dim=2, labels=True):
    images = np.arange(count * image_dim, dtype=np.float64).reshape(count, image_dim)
    texts = np.arange(count * text_dim).reshape(count, text_dim)
    return images, texts, np.arange(count) % 2 + 1 if labels else None


def build(train=None, validation=None, test=None, **kwargs):
    train, validation, test = (triple() if part is None else part for part in (train, validation, test))
    return paired_dataset("mine", train=train, validation=validation, test=test, **kwargs)


def test_groups_in_some_splits_only_are_refused():
    images, texts = np.ones((2, 3), np.float32), np.ones((2, 2), np.float32)
    pairs = [Pairs(images, texts, groups=of) for of in (np.array([0, 1]), None, np.array([2, 3]))]
    with pytest.raises(DataError, match="mine: expected groups in all splits or in none"):
        dataset_from_checked("mine", pairs)


def test_types_dims_and_names():
    data = build()
    assert (data.image_dim, data.text_dim, data.class_names) == (3, 2, ("1", "2"))
    assert data.train.images.dtype == data.train.texts.dtype == np.float32
    assert data.train.labels.dtype == np.int32 and data.train.labels.tolist() == LABELS.tolist()
    assert (len(data.test), data.title) == (4, "mine")
    assert build(synthetic=True).title == "mine (synthetic)"


def test_without_labels():
    rows = triple(labels=False)
    data = build(rows, rows, rows)
    assert data.train.labels is None and data.class_names is None


def test_empty_validation_and_test_are_allowed():
    assert len(build(validation=triple(0), test=triple(0)).test) == 0
    with pytest.raises(DataError, match="mine: expected training pairs, found 0"):
        build(train=triple(0), validation=triple(0), test=triple(0))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda i, t, y: (i, t[:3], y), "expected as many texts as images, found 4 images and 3 t"),
        (lambda i, t, y: (i, t, y[:3]), r"mine test labels: expected 4 labels .* found \[3\]"),
        (lambda i, t, y: (i[:, :2], t, y), "expected 3 image and 2 text features as in train"),
        (lambda i, t, y: (i[:, 0], t, y), r"mine test images: expected shape .* found \[4\]"),
        (lambda i, t, y: (i[:, :0], t, y), r"mine test images: expected shape .* found \[4, 0\]"),
        (lambda i, t, y: (i, t.astype(str), y), "mine test texts: expected real numbers"),
        (lambda i, t, y: (i.astype(object), t, y), "mine test images: expected real numbers"),
        (lambda i, t, y: (i * 1j, t, y), "found complex128"),
        (lambda i, t, y: (i, t, None), "labels in all splits or in none, found them only in train"),
    ],
)
def test_refused(change, expected):
    with pytest.raises(DataError, match=expected):
        build(test=change(*triple()))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_rows_that_are_not_finite_are_named(value):
    images, texts, labels = triple(6)
    images[[1, 2, 4, 5], 1] = value
    expected = r"mine train images: .* in rows 1, 2, 4 and 1 more \(counted from 0\)"
    with pytest.raises(DataError, match=expected):
        build(train=(images, texts, labels))


def test_a_class_that_train_lacks_is_named():
    images, texts, _ = triple()
    with pytest.warns(UserWarning, match="mine test: train has no pair of class 7, 9"):
        data = build(test=(images, texts, [1, 2, 9, 7]))
    assert data.class_names == ("1", "2", "7", "9")


def test_constructors_check_too():
    split = PairedSplit(np.ones((2, 3)), np.ones((2, 2)), np.array([0, 1]))
    assert split.images.dtype == np.float32 and split.labels.dtype == np.int32
    with pytest.raises(DataError, match="found 2 images and 3 texts"):
        PairedSplit(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(DataError, match="found 1 for 2 pairs"):
        dataclasses.replace(split, labels=np.array([0]))
    with pytest.raises(DataError, match="expected class indices"):
        dataclasses.replace(split, labels=np.array([0.5, 1]))
    with pytest.raises(DataError, match=r"expected labels in 0..0, or -1 for none, found 0..1"):
        PairedDataset("mine", split, split, split, class_names=("a",))


def test_fingerprint_follows_every_array():
    data = build()
    assert data.fingerprint() == build().fingerprint() and len(data.fingerprint()) == 64
    prints = {data.fingerprint()}
    for name in ("train", "validation", "test"):
        for field in ("images", "texts", "labels"):
            split = getattr(data, name)
            changed = getattr(split, field).copy()
            changed.flat[0] = 1 - changed.flat[0]
            split = dataclasses.replace(split, **{field: changed})
            prints.add(dataclasses.replace(data, **{name: split}).fingerprint())
    rows = triple(labels=False)
    prints.add(build(rows, rows, rows).fingerprint())
    assert len(prints) == 11


def test_what_made_the_features_is_kept_beside_them():
    data = build()
    described = dataclasses.replace(data, features={"image": {"extractor": "mine"}})
    assert data.features is None and described.fingerprint() == data.fingerprint()
    scaled, _ = standardize(described, image=True, text=True)
    assert scaled.features == {"image": {"extractor": "mine"}}


def unscaled(seed=0):
    random = np.random.default_rng(seed)

    def rows(count):
        return 5 + 3 * random.standard_normal((count, 4)), random.standard_normal((count, 2)), None

    return paired_dataset("mine", train=rows(300), validation=rows(20), test=rows(30))


def test_train_gets_zero_mean_and_unit_variance():
    raw = unscaled()
    data, statistics = standardize(raw, image=True, text=True)
    for features in (data.train.images, data.train.texts):
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=FLOAT32_TOLERANCE)
        np.testing.assert_allclose(features.std(axis=0), 1, atol=FLOAT32_TOLERANCE)
    expected = (raw.test.images - raw.train.images.mean(axis=0)) / raw.train.images.std(axis=0)
    np.testing.assert_allclose(data.test.images, expected, atol=FLOAT32_TOLERANCE)
    np.testing.assert_array_equal(statistics.texts(raw.test.texts), data.test.texts)
    assert {value.dtype for value in vars(statistics).values()} == {np.dtype(np.float32)}


def test_what_is_not_asked_for_stays():
    raw = unscaled()
    data, statistics = standardize(raw, image=False, text=True)
    assert data.train.images is raw.train.images
    assert not statistics.image_mean.any() and (statistics.image_std == 1).all()
    unchanged, _ = standardize(raw, image=False, text=False)
    assert unchanged.fingerprint() == raw.fingerprint()


def test_constant_columns_become_zero():
    raw = unscaled()
    images = raw.train.images.copy()
    # 0.1 has no exact binary form, so its computed standard deviation is not exactly 0.
    images[:, 0], images[:, 1] = 0.1, np.float32(1e-40) * np.arange(len(images))
    raw = dataclasses.replace(raw, train=dataclasses.replace(raw.train, images=images))
    data, statistics = standardize(raw, image=True, text=False)
    assert (statistics.image_std[:2] == 1).all()
    assert not data.train.images[:, 0].any()
    assert np.isfinite(data.test.images).all()


def test_one_training_pair():
    rows = (np.ones((1, 2)), np.ones((1, 3)), None)
    data, _ = standardize(paired_dataset("mine", train=rows, validation=rows, test=rows), image=True, text=True)
    assert not data.train.images.any()


@pytest.mark.parametrize(
    ("train", "test"),
    [([-3e38, 3e38, -3e38], 3e38), ([0, 1e-30, 2e-30], 3e38)],  # the difference overflows; the quotient does
)
def test_scaled_values_outside_the_float32_range_are_refused(train, test):
    parts = {"train": train, "validation": train[:2], "test": [train[0], test]}
    raw = paired_dataset("mine", **{name: (np.c_[rows], np.ones((len(rows), 1)), None) for name, rows in parts.items()})
    with pytest.raises(DataError, match=r"mine \w+ images, standardized: expected finite .* in row"):
        standardize(raw, image=True, text=True)
    assert standardize(raw, image=False, text=True)[0].test.images is raw.test.images


def test_classes_that_are_numbers_get_a_title():
    assert class_titles(build()) == ("class 1", "class 2")
    rows = triple(labels=False)
    assert class_titles(build(rows, rows, rows)) == ()
