"""Times training: steps (one by one, an epoch or a grid of runs as one program, PyTorch), and the time to a quality.

All trainers start with the same weights and see the same mini-batches.
"""

import dataclasses
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpldan_jax import training
from gpldan_jax.benchmarking import results, timing, trainers
from gpldan_jax.benchmarking.problem import GRIDS, QUALITY_TRAINERS, TRAINERS, library_of
from gpldan_jax.benchmarking.results import Row
from gpldan_jax.config import with_values
from gpldan_jax.data import PairedSplit
from gpldan_jax.runs import session

_ALPHA_STEP = 0.1  # from one member of a grid to the next


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one trainer reached the target, or did not.

    Attributes:
        implementation: what trained.
        library: `"jax"` or `"torch"`.
        compile_s: seconds to trace and to compile its program; 0 in PyTorch, whose peers have none.
        epoch_s: seconds of each epoch.
        values: the value on validation after each epoch.
        train_s: seconds of all epochs.
        reached_epoch: the first epoch after which the value was at least the target; `None` where there was none.
    """

    implementation: str
    library: str
    compile_s: float
    epoch_s: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    train_s: float = 0.0
    reached_epoch: int | None = None


def measure_steps(
    config: Mapping[str, Mapping[str, Any]],
    schedule: timing.Schedule,
    *,
    implementations: Sequence[str] | None = None,
    members: int = 9,
) -> dict[str, Any]:
    """Times training steps.

    A timed call trains an epoch of whole mini-batches. The members of a grid after the first have seeds and alphas of
    their own.

    Args:
        config: a valid config.
        schedule: pairs of a mini-batch, and how often each is timed.
        implementations: of `problem.TRAINERS`; `None` for all that can run here.
        members: runs of a grid.

    Raises:
        ValueError: an implementation cannot run here, or devices cannot share the members evenly.
        results.Disagreement: the first steps do not have the same loss, though nothing is denoised.
    """
    names = trainers.choose_trainers(implementations, TRAINERS, config)
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
    """Times how long each way to train takes until its value on validation reaches a target.

    The trainers train an epoch in turn, in an order drawn anew each time. The clock runs while an epoch trains; the
    evaluation is the same code for all, and not timed. Where inputs are denoised, each library draws its own columns.

    Args:
        config: a valid config; `train.selection` says what the value is.
        target: the value to reach.
        max_epochs: after which a trainer gives up.
        implementations: of `problem.QUALITY_TRAINERS`; `None` for all that can run here.

    Raises:
        ValueError: an implementation cannot run here, or `train.selection` is `"last"`.
        training.NotFinite: a loss is NaN or infinite.
    """
    names = trainers.choose_trainers(implementations, QUALITY_TRAINERS, config)
    settings = config["train"]
    if settings["selection"] == "last":
        raise ValueError("config.train.selection must be map or recall, got last, which has no value to reach")
    mesh = training.data_mesh(config["mesh"]["data"])
    dataset, _ = session.load(config["dataset"])
    training.check_fits(dataset, batch_size=settings["batch_size"], criterion=settings["selection"])
    start = training.state_from_config(config, dataset.image_dim, dataset.text_dim, mesh)
    made = _make_trainers(names, start, dataset.train, settings)
    epochs, outcomes = {}, {}
    for name, trainer in made.items():
        epochs[name] = _train_epochs(trainer, start, dataset.validation, settings["selection"], max_epochs)
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
        made[name] = trainers.make_trainer(name, start, split, batches)
    # Compiling one program cleared what jit keeps for the others; here it comes back, off the clock.
    near = training.split_neighbourhoods(split, start.neighbours)
    next(training.epoch_batches(split, start.key, 0, **batches, neighbourhoods=near, mesh=start.mesh))
    return made


def _train_epochs(trainer, start, validation, criterion, epochs) -> Iterator[training.EpochResult]:
    """Trains an epoch each time that it is advanced; the clock runs in `train_epoch` only."""

    def train_epoch(epoch):
        return {"loss": trainer.epoch()[None]}

    def evaluate(member, epoch):
        state = start.replace(projector_parameters=trainer.projector_parameters())
        value = training.criterion_value(criterion, training.evaluate_split(state, validation), epoch)
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
        trainer = trainers.make_trainer(name, start, split, batches)
    else:
        row = dataclasses.replace(row, devices=training.shares(mesh), members=members if name in GRIDS else 1)
        if name in GRIDS:
            trainer = trainers.make_grid_trainer(grid, split, batches, at_once=GRIDS[name], mesh=mesh)
        else:
            trainer = trainers.make_trainer(name, start, split, batches)
        row = timing.with_facts(row, trainer.facts)
        if row.not_run:
            return row, None
    return dataclasses.replace(row, loss=float(trainer.epoch()[0])), trainer.epoch


def _repeat_pairs(split, n):
    """Returns the split; where it has fewer than n pairs, with pairs repeated."""
    if len(split) >= n:
        return split
    print(f"n = {n}: the {len(split)} training pairs are repeated", file=sys.stderr)
    rows = np.arange(n) % len(split)
    return PairedSplit(split.images[rows], split.texts[rows])
