"""Finds, among a million names, those that are equal to what a user typed, begin with it, or contain it."""

from collections.abc import Iterable, Iterator

import numpy as np


def fold(text: str) -> str:
    r"""Returns a text without what a user does not type reliably: case, and white space around and between words.

    Args:
        text: any text.

    Returns:
        The text on one line.

    Example:
        >>> fold("  Red \n HEART")
        'red heart'
    """
    return " ".join(text.casefold().split())


class Names:
    """n names, in one string in memory, so that a search through a million takes milliseconds.

    Args:
        names: in the order of their rows. A name may have several lines, each of which is a name of its row.

    Example:
        >>> names = Names(["red heart", "heart suit", "Heart"])
        >>> names.equal("HEART", 5), names.starting("heart", 5), names.containing("eart", 5)
        ([2], [1, 2], [0, 1, 2])
    """

    def __init__(self, names: Iterable[str]):
        folded, rows = [], []
        for row, name in enumerate(names):
            lines = [fold(line) for line in name.split("\n")]
            folded += lines
            rows += [row] * len(lines)
        self._all = "\n" + "\n".join(folded) + "\n"
        lengths = np.fromiter(map(len, folded), np.int64, len(folded))
        self._starts = np.cumsum(lengths + 1) - lengths  # of each line; every line follows a line break
        self._rows = np.array(rows, np.int64)

    def equal(self, text: str, most: int) -> list[int]:
        """Returns up to `most` rows that have this name."""
        return self._find(f"\n{fold(text)}\n", most, offset=1)

    def starting(self, text: str, most: int) -> list[int]:
        """Returns up to `most` rows that have a name that begins so."""
        return self._find(f"\n{fold(text)}", most, offset=1)

    def containing(self, text: str, most: int) -> list[int]:
        """Returns up to `most` rows that have a name with this text in it."""
        return self._find(fold(text), most, offset=0)

    def _find(self, wanted: str, most: int, *, offset: int) -> list[int]:
        rows: dict[int, None] = {}
        for position in self._positions(wanted) if wanted.strip() else ():
            line = int(np.searchsorted(self._starts, position + offset, "right")) - 1
            rows[int(self._rows[line])] = None
            if len(rows) == most:
                break
        return list(rows)

    def _positions(self, wanted: str) -> Iterator[int]:
        position = self._all.find(wanted)
        while position >= 0:
            yield position
            # To the end of this line: a row is found once.
            end = self._all.find("\n", position + 1)
            position = self._all.find(wanted, end) if end >= 0 else -1
