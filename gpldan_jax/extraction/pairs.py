"""A split for pairs that come without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gpldan_jax.data.layouts import OWN_SHARES, SPLIT_SEED
from gpldan_jax.data.splits import apportion, stratified_split
from gpldan_jax.extraction.sources import Pair


def with_splits(pairs: Sequence[Pair], shares: Sequence[float] = OWN_SHARES, seed: int = SPLIT_SEED) -> list[Pair]:
    """The pairs with a split, drawn with each class in proportion unless one of them has it already.

    The draw is that of `gpldan_jax.data.load_dataset` for features without a split, over all pairs. Those that cannot
    be used count as well, so that a picture that turns out to be broken moves no other pair; without them the shares
    are not quite exact.

    Args:
        pairs: with labels or without.
        shares: of train, validation and test.
        seed: of the draw.

    Raises:
        ValueError: shares that are negative, all 0, or not three.

    Example:
        >>> from pathlib import Path
        >>> pairs = [Pair(f"{row}.jpg", Path(f"{row}.jpg"), ("a cat",)) for row in range(10)]
        >>> sorted(pair.split for pair in with_splits(pairs))
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    """
    if len(shares) != 3:
        raise ValueError(f"expected shares of train, validation and test, found {tuple(shares)}")
    if any(pair.split is not None for pair in pairs):
        return list(pairs)
    names = [pair.label or "" for pair in pairs]
    codes = {name: code for code, name in enumerate(sorted(set(names)))}
    labels = np.array([codes[name] for name in names], np.int64)
    splits = np.empty(len(pairs), np.int64)
    for part, rows in enumerate(stratified_split(labels, apportion(len(pairs), shares), seed=seed)):
        splits[rows] = part
    return [dataclasses.replace(pair, split=split) for pair, split in zip(pairs, splits.tolist(), strict=True)]
