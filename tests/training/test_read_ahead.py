"""Mini-batches that are read in a thread, from memory and from disk."""

import threading

import jax
import numpy as np
import pytest

from gpldan_jax import data, training
from gpldan_jax.config import default_config, with_values
from gpldan_jax.runs import session
from gpldan_jax.training.read_ahead import read_ahead
from tests.training import tiny
from tests.training.test_loop import assert_same_state, train


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read_ahead")]


def test_results_come_in_order_and_few_are_read_ahead():
    read = []
    results = read_ahead(lambda item: read.append(item) or -item, range(50), ahead=3)
    assert next(results) == 0 and len(read) <= 4
    assert readers()
    assert list(results) == [-item for item in range(1, 50)]
    assert not readers()


def test_an_error_comes_where_its_result_would():
    results = read_ahead(lambda item: 1 / (3 - item), range(9))
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not readers()


def test_closing_ends_the_thread():
    results = read_ahead(abs, range(1000))
    next(results)
    results.close()
    assert not readers()


def stored(path, n=45):
    """The tiny dataset in memory and on disk."""
    whole = tiny.dataset(n=n)
    splits = [whole.train, whole.validation, whole.test]
    arrays = {
        "image": np.concatenate([split.images for split in splits]),
        "text": np.concatenate([split.texts for split in splits]),
        "label": np.concatenate([split.labels for split in splits]),
        "split": np.repeat([0, 1, 2], [len(split) for split in splits]),
    }
    order = np.random.default_rng(0).permutation(len(arrays["split"]))
    path.mkdir()
    for name, values in arrays.items():
        np.save(path / f"{name}.npy", values[order])
    loaded = [data.load_dataset("npz", path=path, on_disk=on_disk) for on_disk in (False, True)]
    return [data.standardize(dataset, image=True, text=True)[0] for dataset in loaded]


@pytest.mark.slow
def test_training_from_disk_has_the_bits_of_training_from_memory(tmp_path):
    bank = {"pairs": 8, "neighbours": 2, "weight": 1.0}
    options = {"resident": False, "remainder": "mask", "epochs": 3, "criterion": "agreement", "bank": bank}
    memory, disk = stored(tmp_path / "features")
    ours, *_ = train(tmp_path / "memory", memory, **options)
    theirs, *_ = train(tmp_path / "disk", disk, **options)
    assert_same_state(ours, theirs)
    resident = training.resident_pairs(disk.train)
    np.testing.assert_array_equal(resident.images, memory.train.images)
    np.testing.assert_array_equal(resident.texts, memory.train.texts)


@pytest.mark.slow
def test_an_interruption_leaves_no_thread(tmp_path):
    _, disk = stored(tmp_path / "features")
    steps = []
    with pytest.raises(training.Interrupted):
        train(
            tmp_path / "run",
            disk,
            resident=False,
            criterion="last",
            on_step=steps.append,
            should_stop=lambda: len(steps) == 2,
        )
    assert steps == [1, 2] and not readers()


def test_an_epoch_reads_each_row_once(tmp_path):
    _, disk = stored(tmp_path / "features", n=40)
    before = disk.train.images.rows_read
    list(training.epoch_batches(disk.train, jax.random.key(0), 0, batch_size=8, remainder="drop"))
    assert disk.train.images.rows_read == before + 40


def test_each_process_reads_the_rows_of_its_own_devices(tmp_path, monkeypatch):
    _, disk = stored(tmp_path / "features", n=40)

    def half(shape, sharding, read):  # of two processes with a device each, the first is asked for the first half
        return read((slice(0, shape[0] // 2),))

    monkeypatch.setattr(jax, "make_array_from_callback", half)
    before = disk.train.images.rows_read
    mesh = training.data_mesh(2)
    batches = list(training.epoch_batches(disk.train, jax.random.key(0), 0, batch_size=8, remainder="drop", mesh=mesh))
    assert len(batches) == 5 and disk.train.images.rows_read == before + 20


def test_a_run_that_sends_mini_batches_leaves_the_features_on_disk(tmp_path, monkeypatch):
    stored(tmp_path / "features", n=80)
    seen = []
    monkeypatch.setattr(session, "_train", lambda config, dataset, *_: seen.append(dataset.train.images) or 1 / 0)
    for resident in (True, False):
        changes = {"dataset.name": "npz", "dataset.path": str(tmp_path / "features"), "mesh.resident": resident}
        config = with_values(default_config(), changes | {"train.batch_size": 8, "train.selection": "last"})
        with pytest.raises(ZeroDivisionError):
            session.run(config, tmp_path / f"run-{resident}")
    assert [isinstance(images, data.FeaturesOnDisk) for images in seen] == [False, True]
