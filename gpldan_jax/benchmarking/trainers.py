"""Ways to train the same model on the same mini-batches, those of `training.epoch_batches`, an epoch at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax import training
from gpldan_jax.benchmarking import machine
from gpldan_jax.benchmarking.problem import TORCH_IMPLEMENTATIONS, choose
from gpldan_jax.benchmarking.timing import compile_program
from gpldan_jax.data import PairedSplit
from gpldan_jax.training.batches import epoch_rows
from gpldan_jax.training.mesh import replicated, row_sharding


class Trainer(Protocol):
    """Holds a model and trains it.

    Attributes:
        facts: of its program, as `timing.compile_program` returns them; empty for PyTorch.
    """

    facts: Mapping[str, Any]

    def epoch(self) -> np.ndarray:
        """Trains an epoch and waits for its end."""

    def projector_parameters(self) -> Mapping[str, Any]:
        """Returns the trained parameters, as a `TrainState` holds them; of a grid, all members' stacked."""


def make_trainer(name: str, start: training.TrainState, split: PairedSplit, batches: Mapping[str, Any]) -> Trainer:
    """Makes a trainer of one run.

    Args:
        name: of `problem.QUALITY_TRAINERS`: `"step"` sends mini-batches one by one, as `training.train` does where the
            pairs do not stay on the device; `"epoch"` is one program with the pairs on the device; or a PyTorch peer.
        start: the state before the first step; it is copied.
        split: the training pairs.
        batches: `batch_size` and `remainder`.
    """
    if name in TORCH_IMPLEMENTATIONS:
        return _TorchPeer(name, start, split, batches)
    if name == "step":
        return _StepByStep(start, split, batches)
    pairs = training.resident_pairs(split, start.mesh, neighbours=start.neighbours)
    return _Scan(training.train_epoch, _copy(start), pairs, **batches)


def make_grid_trainer(
    start: training.TrainState,
    split: PairedSplit,
    batches: Mapping[str, Any],
    *,
    at_once: int | None,
    mesh: jax.sharding.Mesh | None,
) -> Trainer:
    """Makes a trainer of a grid of runs in one program.

    Args:
        start: the states of the members before the first step, stacked; they are copied.
        split: the training pairs.
        batches: `batch_size` and `remainder`.
        at_once: how many members are computed side by side; `None` for all.
        mesh: the devices that share the members; `None` for one device.
    """
    states = jax.device_put(_copy(start), row_sharding(mesh))
    pairs = jax.device_put(training.resident_pairs(split, None, neighbours=start.neighbours), replicated(mesh))
    return _Scan(training.train_grid_epoch, states, pairs, **batches, at_once=at_once, mesh=mesh)


def choose_trainers(wanted: Sequence[str] | None, names: Sequence[str], config: Mapping[str, Mapping]) -> list[str]:
    """Returns the trainers to run.

    Args:
        wanted: the names that the user asked for; `None` for all that can train with this config here.
        names: all there are.
        config: a valid config.
    """
    loss, reason = config["loss"], None
    if loss["discrepancy"] != "absolute":
        reason = f"has no discrepancy {loss['discrepancy']!r}"
    elif loss["target"] != "inputs" or loss["contrastive"]:
        reason = "has the paper's losses only: loss.target=inputs, loss.contrastive=0"
    return choose(wanted, names, machine.peer_obstacles(names, reason))


class _StepByStep:
    def __init__(self, start, split, batches):
        self._state, self._split, self._epochs = _copy(start), split, 0
        near = training.split_neighbourhoods(split, start.neighbours)
        self._batches = {**batches, "mesh": start.mesh, "neighbourhoods": near}
        self._program, self.facts = compile_program(training.train_step, self._state, next(self._epoch_batches()))

    def epoch(self):
        losses = []
        for batch in self._epoch_batches():
            self._state, metrics = self._program(self._state, batch)
            losses.append(metrics["loss"])
        self._epochs += 1
        jax.block_until_ready(self._state)
        return np.array(jax.device_get(losses))

    def projector_parameters(self):
        return self._state.projector_parameters

    def _epoch_batches(self):
        return training.epoch_batches(self._split, self._state.key, self._epochs, **self._batches)


class _Scan:
    def __init__(self, train_epoch, state, pairs, **static):
        self._state, self._pairs = state, pairs
        self._program, self.facts = compile_program(train_epoch, state, pairs, **static)

    def epoch(self):
        self._state, metrics = self._program(self._state, self._pairs)
        losses = np.asarray(jax.block_until_ready((self._state, metrics["loss"]))[1])
        return losses if losses.ndim == 1 else losses[0]  # of a grid [members, steps]

    def projector_parameters(self):
        return self._state.projector_parameters


class _TorchPeer:
    def __init__(self, loss, start, split, batches):
        from gpldan_jax.benchmarking import torch_train

        self._peer, self._epochs = torch_train.make_peer(loss, start, split), 0
        # The peer is given its rows in our order, so that all see the same mini-batches.
        rows = jax.jit(lambda key, epoch: epoch_rows(key, epoch, len(split), **batches))
        self._key, self.facts = start.key, {}
        self._rows, _ = compile_program(rows, self._key, np.int32(0))

    def epoch(self):
        import torch

        rows, where = jax.device_get(self._rows(self._key, np.int32(self._epochs)))
        self._epochs += 1
        # PyTorch needs no padding.
        kept = rows if where is None else [step[real] for step, real in zip(rows, where, strict=True)]
        return torch.stack([self._peer.step(torch.tensor(step))["loss"] for step in kept]).numpy()

    def projector_parameters(self):
        return jax.tree.map(jnp.asarray, self._peer.parameters()[0])


def _copy(state):
    return jax.tree.map(lambda leaf: leaf.copy(), state)  # the programs take what they are given apart
