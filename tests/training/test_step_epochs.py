"""An epoch as one program, on one device and on several, against the same steps taken one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import training
from tests.training import tiny

# XLA may sum a reported loss in another order inside a scan; nothing is computed from it.
REPORTED_TOLERANCE = 1e-6
# Devices add up their shares in another order: float32 rounding, 1e-7, that Adam's first steps blow up.
DEVICES_TOLERANCE = 1e-4


def epochs(state, dataset, count, **batches):
    """States and losses after `count` epochs, each one program."""
    pairs = training.resident_pairs(dataset.train, state.mesh)
    losses = []
    for _ in range(count):
        state, metrics = training.train_epoch(state, pairs, **batches)
        losses.append(metrics["loss"])
    return state, np.concatenate(losses)


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.replace(key=jax.random.key_data(state.key)))]


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("remainder", ["drop", "mask"])
def test_an_epoch_gives_the_bits_of_its_steps(remainder):
    dataset = tiny.dataset(n=45)
    batches = {"batch_size": 8, "remainder": remainder}
    whole, losses = epochs(tiny.state(), dataset, 2, **batches)
    state, one_by_one = tiny.state(), []
    for epoch in range(2):
        for batch in training.epoch_batches(dataset.train, state.key, epoch, **batches):
            state, metrics = training.train_step(state, batch)
            one_by_one.append(metrics["loss"])
    assert len(losses) == 2 * training.steps_per_epoch(45, 8, remainder)
    for a, b in zip(leaves(whole), leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
    # What is only reported may be summed in another order.
    np.testing.assert_allclose(losses, one_by_one, rtol=REPORTED_TOLERANCE)


@pytest.mark.slow
def test_an_epoch_moves_nothing_between_host_and_device_and_compiles_once():
    state, dataset = tiny.state(), tiny.dataset()
    pairs = training.resident_pairs(dataset.train)
    training.train_epoch.clear_cache()
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            state, metrics = training.train_epoch(state, pairs, batch_size=8)
        with pytest.raises(Exception, match=r"[Dd]isallowed host-to-device transfer"):  # the guard does guard
            training.train_step(state, training.Batch(dataset.train.images[:8], dataset.train.texts[:8]))
    assert training.train_epoch._cache_size() == 1
    assert metrics["loss"].shape == (5,)


@pytest.mark.slow
def test_the_loss_curve_is_the_same_on_any_number_of_devices():
    curves = {}
    for devices in (1, 2, 4, 8):
        state = tiny.state(mesh=training.data_mesh(devices))
        # 12 pairs are padded to 16 on eight devices, and 45 to 46 or 48.
        _, curves[devices] = epochs(state, tiny.dataset(n=45), 3, batch_size=12, remainder="mask")
    for devices in (2, 4, 8):
        np.testing.assert_allclose(curves[devices], curves[1], rtol=DEVICES_TOLERANCE)
    assert curves[1][-1] < 0.95 * curves[1][0]


@pytest.mark.slow
def test_devices_hold_their_share_of_the_rows_and_all_parameters():
    mesh = training.data_mesh(4)
    pairs = training.resident_pairs(tiny.dataset(n=45).train, mesh)
    assert pairs.count == 45 and {shard.data.shape for shard in pairs.images.addressable_shards} == {(12, 10)}
    kernel = tiny.state(mesh=mesh).projector_parameters["shared"]["kernel"]
    assert len(kernel.addressable_shards) == 4 and kernel.is_fully_replicated
    rows = jnp.array([44, 0, 13, 13, 40, 7, 29, 11])
    batch = jax.jit(lambda pairs, rows: pairs.take(rows, None))(pairs, rows)
    np.testing.assert_array_equal(batch.images, tiny.dataset(n=45).train.images[rows])
    assert {shard.data.shape for shard in batch.images.addressable_shards} == {(2, 10)}


@pytest.mark.slow
def test_sent_batches_on_devices_are_those_of_the_epoch_program():
    dataset, mesh = tiny.dataset(n=45), training.data_mesh(4)
    batches = {"batch_size": 10, "remainder": "drop"}
    _, losses = epochs(tiny.state(mesh=mesh), dataset, 1, **batches)
    state, one_by_one = tiny.state(mesh=mesh), []
    for batch in training.epoch_batches(dataset.train, state.key, 0, **batches, mesh=mesh):
        assert batch.images.shape == (12, 10) and batch.where.sum() == 10
        state, metrics = training.train_step(state, batch)
        one_by_one.append(metrics["loss"])
    np.testing.assert_allclose(losses, one_by_one, rtol=DEVICES_TOLERANCE)


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"mesh.data must be at most 8 \(cpu devices\), got 9"):
        training.data_mesh(9)
    assert training.data_mesh(0).size == 8
