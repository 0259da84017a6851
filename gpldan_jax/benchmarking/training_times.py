"""Times training: steps (one by one, an epoch or a grid of runs as one program, PyTorch), and the time to a quality.

All trainers start with the same weights and see the same mini-batches.
"""

import dataclasses
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax import training
from gpldan_jax.benchmarking import results, timing
from gpldan_jax.benchmarking.problem import (
    COMPILED,
    GRIDS,
    QUALITY_TRAINERS,
    TRAINERS,
    choose,
    library_of,
    peer_obstacles,
)
from gpldan_jax.benchmarking.results import Row
from gpldan_jax.config import with_values
from gpldan_jax.data import PairedSplit
from gpldan_jax.retrieval import neighbourhood_relevance
from gpldan_jax.runs import session
from gpldan_jax.training.batches import epoch_rows
from gpldan_jax.training.mesh import replicated, row_sharding

_ALPHA_STEP = 0.1  # from one member of a grid to the next


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one trainer reached the target, or did not."""

    implementation: str
    library: str  # "jax" or "torch"
    compile_s: float  # seconds to trace and to compile its program; 0 in PyTorch, whose peers have none
    epoch_s: tuple[float, ...] = ()  # seconds of each epoch
    values: tuple[float, ...] = ()  # on validation after each epoch
    train_s: float = 0.0  # of all epochs
    reached_epoch: int | None = None  # the first after which the value was at least the target; `None` for none


class Trainer(Protocol):
    """Holds a model and trains it."""

    facts: Mapping[str, Any]  # of its program, as `timing.compile_program` returns them; empty for PyTorch

    def epoch(self) -> np.ndarray:
        """Trains an epoch and waits for its end; returns the losses."""

    def projector_parameters(self) -> Mapping[str, Any]:
        """Returns the trained parameters, as a `TrainState` holds them; of a grid, all members' stacked."""


def measure_steps(
    config: Mapping[str, Mapping[str, Any]],
    schedule: timing.Schedule,
    *,
    implementations: Sequence[str] | None = None,
    members: int = 9,
) -> dict[str, Any]:
    """Times training steps; a timed call trains an epoch of whole mini-batches.

    The members of a grid after the first have seeds and alphas of their own. An implementation that cannot run here, or
    devices that cannot share the members evenly, are a `ValueError`.
    """
    names = choose_trainers(implementations, TRAINERS, config)
    mesh = training.data_mesh(config["mesh"]["data"])
    has_grid = bool(set(names) & set(GRIDS))
    if has_grid and mesh and members % mesh.size:
        raise ValueError(f"members must be a multiple of the {mesh.size} devices, got {members}")
    dataset, _ = session.load(config["dataset"])
    start = training.state_from_config(config, dataset.image_dim, dataset.text_dim, mesh)
    grid = _grid_states(config, dataset, members) if has_grid else None

    def prepare(n):
        split = _repeat_pairs(dataset.train, n)
        states = {"start": start, "grid": grid, "mesh": mesh, "members": members}
        prepared = [_prepare(name, n, split, **states) for name in names]
        if not any(config["denoise"].values()):  # else each library draws its own columns
            results.check_agreement([row for row, _ in prepared], "default")
        return prepared

    # The networks' products run at the default precision of each library.
    kinds = [(library, "default") for library in dict.fromkeys(["jax", *map(library_of, names)])]
    rows, ceilings = timing.time_sizes(schedule, prepare, kinds)
    return {"benchmark": "train", "problem": config, "dataset": dataset.title, "ceilings": ceilings, "rows": rows}


