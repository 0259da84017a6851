"""A method of the comparison: how it is fitted, what it may see, and where it comes from."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Distances = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes images `[n, d_i]` and texts `[m, d_t]`, scaled as in training; gives the distances `[n, m]` to rank by."""

Score = Callable[[np.ndarray], float]
"""Takes the distances of all validation images to all validation texts; higher is better. It alone knows labels."""

SUPERVISION = ("unsupervised", "semi-supervised", "supervised")


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of the comparison.

    Attributes:
        name: what it is called on the command line.
        title: what it is called in a table.
        supervision: one of `SUPERVISION`; an unsupervised method gets a training split without labels.
        source: its paper.
        fit: takes the training split, the validation split (without labels) and a score for validation distances; by
            keyword `seed` and what `settings` has; gives `Distances`.
        settings: the hyperparameters among which validation chooses, the published ones first.
        transductive: whether the distances of items depend on the other items that are given with them.
        epochs: how long `fit` trains unless its argument `epochs` says otherwise; `None` for a method without epochs.
    """

    name: str
    title: str
    supervision: str
    source: str
    fit: Callable[..., Distances]
    settings: tuple[Mapping[str, Any], ...] = ({},)
    transductive: bool = False
    epochs: int | None = None

    def __post_init__(self):
        if self.supervision not in SUPERVISION:
            raise ValueError(f"supervision must be one of {', '.join(SUPERVISION)}, got {self.supervision!r}")
