"""Seeded draws of splits: of given pairs, stratified by class and of exact sizes, and of generated pairs.

Letters: `n` pairs; `p` parts; `d_i`, `d_t` widths of the image and the text features; `C` classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

SPLIT_NAMES: Mapping[str, int] = {
    **dict.fromkeys(("train", "training", "restval", "0"), 0),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "1"), 1),
    **dict.fromkeys(("test", "testing", "2"), 2),
}
"""What people call train, validation and test, in lower case, and their numbers."""

# Of generated pairs: the latent factors, and the spread of a pair around its class and of each feature around the pair,
# in units of the distance between classes. Classes overlap, and no modality determines the other.
_FACTORS = 32
_PAIR_SPREAD = 0.7
_NOISE = 0.5


def apportion(total: int, shares: Sequence[float] | np.ndarray) -> tuple[int, ...]:
    """Divides `total` items in proportion to `shares` by the largest remainder.

    Args:
        total: number of items, at least 0.
        shares: `[p]` non-negative weights, not all 0; they need not sum to 1.

    Returns:
        p counts that sum to `total` exactly. Ties go to the earlier part.

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
    # Rounding errors as in 0.1 + 0.2 must not turn a whole quota into a floor one below it.
    counts = np.floor(quotas + 1e-9).astype(np.int64)
    order = np.argsort(counts - quotas, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return tuple(int(count) for count in counts)


def stratified_split(labels: np.ndarray | None, sizes: Sequence[int], *, seed: int) -> tuple[np.ndarray, ...]:
    """Draws disjoint parts of exact sizes, each class in proportion where labels are given.

    Items with several classes are dealt out one after the other, those of the rarest class first, each to the part that
    lacks most of that class (iterative stratification).

    Args:
        labels: `[n]` class values, `[n, C]` bool, or `None` for a split that ignores classes.
        sizes: p part sizes; with labels they must sum to n, without they define n.
        seed: seed of the draw; the same seed gives the same split in every NumPy release.

    Returns:
        p arrays of row indices, int64, each ascending; together they are 0..n-1 exactly once.

    Raises:
        ValueError: negative sizes, or sizes that do not sum to the number of labels.

    Example:
        >>> train, test = stratified_split(np.array([0, 0, 0, 1, 1, 1]), (4, 2), seed=0)
        >>> len(train), len(test), sorted([*train, *test]) == list(range(6))
        (4, 2, True)

    References:
        Sechidis, Tsoumakas and Vlahavas, On the stratification of multi-label data, ECML PKDD 2011.
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
    if labels.ndim == 2:
        return _iterative_split(labels, np.array(sizes), random.permutation(total))
    pools = [random.permutation(np.flatnonzero(labels == value)) for value in np.unique(labels)]
    taken = np.zeros(len(pools), np.int64)
    parts = []
    for size in sizes:
        left = np.array([len(pool) for pool in pools], np.int64) - taken
        # The quota of a class never exceeds the rows that are left in the class, because size <= left.sum().
        counts = np.array(apportion(size, left) if size else np.zeros_like(left), np.int64)
        rows = [pool[a : a + k] for pool, a, k in zip(pools, taken, counts, strict=True)]
        parts.append(np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int64))
        taken += counts
    return tuple(part.astype(np.int64) for part in parts)


def _iterative_split(labels: np.ndarray, sizes: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, ...]:
    """Deals the items out in the random `order`; items without a class come last and fill the parts."""
    shares = sizes / max(sizes.sum(), 1)
    wanted = labels.sum(axis=0)[:, None] * shares  # of each class in each part
    room, part_of, waiting = sizes.copy(), np.full(len(labels), -1), labels[order]
    undealt = np.ones(len(order), bool)
    while len(left := waiting[undealt].sum(axis=0)) and left.any():
        rarest = int(np.argmin(np.where(left > 0, left, len(labels) + 1)))
        for place in np.flatnonzero(undealt & waiting[:, rarest]):
            # Of parts with room: who lacks most of this class, of equal ones who has most room.
            part = max(np.flatnonzero(room), key=lambda part: (round(wanted[rarest, part], 9), room[part]))
            part_of[order[place]], undealt[place] = part, False
            room[part] -= 1
            wanted[waiting[place], part] -= 1
    part_of[order[undealt]] = np.repeat(np.arange(len(sizes)), room)
    return tuple(np.flatnonzero(part_of == part) for part in range(len(sizes)))


def grouped_split(
    groups: np.ndarray, labels: np.ndarray | None, shares: Sequence[float], *, seed: int
) -> tuple[np.ndarray, ...]:
    """Draws disjoint parts that cut no group, each class in proportion where labels are given.

    The shares are those of the number of groups. The class of a group is that of its first item.

    Args:
        groups: `[n]`, any dtype that sorts, the same for items that belong together.
        labels: `[n]` class values, `[n, C]` bool, or `None`.
        shares: `[p]` non-negative weights of the parts, as in `apportion`.
        seed: as in `stratified_split`.

    Returns:
        p arrays of row indices, int64, each ascending; together they are 0..n-1 exactly once.

    Example:
        >>> train, test = grouped_split(np.array(["a", "a", "b", "b", "c", "c"]), None, (2, 1), seed=0)
        >>> len(train), (test[1] - test[0]).item()
        (4, 1)
    """
    _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    of_groups = None if labels is None else np.asarray(labels)[first]
    parts = stratified_split(of_groups, apportion(len(first), shares), seed=seed)
    return tuple(np.flatnonzero(np.isin(numbers, part)) for part in parts)


def synthetic_splits(
    sizes: Sequence[int],
    *,
    image_dim: int,
    text_dim: int,
    classes: int,
    nonnegative_images: bool = False,
    seed: int = 0,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """Generates pairs whose two modalities are noisy linear views of the same latent factors.

    Each class is a Gaussian in a latent space of 32 factors, each modality a random linear map of the factors plus
    noise. Classes are as even as the sizes allow, in random order.

    Args:
        sizes: number of pairs of each split.
        image_dim: `d_i`.
        text_dim: `d_t`.
        classes: C, at least 1.
        nonnegative_images: whether negative image features become 0, as after a ReLU.
        seed: seed of the draw.

    Returns:
        One triple per split: images `[n, d_i]` float32, texts `[n, d_t]` float32, labels `[n]` int64 in 0..C-1.

    Example:
        >>> (images, texts, labels), _ = synthetic_splits((6, 4), image_dim=5, text_dim=3, classes=2)
        >>> images.shape, texts.shape, sorted(labels.tolist())
        ((6, 5), (6, 3), [0, 0, 0, 1, 1, 1])
    """
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, dtype=np.float32)

    centres = normal(classes, _FACTORS)
    image_map = normal(_FACTORS, image_dim) / np.float32(np.sqrt(_FACTORS))
    text_map = normal(_FACTORS, text_dim) / np.float32(np.sqrt(_FACTORS))
    splits = []
    for size in sizes:
        labels = random.permutation(np.arange(size) % classes)
        factors = centres[labels] + _PAIR_SPREAD * normal(size, _FACTORS)
        images = factors @ image_map + _NOISE * normal(size, image_dim)
        texts = factors @ text_map + _NOISE * normal(size, text_dim)
        if nonnegative_images:
            np.maximum(images, 0, out=images)
        splits.append((images, texts, labels))
    return tuple(splits)
