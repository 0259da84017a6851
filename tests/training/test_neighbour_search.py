"""The neighbourhoods of many pairs, found block by block: those of one program, in bounded memory."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import losses, training
from gpldan_jax.data import PairedSplit
from gpldan_jax.losses.neighbourhoods import merge_nearest, no_neighbours
from gpldan_jax.training import batches, neighbour_search
from tests.data.test_shares import together
from tests.training import tiny
from tests.training.test_read_ahead import readers, stored


def inputs(n, rng):
    return rng.normal(size=(n, 7)).astype(np.float32), rng.normal(size=(n, 4)).astype(np.float32)


@pytest.fixture
def blocks(monkeypatch):
    """Blocks so small that sixty pairs are many of them, the last ones not full."""
    for name, size in {"IN_ONE_PROGRAM": 10, "_PAIRS": 16, "_KNOWN": 9, "_AT_A_TIME": 8}.items():
        monkeypatch.setattr(neighbour_search, name, size)


@pytest.mark.parametrize("m", [1, 4, 12, 100])
def test_blocks_find_what_one_program_finds(blocks, m):
    images, texts = inputs(61, np.random.default_rng(0))
    images[7] = texts[7] = 0  # its own neighbour all the same
    images[30], texts[30] = images[5], texts[5]  # equal ones keep their order
    expected = losses.nearest_neighbours(images, texts, neighbours=m)
    done = []
    columns, weights = neighbour_search.find_neighbours(images, texts, m, on_pairs=done.append)
    assert columns.dtype == np.int32 and weights.dtype == np.float32
    known = np.asarray(expected[1]) > 0  # those without a weight tie at less than zero
    np.testing.assert_array_equal(np.where(known, columns, -1), np.where(known, expected[0], -1))
    np.testing.assert_allclose(weights, expected[1], atol=1e-6)
    assert done == sorted(done) and done[-1] == 61 and not readers()


def test_few_pairs_have_the_bits_of_one_program():
    images, texts = inputs(61, np.random.default_rng(0))
    for ours, theirs in zip(
        neighbour_search.find_neighbours(images, texts, 5),
        losses.nearest_neighbours(images, texts, neighbours=5),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_features_on_disk_have_the_neighbours_of_those_in_memory(blocks, tmp_path):
    memory, disk = stored(tmp_path / "features")
    ours, theirs = (training.split_neighbourhoods(of.train, 5) for of in (memory, disk))
    np.testing.assert_array_equal(ours.columns, theirs.columns)
    np.testing.assert_array_equal(ours.weights, theirs.weights)


@pytest.mark.parametrize("count", [2, 5])
def test_several_processes_divide_the_work(blocks, monkeypatch, count):
    images, texts = inputs(61, np.random.default_rng(0))
    expected = neighbour_search.find_neighbours(images, texts, 4)
    merged = []

    def counting(*arguments, **options):
        merged.append(threading.current_thread().name)
        return merge_nearest(*arguments, **options)

    monkeypatch.setattr(neighbour_search, "merge_nearest", counting)
    found = together(count, lambda share: neighbour_search.find_neighbours(images, texts, 4, share=share))
    for columns, weights in found:
        np.testing.assert_array_equal(columns, expected[0])
        np.testing.assert_allclose(weights, expected[1], atol=1e-6)
    assert max(merged.count(str(index)) for index in range(count)) <= 14  # two blocks of pairs with seven of others


def test_memory_does_not_grow_with_the_training_pairs():
    q, known = 4096, 2048
    shapes = [jax.ShapeDtypeStruct((size, 8), jnp.float32) for size in (q, q, known, known)]
    found = jax.eval_shape(lambda: no_neighbours(q, 5))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    program = merge_nearest.lower(found, tuple(shapes[:2]), tuple(shapes[2:]), number, number, number, block_size=64)
    assert program.compile().memory_analysis().temp_size_in_bytes < q * known * 4 / 8


def test_rows_of_many_pairs_have_few_columns_and_the_same_products(monkeypatch):
    images, texts = inputs(61, np.random.default_rng(0))
    whole = training.split_neighbourhoods(PairedSplit(images, texts), 4)
    batch = jax.tree.map(lambda of: of[np.array([3, 60, 8, 3])], whole)
    wide = batch.rows()
    monkeypatch.setattr(batches, "IN_ONE_PROGRAM", 10)
    narrow = jax.jit(lambda near: near.rows())(batch)
    assert wide.shape == (4, 61) and narrow.shape == (4, 16)
    np.testing.assert_allclose(narrow @ narrow.T, wide @ wide.T, atol=1e-6)
    monkeypatch.setattr(batches, "IN_ONE_PROGRAM", 61)
    np.testing.assert_array_equal(batch.rows(), wide)


@pytest.mark.slow
def test_steps_with_narrow_rows_are_those_with_wide_ones(monkeypatch):
    dataset, mesh = tiny.dataset(n=40), training.data_mesh(2)
    ours = {"neighbours": 3, "soft_contrastive": 0.2, "soft_temperature": 0.2, "mesh": mesh}
    losses_of = {}
    for limit in (1000, 10):
        monkeypatch.setattr(batches, "IN_ONE_PROGRAM", limit)
        jax.clear_caches()  # the limit is no argument of the program
        state = tiny.state(**ours)
        near = training.split_neighbourhoods(dataset.train, 3)
        sent = training.epoch_batches(
            dataset.train, state.key, 0, batch_size=8, remainder="drop", neighbourhoods=near, mesh=mesh
        )
        found = []
        for batch in sent:
            state, metrics = training.train_step(state, batch)
            found.append(float(metrics["loss"]))
        losses_of[limit] = found
    np.testing.assert_allclose(losses_of[10], losses_of[1000], rtol=1e-5)
