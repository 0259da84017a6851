"""The pairs that cannot be used: which they are and why, and when they are too many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpldan_jax import _files
from gpldan_jax.extraction.sources import Pair


class TooManySkippedError(ValueError):
    """More pairs than stated cannot be used."""


class Skipped:
    """The reasons so far, by the positions of the pairs; `share` of them may have one.

    `path` is the file that lists them.
    """

    def __init__(self, pairs: Sequence[Pair], share: float, path: Path):
        self.pairs, self.share, self.path = pairs, share, path
        self.reasons = {position: pair.problem for position, pair in enumerate(pairs) if pair.problem is not None}

    def listed(self) -> list[dict[str, str]]:
        """Ids and reasons, in the order of the pairs."""
        return [{"id": self.pairs[position].id, "reason": self.reasons[position]} for position in sorted(self.reasons)]

    def write(self) -> None:
        """Writes the list, or removes one of before where there is nothing to list."""
        if self.reasons:
            _files.write_json(self.path, self.listed())
        else:
            self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """`TooManySkippedError` where they are more than the share; then the list is written."""
        if len(self.reasons) > self.share * len(self.pairs):
            self.write()
            first = self.listed()[0]
            raise TooManySkippedError(
                f"{len(self.reasons)} of {len(self.pairs)} pairs cannot be used, more than --max_skipped="
                f"{self.share:g} allows; the first is {first['id']!r}: {first['reason']}; {self.path} lists them"
            )
