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
_TILED = ("blocked", "sharded")
_MOST_REFERENCE = 1024  # pairs; a float64 matrix of so many takes 8 MB, and its products half a minute on a slow CPU


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
    block_sizes: Sequence[int] | None = None,
    loss: str = "graph_pattern",
    errors: bool = False,
) -> dict[str, Any]:
    """Times a loss of `LOSSES`; `block_sizes` are for the implementations `"blocked"` and `"sharded"`.

    With `errors`, rows of at most 1024 pairs have their errors against float64.
    """
    names = _choose(implementations, precisions, loss)
    h = part_width(width, representations)
    problem: dict[str, Any] = {"k": representations, "h": h, "image_inputs": image_inputs, "text_inputs": text_inputs}
    if loss != "graph_pattern":  # which records do not name, for they are older than other losses
        problem["loss"] = loss

    def prepare(n):
        at_n = Problem(n, **problem)
        arguments = arrays(at_n)
        reference = _reference(at_n, arguments) if errors and n <= _MOST_REFERENCE else None
        prepared = [
            _run_once(*_prepare(at_n, arguments, mode, precision, name, size), reference)
            for mode, precision, name in itertools.product(modes, precisions, names)
            if _has_precision(name, precision)
            for size in ((block_sizes or [None]) if name in _TILED else [None])
        ]
        results.check_agreement([row for row, _ in prepared])
        return prepared

    kinds = [("jax", precision) for precision in precisions]
    if peers := set(names) & set(TORCH_IMPLEMENTATIONS):
        kinds += [("torch", precision) for precision in precisions if _has_precision(min(peers), precision)]
    rows, ceilings = timing.time_sizes(schedule, prepare, kinds)
    is_cpu = jax.default_backend() == "cpu"
    rows = [results.with_fractions(row, ceilings, shared=is_cpu) for row in rows]
    return {"benchmark": "loss", "problem": problem, "block_size": block_sizes, "ceilings": ceilings, "rows": rows}


def _choose(wanted, precisions, loss="graph_pattern"):
    """Returns the implementations to time: those that are wanted, or all that can run here."""
    names = LOSSES[loss]
    obstacles = {name: f"is no implementation of {loss}, which has {', '.join(names)}" for name in wanted or ()}
    obstacles = {name: reason for name, reason in obstacles.items() if name not in names}
    if jax.device_count() == 1:
        obstacles["sharded"] = "needs more than one device: jax_num_cpu_devices=2 makes them of CPU cores"
    only_highest = None if "highest" in precisions else "has the precision 'highest' only"
    return choose(wanted, names, peer_obstacles(names, only_highest) | obstacles)


def _has_precision(name, precision) -> bool:
    """Says whether an implementation has a precision: the peers have TF32 too where there is a GPU."""
    if name in TORCH_IMPLEMENTATIONS:
        return precision == "highest" or (precision == "default" and jax.default_backend() == "gpu")
    return name != "vmap" or precision == "highest"


def make_loss(
    implementation: str,
    precision: str,
    loss_name: str,
    *,
    block_size: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Callable:
    """Returns a jax implementation of a loss as a function of the arrays of `problem.arrays` alone.

    `block_size` is for `"blocked"` and `"sharded"`; over all axes of `mesh` lie the pairs of `"sharded"`.
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
        loss = functools.partial(loss, mesh=mesh, axis=mesh.axis_names)
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
    row = dataclasses.replace(row, block_size=block_size)
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


def _reference(problem, arguments) -> tuple[float, list[np.ndarray]]:
    """Returns the loss and its gradients by the features in float64, computed on the CPU where jax has it."""
    try:
        device = jax.devices("cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names another one alone
        device = jax.devices()[0]
    with jax.enable_x64(True):
        loss = jax.jit(jax.value_and_grad(make_loss("dense", "highest", problem.loss), argnums=(0, 1)))
        value, gradients = loss(*(jax.device_put(array.astype(np.float64), device) for array in arguments))
        return float(value), [np.asarray(gradient) for gradient in gradients]


def _run_once(row, call, reference=None):
    """Returns the row with the loss and the gradient norm, which the first call gives, and the call."""
    if call is None:
        return row, None
    try:
        loss, gradients = call()
    except RuntimeError as error:  # out of memory after all
        return dataclasses.replace(row, not_run=one_line(error)), None
    # Of the features alone: off the simplex each implementation may extend the attention as it likes.
    found = [np.asarray(one.cpu() if row.library == "torch" else one, np.float64) for one in gradients[:2]]
    row = dataclasses.replace(row, loss=float(loss), gradient_norm=_norm(found) if found else None)
    if reference:
        expected, exact = reference
        off = _norm([a - b for a, b in zip(found, exact, strict=True)]) / _norm(exact) if found else None
        row = dataclasses.replace(row, loss_error=abs(row.loss - expected) / abs(expected), gradient_error=off)
    return row, call


def _norm(arrays):
    return sum(np.square(array).sum() for array in arrays) ** 0.5
