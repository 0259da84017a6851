"""Pairs of an image file and its texts: their paths and texts, their splits, and the pairs that cannot be used."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gpldan_jax import _files
from gpldan_jax.data import grouped_split
from gpldan_jax.data.files.checks import first_few
from gpldan_jax.data.own_features import OWN_SHARES, SPLIT_SEED

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"})
NO_IMAGE = "there is no such image file"


class Unusable(ValueError):
    """A pair cannot be used; the message is a short clause that says why."""


class TooManySkippedError(ValueError):
    """More pairs cannot be used than are allowed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """An image and its texts. A pair with a problem holds what could be read.

    Attributes:
        id: unique, and the same on every machine.
        image: the file; `Path()` where no file is named, or one outside the folder.
        texts: one text, or several sentences.
        label: the class name, a tuple of class names where pairs may have several, or None.
        split: 0 train, 1 validation, 2 test, or None.
        problem: why the pair cannot be used, a short clause; None where it can.
        group: the same for pairs that belong together, such as those of one image; None where a pair stands alone.

    Example:
        >>> Pair("cat.jpg", Path("photos/cat.jpg"), ("a cat",)).problem is None
        True
    """

    id: str
    image: Path
    texts: tuple[str, ...]
    label: str | tuple[str, ...] | None = None
    split: int | None = None
    problem: str | None = None
    group: str | None = None


class SkippedPairs:
    """The pairs that cannot be used, the reasons by position in `pairs`, and the JSON file that lists them.

    `max_share` is the largest share of all pairs that may be skipped.
    """

    def __init__(self, pairs: Sequence[Pair], max_share: float, path: Path):
        self.pairs, self.max_share, self.path = pairs, max_share, path
        self.reasons = {position: pair.problem for position, pair in enumerate(pairs) if pair.problem is not None}

    def entries(self) -> list[dict[str, str]]:
        """Returns id and reason of each skipped pair, in the order of the pairs."""
        return [{"id": self.pairs[position].id, "reason": self.reasons[position]} for position in sorted(self.reasons)]

    def write(self) -> None:
        """Writes the list, or removes an earlier list if no pair is skipped."""
        if self.reasons:
            _files.write_json(self.path, self.entries())
        else:
            self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Checks that not too many pairs are skipped; writes the list where they are."""
        if len(self.reasons) <= self.max_share * len(self.pairs):
            return
        self.write()
        first = self.entries()[0]
        raise TooManySkippedError(
            f"{len(self.reasons)} of {len(self.pairs)} pairs cannot be used, more than max_skipped="
            f"{self.max_share:g} allows; the first is {first['id']!r}: {first['reason']}; {self.path} lists them"
        )


def draw_splits(
    pairs: Sequence[Pair],
    shares: Sequence[float] = OWN_SHARES,
    seed: int = SPLIT_SEED,
    *,
    cut_groups: bool = False,
) -> list[Pair]:
    """Returns pairs with splits: drawn, with each class in proportion and no group cut, unless a pair has one already.

    The draw is the one that `gpldan_jax.data.load_dataset` makes for features without a split. Pairs that cannot be
    used take part, so that an image that turns out to be broken moves no other pair to another split; without them the
    shares are not exact.

    Args:
        pairs: with labels or without.
        shares: of train, validation and test.
        seed: of the draw.
        cut_groups: allow pairs of one group that have different splits.

    Returns:
        The pairs in their order; if any of them has a split, unchanged.

    Raises:
        ValueError: shares that are negative, all 0, or not three; or pairs of one group that have different splits.

    Example:
        >>> pairs = [Pair(f"{row}.jpg", Path(f"{row}.jpg"), ("a cat",)) for row in range(10)]
        >>> sorted(pair.split for pair in draw_splits(pairs))
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    """
    if len(shares) != 3:
        raise ValueError(f"expected shares of train, validation and test, found {tuple(shares)}")
    if any(pair.split is not None for pair in pairs):
        if not cut_groups:
            _check_groups_are_whole(pairs)
        return list(pairs)
    if any(isinstance(pair.label, tuple) for pair in pairs):
        labels, _ = member_matrix([pair.label for pair in pairs])
    else:
        names = [pair.label or "" for pair in pairs]
        codes = {name: code for code, name in enumerate(sorted(set(names)))}
        labels = np.array([codes[name] for name in names], np.int64)
    numbers: dict[object, int] = {}  # of groups in the order of their first pairs; a pair that stands alone is one
    groups = [numbers.setdefault(pair.group or row, len(numbers)) for row, pair in enumerate(pairs)]
    splits = np.empty(len(pairs), np.int64)
    for part, rows in enumerate(grouped_split(np.array(groups, np.int64), labels, shares, seed=seed)):
        splits[rows] = part
    return [dataclasses.replace(pair, split=split) for pair, split in zip(pairs, splits.tolist(), strict=True)]


def member_matrix(labels: Sequence[str | tuple[str, ...] | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns which classes each pair has, `[n, C]` bool, and the names of the classes in sorted order.

    Example:
        >>> member_matrix([("pet", "animal"), None, "animal"])[1]
        ('animal', 'pet')
    """
    rows = [(of,) if isinstance(of, str) else of or () for of in labels]
    names = tuple(sorted({name for row in rows for name in row if name}))
    columns = {name: column for column, name in enumerate(names)}
    matrix = np.zeros((len(rows), len(names)), bool)
    for position, row in enumerate(rows):
        matrix[position, [columns[name] for name in row if name]] = True
    return matrix, names


