"""Keeps the neighbourhoods of very many training pairs in the folder of a run, because to find them takes long."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpldan_jax import _files, training
from gpldan_jax.data import DataError, PairedSplit, read_arrays
from gpldan_jax.runs import processes
from gpldan_jax.training.neighbour_search import IN_ONE_PROGRAM

_SECONDS = 10  # after which what is left can be estimated


def kept_neighbourhoods(
    split: PairedSplit,
    neighbours: int | None,
    path: Path,
    say: Callable[[str], object],
    should_stop: Callable[[], bool] = lambda: False,
) -> training.Neighbourhoods | None:
    """Returns the neighbourhoods of very many training pairs, from a file or found and written there.

    Args:
        split: the training pairs of a run.
        neighbours: of each, as in `gpldan_jax.training.TrainState`.
        path: of the file, in the folder of this run; the first process writes it.
        say: takes lines that say what happens and how long it will take.
        should_stop: asked again and again.

    Returns:
        The neighbourhoods; `None` where there are none, or where they are found so fast that nothing is kept.

    Raises:
        Interrupted: `should_stop` said so; nothing is kept.

    Example:
        >>> kept_neighbourhoods(PairedSplit(np.eye(3), np.eye(3)), 2, Path("unused.npz"), print) is None
        True
    """
    count = len(split)
    if neighbours is None or count <= IN_ONE_PROGRAM:
        return None
    kept = _read(path, (count, min(neighbours, count)))
    if processes.gathered(kept is not None).all() and kept is not None:
        say(f"the neighbours of the training pairs are read from {path}")
        return training.Neighbourhoods(*kept, count=count)
    say(f"looking for the {neighbours} nearest of each of {count:,} training pairs; they are kept in {path}")
    started, said = time.monotonic(), -1  # tenths

    def on_pairs(done: int) -> None:
        nonlocal said
        if should_stop():
            raise training.Interrupted
        seconds, tenth = time.monotonic() - started, 10 * done // count
        if seconds > _SECONDS and tenth > said:
            said = tenth
            left = seconds * (count - done) / max(done, 1)
            say(f"neighbours: {done:,} of {count:,} pairs, about {_duration(left)} more")

    found = training.split_neighbourhoods(split, neighbours, on_pairs=on_pairs, share=processes.share())
    if found and processes.is_first():
        with _files.replacing(path) as temporary:
            np.savez(temporary, columns=found.columns, weights=found.weights)
    return found


def _read(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """What the file holds; `None` where it is not there or damaged: then they are found again."""
    try:
        found = read_arrays(path, ["columns", "weights"])
    except DataError:
        return None
    columns, weights = found["columns"], found["weights"]
    return (columns, weights) if columns.shape == weights.shape == shape else None


def _duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> _duration(50), _duration(600), _duration(7800)
        ('50 s', '10 min', '2.2 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
