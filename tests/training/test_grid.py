"""A grid of runs against each of them alone."""

import jax
import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax.training.mesh import replicated, row_sharding
from tests.training import tiny

# Under vmap XLA sums products in another order; Adam blows the difference up with the steps.
GRID_TOLERANCE = 1e-4
SEEDS, ALPHAS, RATES = (0, 1, 1, 2), (1.0, 0.5, 2.0, 1.0), (1e-2, 1e-2, 1e-3, 1e-2)
OPTIONS = {"epochs": 3, "batch_size": 8, "criterion": "map"}


def alone(index):
    return tiny.state(SEEDS[index], alpha=ALPHAS[index], learning_rate=RATES[index])


def states():
    return training.stack_states([alone(index) for index in range(len(SEEDS))])


def train_grid(directory, dataset=None, **options):
    checkpoints = training.Checkpoints(directory)
    try:
        return training.train_grid(states(), dataset or tiny.dataset(), checkpoints, **OPTIONS | options)
    finally:
        checkpoints.close()


def assert_same(one, other, tolerance=0.0):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_only_data_may_differ_between_members():
    with pytest.raises(ValueError, match="may differ in seed and hyperparameters only"):
        training.stack_states([tiny.state(), tiny.state(discrepancy="squared")])


@pytest.mark.slow
@pytest.mark.parametrize("at_once, devices", [(1, 1), (3, 1), (None, 2)])
def test_members_are_the_runs_that_they_are(at_once, devices):
    dataset, mesh = tiny.dataset(), training.data_mesh(devices)
    pairs = training.resident_pairs(dataset.train)
    stacked, losses = jax.device_put(states(), row_sharding(mesh)), []
    pairs = jax.device_put(pairs, replicated(mesh))
    for _ in range(2):
        stacked, metrics = training.train_grid_epoch(stacked, pairs, batch_size=8, at_once=at_once, mesh=mesh)
        losses.append(metrics["loss"])
    losses = np.concatenate(losses, axis=1)
    for index in range(len(SEEDS)):
        run, expected = alone(index), []
        for _ in range(2):
            run, metrics = training.train_epoch(run, training.resident_pairs(dataset.train), batch_size=8)
            expected.append(metrics["loss"])
        np.testing.assert_allclose(losses[index], np.concatenate(expected), rtol=GRID_TOLERANCE)
        if at_once == 1:
            assert_same(training.member_of(stacked.projector_parameters, index), run.projector_parameters)
    assert len(np.unique(losses[:, -1])) == len(SEEDS)


@pytest.mark.slow
def test_a_grid_selects_like_each_run_and_resumes_to_the_same_bits(tmp_path):
    selected, members = train_grid(tmp_path / "whole", at_once=1)
    for index, member in enumerate(members):
        checkpoints = training.Checkpoints(tmp_path / str(index))
        run, progress = training.train(alone(index), tiny.dataset(), checkpoints, **OPTIONS)
        checkpoints.close()
        assert not member.failed
        assert member.selection == progress.selection
        assert_same(training.member_of(selected, index), run.projector_parameters)

    seen = []
    with pytest.raises(training.Interrupted):
        train_grid(tmp_path / "parts", at_once=1, on_epoch=seen.append, should_stop=lambda: len(seen) == 2)
    again, same = train_grid(tmp_path / "parts", at_once=1, on_epoch=seen.append)
    assert seen == [1, 2, 3] and same == members
    assert_same(again, selected)


@pytest.mark.slow
def test_a_grid_goes_on_with_other_devices(tmp_path):
    selected, _ = train_grid(tmp_path / "whole", criterion="last", epochs=2)
    with pytest.raises(training.Interrupted):
        train_grid(tmp_path / "moved", criterion="last", epochs=2, mesh=training.data_mesh(2), should_stop=lambda: True)
    moved, members = train_grid(tmp_path / "moved", criterion="last", epochs=2, mesh=training.data_mesh(4))
    assert {member.selection.epoch for member in members} == {2}
    kernel = moved["shared"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(1, 16, 8)}
    for index in range(len(SEEDS)):
        one, other = (training.member_of(stacked, index) for stacked in (selected, moved))
        # A step of Adam is of the size of its rate, 1e-2, whatever the gradient: of parameters only this can be said.
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.slow
def test_a_member_that_diverges_is_named_and_stops_no_other(tmp_path, monkeypatch):
    broken = states()
    broken = broken.replace(
        hyperparameters=broken.hyperparameters.replace(alpha=np.array([1.0, np.nan, 2.0, 1.0], np.float32))
    )
    _, expected = train_grid(tmp_path / "sound")
    monkeypatch.setattr("tests.training.test_grid.states", lambda: broken)
    _, members = train_grid(tmp_path / "broken")
    assert [member.failed for member in members] == ["", "the loss is nan at step 1", "", ""]
    for index in (0, 2, 3):
        assert members[index] == expected[index]


@pytest.mark.slow
def test_a_grid_compiles_once_and_moves_nothing_between_host_and_device():
    pairs, stacked = training.resident_pairs(tiny.dataset().train), states()
    training.train_grid_epoch.clear_cache()
    with jax.transfer_guard("disallow"):
        for _ in range(2):
            stacked, _ = training.train_grid_epoch(stacked, pairs, batch_size=8)
    stacked = states()  # the next slice
    stacked, _ = training.train_grid_epoch(stacked, pairs, batch_size=8)
    assert training.train_grid_epoch._cache_size() == 1
