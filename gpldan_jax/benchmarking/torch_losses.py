"""The graph pattern loss (Eq. 4-9) in PyTorch: the peers. Importing this module imports torch.

`python -m gpldan_jax.benchmarking.torch_losses NAME MODE N K H D_I D_T` prints the bytes that one evaluation takes.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace

import numpy as np
import torch

from gpldan_jax.benchmarking.problem import ALPHA, BETA, Problem, arrays, measure_memory, process_memory
from gpldan_jax.benchmarking.results import Row

torch.set_num_threads(os.cpu_count())
_TINY = 1e-12  # keeps the inverse root and the quotient of a zero finite


def _broadcast_loss(image, text, image_attention, text_attention, image_inputs, text_inputs, *, alpha=ALPHA, beta=BETA):
    """Returns the loss by the formulas: every pair's weights `[n, n, k]` and fused instances `[n, n, h]`."""

    def distances(x, y, a, b):  # Eq. 2-5
        weights = a[:, None] + b[None]
        fused_x = torch.einsum("ijk,ikh->ijh", weights, x)
        fused_y = torch.einsum("ijk,jkh->ijh", weights, y)
        return 1 - torch.nn.functional.cosine_similarity(fused_x, fused_y, dim=-1)

    v, t, a, b = image, text, image_attention, text_attention
    matrices = distances(v, t, a, b), distances(v, v, a, a), distances(t, t, b, b)
    return _loss(*matrices, image_inputs, text_inputs, alpha, beta)


def _matmul_loss(image, text, image_attention, text_attention, image_inputs, text_inputs, *, alpha=ALPHA, beta=BETA):
    """Returns the loss by one matrix product for each distance matrix, the algebra of `gpldan_jax`'s dense form.

    Of four ways to order the products, expanding one side was the fastest in a trial at n = 128, 256 and 512, and 7 %
    behind the fastest at 64.
    """

    def lift(x, a):  # rows of attention sum to 1, so Co(x_i, y_j) = sum_a b_ja (x_ia + sum_c a_ic x_ic)
        return x + torch.einsum("ia,iah->ih", a, x)[:, None]

    def inverse_norms(x, b):  # 1 / |Co(x_i, y_j)|, [n, n]
        outer = b[:, :, None] * b[:, None, :]
        return torch.rsqrt(((x @ x.mT).flatten(1) @ outer.flatten(1).T).clamp(min=_TINY))

    def distances(x, y, a, b):
        n, k, h = x.shape
        expanded = (x[:, :, None] * a[:, None, :, None]).view(n * k, k * h)
        products = ((expanded @ y.view(n, k * h).T).view(n, k, n) * b.T).sum(1)
        return (1 - products * inverse_norms(x, b) * inverse_norms(y, a).T).clamp(min=0)

    a, b = image_attention, text_attention
    v, t = lift(image, a), lift(text, b)
    matrices = distances(v, t, a, b), distances(v, v, a, a), distances(t, t, b, b)
    return _loss(*matrices, image_inputs, text_inputs, alpha, beta)


LOSSES: Mapping[str, Callable] = {"torch-broadcast": _broadcast_loss, "torch-matmul": _matmul_loss}
"""The peers by name: each takes the six arrays of `problem.arrays` as tensors and returns a scalar."""


def prepare(row: Row, problem: Problem, arguments: Sequence[np.ndarray]) -> tuple[Row, Callable | None]:
    """Returns a peer's row with the memory that an evaluation takes, and a call that evaluates it once."""
    predicted = predict_memory(row.implementation, row.mode, problem)
    memory, not_run = measure_memory(predicted, __name__, row.implementation, row.mode, *astuple(problem))
    row = replace(row, memory_bytes=memory, not_run=not_run)
    if row.not_run:
        return row, None
    tensors = [torch.from_numpy(array) for array in arguments]
    return row, lambda: evaluate(LOSSES[row.implementation], tensors, row.mode)


def evaluate(loss: Callable, arguments: Sequence[torch.Tensor], mode: str) -> tuple[torch.Tensor, tuple]:
    """Evaluates a loss of `LOSSES`; returns it and its gradients by features and attention, if the mode has them."""
    if mode == "forward":
        with torch.no_grad():
            return loss(*arguments), ()
    leaves = [argument.detach().requires_grad_() for argument in arguments[:4]]
    value = loss(*leaves, *arguments[4:])
    return value.detach(), torch.autograd.grad(value, leaves)


def predict_memory(implementation: str, mode: str, problem: Problem) -> int:
    """Predicts the memory of one evaluation from the arrays that are alive at its peak.

    Measured at k = 4, h = 256 (broadcast, n = 256 and 384) and at h = 8, k = 1, 4, 8 (matmul, n = 3072) it is within 3
    percent and 10 percent. At smaller n, where the arrays are below malloc's 32 MB threshold, freed ones stay in the
    heap and the peak is up to 1.7 times as high, but then it is small.
    """
    n, k, h = problem.n, problem.k, problem.h
    entries = n * (2 * k * h + 2 * k + problem.image_inputs + problem.text_inputs)
    if implementation == "torch-broadcast":
        # For each matrix autograd keeps the fused instances of both sides and both divided by their norms, and the
        # weights; the backward pass of the last matrix has four more of [n, n, h]. The forward pass alone has five.
        entries += n * n * ((16 * h + 3 * k) if mode == "forward_and_grad" else (5 * h + k))
    else:
        # For each matrix: the expanded side [n k, k h], the products [n, k, n], and the matrices [n, n] that lie
        # between them and the loss: ten, and two gradients.
        entries += n * n * ((3 * k + 36) if mode == "forward_and_grad" else (2 * k + 2))
        entries += n * k * k * h * (5 if mode == "forward_and_grad" else 1)
    return 4 * entries


def _loss(l_vt, l_vv, l_tt, u, c, alpha, beta):
    n = len(u)
    d = _targets(u, c)
    unpaired = (l_vt - d).abs() + (l_vv - d).abs() + (l_tt - d).abs()
    mutual = (l_vt - l_vv).abs() + (l_vt - l_tt).abs() + (l_vv - l_tt).abs()
    both = alpha * unpaired + beta * mutual
    return l_vt.trace() / n + (both.sum() - both.trace()) / n**2


@torch.no_grad()
def _targets(u, c):
    u, c = torch.nn.functional.normalize(u), torch.nn.functional.normalize(c)
    d = ((1 - u @ u.T).clamp(min=0) * (1 - c @ c.T).clamp(min=0)).sqrt()
    d.fill_diagonal_(0)
    return d / (d.sum() / max(d.numel() - len(d), 1)).clamp(min=_TINY)


def _print_memory(implementation, mode, *sizes):
    before = process_memory("VmRSS")
    evaluate(LOSSES[implementation], list(map(torch.from_numpy, arrays(Problem(*map(int, sizes))))), mode)
    print(process_memory("VmHWM") - before)


if __name__ == "__main__":
    _print_memory(*sys.argv[1:])
