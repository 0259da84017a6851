"""Seeded stratified splits with exact sizes.

Shapes: `n` items, `c` classes, `p` parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apportion(total: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Divides `total` items in proportion to `shares` by the largest remainder.

    Args:
        total: number of items, at least 0.
        shares: [p] non-negative weights, not all 0; they need not sum to 1.

    Returns:
        [p] counts that sum to `total` exactly. Ties go to the earlier part.

    Raises:
        ValueError: a negative total, or shares that are negative or all 0.

    Example:
        >>> apportion(11, (0.8, 0.1, 0.1))
        (9, 1, 1)
    """
    weights = np.asarray(shares, np.float64)
    if total < 0 or not weights.size or (weights < 0).any() or not 0 < weights.sum() < np.inf:
        raise ValueError(f"cannot divide {total} items by the shares {tuple(shares)}")
    quotas = total * weights / weights.sum()
    # 0.1 + 0.2 style noise must not turn a whole quota into a floor one below it.
    counts = np.floor(quotas + 1e-9).astype(np.int64)
    order = np.argsort(counts - quotas, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return tuple(int(count) for count in counts)


def stratified_split(labels: np.ndarray | None, sizes: Sequence[int], *, seed: int) -> tuple[np.ndarray, ...]:
    """Draws disjoint parts of exact sizes, each class in proportion where labels are given.

    Args:
        labels: [n] class values, or None for a split that ignores classes.
        sizes: [p] part sizes; with labels they must sum to `n`, without they define `n`.
        seed: seed of the draw; the same seed gives the same split in every NumPy release.

    Returns:
        p arrays of row indices, int64, each ascending; together they are 0..n-1 exactly once.

    Raises:
        ValueError: negative sizes, or sizes that do not sum to the number of labels.

    Example:
        >>> train, test = stratified_split(np.array([0, 0, 0, 1, 1, 1]), (4, 2), seed=0)
        >>> len(train), len(test), sorted([*train, *test]) == list(range(6))
        (4, 2, True)
    """
    total = sum(sizes)
    if min(sizes, default=-1) < 0:
        raise ValueError(f"part sizes must be at least 0, found {tuple(sizes)}")
    if labels is None:
        labels = np.zeros(total, np.int64)
    if len(labels) != total:
        raise ValueError(f"the sizes {tuple(sizes)} sum to {total}, found {len(labels)} labels")
    # RandomState, because only its stream is frozen: a Generator's may change between releases.
    random = np.random.RandomState(seed)
    pools = [random.permutation(np.flatnonzero(labels == value)) for value in np.unique(labels)]
    taken = np.zeros(len(pools), np.int64)
    parts = []
    for size in sizes:
        left = np.array([len(pool) for pool in pools], np.int64) - taken
        # The quota of a class never exceeds what is left of it, because size <= left.sum().
        counts = np.array(apportion(size, left) if size else np.zeros_like(left), np.int64)
        rows = [pool[a : a + k] for pool, a, k in zip(pools, taken, counts, strict=True)]
        parts.append(np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int64))
        taken += counts
    return tuple(part.astype(np.int64) for part in parts)
