"""Compiles the loss and the training step for accelerators that are not there, and reads what XLA made of them.

Nothing is run: the arguments are shapes on devices that only compile. Figures are those of one device.
"""

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from gpldan_jax import config, training
from gpldan_jax._files import one_line
from gpldan_jax.benchmarking import compile_targets, hlo_text, loss_times, peaks
from gpldan_jax.benchmarking.problem import LOSSES, PRECISIONS, Problem, minimum_flops, part_width
from gpldan_jax.training.mesh import AXIS

PROGRAMS = ("loss", "step")
"""What is compiled: a loss with its gradient, or a whole training step with it."""
_HOSTS = "hosts"
_BACKENDS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}  # as `jax.default_backend` calls them


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
    """One program; bytes and operations are those of one device, and `None` where XLA does not say them."""

    n: int  # pairs of the global mini-batch
    what: str  # of `PROGRAMS`
    precision: str  # of the loss
    devices: int
    not_run: str | None = None  # why it was not compiled
    lower_s: float | None = None  # seconds to trace it
    compile_s: float | None = None
    compile_cpu_s: float | None = None  # of all threads; a machine that does other things hardly changes it
    code_bytes: int | None = None  # the program itself
    temp_bytes: int | None = None
    argument_bytes: int | None = None
    output_bytes: int | None = None
    xla_flops: float | None = None  # as XLA counts: the body of a loop once, whatever the precision
    xla_bytes: float | None = None  # read and written, counted the same way
    minimum_flops: dict[str, float] = dataclasses.field(default_factory=dict)  # by precision, see `_minimum`
    exchange: hlo_text.Exchange | None = None
    sent_bytes: int | None = None  # of `exchange`
    roofline: peaks.Roofline | None = None  # from `minimum_flops`, `xla_bytes` and `sent_bytes`; `None` on a CPU
    roofline_s: float | None = None
    roofline_limit: str | None = None


def measure(
    sizes: Sequence[int],
    *,
    platform: str = "cpu",
    topology: str | None = None,
    devices: int | None = None,
    by_host: bool = False,
    what: Sequence[str] = ("loss",),
    loss: str = "graph_pattern",
    precisions: Sequence[str] = ("highest",),
    width: int = config.default("model.width"),
    representations: int = config.default("model.parts"),
    image_inputs: int = 4096,
    text_inputs: int = 1024,
) -> dict[str, Any]:
    """Compiles programs and returns their figures.

    Args:
        sizes: n, the pairs of each global mini-batch.
        platform: of `compile_targets.PLATFORMS`.
        topology: see `compile_targets.check_target`; `None` for the default of the platform.
        devices: how many of the topology share the pairs; `None` for all, on a CPU for one.
        by_host: whether the mesh has two axes, the hosts and the devices of each, which share the pairs of a loss;
            else it has one.
        what: of `PROGRAMS`.
        loss: of `problem.LOSSES`; a step with `"soft_contrastive"` is that of the recipe `ours`, with both losses.
        precisions: of `problem.PRECISIONS`; a step has `"highest"` only.
        width: H.
        representations: k.
        image_inputs: d_i.
        text_inputs: d_t.

    Returns:
        A record as `gpldan_jax.benchmarking.results` describes it; the rows are `CompiledProgram`.

    Raises:
        ValueError: an unknown name, a library that is missing, or a number that does not fit.

    Example:
        >>> small = {"width": 8, "representations": 2, "image_inputs": 6, "text_inputs": 5}
        >>> record = measure([4], what=["loss"], **small)  # doctest: +SKIP
        >>> record["rows"][0].temp_bytes  # doctest: +SKIP
        1296
    """
    for name, values, known in (
        ("what", what, PROGRAMS),
        ("precisions", precisions, PRECISIONS),
        ("loss", [loss], tuple(LOSSES)),
    ):
        if unknown := [value for value in values if value not in known]:
            raise ValueError(f"{name} must be of {', '.join(known)}, got {unknown[0]!r}")
    if "step" in what and set(precisions) != {"highest"}:
        raise ValueError(f"precisions of what=step must be highest, got {', '.join(precisions)}")
    shape = {"k": representations, "h": part_width(width, representations)}
    problem: dict[str, Any] = {**shape, "image_inputs": image_inputs, "text_inputs": text_inputs, "loss": loss}
    topology = compile_targets.check_target(platform, topology)
    found = compile_targets.compile_devices(platform, topology)
    count = devices or (1 if platform == "cpu" else len(found))
    if count > len(found):
        raise ValueError(f"devices must be at most {len(found)}, the devices of {topology or platform}, got {count}")
    if by_host and ("step" in what or count < len(found)):
        raise ValueError("by_host is of what=loss and all devices: the mesh of training has one axis")
    mesh = _mesh(found[:count], by_host) if count > 1 else None
    generation = topology.partition(":")[0]
    peak = peaks.PEAKS.get(generation)
    place = _Place(_BACKENDS[platform], found[0], mesh)
    rows = [
        _compile(Problem(n, **problem), name, precision, place, peak)
        for n in sorted(set(sizes))
        for name in dict.fromkeys(what)
        for precision in dict.fromkeys(precisions)
    ]
    return {
        "benchmark": "compile",
        "problem": problem,
        "target": {
            "platform": platform,
            "topology": topology,
            "device_kind": found[0].device_kind,
            "devices": count,
            "hosts": mesh.shape[_HOSTS] if mesh and by_host else 1,
            "compiler": compile_targets.compiler_version(platform),
        },
        "peak": dataclasses.asdict(peak) if peak else None,
        "ceilings": {},
        "rows": rows,
    }


