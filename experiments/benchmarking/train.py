"""Measures `gpldan_jax.training.train_step` on generated data of a config's shapes."""

import argparse
import dataclasses

import jax
import numpy as np

from experiments import session
from experiments.benchmarking import jax_losses, results, timing
from gpldan_jax import training


def measure(options: argparse.Namespace, config: dict) -> dict:
    """The config, the ceiling, and a row for each batch size.

    Args:
        options: the flags of `benchmark.py train`.
        config: the settings that `options.config` and its overrides make.
    """
    config = config | {"dataset": config["dataset"] | {"synthetic": True}}
    dataset, _ = session.load(config["dataset"])

    def prepare(n):
        state = session.initial_state(config, dataset)
        pairs = np.arange(n) % len(dataset.train)
        batch = jax.device_put(training.Batch(dataset.train.images[pairs], dataset.train.texts[pairs]))
        program, facts = jax_losses.compiled(training.train_step, state, batch)
        row = jax_losses.fitting(results.Row(n, "train_step", "train", "default", **facts))
        if row.not_run:
            return [(row, None)]

        def step():
            nonlocal state  # each step donates the state that it is given
            state, metrics = jax.block_until_ready(program(state, batch))
            return metrics

        return [(dataclasses.replace(row, loss=float(step()["loss"])), step)]

    # The networks' products run at jax's default precision.
    rows, ceilings = timing.over_sizes(options, prepare, [("jax", "default")])
    return {"benchmark": "train", "problem": config, "ceilings": ceilings, "rows": rows}
