"""What `Index.search` is held against: the same ranking in NumPy and PyTorch.

Letters: `q` queries; `m` items of a block; `c` nearest; `k` representations of an item, each `h` wide.

All take queries as `Items` and blocks of items, and give distances `[q, c]` and positions, nearest first. They round as
float32 does and have no order for ties.
"""

import warnings
from collections.abc import Iterable

import numpy as np

from gpldan_jax.retrieval.items import Items


def numpy_broadcast(queries: Items, blocks: Iterable[tuple[int, Items]], c: int) -> tuple[np.ndarray, np.ndarray]:
    """The formulas: both fused instances of every pair, `[q, m, h]`, and their cosine."""
    x, a = _parts(queries), queries.attention
    kept = np.full((len(a), c), np.inf, np.float32), np.zeros((len(a), c), np.int64)
    for first, block in blocks:
        y, b = _parts(block), block.attention
        fused_x = np.matmul(b[None], x)
        fused_y = np.matmul(a[None], y).swapaxes(0, 1)
        squares = np.einsum("ijh,ijh->ij", fused_x, fused_x) * np.einsum("ijh,ijh->ij", fused_y, fused_y)
        distances = 1 - np.einsum("ijh,ijh->ij", fused_x, fused_y) / np.sqrt(squares)
        positions = np.broadcast_to(first + np.arange(len(b)), distances.shape)
        distances = np.concatenate([kept[0], distances], axis=1)
        positions = np.concatenate([kept[1], positions], axis=1)
        nearest = np.argpartition(distances, c - 1, axis=1)[:, :c]
        kept = np.take_along_axis(distances, nearest, axis=1), np.take_along_axis(positions, nearest, axis=1)
    order = np.argsort(kept[0], axis=1)
    return np.take_along_axis(kept[0], order, axis=1), np.take_along_axis(kept[1], order, axis=1)


def torch_broadcast(queries: Items, blocks: Iterable[tuple[int, Items]], c: int) -> tuple[np.ndarray, np.ndarray]:
    """Likewise in PyTorch."""
    import torch

    def distances(block):
        fused_x = torch.matmul(block.attention[None], x)
        fused_y = torch.matmul(a[None], block.values.view(len(block.values), *x.shape[1:])).transpose(0, 1)
        return 1 - torch.nn.functional.cosine_similarity(fused_x, fused_y, dim=-1)

    a, x = map(_tensor, (queries.attention, _parts(queries)))
    return _torch(distances, blocks, len(a), c)


def torch_matmul(queries: Items, blocks: Iterable[tuple[int, Items]], c: int) -> tuple[np.ndarray, np.ndarray]:
    """The algebra of the scan in PyTorch: one matrix product a block, without bounds for what it rounds."""
    import torch

    def distances(block):
        b = block.attention
        weighed = (expanded @ block.values.T).view(len(a), -1, len(b))
        numerator = (weighed * b.T).sum(1)
        squares = (products @ pairs(b).T) * (pairs(a) @ block.products.T)
        return 1 - numerator * torch.rsqrt(squares)

    def pairs(attention):
        return attention[:, rows] * attention[:, columns] * counts

    k = queries.attention.shape[1]
    rows, columns = np.triu_indices(k)
    counts = torch.from_numpy(np.where(rows == columns, 1, 2).astype(np.float32))
    a, products, parts = map(_tensor, (queries.attention, queries.products, _parts(queries)))
    expanded = (a[:, None, :, None] * parts[:, :, None]).view(len(a) * k, -1)
    return _torch(distances, blocks, len(a), c)


def _torch(distances, blocks, q, c):
    import torch

    kept = torch.full((q, c), torch.inf), torch.zeros((q, c), dtype=torch.int64)
    with torch.inference_mode():
        for first, block in blocks:
            found = distances(Items(*map(_tensor, block)))
            nearest, columns = torch.topk(found, min(c, found.shape[1]), largest=False)
            merged = torch.cat([kept[0], nearest], 1), torch.cat([kept[1], first + columns], 1)
            nearest, columns = torch.topk(merged[0], c, largest=False)
            kept = nearest, torch.gather(merged[1], 1, columns)
    return kept[0].numpy(), kept[1].numpy()


def _tensor(array):
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
        return torch.from_numpy(array)


def _parts(items):
    n, k = items.attention.shape
    return items.values.reshape(n, k, -1)
