"""Ways to train: all do the same."""

import importlib.util

import jax
import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax.benchmarking import trainers
from gpldan_jax.benchmarking import training_times as times
from tests.benchmarking.records import tiny_config
from tests.training import tiny

HAS_TORCH = importlib.util.find_spec("torch") is not None
# The order of float32 sums differs; two epochs later losses are apart by a tenth of it.
SAME_LOSS = 1e-5


@pytest.fixture
def dataset():
    return tiny.dataset()


def initial_state(config, dataset):
    return training.state_from_config(config, dataset.image_dim, dataset.text_dim)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_all_ways_to_train_do_the_same(dataset):
    start = initial_state(tiny_config(), dataset)
    batches = {"batch_size": 12, "remainder": "mask"}  # the last mini-batch has 4 pairs
    names = ["epoch", "step"] + (["torch-matmul", "torch-broadcast"] if HAS_TORCH else [])
    made = {name: trainers.make_trainer(name, start, dataset.train, batches) for name in names}
    losses = {name: np.concatenate([trainer.epoch(), trainer.epoch()]) for name, trainer in made.items()}
    parameters = {name: jax.tree.leaves(trainer.projector_parameters()) for name, trainer in made.items()}
    assert len(losses["epoch"]) == 8 and np.ptp(losses["epoch"]) > 0.1
    for name in names[1:]:
        np.testing.assert_allclose(losses[name], losses["epoch"], rtol=SAME_LOSS, err_msg=name)
        for found, expected in zip(parameters[name], parameters["epoch"], strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)  # a percent of the learning rate


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_ours_is_trained_too(dataset):
    ours = tiny_config(loss={"target": "neighbours", "neighbours": 5, "contrastive": 0.3})
    batches = {"batch_size": 12, "remainder": "drop"}
    losses = []
    for settings in (ours, tiny_config()):
        start = initial_state(settings, dataset)
        step, epoch = (trainers.make_trainer(name, start, dataset.train, batches).epoch() for name in ("step", "epoch"))
        np.testing.assert_allclose(step, epoch, rtol=SAME_LOSS)
        losses.append(epoch)
    assert np.abs(losses[0] - losses[1]).min() > 0.1
    states = times._grid_states(ours, dataset, 2)
    grid = trainers.make_grid_trainer(states, dataset.train, batches, at_once=1, mesh=None)
    np.testing.assert_allclose(grid.epoch(), losses[0], rtol=SAME_LOSS)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_the_first_member_of_a_grid_is_the_configs_run(dataset):
    settings, batches = tiny_config(), {"batch_size": 12, "remainder": "drop"}
    states = times._grid_states(settings, dataset, 4)
    first, own = jax.tree.map(lambda leaf: leaf[0], states), initial_state(settings, dataset)
    assert first.key == own.key
    jax.tree.map(np.testing.assert_array_equal, *(state.replace(key=0) for state in (first, own)))
    assert len(set(np.asarray(states.hyperparameters.alpha))) == 4
    assert len(np.unique(states.projector_parameters["shared"]["bias"], axis=0)) == 4
    expected = trainers.make_trainer("epoch", first, dataset.train, batches).epoch()
    grid = trainers.make_grid_trainer(states, dataset.train, batches, at_once=1, mesh=training.data_mesh(2))
    np.testing.assert_allclose(grid.epoch(), expected, rtol=SAME_LOSS)


def test_peers_that_cannot_train_are_left_out():
    ours = tiny_config(loss={"target": "neighbours"})
    assert trainers.choose_trainers(None, ["epoch", "torch-matmul"], ours) == ["epoch"]
    signed = tiny_config(loss={"discrepancy": "signed"})
    assert trainers.choose_trainers(None, ["step", "torch-matmul"], signed) == ["step"]