def _mesh(devices, by_host):
    # The devices of a topology come host by host.
    hosts = len({device.process_index for device in devices}) if by_host else 1
    shape, names = ((hosts, -1), (_HOSTS, AXIS)) if by_host else ((-1,), (AXIS,))
    return Mesh(np.array(devices).reshape(shape), names, axis_types=(AxisType.Auto,) * len(names))


@dataclasses.dataclass(frozen=True)
class _Place:
    """The devices that a program is compiled for."""

    backend: str
    device: Any
    mesh: Mesh | None

    @property
    def replicated(self):
        return NamedSharding(self.mesh, PartitionSpec()) if self.mesh else SingleDeviceSharding(self.device)

    @property
    def by_rows(self):
        return NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names)) if self.mesh else self.replicated


def _compile(problem, what, precision, place, peak) -> CompiledProgram:
    devices = place.mesh.size if place.mesh else 1
    row = CompiledProgram(problem.n, what, precision, devices)
    print(
        f"n = {problem.n}: compiling the {what}, {precision}, for {devices} {place.device.device_kind}", file=sys.stderr
    )
    try:
        with _tracing_for(place.backend):
            make = _loss_program if what == "loss" else _step_program
            jitted, arguments, networks = make(problem, precision, place)
            program, seconds = _timed(jitted, arguments)
    except (ValueError, TypeError, jax.errors.JaxRuntimeError) as error:  # refused by the loss, or by XLA
        return dataclasses.replace(row, not_run=one_line(error))
    sizes, cost = program.memory_analysis(), program.cost_analysis() or {}
    exchange = hlo_text.read_exchange(program.as_text())
    minimum = {kind: flops / devices for kind, flops in _minimum(problem, what, precision, networks).items()}
    limit = peaks.roofline(peak, minimum, cost.get("bytes accessed"), exchange.sent_bytes) if peak else None
    return dataclasses.replace(
        row,
        **seconds,
        code_bytes=sizes.generated_code_size_in_bytes or None,  # of a GPU it says 0
        temp_bytes=sizes.temp_size_in_bytes,
        argument_bytes=sizes.argument_size_in_bytes,
        output_bytes=sizes.output_size_in_bytes,
        xla_flops=cost.get("flops"),
        xla_bytes=cost.get("bytes accessed"),
        minimum_flops=minimum,
        exchange=exchange,
        sent_bytes=exchange.sent_bytes,
        roofline=limit,
        roofline_s=limit.seconds if limit else None,
        roofline_limit=limit.limit if limit else None,
    )