def measure_quality(
    config: Mapping[str, Mapping[str, Any]],
    *,
    target: float,
    max_epochs: int = 30,
    implementations: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Times how long each way to train takes until its value on validation, of `train.selection`, reaches a target.

    The trainers train an epoch in turn, in an order drawn anew each time. The clock runs while an epoch trains; the
    evaluation is the same code for all, and not timed. Where inputs are denoised, each library draws its own columns.
    """
    names = choose_trainers(implementations, QUALITY_TRAINERS, config)
    settings = config["train"]
    if settings["selection"] == "last":
        raise ValueError("config.train.selection must be map, recall or agreement; last has no value to reach")
    mesh = training.data_mesh(config["mesh"]["data"])
    dataset, _ = session.load(config["dataset"])
    training.check_fits(dataset, batch_size=settings["batch_size"], criterion=settings["selection"])
    start = training.state_from_config(config, dataset.image_dim, dataset.text_dim, mesh)
    made = _make_trainers(names, start, dataset.train, settings)
    epochs, outcomes = {}, {}
    for name, trainer in made.items():
        epochs[name] = _train_epochs(trainer, start, dataset, settings["selection"], max_epochs)
        compile_s = sum(trainer.facts.get(part, 0.0) for part in ("lower_s", "compile_s"))
        outcomes[name] = Outcome(name, library_of(name), compile_s)
    order = random.Random(0)
    for _ in range(max_epochs):
        running = [name for name in names if outcomes[name].reached_epoch is None]
        order.shuffle(running)
        for name in running:
            time.sleep(timing.PAUSE)
            result = next(epochs[name])
            if failed := result.members[0].failed:
                raise training.NotFinite(f"{name}: {failed}")
            (value,) = result.figures
            outcomes[name] = _with_epoch(outcomes[name], result.seconds, value, target)
            print(f"epoch {result.epoch}: {name} {value:.4f} in {result.seconds:.2f} s", file=sys.stderr)
    return {
        "benchmark": "quality",
        "problem": config,
        "dataset": dataset.title,
        "target": target,
        "max_epochs": max_epochs,
        "rows": [outcomes[name] for name in names],
    }


def choose_trainers(wanted: Sequence[str] | None, names: Sequence[str], config: Mapping[str, Mapping]) -> list[str]:
    """Returns the trainers that are wanted, or all that can train with this config here."""
    loss, reason = config["loss"], None
    if loss["discrepancy"] != "absolute":
        reason = f"has no discrepancy {loss['discrepancy']!r}"
    elif loss["target"] != "inputs" or loss["contrastive"]:
        reason = "has the paper's losses only: loss.target=inputs, loss.contrastive=0"
    return choose(wanted, names, peer_obstacles(names, reason))


def make_trainer(name: str, start: training.TrainState, split: PairedSplit, batches: Mapping[str, Any]) -> Trainer:
    """Makes a trainer of one run, from a copy of the state before the first step.

    `"step"` sends mini-batches one by one, as `training.train` does where the pairs do not stay on the device;
    `"epoch"` is one program with the pairs on the device; the others are the PyTorch peers.
    """
    if library_of(name) == "torch":
        return _TorchPeer(name, start, split, batches)
    if name == "step":
        return _StepByStep(start, split, batches)
    pairs = training.resident_pairs(split, start.mesh, neighbours=start.neighbours)
    return _Scan(training.train_epoch, _copy(start), pairs, **batches)


def make_grid_trainer(start, split, batches, *, at_once: int | None, mesh: jax.sharding.Mesh | None) -> Trainer:
    """Makes a trainer of a grid of runs in one program, from a copy of the members' states, stacked.

    `vmap` computes `at_once` members side by side, all for `None`; the devices of the mesh share the members.
    """
    states = jax.device_put(_copy(start), row_sharding(mesh))
    pairs = jax.device_put(training.resident_pairs(split, None, neighbours=start.neighbours), replicated(mesh))
    return _Scan(training.train_grid_epoch, states, pairs, **batches, at_once=at_once, mesh=mesh)


def _grid_states(config, dataset, members):
    """Returns the stacked states of a grid before the first step; the first member has the config's seed and alpha."""
    seed, alpha = config["train"]["seed"], config["loss"]["alpha"]
    changes = ({"train.seed": seed + i, "loss.alpha": alpha + _ALPHA_STEP * i} for i in range(members))
    widths = dataset.image_dim, dataset.text_dim
    return training.stack_states([training.state_from_config(with_values(config, one), *widths) for one in changes])


def _make_trainers(names, start, split, settings):
    made, batches = {}, {"batch_size": settings["batch_size"], "remainder": settings["remainder"]}
    for name in names:
        print(f"{name}: preparing", file=sys.stderr)
        made[name] = make_trainer(name, start, split, batches)
    # Compiling one program cleared what jit keeps for the others; here it comes back, off the clock.
    near = training.split_neighbourhoods(split, start.neighbours)
    next(training.epoch_batches(split, start.key, 0, **batches, neighbourhoods=near, mesh=start.mesh))
    return made


def _train_epochs(trainer, start, dataset, criterion, epochs) -> Iterator[training.EpochResult]:
    """Trains an epoch each time that it is advanced; the clock runs in `train_epoch` only."""

    def train_epoch(epoch):
        return {"loss": trainer.epoch()[None]}

    relevance = None
    if criterion == "agreement":
        relevance = neighbourhood_relevance(dataset.validation, dataset.train)

    def evaluate(member, epoch):
        state = start.replace(projector_parameters=trainer.projector_parameters())
        figures = training.evaluate_split(state, dataset.validation, relevance=relevance)
        value = training.criterion_value(criterion, figures, epoch)
        return value, value

    return training.train_epochs(train_epoch, evaluate, epochs=epochs)


def _with_epoch(outcome, seconds, value, target):
    epoch_s, values = (*outcome.epoch_s, seconds), (*outcome.values, value)
    reached = len(values) if value >= target else None
    return dataclasses.replace(outcome, epoch_s=epoch_s, values=values, train_s=sum(epoch_s), reached_epoch=reached)


def _prepare(name, n, split, *, start, grid, mesh, members):
    """Returns the row with the loss of the first step, and a call that trains an epoch."""
    row = Row(n, name, "train", "default", library_of(name), steps=len(split) // n)
    batches = {"batch_size": n, "remainder": "drop"}
    if row.library == "torch":
        from gpldan_jax.benchmarking import torch_train

        row = torch_train.with_memory(row, start, split)
        if row.not_run:
            return row, None
    if name in GRIDS:
        trainer = make_grid_trainer(grid, split, batches, at_once=GRIDS[name], mesh=mesh)
    else:
        trainer = make_trainer(name, start, split, batches)
    if row.library == "jax":
        row = dataclasses.replace(row, devices=training.shares(mesh), members=members if name in GRIDS else 1)
        row = timing.with_facts(row, trainer.facts)
        if row.not_run:
            return row, None
    if row.library == "torch":
        from gpldan_jax.benchmarking import torch_device

        row, losses = torch_device.with_first_call(row, trainer.epoch, compiles=name == COMPILED)
        if row.not_run:
            return row, None
    else:
        losses = trainer.epoch()
    return dataclasses.replace(row, loss=float(losses[0])), trainer.epoch


def _repeat_pairs(split, n):
    """Returns the split; where it has fewer than n pairs, with pairs repeated."""
    if len(split) >= n:
        return split
    print(f"n = {n}: the {len(split)} training pairs are repeated", file=sys.stderr)
    rows = np.arange(n) % len(split)
    return PairedSplit(split.images[rows], split.texts[rows])


class _StepByStep:
    def __init__(self, start, split, batches):
        self._state, self._split, self._epochs = _copy(start), split, 0
        near = training.split_neighbourhoods(split, start.neighbours)
        self._batches = {**batches, "mesh": start.mesh, "neighbourhoods": near}
        self._program, self.facts = timing.compile_program(
            training.train_step, self._state, next(self._epoch_batches())
        )

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
        self._program, self.facts = timing.compile_program(train_epoch, state, pairs, **static)

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
        self._rows, _ = timing.compile_program(rows, self._key, np.int32(0))

    def epoch(self):
        import torch

        rows, where = jax.device_get(self._rows(self._key, np.int32(self._epochs)))
        self._epochs += 1
        # PyTorch needs no padding.
        kept = rows if where is None else [step[real] for step, real in zip(rows, where, strict=True)]
        return torch.stack([self._peer.step(torch.tensor(step))["loss"] for step in kept]).cpu().numpy()

    def projector_parameters(self):
        return jax.tree.map(jnp.asarray, self._peer.parameters()[0])


def _copy(state):
    return jax.tree.map(lambda leaf: leaf.copy(), state)  # the programs take what they are given apart
