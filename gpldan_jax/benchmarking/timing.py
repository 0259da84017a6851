"""Times calls side by side, in the same rounds as the matrix products whose speed is the ceiling; compiles programs.

All calls of a size are timed in turn, in an order drawn anew each round, so that a machine that slows down slows all of
them alike.
"""

import dataclasses
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.benchmarking.problem import memory_obstacle, peer_obstacles
from gpldan_jax.benchmarking.results import Row

# Thread pools (OpenMP of torch, Eigen of XLA) spin for a while after their last work and would take cores from the
# next candidate.
PAUSE = 0.02
# Waking them again costs a call up to 2 ms, in torch more than in XLA; of calls shorter than this the second after a
# pause is timed, as in a loop.
_SHORT = 0.1
_MOST_ROUNDS = 200
# A product takes long beside a small batch, so each is timed in about this many of the rounds, spread over them.
_PRODUCT_ROUNDS = 5
_CPU_CEILING_SIZE, _ACCELERATOR_CEILING_SIZE = 3072, 8192


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Which sizes are timed, and how often."""

    sizes: Sequence[int]  # n of each problem; they are timed in ascending order
    rounds: int | None = None  # how often each implementation is timed; `None` for as often as `seconds` allow
    seconds: float = 20.0  # about how long each size is timed
    ceiling_size: int | None = None  # rows of the matrix products; `None` for 3072 on a CPU and 8192 on accelerators


def compile_program(jitted: Any, *arguments: Any, **static: Any) -> tuple[Callable, dict[str, Any]]:
    """Compiles a jitted function, as if for the first time in this process."""
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


def with_facts(row: Row, facts: Mapping[str, Any]) -> Row:
    """Returns a row with what compilation says, marked as not run where its memory is more than there is."""
    row = dataclasses.replace(row, **facts)
    shares = row.devices if jax.default_backend() == "cpu" else 1  # virtual devices share the machine's memory
    return dataclasses.replace(row, not_run=memory_obstacle((row.memory_bytes or 0) * shares, on_device=True))


def time_sizes(
    schedule: Schedule,
    prepare: Callable[[int], list[tuple[Row, Callable | None]]],
    kinds: Iterable[tuple[str, str]],
) -> tuple[list[Row], dict[str, dict[str, dict]]]:
    """Times the implementations of each size, in the same rounds as matrix products of some (library, precision).

    `prepare` takes n and returns rows, each with a call that evaluates it once, or with `None` where it cannot run.
    """
    products = _products(kinds, schedule.ceiling_size or _default_ceiling_size())
    rows: list[Row] = []
    product_samples: dict[Any, list[float]] = {name: [] for name in products}
    for n in sorted(set(schedule.sizes)):
        print(f"n = {n}: compiling", file=sys.stderr)
        prepared = prepare(n)
        calls = {index: call for index, (_, call) in enumerate(prepared) if call}
        print(f"n = {n}: timing {len(calls)} of {len(prepared)}", file=sys.stderr)
        samples = _time_calls(calls, products, schedule.rounds, schedule.seconds)
        for index, (row, call) in enumerate(prepared):
            rows.append(_with_times(row, samples[index]) if call else row)
        for name in products:
            product_samples[name] += samples[name]
    return rows, find_ceilings(product_samples)


def _time_calls(calls, products, rounds, seconds) -> dict[Any, list[float]]:
    """Returns the seconds of every call in every round; each must have run before.

    Products are timed in some of the rounds only. Without `rounds`, there are about as many as `seconds` allow for the
    calls alone, at least 5, or 3 where 5 would take thrice as long.
    """
    started = time.perf_counter()
    for call in calls.values():
        _seconds(call)
    a_round = max(time.perf_counter() - started, PAUSE)
    if rounds is None:
        rounds = min(_MOST_ROUNDS, max(5 if 5 * a_round <= 3 * seconds else 3, int(seconds / a_round)))
    rounds = rounds if calls else _PRODUCT_ROUNDS
    samples: dict[Any, list[float]] = {name: [] for name in (*calls, *products)}
    order = random.Random(0)
    for number in range(rounds):
        with_products = number % -(-rounds // _PRODUCT_ROUNDS) == 0
        turns = [*calls.items(), *(products.items() if with_products else ())]
        order.shuffle(turns)
        for name, call in turns:
            samples[name].append(_seconds(call))
    return samples


def measure_products(precisions: Sequence[str], schedule: Schedule) -> dict[str, Any]:
    """Times matrix products alone, of jax and of PyTorch where it computes on the same device; see `find_ceilings`."""
    libraries = ["jax"] + (["torch"] if not peer_obstacles(["torch-matmul"]) else [])
    size = schedule.ceiling_size or _default_ceiling_size()
    products = _products([(library, precision) for library in libraries for precision in precisions], size)
    samples = _time_calls({}, products, None, schedule.seconds)
    return {"benchmark": "products", "problem": {}, "ceilings": find_ceilings(samples), "rows": []}


def find_ceilings(samples: Mapping[Any, Sequence[float]]) -> dict[str, dict[str, dict]]:
    """Finds the fastest matrix product of each library and precision.

    Takes the seconds of each product, by (library, precision, (rows, inner, columns)).

    Example:
        >>> find_ceilings({("jax", "highest", (2, 4, 2)): [2.0, 1.0, 3.0], ("jax", "highest", (2, 1, 2)): [1.0]})
        {'jax': {'highest': {'flops_per_s': 16.0, 'median_s': 2.0, 'shape': [2, 4, 2]}}}
    """
    found: dict[str, dict[str, dict]] = {}
    for (library, precision, (rows, inner, columns)), seconds in samples.items():
        median = statistics.median(seconds)
        rate = 2 * rows * inner * columns / median
        of_library = found.setdefault(library, {})
        if rate > of_library.get(precision, {"flops_per_s": 0})["flops_per_s"]:
            of_library[precision] = {"flops_per_s": rate, "median_s": median, "shape": [rows, inner, columns]}
    return found


def _with_times(row, seconds):
    """Returns a row with its times, from the seconds of its calls."""
    steps = row.steps * row.members
    median = statistics.median(seconds) / steps
    times = {"rounds": len(seconds), "median_s": median, "min_s": min(seconds) / steps}
    return dataclasses.replace(row, **times, steps_per_s=1 / median, pairs_per_s=row.n / median)


def _default_ceiling_size():
    return _CPU_CEILING_SIZE if jax.default_backend() == "cpu" else _ACCELERATOR_CEILING_SIZE


def _products(kinds, size):
    # By (library, precision, shape), called once already: for each kind a square product and a deep one.
    random_numbers = np.random.default_rng(0)
    products = {}
    for rows, inner in ((size, size), (max(size // 2, 1), 2 * size)):
        x = random_numbers.standard_normal((rows, inner), dtype=np.float32)
        y = random_numbers.standard_normal((inner, rows), dtype=np.float32)
        for library, precision in kinds:
            product = _product(library, precision, x, y)
            product()
            products[library, precision, (rows, inner, rows)] = product
    return products


def _product(library, precision, x, y):
    if library == "numpy":
        return lambda: x @ y
    if library == "torch":
        from gpldan_jax.benchmarking import torch_device

        return torch_device.product(precision, x, y)
    dtype, precision = (jnp.bfloat16, "default") if precision == "bfloat16" else (jnp.float32, precision)
    operands = jax.device_put((x.astype(dtype), y.astype(dtype)), jax.devices()[0])
    product = jax.jit(lambda x, y: jnp.matmul(x, y, precision=precision, preferred_element_type=jnp.float32))
    compiled = product.lower(*operands).compile()  # outlives `jax.clear_caches`
    return lambda: compiled(*operands).block_until_ready()


def _seconds(call):
    time.sleep(PAUSE)
    seconds = 0.0
    for _ in range(2):
        if seconds < _SHORT:
            started = time.perf_counter()
            call()
            seconds = time.perf_counter() - started
    return seconds
