"""Columns and items without information: counted in memory and on disk, by one process and by two."""

import threading

import numpy as np
import pytest

from gpldan_jax.data import DataError, load_dataset, standardize
from gpldan_jax.data.information import EmptyRows, WithoutInformation
from gpldan_jax.models.column_statistics import Share

N, SPLIT = 3000, np.arange(3000) % 3


def folder(path, offset=0.0):
    rng = np.random.default_rng(0)
    images, texts = offset + rng.normal(size=(N, 40)), (rng.random((N, 70)) < 0.2).astype(np.float32)
    images[:, [3, 30]] = offset + 0.1
    images[np.flatnonzero(SPLIT == 1)[:5], 30] = offset  # constant in training alone
    filled = np.flatnonzero(SPLIT)[[4, 9, 700]]  # not of training, whose mean they would change
    images[filled] = images[SPLIT == 0].mean(axis=0)
    texts[[5, 6, 2000, 2999]] = 0
    for name, values in {"image": images, "text": texts, "split": SPLIT}.items():
        np.save(path / f"{name}.npy", values)
    return path


@pytest.mark.parametrize("offset", [0.0, 1.7e9])
@pytest.mark.parametrize("on_disk", [False, True])
def test_empty_columns_and_items_are_counted(tmp_path, offset, on_disk):
    raw = load_dataset("npz", path=folder(tmp_path, offset), on_disk=on_disk)
    found = standardize(raw, image=True, text=True)[0].empty
    assert found.columns == {"image": (2, 40), "text": (0, 70)}
    assert found.items == {"image": (3, N), "text": (4, N)}
    found.check("mine")
    assert raw.empty.line() == ""


@pytest.mark.parametrize("on_disk", [False, True])
def test_without_scaling_only_zeros_are_empty_items(tmp_path, on_disk):
    raw = load_dataset("npz", path=folder(tmp_path), on_disk=on_disk)
    found = standardize(raw, image=False, text=False)[0].empty
    assert found.columns == {"image": (2, 40), "text": (0, 70)}
    assert found.items == {"image": (0, N), "text": (4, N)}


@pytest.mark.parametrize("offset", [0.0, 1.7e9])
def test_two_processes_count_together(tmp_path, offset):
    path, barrier, told, found = folder(tmp_path, offset), threading.Barrier(2, timeout=60), {}, {}
    alone, expected = standardize(load_dataset("npz", path=path), image=True, text=False)

    def work(index):
        def tell(values, source):
            if index == source:
                told["values"] = values
            barrier.wait()
            values = told["values"]
            barrier.wait()
            return values

        raw = load_dataset("npz", path=path, on_disk=True, share=Share(index, 2, tell))
        found[index] = standardize(raw, image=True, text=False)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0][0].empty == found[1][0].empty == alone.empty
    assert alone.empty.items == {"image": (3, N), "text": (4, N)}
    for _, scaling in found.values():
        assert scaling.image_mean.dtype == (np.float64 if offset else np.float32)
        np.testing.assert_array_equal(scaling.image_mean, expected.image_mean)
        np.testing.assert_array_equal(scaling.image_std, expected.image_std)


def test_a_line_says_how_many():
    found = WithoutInformation({"image": (2, 1040), "text": (1, 70)}, {"image": (0, 3000), "text": (4, 3000)})
    assert found.line() == (
        "no information in 2 of 1,040 image columns (constant in training), 1 of 70 text columns (constant in "
        "training), 4 of 3,000 texts (all zeros or the mean)"
    )


def test_a_modality_of_constants_is_refused_by_name():
    with pytest.raises(DataError, match=r"^mine train texts: all 70 columns are constant, so there is nothing"):
        WithoutInformation({"image": (0, 40), "text": (70, 70)}, {}).check("mine")


def test_rows_that_differ_in_the_last_column_alone_are_not_empty():
    rows, values = EmptyRows(), np.zeros((4, 100))
    values[1, 99] = values[2, 20] = values[3, 0] = 1
    rows.look(values)
    assert rows.count == 1
