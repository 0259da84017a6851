"""The implementations of `gpldan_jax`, compiled; and what XLA says of a compiled function."""

import functools
import time
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

import gpldan_jax
from experiments.benchmarking import machine
from experiments.benchmarking.problem import ALPHA, BETA
from experiments.benchmarking.results import Row

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
        return replace(row, not_run=machine.one_line(error)), None
    row = fitting(replace(row, **facts))
    if row.not_run:
        return row, None
    return row, lambda: jax.block_until_ready(program(*arguments))


def fitting(row: Row) -> Row:
    """The row, marked as not run where its memory is more than there is."""
    shares = row.devices if jax.default_backend() == "cpu" else 1  # virtual devices share the machine's
    memory = row.memory_bytes * shares
    does_fit = memory <= machine.available_memory(jax.devices()[0])
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
