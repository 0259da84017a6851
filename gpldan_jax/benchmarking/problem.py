"""What is computed: sizes, the numbers every implementation gets, and the work it takes at least.

Letters: `n` pairs; `k` representations of one instance, each `h` wide; `d_i`, `d_t` widths of the inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ALPHA, BETA = 1.0, 0.1
MODES = ("forward", "forward_and_grad")
PRECISIONS = ("highest", "default", "bfloat16")
JAX_IMPLEMENTATIONS = ("default", "vmap", "dense", "blocked", "sharded")
TORCH_IMPLEMENTATIONS = ("torch-broadcast", "torch-matmul")
SEARCHES = ("jax", "jax-candidates", "torch-matmul", "torch-broadcast", "numpy-broadcast")
ENCODERS = ("jax", "jax-one-by-one", "jax-batch", "torch", "torch-channels-last")
GRIDS = {"grid": None, "grid-in-turn": 1}  # how many members go through vmap at once; None for all
JAX_TRAINERS = ("step", "epoch", *GRIDS)
# A grid trains other runs too: it reaches its figures later than one run does, and more of them.
QUALITY_TRAINERS = ("step", "epoch", *TORCH_IMPLEMENTATIONS)


@dataclass(frozen=True)
class Problem:
    """The sizes of one evaluation of the loss.

    Attributes:
        n: pairs.
        k: representations of an instance.
        h: width of a representation.
        image_inputs, text_inputs: d_i and d_t.
    """

    n: int
    k: int
    h: int
    image_inputs: int
    text_inputs: int


def arrays(problem: Problem) -> tuple[np.ndarray, ...]:
    """Image, text, both attentions and both inputs, float32, a function of the sizes.

    Example:
        >>> [array.shape for array in arrays(Problem(n=3, k=2, h=4, image_inputs=5, text_inputs=6))]
        [(3, 2, 4), (3, 2, 4), (3, 2), (3, 2), (3, 5), (3, 6)]
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


def floor_flops(problem: Problem, mode: str) -> int:
    """The floating point operations that no implementation by matrix products can do without.

    Of the three distance matrices the two within a modality are symmetric, so the products of two matrices are
    enough, `2 h k^2` operations an ordered pair each; the gradient takes twice as much again. The target graph adds
    `2 (d_i + d_t)`.

    Example:
        >>> floor_flops(Problem(n=1, k=4, h=256, image_inputs=0, text_inputs=0), "forward_and_grad")
        49152
    """
    products = {"forward": 2, "forward_and_grad": 6}[mode]
    a_pair = products * 2 * problem.h * problem.k**2 + 2 * (problem.image_inputs + problem.text_inputs)
    return a_pair * problem.n**2


def runnable(asked: Sequence[str] | None, names: Sequence[str], problems: Mapping[str, str]) -> list[str]:
    """The implementations to run.

    Args:
        asked: those asked for; `None` for all that can.
        names: all.
        problems: why some cannot.

    Raises:
        ValueError: one that was asked for cannot.

    Example:
        >>> runnable(None, ["dense", "sharded"], {"sharded": "needs more devices"})
        ['dense']
    """
    for name in asked or ():
        if name in problems:
            raise ValueError(f"{name} {problems[name]}")
    return list(dict.fromkeys(asked or [name for name in names if name not in problems]))
