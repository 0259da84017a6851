"""Our two optimisers replayed against recorded trajectories of PyTorch's (`tools/make_torch_trajectories.py`)."""

import json
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from gpldan_jax.training import state as optimizers

RECORD = json.loads(Path(__file__).with_name("torch_trajectories.json").read_text())
INITIAL, GRADIENTS = np.array(RECORD["initial"]), np.array(RECORD["gradients"])
ADAM = [run for run in RECORD["runs"] if run["optimizer"] == "Adam"]
RMSPROP = [run for run in RECORD["runs"] if run["optimizer"] == "RMSprop"]

# Float64: of the learning rate, the size of one step, so that the smallest rate is tested as hard as the largest.
STEP_TOLERANCE = 1e-6
# Float32: of the parameter, of order 1, which every step rounds by up to 6e-8.
ROUNDING_TOLERANCE = 1e-6
# Float32 Adam only: of the way travelled. optax takes 1 - 0.999**t in float32, where it is 1.3e-5 too small, and the
# step, over its root, 6.5e-6 too short. At the paper's rate this is 30 times less than ROUNDING_TOLERANCE.
BIAS_CORRECTION_TOLERANCE = 1e-5


def name(run):
    return "-".join([run["optimizer"], *(f"{key}={value}" for key, value in run["settings"].items())])


def counterpart(run):
    settings = run["settings"]
    if run["optimizer"] == "Adam":
        return optimizers.adam_with_l2(settings["lr"], settings["weight_decay"])
    return optimizers.rmsprop(settings["lr"])


def replay(optimizer, dtype):
    """The parameters after every step of the recorded gradients, `[steps, p]`."""

    def step(carry, gradient):
        parameters, state = carry
        updates, state = optimizer.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        return (parameters, state), parameters

    @jax.jit
    def replayed(parameters, gradients):
        return jax.lax.scan(step, (parameters, optimizer.init(parameters)), gradients)[1]

    with jax.enable_x64(dtype == np.float64):
        parameters = replayed(INITIAL.astype(dtype), GRADIENTS.astype(dtype))
        assert parameters.dtype == dtype
        return np.asarray(parameters)


def errors_in_steps(optimizer, run):
    """How far the float64 replay is from PyTorch, `[steps, p]`, in units of the learning rate."""
    return np.abs(replay(optimizer, np.float64) - run["parameters"]) / run["settings"]["lr"]


def test_the_record_has_the_hard_gradients():
    assert {0.0, 1e-12, 1e6} <= set(GRADIENTS.ravel().tolist())
    assert GRADIENTS.shape == (30, len(INITIAL))
    assert len(ADAM) == 4 and len(RMSPROP) == 3
    for run in RECORD["runs"]:
        assert np.shape(run["parameters"]) == GRADIENTS.shape


@pytest.mark.parametrize("run", RECORD["runs"], ids=name)
def test_float64_follows_pytorch(run):
    assert errors_in_steps(counterpart(run), run).max() < STEP_TOLERANCE


@pytest.mark.parametrize("run", RECORD["runs"], ids=name)
def test_float32_follows_pytorch(run):
    expected = np.array(run["parameters"])
    travelled = np.abs(np.diff(expected, axis=0, prepend=INITIAL[None])).cumsum(axis=0)
    allowed = ROUNDING_TOLERANCE * np.maximum(np.abs(expected), 1)
    if run["optimizer"] == "Adam":
        allowed += BIAS_CORRECTION_TOLERANCE * travelled
    error = np.abs(replay(counterpart(run), np.float32) - expected)
    assert (error < allowed).all(), (error / allowed).max(axis=0)


def test_the_defaults_are_those_of_the_paper():
    assert ADAM[0]["settings"] == {"lr": 1e-4, "weight_decay": 1e-4} and RMSPROP[0]["settings"] == {"lr": 5e-5}
    assert errors_in_steps(optimizers.adam_with_l2(), ADAM[0]).max() < STEP_TOLERANCE
    assert errors_in_steps(optimizers.rmsprop(), RMSPROP[0]).max() < STEP_TOLERANCE


@pytest.mark.parametrize("run", ADAM, ids=name)
def test_adamw_is_another_optimizer(run):
    settings = run["settings"]
    errors = errors_in_steps(optax.adamw(settings["lr"], weight_decay=settings["weight_decay"]), run)
    assert errors.max() > 1
    # Where nothing but the decay pulls, L2 goes a full step a time and decoupled decay hardly moves.
    without_gradient = ~GRADIENTS.any(axis=0)
    assert (errors[-1, without_gradient] > len(GRADIENTS) / 3).all()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({}, id="defaults of optax"),
        pytest.param({"decay": 0.99}, id="epsilon in the root"),
        pytest.param({"eps_in_sqrt": False}, id="decay of optax"),
    ],
)
def test_rmsprop_of_optax_is_another_optimizer(other):
    run = RMSPROP[0]
    assert errors_in_steps(optax.rmsprop(run["settings"]["lr"], **other), run).max() > 1000 * STEP_TOLERANCE
