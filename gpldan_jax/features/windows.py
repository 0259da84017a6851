"""Texts of any length as windows of tokens, and windows as padded batches.

Letters: `b` windows of a batch, `t` tokens of its longest one.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np


def cut(tokens: Sequence[int], room: int) -> list[Sequence[int]]:
    """Cuts the tokens of one text into as few consecutive windows as hold them.

    The windows do not overlap, and their lengths differ by at most one, so that no window has only what was left over
    and windows of equal weight give tokens of nearly equal weight.

    Args:
        tokens: of one text, without special tokens.
        room: the most tokens of a window, 1 or more.

    Returns:
        The windows in order, at least one; it is empty where there are no tokens.

    >>> cut([5, 6, 7, 8], room=3)
    [[5, 6], [7, 8]]
    >>> cut([], room=3)
    [[]]
    """
    count = max(1, math.ceil(len(tokens) / room))
    bounds = (index * len(tokens) // count for index in range(count + 1))
    return [tokens[start:stop] for start, stop in itertools.pairwise(bounds)]


def batches(windows: Sequence[Sequence[int]], size: int) -> list[np.ndarray]:
    """The numbers of the windows, the longest first, `size` at a time: windows of like length need little padding.

    >>> batches([[5], [6, 7, 8], [9, 9]], size=2)
    [array([1, 2]), array([0])]
    """
    order = np.argsort([-len(window) for window in windows], kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def padded(windows: Sequence[Sequence[int]], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows as a rectangle.

    Returns:
        tokens: int64 `[b, t]`, `padding` after the end of a window.
        mask: int64 `[b, t]`, 1 where there is a token, else 0.

    >>> padded([[5, 6], [7]], padding=0)
    (array([[5, 6],
           [7, 0]]), array([[1, 1],
           [1, 0]]))
    """
    lengths = np.array([len(window) for window in windows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(mask.shape, padding, np.int64)
    tokens[mask] = np.concatenate(windows)
    return tokens, mask.astype(np.int64)
