"""float32 or float64: which features keep their differences, and that those which would not are scaled in float64."""

import numpy as np
import pytest

from gpldan_jax.data import DataError, PairedDataset, PairedSplit, load_dataset, paired_dataset, standardize
from gpldan_jax.data.precision import as_float32, needs_float64

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5000, 3))
SPOILED = [
    pytest.param(lambda x: 1.7e9 + x, id="large offset"),
    pytest.param(lambda x: 1e-42 * x, id="tiny"),
    pytest.param(lambda x: 1e-200 * x, id="squares are zero"),
    pytest.param(lambda x: 2**40 - (1000 * x).astype(np.int64), id="whole numbers"),
    pytest.param(lambda x: np.add(x, [0, 0, 1e7]), id="one column"),
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_features_that_float32_would_cut_need_float64(spoil):
    assert needs_float64(spoil(X)) and not needs_float64(X)


@pytest.mark.parametrize(
    "values",
    [
        100 + X,
        np.full((20, 3), 0.1),
        0.1 + 1e-17 * np.arange(60.0).reshape(20, 3),  # rounding of float64, no values
        np.eye(20) > 0,
        np.arange(60).reshape(20, 3),
        2**30 + 2**10 * np.arange(60).reshape(20, 3),  # float32 has these numbers
        1.7e9 + np.arange(60, dtype=np.float32).reshape(20, 3),  # has no more digits to lose
        np.zeros((0, 3)),
    ],
)
def test_other_features_do_not(values):
    assert not needs_float64(values)


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("on_disk", [False, True])
def test_they_are_scaled_in_float64(tmp_path, spoil, on_disk):
    spoiled, split = spoil(X), np.arange(len(X)) % 3
    reference = spoiled.astype(np.longdouble)
    reference = (reference - reference[split == 0].mean(axis=0)) / reference[split == 0].std(axis=0)
    for name, values in {"image": spoiled, "text": X, "split": split}.items():
        np.save(tmp_path / f"{name}.npy", values)
    raw = load_dataset("npz", path=tmp_path, on_disk=on_disk)
    data, scaling = standardize(raw, image=True, text=True)
    assert raw.train.images.dtype == scaling.image_mean.dtype == np.float64
    assert raw.train.texts.dtype == scaling.text_mean.dtype == np.float32
    for number, name in enumerate(("train", "validation", "test")):
        found = getattr(data, name).images
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.asarray(found), reference[split == number], atol=2e-6)


@pytest.mark.parametrize("few", [1, 2])
def test_held_out_rows_are_kept_as_the_training_rows_are(few):
    far = 1.7e9 + X
    rows = {"train": slice(None), "validation": slice(few), "test": slice(few, 2 * few)}
    raw = paired_dataset("mine", **{name: (far[of], X[of], None) for name, of in rows.items()})
    data, _ = standardize(raw, image=True, text=True)
    assert raw.validation.images.dtype == np.float64
    np.testing.assert_array_equal(data.validation.images, data.train.images[:few])
    np.testing.assert_array_equal(data.test.images, data.train.images[few : 2 * few])


def test_the_same_numbers_in_float64_give_the_same_bits():
    single = X.astype(np.float32)
    one, two = (PairedSplit(images, X) for images in (single, single.astype(np.float64)))
    one, two = (standardize(PairedDataset("mine", of, of, of), image=True, text=True) for of in (one, two))
    assert one[0].fingerprint() == two[0].fingerprint() and one[1].image_mean.dtype == np.float32
    np.testing.assert_array_equal(one[1].image_std, two[1].image_std)


@pytest.mark.parametrize("spoil", SPOILED[:4])
def test_without_scaling_they_are_refused(spoil):
    far = spoil(X)
    split = PairedSplit(far, X)
    message = r"^mine train images: float32 has too few digits for 3 of 3 columns: column 0 is from .* to .*; scale"
    with pytest.raises(DataError, match=message):
        standardize(PairedDataset("mine", split, split, split), image=False, text=True)


def test_some_columns_are_a_warning():
    values = RNG.normal(size=(50, 4))
    values[:, 2] += 1e12
    with pytest.warns(UserWarning, match=r"float32 has too few digits for 1 of 4 columns: column 2 is from 99999999"):
        assert as_float32(values, "a").dtype == np.float32
    as_float32(values[:15], "a")  # a few rows may be nearly equal