def _check_groups_are_whole(pairs):
    splits: dict[str, set] = {}
    for pair in pairs:
        if pair.group is not None and pair.split is not None:
            splits.setdefault(pair.group, set()).add(pair.split)
    if cut := [group for group, found in splits.items() if len(found) > 1]:
        raise ValueError(
            f"{len(cut)} groups are in several splits, such as {first_few(cut, limit=3)}; pairs of one group, or of "
            "one image, must be in one split, unless cut_groups allows it"
        )


def count_unused_images(folder: str | os.PathLike, pairs: Iterable[Pair]) -> int:
    """Counts the image files of a folder and its subfolders that no pair names.

    Args:
        folder: of the images; hidden files and folders in it do not count.
        pairs: the pairs.

    Returns:
        The number of files.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("cat.jpg", "dog.jpg", "notes.txt"):
        ...         _ = Path(folder, name).write_bytes(b"...")
        ...     count_unused_images(folder, [Pair("cat.jpg", Path(folder, "cat.jpg"), ("a cat",))])
        1
    """
    named = {os.path.normpath(pair.image) for pair in pairs}
    return sum(os.path.normpath(file) not in named for file in list_files(folder, is_image))


def is_image(name: str) -> bool:
    """Returns whether a file name ends as those of images do."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def list_files(folder: str | os.PathLike, is_wanted: Callable[[str], bool]) -> Iterator[str]:
    """Yields the paths of the wanted files of a folder and its subfolders, without hidden ones."""
    for parent, folders, names in os.walk(os.fspath(folder)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in names if not name.startswith(".") and is_wanted(name))


def clean_text(value: str, name: str) -> str:
    """Returns a string without white space around it; one with NUL or not UTF-8 is `Unusable`."""
    if "\0" in value:
        raise Unusable(f"the {name} has NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])  # what a file has instead of UTF-8 is decoded to 0xdc80 and more
        byte = f" (the byte 0x{code - 0xDC00:02x})" if 0xDC80 <= code <= 0xDCFF else ""
        raise Unusable(f"the {name} is not UTF-8{byte}") from None
    return value.strip()


def clean_path(value: str) -> str:
    """Returns the path of an image relative to its folder, normalised, with slashes."""
    value = clean_text(value, "image")
    if not value:
        raise Unusable("no image is named")
    absolute = value.startswith(("/", "\\")) or os.path.splitdrive(value)[0]
    if absolute or ".." in value.replace("\\", "/").split("/"):
        raise Unusable("the image is outside the folder")
    return os.path.normpath(value).replace(os.sep, "/")
