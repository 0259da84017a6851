"""What a benchmark measures: the implementations, the arrays that all of them get, and the least work they must do.

A command imports this module to print its help, so it imports neither jax nor torch.

Letters: `n` pairs; `k` representations of one instance, each `h` wide; `d_i`, `d_t` widths of the inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ALPHA, BETA = 1.0, 0.1  # weights of the loss's terms; times do not depend on them
MODES = ("forward", "forward_and_grad")
PRECISIONS = ("highest", "default", "bfloat16")

TORCH_IMPLEMENTATIONS = ("torch-broadcast", "torch-matmul")
JAX_IMPLEMENTATIONS = ("default", "vmap", "dense", "blocked", "sharded")
IMPLEMENTATIONS = (*JAX_IMPLEMENTATIONS, *TORCH_IMPLEMENTATIONS)
"""Of the loss."""

GRIDS = {"grid": None, "grid-in-turn": 1}
"""How many runs of a grid `vmap` computes side by side; `None` for all."""
JAX_TRAINERS = ("step", "epoch", *GRIDS)
TRAINERS = (*JAX_TRAINERS, *TORCH_IMPLEMENTATIONS)
"""Of training steps."""
QUALITY_TRAINERS = ("step", "epoch", *TORCH_IMPLEMENTATIONS)
"""Of the time to quality. Without grids: these train several runs, and so take longer until one reaches a value."""

SEARCHES = ("jax", "jax-candidates", "torch-matmul", "torch-broadcast", "numpy-broadcast")
ENCODERS = ("jax", "jax-one-by-one", "jax-batch", "torch", "torch-channels-last")


@dataclass(frozen=True)
class Problem:
    """The sizes of one evaluation of the loss."""

    n: int
    k: int
    h: int
    image_inputs: int  # d_i
    text_inputs: int  # d_t


def arrays(problem: Problem) -> tuple[np.ndarray, ...]:
    """Returns random arguments of the loss, all float32; the same sizes give the same arrays.

    Returns:
        Image and text features `[n, k, h]`, their attention `[n, k]`, rows of which sum to 1, image inputs `[n, d_i]`
        and text inputs `[n, d_t]`.
    """
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.standard_normal(shape, dtype=np.float32)

    def attention():
        weights = np.exp(normal(problem.n, problem.k))
        return weights / weights.sum(1, keepdims=True)

    features = [normal(problem.n, problem.k, problem.h) for _ in range(2)]
    inputs = [normal(problem.n, width) for width in (problem.image_inputs, problem.text_inputs)]
    return (*features, attention(), attention(), *inputs)


def minimum_flops(problem: Problem, mode: str) -> int:
    """Returns the floating point operations that every implementation by matrix products needs in a mode.

    Two of the three distance matrices are symmetric, so all three cost as much as two full ones, at `2 h k^2`
    operations for each entry. The gradient costs twice as much again. The target distances cost `2 (d_i + d_t)`.

    Example:
        >>> minimum_flops(Problem(n=1, k=4, h=256, image_inputs=0, text_inputs=0), "forward_and_grad")
        49152
    """
    products = {"forward": 2, "forward_and_grad": 6}[mode]
    an_entry = products * 2 * problem.h * problem.k**2 + 2 * (problem.image_inputs + problem.text_inputs)
    return an_entry * problem.n**2


def part_width(width: int, representations: int) -> int:
    """Returns h, the width of each of k representations."""
    if width % representations:
        raise ValueError(f"representations must divide width, got {representations} and {width}")
    return width // representations


def library_of(implementation: str) -> str:
    """Returns the library that an implementation computes with.

    Example:
        >>> library_of("dense"), library_of("torch-matmul")
        ('jax', 'torch')
    """
    first = implementation.partition("-")[0]
    return first if first in ("torch", "numpy") else "jax"


def choose(wanted: Sequence[str] | None, names: Sequence[str], obstacles: Mapping[str, str]) -> list[str]:
    """Returns the implementations to run: those that are wanted, or all without an obstacle.

    Example:
        >>> choose(None, ["dense", "sharded"], {"sharded": "needs more devices"})
        ['dense']
    """
    for name in wanted or ():
        if name in obstacles:
            raise ValueError(f"{name} {obstacles[name]}")
    return list(dict.fromkeys(wanted or [name for name in names if name not in obstacles]))
