"""Ways to train the same model on the mini-batches of `training.epoch_batches`, an epoch at a time.

A trainer holds what it trains. It has `facts`, fields of a `Row`; `epoch()`, which trains an epoch, waits, and gives
the loss of each step; and, but for the grid, `projector_parameters()`, in the form of a `TrainState`.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax import training
from gpldan_jax.benchmarking import loss_times as jax_losses
from gpldan_jax.benchmarking import machine
from gpldan_jax.benchmarking.problem import TORCH_IMPLEMENTATIONS, runnable
from gpldan_jax.data import PairedSplit
from gpldan_jax.training.batches import epoch_rows
from gpldan_jax.training.mesh import replicated, row_sharding


class StepByStep:
    """`train_step` on mini-batches that the host gathers and sends, as `training.train` does without residence."""

    def __init__(self, start: training.TrainState, split: PairedSplit, batches: Mapping):
        self._state, self._split, self._epochs = _copied(start), split, 0
        self._batches = {**batches, "mesh": start.mesh}
        self._batches["neighbourhoods"] = training.split_neighbourhoods(split, start.neighbours)
        self._program, self.facts = jax_losses.compiled(training.train_step, self._state, next(self._epoch_batches()))

    def epoch(self) -> np.ndarray:
        losses = []
        for batch in self._epoch_batches():
            self._state, metrics = self._program(self._state, batch)
            losses.append(metrics["loss"])
        self._epochs += 1
        jax.block_until_ready(self._state)
        return np.array(jax.device_get(losses))

    def projector_parameters(self) -> dict:
        return self._state.projector_parameters

    def _epoch_batches(self):
        return training.epoch_batches(self._split, self._state.key, self._epochs, **self._batches)


class EpochScan:
    """`train_epoch`: pairs on the device, an epoch as one program."""

    def __init__(self, start: training.TrainState, split: PairedSplit, batches: Mapping):
        self._state, self._pairs = _copied(start), _resident(split, start, start.mesh)
        self._program, self.facts = jax_losses.compiled(training.train_epoch, self._state, self._pairs, **batches)

    def epoch(self) -> np.ndarray:
        self._state, metrics = self._program(self._state, self._pairs)
        return np.asarray(jax.block_until_ready((self._state, metrics["loss"]))[1])

    def projector_parameters(self) -> dict:
        return self._state.projector_parameters


class GridScan:
    """`train_grid_epoch`: the members of a grid in one program; the losses that it gives are those of the first.

    Args:
        start: the states of the members before the first step, stacked; they are copied.
        split: the training pairs.
        batches: `batch_size` and `remainder`.
        how: `at_once` and `mesh` of `train_grid_epoch`.
    """

    def __init__(self, start: training.TrainState, split: PairedSplit, batches: Mapping, **how):
        mesh = how["mesh"]
        self._states = jax.device_put(_copied(start), row_sharding(mesh))
        self._pairs = jax.device_put(_resident(split, start), replicated(mesh))
        self._program, self.facts = jax_losses.compiled(
            training.train_grid_epoch, self._states, self._pairs, **batches, **how
        )

    def epoch(self) -> np.ndarray:
        self._states, metrics = self._program(self._states, self._pairs)
        return np.asarray(jax.block_until_ready((self._states, metrics["loss"]))[1][0])


class TorchPeer:
    """A PyTorch peer, see `torch_train`. It is given its rows in our order, so that all see the same mini-batches."""

    def __init__(self, loss: str, start: training.TrainState, split: PairedSplit, batches: Mapping):
        from gpldan_jax.benchmarking import torch_train

        self._peer, self._epochs = torch_train.peer(loss, start, split), 0
        rows = jax.jit(lambda key, epoch: epoch_rows(key, epoch, len(split), **batches))
        self._key, self.facts = start.key, {}
        self._rows, _ = jax_losses.compiled(rows, self._key, np.int32(0))

    def epoch(self) -> np.ndarray:
        import torch

        rows, where = jax.device_get(self._rows(self._key, np.int32(self._epochs)))
        self._epochs += 1
        # PyTorch needs no padding.
        kept = rows if where is None else [step[real] for step, real in zip(rows, where, strict=True)]
        return torch.stack([self._peer.step(torch.tensor(step))["loss"] for step in kept]).numpy()

    def projector_parameters(self) -> dict:
        return jax.tree.map(jnp.asarray, self._peer.parameters()[0])


def trainer(name: str, start: training.TrainState, split: PairedSplit, batches: Mapping):
    """A trainer of one run.

    Args:
        name: `"step"`, `"epoch"` or a peer.
        start: the state before the first step; it is copied.
        split: the training pairs.
        batches: `batch_size` and `remainder`.
    """
    if name in TORCH_IMPLEMENTATIONS:
        return TorchPeer(name, start, split, batches)
    return {"step": StepByStep, "epoch": EpochScan}[name](start, split, batches)


def chosen(asked: Sequence[str] | None, names: Sequence[str], config: Mapping) -> list[str]:
    """Of these names, those asked for, or all that can train with this config here; `ValueError` as `runnable`."""
    problem = machine.torch_problem()
    if problem is None and config["loss"]["discrepancy"] != "absolute":
        problem = f"has no discrepancy {config['loss']['discrepancy']!r}"
    if problem is None and (config["loss"]["target"] != "inputs" or config["loss"]["contrastive"]):
        problem = "has the paper's losses only: loss.target=inputs, loss.contrastive=0"
    return runnable(asked, names, dict.fromkeys(TORCH_IMPLEMENTATIONS, problem) if problem else {})


def _resident(split, start, mesh=None):
    return training.resident_pairs(split, mesh, neighbours=start.neighbours)


def _copied(state):
    return jax.tree.map(lambda leaf: leaf.copy(), state)  # the programs take what they are given apart
