"""The mini-batches of an epoch, a function of (key, epoch)."""

from collections.abc import Iterator

import jax
import numpy as np

from gpldan_jax.data import PairedSplit
from gpldan_jax.training.state import shuffling_key
from gpldan_jax.training.step import Batch

REMAINDERS = ("drop", "mask")


def steps_per_epoch(n: int, batch_size: int, remainder: str) -> int:
    """Mini-batches of an epoch over n pairs.

    Args:
        n: training pairs.
        batch_size: pairs of a mini-batch.
        remainder: `"drop"` leaves out what does not fill a batch (other pairs each epoch), `"mask"` pads the last one.

    >>> steps_per_epoch(100, 64, "drop"), steps_per_epoch(100, 64, "mask")
    (1, 2)
    """
    return n // batch_size if remainder == "drop" else -(-n // batch_size)


def epoch_batches(
    split: PairedSplit, key: jax.Array, epoch: int, *, batch_size: int, remainder: str, first_step: int = 0
) -> Iterator[Batch]:
    """The mini-batches of an epoch in their shuffled order, from the step `first_step` of that epoch on.

    Args:
        split: the training pairs.
        key: the run's key; it is folded, not consumed.
        epoch: counted from 0.
        batch_size: pairs of a mini-batch.
        remainder: as in `steps_per_epoch`.
        first_step: mini-batches of this epoch to pass over, for a run that was interrupted.
    """
    steps = steps_per_epoch(len(split), batch_size, remainder)
    order = np.asarray(jax.random.permutation(shuffling_key(key, epoch), len(split)))
    for step in range(first_step, steps):
        rows = order[step * batch_size : (step + 1) * batch_size]
        if remainder == "drop":
            yield Batch(split.images[rows], split.texts[rows])
        else:
            padded = np.resize(rows, batch_size)
            yield Batch(split.images[padded], split.texts[padded], np.arange(batch_size) < len(rows))
