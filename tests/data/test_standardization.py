"""Standardisation by the statistics of the training split."""

import dataclasses

import numpy as np

from gpldan_jax.data import paired_dataset, standardize

# Means and variances of a few hundred float32 values.
FLOAT32_TOLERANCE = 1e-5


def dataset(seed=0):
    random = np.random.default_rng(seed)

    def rows(count):
        return 5 + 3 * random.standard_normal((count, 4)), random.standard_normal((count, 2)), None

    return paired_dataset("mine", train=rows(300), validation=rows(20), test=rows(30))


def test_train_gets_zero_mean_and_unit_variance():
    raw = dataset()
    data, statistics = standardize(raw, image=True, text=True)
    for features in (data.train.images, data.train.texts):
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=FLOAT32_TOLERANCE)
        np.testing.assert_allclose(features.std(axis=0), 1, atol=FLOAT32_TOLERANCE)
    expected = (raw.test.images - raw.train.images.mean(axis=0)) / raw.train.images.std(axis=0)
    np.testing.assert_allclose(data.test.images, expected, atol=FLOAT32_TOLERANCE)
    np.testing.assert_array_equal(statistics.texts(raw.test.texts), data.test.texts)
    assert {value.dtype for value in vars(statistics).values()} == {np.dtype(np.float32)}


def test_what_is_not_asked_for_stays():
    raw = dataset()
    data, statistics = standardize(raw, image=False, text=True)
    assert data.train.images is raw.train.images
    assert not statistics.image_mean.any() and (statistics.image_std == 1).all()
    unchanged, _ = standardize(raw, image=False, text=False)
    assert unchanged.fingerprint() == raw.fingerprint()


def test_constant_columns_become_zero():
    raw = dataset()
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
