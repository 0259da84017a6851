"""Splits: exact totals, every row once, classes in proportion; and generated ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpldan_jax.data import apportion, load_dataset, stratified_split


@given(st.integers(0, 10**6), st.lists(st.floats(0, 1e3), min_size=1, max_size=6))
@settings(deadline=None)
def test_apportion_is_exact_and_near_the_quota(total, shares):
    if not sum(shares) > 1e-6:
        return
    counts = apportion(total, shares)
    assert sum(counts) == total
    quotas = total * np.array(shares) / sum(shares)
    assert (np.abs(np.array(counts) - quotas) < 1 + 1e-6).all()


@pytest.mark.parametrize(("total", "shares"), [(-1, (1,)), (3, (0, 0)), (3, (-1, 2)), (3, ())])
def test_apportion_refuses(total, shares):
    with pytest.raises(ValueError, match="cannot divide"):
        apportion(total, shares)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 5), st.data())
@settings(deadline=None)
def test_every_row_once_and_exact_sizes(labels, seed, data):
    first = data.draw(st.integers(0, len(labels)))
    second = data.draw(st.integers(0, len(labels) - first))
    sizes = (first, second, len(labels) - first - second)
    parts = stratified_split(np.array(labels), sizes, seed=seed)
    assert tuple(map(len, parts)) == sizes
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for value in set(labels):
        quota = labels.count(value) * first / len(labels)
        assert abs(sum(labels[row] == value for row in parts[0]) - quota) < 1 + 1e-6


def test_even_classes_split_evenly():
    labels = np.repeat(np.arange(10), 60)
    for part, size in zip(stratified_split(labels, (420, 60, 120), seed=0), (42, 6, 12), strict=True):
        assert (np.bincount(labels[part]) == size).all()


def test_the_seed_decides():
    def draw(seed):
        return stratified_split(None, (6, 4), seed=seed)[1].tolist()

    # Written down once: a split may not change with NumPy or with us.
    assert draw(0) == [0, 3, 5, 7]
    assert draw(1) != draw(0)


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 5), st.data())
@settings(deadline=None)
def test_items_with_several_classes_are_all_dealt_out(total, classes, seed, data):
    labels = np.random.default_rng(seed).random((total, classes)) < 0.4
    first = data.draw(st.integers(0, total))
    parts = stratified_split(labels, (first, total - first), seed=seed)
    assert tuple(map(len, parts)) == (first, total - first)
    assert sorted(np.concatenate(parts).tolist()) == list(range(total))


def test_several_classes_are_split_in_proportion_where_a_random_split_is_not():
    random = np.random.default_rng(0)
    labels = random.random((2000, 12)) < np.geomspace(0.005, 0.5, 12)
    sizes = (1600, 200, 200)

    def worst(parts):
        shares = np.array([labels[part].sum(axis=0) for part in parts]) / labels.sum(axis=0)
        return np.abs(shares - np.array(sizes)[:, None] / 2000).max()

    assert worst(stratified_split(labels, sizes, seed=0)) < 0.05 < worst(stratified_split(None, sizes, seed=0))


def test_the_rarest_class_is_dealt_out_first():
    labels = np.zeros((8, 2), bool)
    labels[:6, 0], labels[[0, 7], 1] = True, True  # two items of the second class, one of them of both
    one, two = stratified_split(labels, (4, 4), seed=3)
    assert labels[one].sum(axis=0).tolist() == labels[two].sum(axis=0).tolist() == [3, 1]


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="sum to 3, found 2 labels"):
        stratified_split(np.zeros(2), (2, 1), seed=0)
    with pytest.raises(ValueError, match="at least 0"):
        stratified_split(None, (2, -1), seed=0)


def test_synthetic_data_follow_the_seed_and_have_classes():
    def load(seed):
        return load_dataset("cub", synthetic=True, seed=seed)

    data = load(0)
    assert data.fingerprint() == load(0).fingerprint() != load(1).fingerprint()
    assert (data.train.images >= 0).all() and (data.train.texts < 0).any()
    for train, test in (
        (data.train.images, data.test.images),
        (data.train.texts, data.test.texts),
    ):
        centres = np.stack([train[data.train.labels == c].mean(axis=0) for c in range(10)])
        nearest = ((test[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
        assert (nearest == data.test.labels).mean() > 0.5
