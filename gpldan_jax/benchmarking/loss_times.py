"""Times a loss: every implementation at every size, in the same rounds."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax import losses
from gpldan_jax._files import one_line
from gpldan_jax.benchmarking import results, timing
from gpldan_jax.benchmarking.problem import (
    ALPHA,
    BETA,
    LOSSES,
    SCALE,
    TORCH_IMPLEMENTATIONS,
    Problem,
    arrays,
    choose,
    library_of,
    minimum_flops,
    part_width,
    peer_obstacles,
)
from gpldan_jax.benchmarking.results import Row

_AXIS = "pairs"
_ONE_PRECISION = ("vmap", *TORCH_IMPLEMENTATIONS)  # these have "highest" only


def measure(
    schedule: timing.Schedule,
    *,
    width: int,
    representations: int,
    image_inputs: int,
    text_inputs: int,
    implementations: Sequence[str] | None = None,
    modes: Sequence[str] = ("forward_and_grad",),
    precisions: Sequence[str] = ("highest",),
    block_size: int | None = None,
    loss: str = "graph_pattern",
) -> dict[str, Any]:
    """Times a loss of `LOSSES`; `block_size` is for the implementations `"blocked"` and `"sharded"`."""
    names = _choose(implementations, precisions, loss)
    h = part_width(width, representations)
    problem: dict[str, Any] = {"k": representations, "h": h, "image_inputs": image_inputs, "text_inputs": text_inputs}
    if loss != "graph_pattern":  # which records do not name, for they are older than other losses
        problem["loss"] = loss

    def prepare(n):
        at_n = Problem(n, **problem)
        arguments = arrays(at_n)
        prepared = [
            _run_once(*_prepare(at_n, arguments, *combination, block_size))
            for combination in itertools.product(modes, precisions, names)
            if combination[1] == "highest" or combination[2] not in _ONE_PRECISION
        ]
        results.check_agreement([row for row, _ in prepared])
        return prepared

    kinds = [("jax", precision) for precision in precisions]
    kinds += [("torch", "highest")] if set(names) & set(TORCH_IMPLEMENTATIONS) else []
    rows, ceilings = timing.time_sizes(schedule, prepare, kinds)
    is_cpu = jax.default_backend() == "cpu"
    rows = [results.with_fractions(row, ceilings, shared=is_cpu) for row in rows]
    return {"benchmark": "loss", "problem": problem, "block_size": block_size, "ceilings": ceilings, "rows": rows}


def _choose(wanted, precisions, loss="graph_pattern"):
    """Returns the implementations to time: those that are wanted, or all that can run here."""
    names = LOSSES[loss]
    obstacles = {name: f"is no implementation of {loss}, which has {', '.join(names)}" for name in wanted or ()}
    obstacles = {name: reason for name, reason in obstacles.items() if name not in names}
    if jax.device_count() == 1:
        obstacles["sharded"] = "needs more than one device: jax_num_cpu_devices=2 makes them of CPU cores"
    only_highest = None if "highest" in precisions else "has the precision 'highest' only"
    return choose(wanted, names, peer_obstacles(names, only_highest) | obstacles)


def make_loss(
    implementation: str,
    precision: str,
    loss_name: str,
    *,
    block_size: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Callable:
    """Returns a jax implementation of a loss as a function of the arrays of `problem.arrays` alone.

    `block_size` is for `"blocked"` and `"sharded"`; `mesh`, with one axis, is the devices of `"sharded"`.
    """
    options: dict[str, Any] = {}
    if precision == "bfloat16":
        options["compute_dtype"] = jnp.bfloat16
    elif precision != "highest":  # which is the default of the loss
        options["precision"] = precision
    if block_size and implementation in ("blocked", "sharded"):
        options["block_size"] = block_size
    is_soft = loss_name == "soft_contrastive"
    loss: Callable = losses.soft_contrastive if is_soft else losses.graph_pattern_loss
    if implementation == "sharded":
        loss = losses.sharded_soft_contrastive if is_soft else losses.sharded_graph_pattern_loss
        mesh = mesh or _mesh()
        loss = functools.partial(loss, mesh=mesh, axis=mesh.axis_names[0])
    elif implementation != "default":
        options["implementation"] = implementation
    if is_soft:
        return lambda *arguments: loss(*arguments[:4], similarity_rows=arguments[4], scale=SCALE, **options)
    return lambda *arguments: loss(*arguments, alpha=ALPHA, beta=BETA, **options)[0]


def _mesh():
    return jax.sharding.Mesh(jax.devices(), (_AXIS,))


def _prepare(problem, arguments, mode, precision, name, block_size) -> tuple[Row, Callable | None]:
    """Returns the row as far as it is known before it runs, and a call that evaluates the loss once."""
    row = Row(problem.n, name, mode, precision, library_of(name), flops=minimum_flops(problem, mode))
    if row.library == "torch":
        from gpldan_jax.benchmarking import torch_losses

        return torch_losses.prepare(row, problem, arguments)
    if name == "sharded":
        row = dataclasses.replace(row, devices=jax.device_count())
    try:
        loss = make_loss(name, precision, problem.loss, block_size=block_size)
        by_pairs = jax.NamedSharding(_mesh(), jax.sharding.PartitionSpec(_AXIS))
        arguments = jax.device_put(arguments, by_pairs if name == "sharded" else jax.devices()[0])
        if mode == "forward":
            jitted = jax.jit(lambda *arguments: (loss(*arguments), ()))
        else:
            jitted = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
        program, facts = timing.compile_program(jitted, *arguments)
    except (ValueError, TypeError, jax.errors.JaxRuntimeError) as error:  # refused by the loss, or by XLA
        return dataclasses.replace(row, not_run=one_line(error)), None
    row = timing.with_facts(row, facts)
    if row.not_run:
        return row, None
    return row, lambda: jax.block_until_ready(program(*arguments))


def _run_once(row, call):
    """Returns the row with the loss and the gradient norm, which the first call gives, and the call."""
    if call is None:
        return row, None
    try:
        loss, gradients = call()
    except RuntimeError as error:  # out of memory after all
        return dataclasses.replace(row, not_run=one_line(error)), None
    # Of the features alone: off the simplex each implementation may extend the attention as it likes.
    squares = [np.square(np.asarray(gradient, np.float64)).sum() for gradient in gradients[:2]]
    return dataclasses.replace(row, loss=float(loss), gradient_norm=sum(squares) ** 0.5 if squares else None), call
