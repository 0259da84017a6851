"""Mini-batches: a shuffle of all pairs; and denoising: an exact number of whole columns, drawn evenly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax.data import PairedSplit
from gpldan_jax.training.batches import zero_columns
from tests.training import tiny

N, D = 5, 100
KEY = jax.random.key(0)
INPUTS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)  # no value is 0

# Counts of a fixed key: 5 standard deviations of a binomial, which an even draw misses once in 10^6.
DEVIATIONS = 5


def zero_mask(outputs):
    """Which columns are zero, `[d]`; a column that is so only in part fails."""
    is_zero = np.asarray(outputs) == 0
    assert (is_zero.all(axis=0) == is_zero.any(axis=0)).all()
    return is_zero.all(axis=0)


# 0.29 * 100 is 28.999... in floating point: CDPAE truncates, and so do we.
@pytest.mark.parametrize("fraction, count", [(0.0, 0), (0.009, 0), (0.29, 28), (0.5, 50), (0.7, 70), (1.0, 100)])
def test_zeroes_an_exact_number_of_columns_and_leaves_the_rest(fraction, count):
    outputs = zero_columns(INPUTS, KEY, fraction)
    mask = zero_mask(outputs)
    assert mask.sum() == count == int(fraction * D)
    np.testing.assert_array_equal(np.asarray(outputs)[:, ~mask], INPUTS[:, ~mask])  # bit for bit: no rescaling


def test_the_key_alone_decides():
    mask = zero_mask(zero_columns(INPUTS, KEY, 0.5))
    np.testing.assert_array_equal(zero_mask(zero_columns(INPUTS, KEY, 0.5)), mask)
    np.testing.assert_array_equal(zero_mask(zero_columns(INPUTS[::-1] * 3 + 100, KEY, 0.5)), mask)
    np.testing.assert_array_equal(zero_mask(zero_columns(INPUTS[:1], KEY, 0.5)), mask)
    assert (zero_mask(zero_columns(INPUTS, jax.random.key(1), 0.5)) != mask).any()


@pytest.mark.slow
def test_all_columns_and_all_pairs_of_columns_are_equally_likely():
    draws, d, count = 2000, 20, 6
    keys = jax.random.split(jax.random.key(2), draws)
    outputs = jax.vmap(zero_columns, in_axes=(None, 0, None))(jnp.ones((1, d)), keys, count / d)
    hits = (np.asarray(outputs)[:, 0] == 0).astype(int)
    assert (hits.sum(axis=1) == count).all()
    together = hits.T @ hits
    single, pair = count / d, count * (count - 1) / (d * (d - 1))
    for found, probability in ((np.diagonal(together), single), (together[np.triu_indices(d, 1)], pair)):
        standard_deviation = np.sqrt(draws * probability * (1 - probability))
        assert np.abs(found - draws * probability).max() < DEVIATIONS * standard_deviation


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int32])
def test_the_dtype_stays(dtype):
    assert zero_columns(jnp.ones((1, D), dtype), KEY, 0.5).dtype == dtype


def test_what_is_zeroed_may_be_anything():
    outputs = zero_columns(np.full((1, D), np.nan, np.float32), KEY, 1.0)
    assert not np.asarray(outputs).any()


def test_batches_are_a_shuffle_of_all_pairs_that_depends_on_the_epoch():
    split = tiny.dataset(n=45).train
    split.images[:, 0] = np.arange(45)
    key = jax.random.key(0)

    def order(epoch, remainder):
        rows = []
        for batch in training.epoch_batches(split, key, epoch, batch_size=8, remainder=remainder):
            where = np.ones(8, bool) if batch.where is None else batch.where
            assert batch.images.shape == (8, 10)
            rows.extend(np.asarray(batch.images)[where, 0].astype(int).tolist())
        return rows

    assert sorted(order(0, "mask")) == list(range(45))
    assert len(set(order(0, "drop"))) == 40
    assert order(0, "mask") == order(0, "mask") != order(1, "mask")
    assert order(0, "mask") != list(range(45))


def grouped_split(images=7, captions=3):
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(images), captions)
    features = random.standard_normal((images, 5)).astype(np.float32)[rows]
    return PairedSplit(features, random.standard_normal((len(rows), 4)), groups=rows % (images - 1))


@pytest.mark.parametrize("devices", [1, 4])
def test_an_image_of_several_pairs_is_on_the_device_once(devices):
    split = grouped_split()
    mesh = training.data_mesh(devices) if devices > 1 else None
    pairs = training.resident_pairs(split, mesh)
    assert len(pairs.images) == (8 if mesh else 7) and len(pairs.texts) == (24 if mesh else 21)
    assert pairs.image_of is not None and pairs.text_of is None
    rows = np.array([20, 3, 4, 0], np.int32)
    batch = pairs.take(rows, None)
    np.testing.assert_array_equal(batch.images, split.images[rows])
    np.testing.assert_array_equal(batch.texts, split.texts[rows])
    assert np.asarray(batch.groups).tolist() == split.groups[rows].tolist()


def test_batches_from_the_host_have_the_groups_of_their_pairs():
    split = grouped_split()
    for batch in training.epoch_batches(split, jax.random.key(0), 0, batch_size=4, remainder="drop"):
        for image, group in zip(np.asarray(batch.images), batch.groups, strict=True):
            assert group in set(split.groups[(split.images == image).all(axis=1)].tolist())
    alone = PairedSplit(split.images, split.texts)
    assert training.resident_pairs(alone).groups is None and training.resident_pairs(alone).image_of is None
