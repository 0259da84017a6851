"""The graph pattern loss (Eq. 4-9) in PyTorch: the peers. Importing this module imports torch.

Letters: `n` pairs; `k` representations of one instance, each `h` wide.

`python -m gpldan_jax.benchmarking.torch_losses NAME MODE N K H D_I D_T` prints the bytes that one evaluation takes.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import torch

from gpldan_jax.benchmarking import machine
from gpldan_jax.benchmarking.problem import ALPHA, BETA, Problem, arrays
from gpldan_jax.benchmarking.results import Row
from gpldan_jax.training.mesh import available_memory

torch.set_num_threads(os.cpu_count())
_TINY = 1e-12  # keeps the inverse root and the quotient of a zero finite


def broadcast_loss(image, text, image_attention, text_attention, image_inputs, text_inputs, *, alpha=ALPHA, beta=BETA):
    """What one writes from the formulas: every pair's weights `[n, n, k]` and fused instances `[n, n, h]`."""

    def distances(x, y, a, b):  # Eq. 2-5
        weights = a[:, None] + b[None]
        fused_x = torch.einsum("ijk,ikh->ijh", weights, x)
        fused_y = torch.einsum("ijk,jkh->ijh", weights, y)
        return 1 - torch.nn.functional.cosine_similarity(fused_x, fused_y, dim=-1)

    v, t, a, b = image, text, image_attention, text_attention
    matrices = distances(v, t, a, b), distances(v, v, a, a), distances(t, t, b, b)
    return _loss(*matrices, image_inputs, text_inputs, alpha, beta)


def matmul_loss(image, text, image_attention, text_attention, image_inputs, text_inputs, *, alpha=ALPHA, beta=BETA):
    """The same by one matrix product for each distance matrix, the algebra of `gpldan_jax`'s dense form.

    Of four ways to order the products, expanding one side was the fastest in a trial at n = 128, 256 and 512, and 7 %
    behind the fastest at 64.
    """

    def lifted(x, a):  # rows of attention sum to 1, so Co(x_i, y_j) = sum_a b_ja (x_ia + sum_c a_ic x_ic)
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
    v, t = lifted(image, a), lifted(text, b)
    matrices = distances(v, t, a, b), distances(v, v, a, a), distances(t, t, b, b)
    return _loss(*matrices, image_inputs, text_inputs, alpha, beta)


LOSSES = {"torch-broadcast": broadcast_loss, "torch-matmul": matmul_loss}


def prepare(row: Row, problem: Problem, arguments) -> tuple[Row, Callable | None]:
    """The row with its memory, and what evaluates the loss once; `None` where it does not fit."""
    predicted = predicted_memory(row.implementation, row.mode, problem)
    row = tried(row, predicted, __name__, row.implementation, row.mode, *astuple(problem))
    if row.not_run:
        return row, None
    arguments = [torch.from_numpy(array) for array in arguments]
    return row, lambda: evaluate(LOSSES[row.implementation], arguments, row.mode)


def tried(row: Row, predicted: int, module: str, *arguments) -> Row:
    """The row with the memory that a trial took, or marked as not run.

    Args:
        row: of what is tried.
        predicted: the bytes that it takes; if there are not as many it is not tried.
        module: `python -m module *arguments` prints the bytes that it took.
    """
    if predicted > available_memory():
        return replace(row, memory_bytes=predicted, not_run=machine.does_not_fit(predicted))
    # A process of its own: what the allocator of this one keeps for later would hide the peak.
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    if done.returncode:  # killed for its memory after all, or a mistake
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return replace(row, not_run=f"a trial ended with exit status {done.returncode}: {reason[:200]}")
    return replace(row, memory_bytes=int(done.stdout))


def evaluate(loss, arguments, mode):
    """The loss, and in the mode `"forward_and_grad"` its gradients by features and attention, else none."""
    if mode == "forward":
        with torch.no_grad():
            return loss(*arguments), ()
    leaves = [argument.detach().requires_grad_() for argument in arguments[:4]]
    value = loss(*leaves, *arguments[4:])
    return value.detach(), torch.autograd.grad(value, leaves)


def predicted_memory(implementation: str, mode: str, problem: Problem) -> int:
    """Bytes that one evaluation takes, from the arrays that are alive at its peak.

    Measured at k = 4, h = 256 (broadcast, n = 256 and 384) and at h = 8, k = 1, 4, 8 (matmul, n = 3072) it is within 3
    percent and 10 percent. At smaller n, where the arrays are below malloc's 32 MB threshold, freed ones stay in the
    heap and the peak is up to 1.7 times as high, but then it is small.
    """
    n, k, h = problem.n, problem.k, problem.h
    numbers = n * (2 * k * h + 2 * k + problem.image_inputs + problem.text_inputs)
    if implementation == "torch-broadcast":
        # For each matrix autograd keeps the fused instances of both sides and both divided by their norms, and the
        # weights; the backward pass of the last matrix has four more of [n, n, h]. The forward pass alone has five.
        numbers += n * n * ((16 * h + 3 * k) if mode == "forward_and_grad" else (5 * h + k))
    else:
        # For each matrix: the expanded side [n k, k h], the products [n, k, n], and the matrices [n, n] that lie
        # between them and the loss: ten, and two gradients.
        numbers += n * n * ((3 * k + 36) if mode == "forward_and_grad" else (2 * k + 2))
        numbers += n * k * k * h * (5 if mode == "forward_and_grad" else 1)
    return 4 * numbers


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
    before = machine.own_memory("VmRSS")
    arguments = [torch.from_numpy(array) for array in arrays(Problem(*map(int, sizes)))]
    evaluate(LOSSES[implementation], arguments, mode)
    print(machine.own_memory("VmHWM") - before)


if __name__ == "__main__":
    _print_memory(*sys.argv[1:])
