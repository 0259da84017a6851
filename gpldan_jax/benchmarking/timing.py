"""Seconds of several calls measured side by side, and of the matrix products that they are held against."""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping

import numpy as np

from gpldan_jax.benchmarking.results import Row, timed

# Thread pools (OpenMP of torch, Eigen of XLA) spin for a while after their last work and would take cores from the
# next candidate.
PAUSE = 0.02
# Waking them again costs a call up to 2 ms, in torch more than in XLA; of calls shorter than this the second after a
# pause is timed, as in a loop.
_SHORT = 0.1
_MOST_ROUNDS = 200
# A product takes long beside a small batch, so each is timed in about this many of the rounds, spread over them.
_PRODUCT_ROUNDS = 5


def over_sizes(
    options: argparse.Namespace,
    prepare: Callable[[int], list[tuple[Row, Callable | None]]],
    kinds: Iterable[tuple[str, str]],
) -> tuple[list[Row], dict]:
    """Times what `prepare` makes of each size, in the same rounds as matrix products.

    Args:
        options: flags: `sizes`, `rounds` and `seconds` for each size, `ceiling_size`.
        prepare: takes n, gives rows, each with what evaluates it once, or with `None` where it does not run.
        kinds: (library, precision) of the products.

    Returns:
        The rows and the ceilings.
    """
    products = _products(kinds, options.ceiling_size)
    rows, product_samples = [], {name: [] for name in products}
    for n in options.sizes:
        print(f"n = {n}: compiling", file=sys.stderr)
        prepared = prepare(n)
        calls = {index: call for index, (_, call) in enumerate(prepared) if call}
        print(f"n = {n}: timing {len(calls)} of {len(prepared)}", file=sys.stderr)
        samples = interleaved(calls, products, rounds=options.rounds, seconds=options.seconds)
        rows += [timed(row, samples[index]) if call else row for index, (row, call) in enumerate(prepared)]
        for name in products:
            product_samples[name] += samples[name]
    return rows, ceilings(product_samples)


def interleaved(
    calls: Mapping[Hashable, Callable], products: Mapping[Hashable, Callable], *, rounds: int | None, seconds: float
) -> dict[Hashable, list[float]]:
    """Seconds of every call in every round, in an order drawn anew each round: drift and neighbours hit all alike.

    Args:
        calls: each evaluates once and waits for the result; all have run before.
        products: likewise, timed in some of the rounds only.
        rounds: `None` for about as many as `seconds` allow, at least 5, or 3 where 5 would take thrice as long.
        seconds: the aim, for the calls alone.
    """
    started = time.perf_counter()
    for call in calls.values():
        _seconds(call)
    a_round = max(time.perf_counter() - started, PAUSE)
    if rounds is None:
        rounds = min(_MOST_ROUNDS, max(5 if 5 * a_round <= 3 * seconds else 3, int(seconds / a_round)))
    rounds = rounds if calls else _PRODUCT_ROUNDS
    samples = {name: [] for name in (*calls, *products)}
    order = random.Random(0)
    for number in range(rounds):
        with_products = number % -(-rounds // _PRODUCT_ROUNDS) == 0
        turns = [*calls.items(), *(products.items() if with_products else ())]
        order.shuffle(turns)
        for name, call in turns:
            samples[name].append(_seconds(call))
    return samples


def ceilings(samples: Mapping[tuple, list[float]]) -> dict[str, dict[str, dict]]:
    """The fastest product of each library and precision: its `flops_per_s`, `median_s` and `shape`.

    Example:
        >>> ceilings({("jax", "highest", (2, 4, 2)): [2.0, 1.0, 3.0], ("jax", "highest", (2, 1, 2)): [1.0]})
        {'jax': {'highest': {'flops_per_s': 16.0, 'median_s': 2.0, 'shape': [2, 4, 2]}}}
    """
    found = {}
    for (library, precision, (rows, inner, columns)), seconds in samples.items():
        median = statistics.median(seconds)
        rate = 2 * rows * inner * columns / median
        of_library = found.setdefault(library, {})
        if rate > of_library.get(precision, {"flops_per_s": 0})["flops_per_s"]:
            of_library[precision] = {"flops_per_s": rate, "median_s": median, "shape": [rows, inner, columns]}
    return found


def _products(kinds, size):
    """Products by (library, precision, shape), called once already: for each kind a square and a deep one."""
    random_numbers = np.random.default_rng(0)
    products = {}
    for rows, inner in ((size, size), (max(size // 2, 1), 2 * size)):
        x = random_numbers.standard_normal((rows, inner), dtype=np.float32)
        y = random_numbers.standard_normal((inner, rows), dtype=np.float32)
        for library, precision in kinds:
            product = _PRODUCTS[library](x, y, precision)
            product()
            products[library, precision, (rows, inner, rows)] = product
    return products


def _jax_product(x, y, precision):
    import jax
    import jax.numpy as jnp

    dtype, precision = (jnp.bfloat16, "default") if precision == "bfloat16" else (jnp.float32, precision)
    x, y = jax.device_put((x.astype(dtype), y.astype(dtype)), jax.devices()[0])
    product = jax.jit(lambda x, y: jnp.matmul(x, y, precision=precision, preferred_element_type=jnp.float32))
    compiled = product.lower(x, y).compile()  # outlives `jax.clear_caches`
    return lambda: compiled(x, y).block_until_ready()


def _torch_product(x, y, precision):
    import torch

    x, y = torch.from_numpy(x), torch.from_numpy(y)
    return lambda: x @ y


_PRODUCTS = {"jax": _jax_product, "torch": _torch_product, "numpy": lambda x, y, precision: lambda: x @ y}


def _seconds(call):
    time.sleep(PAUSE)
    seconds = 0.0
    for _ in range(2):
        if seconds < _SHORT:
            started = time.perf_counter()
            call()
            seconds = time.perf_counter() - started
    return seconds
