"""Measures the graph pattern loss: every implementation at every size, in the same rounds."""

import argparse
import dataclasses
import itertools

import jax
import numpy as np

from experiments.benchmarking import jax_losses, machine, results, timing
from experiments.benchmarking.problem import (
    JAX_IMPLEMENTATIONS,
    TORCH_IMPLEMENTATIONS,
    Problem,
    arrays,
    floor_flops,
    runnable,
)


def measure(options: argparse.Namespace) -> dict:
    """The problem, the ceilings, and a row for each implementation, mode, precision and size.

    Args:
        options: the flags of `benchmark.py loss`.

    Raises:
        ValueError: what was asked for cannot run here.
        results.Disagreement: the implementations do not compute the same.
    """
    names = _runnable(options.implementations, options.precisions)
    problem = {"k": options.representations, "h": options.width // options.representations}
    problem |= {"image_inputs": options.image_inputs, "text_inputs": options.text_inputs}

    def prepare(n):
        at_n = Problem(n, **problem)
        arguments = arrays(at_n)
        combinations = itertools.product(options.mode, options.precisions, names)
        prepared = [
            _warmed_up(*_prepared(at_n, arguments, *combination, options.block_size))
            for combination in combinations
            if combination[1] == "highest" or combination[2] not in ("vmap", *TORCH_IMPLEMENTATIONS)  # have no other
        ]
        results.check_agreement([row for row, _ in prepared])
        return prepared

    kinds = [("jax", precision) for precision in options.precisions]
    kinds += [("torch", "highest")] if set(names) & set(TORCH_IMPLEMENTATIONS) else []
    rows, ceilings = timing.over_sizes(options, prepare, kinds)
    is_cpu = jax.default_backend() == "cpu"
    rows = [results.with_fractions(row, ceilings, shared=is_cpu) for row in rows]
    return {
        "benchmark": "loss",
        "problem": problem,
        "block_size": options.block_size,
        "ceilings": ceilings,
        "rows": rows,
    }


def _runnable(asked, precisions):
    """The implementations to run: those asked for, or all that can."""
    problems = {}
    if jax.device_count() == 1:
        problems["sharded"] = "needs more than one device: --devices 2 makes them of CPU cores"
    torch_problem = machine.torch_problem()
    if torch_problem is None and "highest" not in precisions:
        torch_problem = "runs at the precision 'highest' only"
    if torch_problem:
        problems |= dict.fromkeys(TORCH_IMPLEMENTATIONS, torch_problem)
    return runnable(asked, (*JAX_IMPLEMENTATIONS, *TORCH_IMPLEMENTATIONS), problems)


def _prepared(problem, arguments, mode, precision, name, block_size):
    """The row as far as it is known before it runs, and what evaluates it once, `None` where it cannot run."""
    row = results.Row(problem.n, name, mode, precision, flops=floor_flops(problem, mode))
    if name in TORCH_IMPLEMENTATIONS:
        from experiments.benchmarking import torch_losses

        return torch_losses.prepare(dataclasses.replace(row, library="torch"), problem, arguments)
    row = dataclasses.replace(row, devices=jax.device_count() if name == "sharded" else 1)
    return jax_losses.prepare(row, arguments, block_size)


def _warmed_up(row, call):
    """The row with the values that the first call gives."""
    if call is None:
        return row, None
    try:
        loss, gradients = call()
    except RuntimeError as error:  # out of memory after all
        return dataclasses.replace(row, not_run=machine.one_line(error)), None
    # Of the features alone: off the simplex each implementation may extend the attention as it likes.
    squares = [np.square(np.asarray(gradient, np.float64)).sum() for gradient in gradients[:2]]
    return dataclasses.replace(row, loss=float(loss), gradient_norm=sum(squares) ** 0.5 if squares else None), call
