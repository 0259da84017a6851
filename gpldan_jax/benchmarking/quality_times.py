"""Measures the time to quality: how long each way to train takes until validation reaches a figure."""

import argparse
import dataclasses
import random
import sys
import time

import numpy as np

from gpldan_jax import training
from gpldan_jax.benchmarking import timing, trainers
from gpldan_jax.benchmarking.problem import QUALITY_TRAINERS, TORCH_IMPLEMENTATIONS
from gpldan_jax.runs import session


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one implementation got on.

    Attributes:
        implementation: what trained.
        library: `"jax"` or `"torch"`.
        compile_s: seconds to trace and to compile its program; 0 in PyTorch, whose peers have none.
        epoch_s: seconds of each epoch.
        values: the validation figure after each epoch.
        train_s: seconds of all epochs.
        reached_epoch: the first epoch after which the figure was at least the target; `None` where there was none.
    """

    implementation: str
    library: str
    compile_s: float
    epoch_s: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    train_s: float = 0.0
    reached_epoch: int | None = None

    def after(self, seconds: float, value: float, target: float) -> "Outcome":
        """The outcome with one epoch more."""
        epoch_s, values = (*self.epoch_s, seconds), (*self.values, value)
        reached = len(values) if value >= target else None
        return dataclasses.replace(self, epoch_s=epoch_s, values=values, train_s=sum(epoch_s), reached_epoch=reached)


def measure(options: argparse.Namespace, config: dict) -> dict:
    """The config, and an `Outcome` for each implementation.

    All start with the same weights and see the same mini-batches (but where inputs are denoised: each library draws its
    own columns), and train an epoch in turn, in an order drawn anew each time. The clock runs while an epoch trains;
    the evaluation is off it and by the same code for all.

    Args:
        options: the flags of `benchmark.py quality`.
        config: the settings that `options.config` and its overrides make.

    Raises:
        ValueError: what was asked for cannot run here, or nothing says what quality is.
        FloatingPointError: a loss is NaN or infinite.
    """
    names = trainers.chosen(options.implementations, QUALITY_TRAINERS, config)
    settings = config["train"]
    if settings["selection"] == "last":
        raise ValueError("the quality is what selects the model: config.train.selection must be map or recall")
    mesh = training.data_mesh(config["mesh"]["data"])
    dataset, _ = session.load(config["dataset"])
    training.check_fits(dataset, batch_size=settings["batch_size"], criterion=settings["selection"])
    batches = {"batch_size": settings["batch_size"], "remainder": settings["remainder"]}
    start = session.initial_state(config, dataset, mesh)
    made, outcomes = {}, {}
    for name in names:
        print(f"{name}: preparing", file=sys.stderr)
        made[name] = trainers.trainer(name, start, dataset.train, batches)
        compile_s = sum(made[name].facts.get(part, 0.0) for part in ("lower_s", "compile_s"))
        outcomes[name] = Outcome(name, "torch" if name in TORCH_IMPLEMENTATIONS else "jax", compile_s)
    # Compiling one program cleared what jit keeps for the others; here it comes back, off the clock.
    near = training.split_neighbourhoods(dataset.train, start.neighbours)
    next(training.epoch_batches(dataset.train, start.key, 0, **batches, neighbourhoods=near, mesh=mesh))

    order = random.Random(0)
    for epoch in range(1, options.max_epochs + 1):
        running = [name for name in names if outcomes[name].reached_epoch is None]
        order.shuffle(running)
        for name in running:
            time.sleep(timing.PAUSE)
            started = time.perf_counter()
            losses = made[name].epoch()
            seconds = time.perf_counter() - started
            if not np.isfinite(losses).all():
                raise FloatingPointError(f"{name}: a loss is not finite in epoch {epoch}")
            state = start.replace(projector_parameters=made[name].projector_parameters())
            figures = training.evaluate_split(state, dataset.validation)
            value = training.criterion_value(settings["selection"], figures, epoch)
            outcomes[name] = outcomes[name].after(seconds, value, options.target)
            print(f"epoch {epoch}: {name} {value:.4f} in {seconds:.2f} s", file=sys.stderr)
    return {
        "benchmark": "quality",
        "problem": config,
        "dataset": dataset.title,
        "target": options.target,
        "max_epochs": options.max_epochs,
        "rows": [outcomes[name] for name in names],
    }
