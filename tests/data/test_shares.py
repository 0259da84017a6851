"""Several processes that read features together, here threads: each reads its part, and no bit changes."""

import threading

import numpy as np
import pytest

from gpldan_jax.data import DataError, load_dataset, standardize
from gpldan_jax.data.files.npy import MappedFile
from gpldan_jax.models.column_statistics import Share, column_mean

N = 1001
RNG = np.random.default_rng(0)
IMAGES, TEXTS = RNG.normal(3, 2, size=(N, 7)).astype(np.float32), RNG.normal(size=(N, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("gpldan_jax.models.column_statistics._BLOCK_VALUES", 500)


@pytest.fixture
def rows_read(monkeypatch):
    """How many rows each thread reads from files."""
    counts = {}

    def counting(read):
        def counted(file, rows):
            found, thread = read(file, rows), threading.current_thread().name
            counts[thread] = counts.get(thread, 0) + len(found)
            return found

        return counted

    for name in ("read_block", "read_rows"):
        monkeypatch.setattr(MappedFile, name, counting(getattr(MappedFile, name)))
    return counts


def together(count, work):
    """What `work` returns or raises in each of several threads, which get the shares of as many processes."""
    barrier, places, results = threading.Barrier(count), [None] * count, [None] * count

    def run(index):
        def tell(values, source):
            places[index] = values
            barrier.wait(60)
            told = places[source].copy()
            barrier.wait(60)
            return told

        try:
            results[index] = work(Share(index, count, tell))
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=[index], name=str(index)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Where one fails alone, the others wait in vain; its error is the one to show.
    assert not any(isinstance(found, threading.BrokenBarrierError) for found in results), results
    return results


def folder(path, images=IMAGES, split=None):
    path.mkdir(exist_ok=True)
    arrays = {
        "image": images,
        "text": TEXTS,
        "split": np.repeat([0, 1, 2], [801, 100, 100]) if split is None else split,
    }
    for name, values in arrays.items():
        np.save(path / f"{name}.npy", values)
    return path


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("split", ["in order", "mixed"])
def test_statistics_have_the_bits_of_one_process_and_each_reads_its_part(tmp_path, rows_read, count, split):
    path = folder(tmp_path, split=np.arange(N) % 4 % 3 if split == "mixed" else None)

    def work(share):
        loaded = load_dataset("npz", path=path, on_disk=True, share=share)
        return (*standardize(loaded, image=True, text=True), column_mean(loaded.train.texts, np.float32))

    alone, statistics, mean = work(None)
    read_alone = rows_read["MainThread"]
    for found, of_share, mean_of_share in together(count, work):
        for name in ("image_mean", "image_std", "text_mean", "text_std"):
            np.testing.assert_array_equal(getattr(of_share, name), getattr(statistics, name))
        np.testing.assert_array_equal(mean_of_share, mean)
        np.testing.assert_array_equal(found.test.images[:], alone.test.images[:])
    for index in range(count):  # rounded up in each of a dozen passes
        assert abs(rows_read[str(index)] - read_alone / count) < 130 * (split == "mixed") + 130


def test_a_single_column_is_read_by_all(tmp_path):
    path = folder(tmp_path, images=IMAGES[:, :1])
    expected = standardize(load_dataset("npz", path=path), image=True, text=True)[1]
    for _, found in together(
        2, lambda share: standardize(load_dataset("npz", path=path, on_disk=True, share=share), image=True, text=True)
    ):
        np.testing.assert_array_equal(found.image_std, expected.image_std)


def test_what_one_finds_wrong_all_refuse(tmp_path):
    broken = IMAGES.copy()
    broken[900, 2] = np.nan
    path = folder(tmp_path, images=broken)
    first, second = together(2, lambda share: load_dataset("npz", path=path, on_disk=True, share=share))
    assert isinstance(first, DataError) and "process 1 says which are not" in str(first)
    assert isinstance(second, DataError) and "found NaN, Inf or overflow in row 900 (counted from 0)" in str(second)


def test_fewer_rows_than_processes(tmp_path):
    few = np.repeat([0, 1, 2], [1, 1, N - 2])
    path = folder(tmp_path, split=few)

    def work(share):
        return standardize(load_dataset("npz", path=path, on_disk=True, share=share), image=True, text=True)[1]

    for found in together(3, work):
        np.testing.assert_array_equal(found.image_mean, IMAGES[0])
