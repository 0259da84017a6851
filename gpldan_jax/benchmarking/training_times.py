"""Measures training steps: one by one, an epoch or a grid of runs as one program, and the PyTorch peers."""

import argparse
import dataclasses
import sys

import numpy as np

from gpldan_jax import training
from gpldan_jax.benchmarking import loss_times as jax_losses
from gpldan_jax.benchmarking import results, timing, trainers
from gpldan_jax.benchmarking.problem import GRIDS, JAX_TRAINERS, TORCH_IMPLEMENTATIONS
from gpldan_jax.data import PairedDataset, PairedSplit
from gpldan_jax.runs import session

_ALPHA_STEP = 0.1  # from one member of a grid to the next


def measure(options: argparse.Namespace, config: dict) -> dict:
    """The config, the ceilings, and a row for each implementation and batch size.

    A timed call trains an epoch of whole mini-batches. All start with the same weights and see the same pairs; the
    members of a grid after the first have seeds and alphas of their own.

    Args:
        options: the flags of `benchmark.py train`.
        config: the settings that `options.config` and its overrides make.

    Raises:
        ValueError: what was asked for cannot run here.
        results.Disagreement: the first steps do not have the same loss, though nothing is denoised.
    """
    names = trainers.chosen(options.implementations, (*JAX_TRAINERS, *TORCH_IMPLEMENTATIONS), config)
    has_grid, has_peer = (bool(set(names) & set(kind)) for kind in (GRIDS, TORCH_IMPLEMENTATIONS))
    mesh = training.data_mesh(config["mesh"]["data"])
    if has_grid and mesh and options.members % mesh.size:
        raise ValueError(f"--members must be a multiple of the {mesh.size} devices, got {options.members}")
    dataset, _ = session.load(config["dataset"])
    start = session.initial_state(config, dataset, mesh)
    grid = grid_states(config, dataset, options.members) if has_grid else None

    def prepare(n):
        split = _at_least(dataset.train, n)
        batches = {"batch_size": n, "remainder": "drop"}
        prepared = []
        for name in names:
            row = results.Row(n, name, "train", "default", steps=len(split) // n)
            if name in TORCH_IMPLEMENTATIONS:
                prepared.append(_peer(row, start, split, batches))
                continue
            row = dataclasses.replace(row, devices=mesh.size if mesh else 1)
            if name in GRIDS:
                row = dataclasses.replace(row, members=options.members)
                trainer = trainers.GridScan(grid, split, batches, at_once=GRIDS[name], mesh=mesh)
            else:
                trainer = trainers.trainer(name, start, split, batches)
            row = jax_losses.fitting(dataclasses.replace(row, **trainer.facts))
            prepared.append((row, None) if row.not_run else _warmed_up(row, trainer))
        if not any(config["denoise"].values()):  # else each library draws its own columns
            results.check_agreement([row for row, _ in prepared], "default")
        return prepared

    # The networks' products run at the default precision of each library.
    kinds = [("jax", "default")] + ([("torch", "default")] if has_peer else [])
    rows, ceilings = timing.over_sizes(options, prepare, kinds)
    return {"benchmark": "train", "problem": config, "dataset": dataset.title, "ceilings": ceilings, "rows": rows}


def grid_states(config: dict, dataset: PairedDataset, members: int) -> training.TrainState:
    """The states of a grid's members, stacked: they differ in seed and alpha, the first has the config's own."""

    def state(seed, alpha):
        changes = {"train": config["train"] | {"seed": seed}, "loss": config["loss"] | {"alpha": alpha}}
        return session.initial_state(config | changes, dataset)

    return training.stack_states(
        [state(config["train"]["seed"] + i, config["loss"]["alpha"] + _ALPHA_STEP * i) for i in range(members)]
    )


def _peer(row, start, split, batches):
    from gpldan_jax.benchmarking import torch_train

    row = torch_train.with_memory(dataclasses.replace(row, library="torch"), start, split)
    if row.not_run:
        return row, None
    return _warmed_up(row, trainers.trainer(row.implementation, start, split, batches))


def _warmed_up(row, trainer):
    """The row with the loss of the first step, and what trains an epoch."""
    return dataclasses.replace(row, loss=float(trainer.epoch()[0])), trainer.epoch


def _at_least(split, n):
    """The split; where it has fewer than n pairs, with pairs repeated."""
    if len(split) >= n:
        return split
    print(f"n = {n}: the {len(split)} training pairs are repeated", file=sys.stderr)
    rows = np.arange(n) % len(split)
    return PairedSplit(split.images[rows], split.texts[rows])
