"""The implementations of `gpldan_jax`, compiled; and what XLA says of a compiled function.

Measures the graph pattern loss: every implementation at every size, in the same rounds.
"""

import argparse
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

import gpldan_jax
from gpldan_jax import _files
from gpldan_jax.benchmarking import machine, results, timing
from gpldan_jax.benchmarking.problem import (
    ALPHA,
    BETA,
    JAX_IMPLEMENTATIONS,
    TORCH_IMPLEMENTATIONS,
    Problem,
    arrays,
    floor_flops,
    runnable,
)
from gpldan_jax.benchmarking.results import Row
from gpldan_jax.training.mesh import available_memory

_AXIS = "pairs"


def compiled(jitted: Callable, *arguments, **static) -> tuple[Callable, dict]:
    """A jitted function compiled for these arguments, as if for the first time in this process.

    Args:
        jitted: the function.
        arguments: arrays, or what has their shapes.
        static: static arguments, by name; the compiled function does not take them again.

    Returns:
        The compiled function, and the `lower_s`, `compile_s`, `memory_bytes` and `temp_bytes` of a `Row`.
    """
    jax.clear_caches()
    started = time.perf_counter()
    lowered = jitted.lower(*arguments, **static)
    lowered_at = time.perf_counter()
    executable = lowered.compile()
    compiled_at = time.perf_counter()
    sizes = executable.memory_analysis()
    memory = sizes.temp_size_in_bytes + sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    facts = {"lower_s": lowered_at - started, "compile_s": compiled_at - lowered_at}
    facts |= {"memory_bytes": memory - sizes.alias_size_in_bytes, "temp_bytes": sizes.temp_size_in_bytes}
    return executable, facts


def prepare(row: Row, arguments, block_size: int | None) -> tuple[Row, Callable | None]:
    """The row with what compilation says, and what evaluates the loss once; `None` where it cannot run."""
    try:
        loss = loss_function(row.implementation, row.precision, block_size)
        if row.implementation == "sharded":
            rows = jax.sharding.NamedSharding(_mesh(), jax.sharding.PartitionSpec(_AXIS))
            arguments = jax.device_put(arguments, rows)
        else:
            arguments = jax.device_put(arguments, jax.devices()[0])
        if row.mode == "forward":
            program, facts = compiled(jax.jit(lambda *arguments: (loss(*arguments), ())), *arguments)
        else:
            program, facts = compiled(jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3))), *arguments)
    except (ValueError, TypeError, jax.errors.JaxRuntimeError) as error:  # refused by the loss, or by XLA
        return replace(row, not_run=_files.one_line(error)), None
    row = fitting(replace(row, **facts))
    if row.not_run:
        return row, None
    return row, lambda: jax.block_until_ready(program(*arguments))


def fitting(row: Row) -> Row:
    """The row, marked as not run where its memory is more than there is."""
    shares = row.devices if jax.default_backend() == "cpu" else 1  # virtual devices share the machine's
    memory = row.memory_bytes * shares
    does_fit = memory <= available_memory(jax.devices()[0])
    return row if does_fit else replace(row, not_run=machine.does_not_fit(memory))


def loss_function(implementation: str, precision: str, block_size: int | None) -> Callable:
    """The loss as a function of the six arrays alone."""
    options = {}
    if precision == "bfloat16":
        options["compute_dtype"] = jnp.bfloat16
    elif precision != "highest":  # which is what the loss takes by itself
        options["precision"] = precision
    if block_size and implementation in ("blocked", "sharded"):
        options["block_size"] = block_size
    if implementation == "sharded":
        loss = functools.partial(gpldan_jax.sharded_graph_pattern_loss, mesh=_mesh(), axis=_AXIS)
    else:
        loss = gpldan_jax.graph_pattern_loss
        if implementation != "default":
            options["implementation"] = implementation
    return lambda *arguments: loss(*arguments, alpha=ALPHA, beta=BETA, **options)[0]


def _mesh():
    return jax.sharding.Mesh(jax.devices(), (_AXIS,))


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
        from gpldan_jax.benchmarking import torch_losses

        return torch_losses.prepare(dataclasses.replace(row, library="torch"), problem, arguments)
    row = dataclasses.replace(row, devices=jax.device_count() if name == "sharded" else 1)
    return prepare(row, arguments, block_size)


def _warmed_up(row, call):
    """The row with the values that the first call gives."""
    if call is None:
        return row, None
    try:
        loss, gradients = call()
    except RuntimeError as error:  # out of memory after all
        return dataclasses.replace(row, not_run=_files.one_line(error)), None
    # Of the features alone: off the simplex each implementation may extend the attention as it likes.
    squares = [np.square(np.asarray(gradient, np.float64)).sum() for gradient in gradients[:2]]
    return dataclasses.replace(row, loss=float(loss), gradient_norm=sum(squares) ** 0.5 if squares else None), call