def _timed(jitted, arguments) -> tuple[Any, dict[str, Any]]:
    started = time.perf_counter()
    lowered = jitted.lower(*arguments)
    lowered_at, cpu_at = time.perf_counter(), time.process_time()
    program = lowered.compile()
    compile_s, compile_cpu_s = time.perf_counter() - lowered_at, time.process_time() - cpu_at
    return program, {"lower_s": lowered_at - started, "compile_s": compile_s, "compile_cpu_s": compile_cpu_s}


@contextlib.contextmanager
def _tracing_for(backend: str) -> Iterator[None]:
    """Lets `jax.default_backend` name the accelerator, by which the losses choose the size of their tiles."""
    kept = jax.default_backend
    jax.default_backend = lambda: backend
    try:
        jax.clear_caches()  # of what was traced for another backend
        yield
    finally:
        jax.default_backend = kept
        jax.clear_caches()


def _minimum(problem, what, precision, network_flops) -> Mapping[str, float]:
    """Returns the least operations of matrix products, of all devices together, by precision."""
    mode = "forward_and_grad"
    if what == "loss":
        return {precision: minimum_flops(problem, mode)}
    terms = 2 if problem.loss == "soft_contrastive" else 1  # the step of `ours` has the graph pattern loss as well
    return {precision: terms * minimum_flops(problem, mode), "default": network_flops}


def _loss_program(problem, precision, place):
    names = "sharded" if place.mesh else "default"
    loss = loss_times.make_loss(names, precision, problem.loss, mesh=place.mesh)
    features, attention = (problem.n, problem.k, problem.h), (problem.n, problem.k)
    inputs = [(problem.n, problem.image_inputs), (problem.n, problem.text_inputs)]
    if problem.loss == "soft_contrastive":
        inputs = [(problem.n, problem.image_inputs + problem.text_inputs)]
    shapes = [features, features, attention, attention, *inputs]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place.by_rows) for shape in shapes]
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3))), arguments, 0


def _step_program(problem, precision, place):
    changes = {"model.width": problem.k * problem.h, "model.parts": problem.k}
    is_soft = problem.loss == "soft_contrastive"
    if is_soft:
        changes |= {key: value for key, value in config.RECIPES["ours"].items() if key.startswith("loss.")}
    settings = config.with_values(config.default_config(), changes)
    make = functools.partial(training.state_from_config, settings, mesh=place.mesh)
    state = jax.eval_shape(lambda: make(problem.image_inputs, problem.text_inputs))
    kernels = [leaf for leaf in jax.tree.leaves(state.projector_parameters) if leaf.ndim == 2]
    rows = [(problem.n, problem.image_inputs), (problem.n, problem.text_inputs)]
    batch = training.Batch(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in rows))
    if is_soft:
        near = (problem.n, settings["loss"]["neighbours"])
        columns, weights = (jax.ShapeDtypeStruct(near, dtype) for dtype in (jnp.int32, jnp.float32))
        # As many training pairs as the inputs are wide, so that both losses have rows of one width.
        count = problem.image_inputs + problem.text_inputs
        batch = batch.replace(neighbourhoods=training.Neighbourhoods(columns, weights, count))
    arguments = [_placed(state, place.replicated), _placed(batch, place.by_rows)]
    # Each kernel multiplies a row of each pair once at least, forward and for its own gradient.
    return training.train_step, arguments, 4 * problem.n * sum(leaf.size for leaf in kernels)


def _placed(tree, sharding):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
