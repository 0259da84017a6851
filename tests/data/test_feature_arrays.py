"""Features that stay on disk: the same rows, figures and messages as features in memory."""

import numpy as np
import pytest

from gpldan_jax.data import DataError, FeaturesOnDisk, PairedSplit, load_dataset, standardize
from gpldan_jax.data.feature_arrays import join_features
from gpldan_jax.data.files.npy import map_file
from gpldan_jax.models import choose_pairs
from gpldan_jax.models.column_statistics import column_mean, column_range, column_statistics
from gpldan_jax.retrieval.agreement import neighbourhood_relevance

N, WIDTHS = 2000, (7, 5)
RNG = np.random.default_rng(0)
IMAGES, TEXTS = (RNG.normal(3, 2, size=(N, width)).astype(np.float32) for width in WIDTHS)
SPLITS = {"in order": np.repeat([0, 1, 2], [1600, 200, 200]), "mixed": RNG.permutation(N) % 5 % 3, "drawn": None}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Passes over features take several blocks, also over these small ones."""
    monkeypatch.setattr("gpldan_jax.models.column_statistics._BLOCK_VALUES", 1000)
    monkeypatch.setattr("gpldan_jax.data.files.npy._KEPT_BYTES", 1000)


def folder(path, images=IMAGES, texts=TEXTS, **arrays):
    path.mkdir(exist_ok=True)
    for name, values in {"image": images, "text": texts, **arrays}.items():
        np.save(path / f"{name}.npy", values)
    return path


def on_disk(path, values):
    np.save(path / "values.npy", values)
    return FeaturesOnDisk([map_file(path / "values.npy")])


@pytest.mark.parametrize("split", SPLITS)
def test_a_dataset_on_disk_is_the_one_in_memory(tmp_path, split):
    arrays = {} if SPLITS[split] is None else {"split": SPLITS[split]}
    path = folder(
        tmp_path, label=np.arange(N) % 3, group=np.arange(N) // 2 if split == "drawn" else np.arange(N), **arrays
    )
    memory, disk = load_dataset("npz", path=path), load_dataset("npz", path=path, on_disk=True)
    assert isinstance(disk.train.images, FeaturesOnDisk) and isinstance(memory.train.images, np.ndarray)
    assert disk.fingerprint() == memory.fingerprint()
    (memory, ours), (disk, theirs) = (standardize(data, image=True, text=True) for data in (memory, disk))
    for name in ("image_mean", "image_std", "text_mean", "text_std"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert disk.fingerprint() == memory.fingerprint()
    assert isinstance(disk.test.texts, FeaturesOnDisk) and disk.image_dim == 7 and disk.train.images.nbytes
    for name in ("train", "validation", "test"):
        of_memory, of_disk = getattr(memory, name), getattr(disk, name)
        np.testing.assert_array_equal(np.asarray(of_disk.images), of_memory.images)
        np.testing.assert_array_equal(of_disk.texts[of_disk.text_rows()], of_memory.texts[of_memory.text_rows()])


def test_loading_reads_the_features_in_blocks_and_copies_no_split(tmp_path):
    path = folder(tmp_path, split=SPLITS["in order"])
    train = load_dataset("npz", path=path, on_disk=True).train
    assert isinstance(train.images._rows, range)  # no row numbers are kept where the rows lie one after the other
    before = train.images.rows_read
    train.images[np.array([3, 1])]
    assert train.images.rows_read == before + 2


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int8, bool])
def test_parts_and_other_dtypes_become_float32(tmp_path, dtype):
    values = IMAGES.astype(dtype)
    for number, part in enumerate(np.split(values, [100, 100, 900])):
        np.save(tmp_path / f"img_emb_{number}.npy", np.asfortranarray(part) if number else part)
    np.save(tmp_path / "text_emb_0.npy", TEXTS)
    memory, disk = load_dataset("npz", path=tmp_path), load_dataset("npz", path=tmp_path, on_disk=True)
    assert disk.fingerprint() == memory.fingerprint()
    np.testing.assert_array_equal(disk.train.images[::7], memory.train.images[::7])
    np.testing.assert_array_equal(disk.train.images[[5, -1, 5]], memory.train.images[[5, -1, 5]])


def test_rows_are_chosen_as_from_an_array(tmp_path):
    features = on_disk(tmp_path, IMAGES).take(slice(10, 500))
    known, mask = IMAGES[10:500], np.arange(490) % 3 == 0
    for rows in (3, -2, slice(None), slice(5, None, 2), [4, 4, 1], mask, np.zeros(0, int)):
        np.testing.assert_array_equal(features[rows], known[rows])
        if not isinstance(rows, int):
            np.testing.assert_array_equal(features.take(rows)[:], known[rows])
            np.testing.assert_array_equal(features.take(rows).scaled(np.square).take(slice(2))[:], known[rows][:2] ** 2)
    np.testing.assert_array_equal(list(features), known)
    for rows in ([490], [-491], np.ones(3, bool), (1, 2, 3.5), np.zeros((2, 2), int)):
        with pytest.raises(IndexError):
            features[rows]


def test_parts_are_joined_on_disk(tmp_path):
    features = on_disk(tmp_path, IMAGES)
    joined = join_features([features.take(slice(5)), features.take(slice(9, 12)), features.take([3])])
    assert isinstance(joined, FeaturesOnDisk)
    np.testing.assert_array_equal(joined[:], IMAGES[[0, 1, 2, 3, 4, 9, 10, 11, 3]])
    whole = join_features([features.take(slice(5)), features.scaled(np.square).take(slice(2))])
    np.testing.assert_array_equal(whole, np.concatenate([IMAGES[:5], IMAGES[:2] ** 2]))


def refusal(path):
    messages = []
    for options in ({}, {"on_disk": True}):
        with pytest.raises(DataError) as caught:
            standardize(load_dataset("npz", path=path, **options), image=True, text=True)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    return messages[0]


def test_what_is_wrong_is_said_as_of_features_in_memory(tmp_path):
    broken = IMAGES.copy()
    broken[[700, 1500], 1] = np.nan
    assert "NaN, Inf or overflow in rows 700, 1500 (counted from 0)" in refusal(folder(tmp_path, images=broken))
    assert "expected real numbers, found <U" in refusal(folder(tmp_path, images=IMAGES.astype(str)))
    assert "expected shape [rows, features]" in refusal(folder(tmp_path, images=IMAGES[:, 0]))
    wide = np.full((N, 2), 1e-30, np.float32)
    wide[1990:] = 3e38  # in test alone
    wide[0] = 2e-30
    split = SPLITS["in order"]
    assert "test images, standardized: expected finite" in refusal(folder(tmp_path, images=wide, split=split))
    assert "expected as many rows as image has, 2000, found 9" in refusal(folder(tmp_path, texts=TEXTS[:9]))
    (tmp_path / "image.npy").unlink()
    assert "no file for 'image'" in refusal(tmp_path)


def test_rows_come_from_pages_where_the_system_cannot_read_at_a_place(tmp_path, monkeypatch):
    monkeypatch.delattr("os.preadv")
    features = on_disk(tmp_path, IMAGES)
    np.testing.assert_array_equal(features[[7, 1999, 7]], IMAGES[[7, 1999, 7]])


def test_a_file_that_became_shorter(tmp_path):
    features = on_disk(tmp_path, IMAGES)
    with open(tmp_path / "values.npy", "r+b") as file:
        file.truncate(10_000)
    with pytest.raises(DataError, match=r"values.npy: damaged; it ends before row 1999 \(counted from 0\)"):
        features[[3, 1999]]


def test_other_data_are_loaded(tmp_path):
    np.savez(tmp_path / "own.npz", image=IMAGES, text=TEXTS)
    assert isinstance(load_dataset("npz", path=tmp_path / "own.npz", on_disk=True).train.images, np.ndarray)


@pytest.mark.parametrize("width", [1, 2, 3, 50])
def test_statistics_in_blocks_have_the_bits_of_numpy(width):
    values = RNG.normal(2, 3, size=(5000, width)).astype(np.float32)
    found = column_statistics(values)
    np.testing.assert_array_equal(found.mean, values.mean(axis=0, dtype=np.float64))
    np.testing.assert_array_equal(found.std, values.std(axis=0, dtype=np.float64))
    np.testing.assert_array_equal([found.low, found.high], [values.min(axis=0), values.max(axis=0)])
    np.testing.assert_array_equal(column_mean(values, np.float32), values.mean(axis=0))
    np.testing.assert_array_equal(column_range(values[:1]), [values[0], values[0]])


def test_the_bank_is_the_same(tmp_path):
    images, texts = IMAGES[:300], TEXTS[:300]
    memory, disk = choose_pairs(images, texts, pairs=9), choose_pairs(on_disk(tmp_path, images), texts, pairs=9)
    np.testing.assert_array_equal(memory.members, disk.members)
    np.testing.assert_array_equal(memory.regressions["image"].kernel, disk.regressions["image"].kernel)


def test_agreement_reads_the_training_pairs_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setitem(neighbourhood_relevance.__globals__, "KNOWN_PAIRS", 100)
    monkeypatch.setitem(neighbourhood_relevance.__globals__, "_KNOWN_BLOCK", 30)  # the last block has fewer
    path = folder(tmp_path, split=SPLITS["mixed"])
    memory, disk = load_dataset("npz", path=path), load_dataset("npz", path=path, on_disk=True)
    ours, theirs = (neighbourhood_relevance(data.test, data.train)(slice(None)) for data in (memory, disk))
    np.testing.assert_allclose(theirs, ours, atol=1e-6)  # a product of another shape rounds otherwise
    train = disk.train
    few = PairedSplit(np.eye(5, 7), np.eye(5))
    found = neighbourhood_relevance(few, train, neighbours=5000)(slice(None))
    assert found.shape == (5, 5) and np.isfinite(found).all() and len(train) < 5000
