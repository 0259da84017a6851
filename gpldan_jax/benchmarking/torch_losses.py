"""The graph pattern loss (Eq. 4-9) and the soft contrastive loss in PyTorch: the peers. The import brings torch.

`python -m gpldan_jax.benchmarking.torch_losses NAME MODE N K H D_I D_T LOSS` prints the bytes of one evaluation.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace

import numpy as np
import torch

from gpldan_jax.benchmarking import torch_device
from gpldan_jax.benchmarking.problem import (
    ALPHA,
    BETA,
    COMPILED,
    SCALE,
    Problem,
    arrays,
    measure_memory,
    memory_obstacle,
    process_memory,
)
from gpldan_jax.benchmarking.results import Row

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
    matrices = _matmul_distances(image, text, image_attention, text_attention)
    return _loss(*matrices, image_inputs, text_inputs, alpha, beta)


def _matmul_soft_loss(image, text, image_attention, text_attention, similarity_rows, *, scale=SCALE):
    """Returns the soft contrastive loss from the same distance matrices; its other weights are 1."""
    l_vt, l_vv, l_tt = _matmul_distances(image, text, image_attention, text_attention)
    n = len(l_vt)
    is_self = torch.eye(n, dtype=torch.bool, device=l_vt.device)
    with torch.no_grad():
        weights = (similarity_rows @ similarity_rows.T).clamp(min=0).fill_diagonal_(1)
        to_all = weights / weights.sum(1, keepdim=True)
        weights.fill_diagonal_(0)
        to_others = weights / weights.sum(1, keepdim=True).clamp(min=_TINY)
        has_others = weights.sum(1) > 0

    def entropies(distances, targets, logits):
        return torch.logsumexp(logits, 1) + scale * (targets * distances).sum(1)

    total = sum(entropies(distances, to_all, -scale * distances).sum() for distances in (l_vt, l_vt.T))
    for distances in (l_vv, l_tt):
        logits = (-scale * distances).masked_fill(is_self, torch.finfo(distances.dtype).min)
        total = total + torch.where(has_others, entropies(distances, to_others, logits), 0).sum()
    return total / (2 * n)


def _matmul_distances(image, text, image_attention, text_attention):
    """Returns the distances `l_vt`, `l_vv` and `l_tt`, each `[n, n]`."""

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
    return distances(v, t, a, b), distances(v, v, a, a), distances(t, t, b, b)


LOSSES: Mapping[str, Callable] = {"torch-broadcast": _broadcast_loss, "torch-matmul": _matmul_loss}
"""The peers by name: each takes the six arrays of `problem.arrays` as tensors and returns a scalar."""
SOFT_LOSSES: Mapping[str, Callable] = {"torch-matmul": _matmul_soft_loss}
"""The same for the soft contrastive loss, which has five arrays."""


def prepare(row: Row, problem: Problem, arguments: Sequence[np.ndarray]) -> tuple[Row, Callable | None]:
    """Returns a peer's row with the memory that an evaluation takes, and a call that evaluates it once.

    `"torch-compiled"` is called here, so that no later call waits for its compiler.
    """
    predicted, compiles = predict_memory(row.implementation, row.mode, problem), row.implementation == COMPILED
    if torch_device.on_gpu():
        row = replace(row, not_run=torch_device.gpu_obstacle(predicted))
    elif compiles:  # the compiler takes more memory than a small evaluation
        row = replace(row, not_run=memory_obstacle(predicted))
    else:
        memory, not_run = measure_memory(predicted, __name__, row.implementation, row.mode, *astuple(problem))
        row = replace(row, memory_bytes=memory, not_run=not_run)
    if row.not_run:
        return row, None
    tensors, peer = list(map(torch_device.tensor, arguments)), _peer(row.implementation, problem)

    def call():
        torch_device.use_precision(row.precision)
        found = evaluate(peer, tensors, row.mode)
        torch_device.wait()
        return found

    if compiles or torch_device.on_gpu():
        row, _ = torch_device.with_first_call(row, call, compiles=compiles)
    return row, None if row.not_run else call


def _peer(implementation, problem):
    peers = {"graph_pattern": LOSSES, "soft_contrastive": SOFT_LOSSES}[problem.loss]
    return torch_device.compiled(peers["torch-matmul"]) if implementation == COMPILED else peers[implementation]


def evaluate(loss: Callable, arguments: Sequence[torch.Tensor], mode: str) -> tuple[torch.Tensor, tuple]:
    """Evaluates a peer; returns the loss and its gradients by features and attention, if the mode has them."""
    if mode == "forward":
        with torch.no_grad():
            return loss(*arguments), ()
    leaves = [argument.detach().requires_grad_() for argument in arguments[:4]]
    value = loss(*leaves, *arguments[4:])
    return value.detach(), torch.autograd.grad(value, leaves)


def predict_memory(implementation: str, mode: str, problem: Problem) -> int:
    """Predicts the memory of one evaluation from the arrays that are alive at its peak.

    Measured at k = 4, h = 256 (broadcast, n = 256 and 384) and at h = 8, k = 1, 4, 8 (matmul, n = 3072) it is within 3
    percent and 10 percent; the soft contrastive loss takes up to 8 percent less. At smaller n, where the arrays are
    below malloc's 32 MB threshold, freed ones stay in the heap and the peak is up to 1.7 times as high, but then it is
    small.
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
    problem = Problem(*map(int, sizes[:-1]), sizes[-1])
    before = process_memory("VmRSS")
    evaluate(_peer(implementation, problem), list(map(torch.from_numpy, arrays(problem))), mode)
    print(process_memory("VmHWM") - before)


if __name__ == "__main__":
    _print_memory(*sys.argv[1:])
