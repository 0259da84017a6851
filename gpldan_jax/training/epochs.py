"""The one epoch driver: train an epoch, look for losses that are not finite, evaluate, select, and stop in time.

`train` (one run), `train_grid` (many runs in one program), the neural baselines and the benchmarks share it. Each says
how to train an epoch and how to evaluate; the driver decides when to evaluate, which epoch is the best one so far, and
when training ends. A model in training is called a member; one run has one member, a grid has many.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpldan_jax.data import DataError, PairedDataset
from gpldan_jax.retrieval.agreement import AGREEMENT

CRITERIA = ("map", "recall", "agreement", "last")
TERMS = ("pairwise", "unpaired", "mutual", "adversarial", "contrastive", "soft_contrastive", "classifier")
"""The losses of a training step beside their sum, `loss`, in the order in which they are looked at."""

_CRITERION_NAMES = {"map": "map@50", "recall": "recall@1,5,10", "agreement": AGREEMENT}


class Interrupted(Exception):
    """The run was asked to stop, and everything up to its last step is saved."""


class NotFinite(ArithmeticError):
    """A loss became NaN or infinite; the message names the step and the term."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """The best epoch so far.

    Attributes:
        epoch: epochs trained when the best value was seen, 0 before the first evaluation.
        value: the best value, higher is better; `None` before the first evaluation.
        stale: evaluations since then.

    Example:
        >>> selection = Selection()
        >>> for epoch, value in enumerate([0.3, 0.5, 0.5, 0.4], start=1):
        ...     selection = selection.updated(epoch, value)
        >>> selection
        Selection(epoch=2, value=0.5, stale=2)
    """

    epoch: int = 0
    value: float | None = None
    stale: int = 0

    def updated(self, epoch: int, value: float) -> "Selection":
        """Returns the selection after an evaluation; a tie keeps the earlier epoch."""
        if self.value is None or value > self.value:
            return Selection(epoch, value, 0)
        return dataclasses.replace(self, stale=self.stale + 1)


@dataclasses.dataclass(frozen=True)
class Member:
    """The progress of one model in training.

    Attributes:
        selection: the best epoch so far.
        failed: why its training has ended, such as "the pairwise loss is nan at step 11"; empty otherwise.
    """

    selection: Selection = dataclasses.field(default_factory=Selection)
    failed: str = ""

    def is_done(self, patience: int) -> bool:
        """Returns whether it failed, or had `patience` evaluations without a better one (0 for no limit)."""
        return bool(self.failed or (patience and self.selection.stale >= patience))


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """The result of one epoch.

    Attributes:
        epoch: epochs trained so far.
        members: how far each member is now.
        metrics: of each step, `[members, steps]` by name, on the host.
        figures: what `evaluate` found for each member; `None` where it was not evaluated.
        seconds: that training took, without the evaluation.
    """

    epoch: int
    members: tuple[Member, ...]
    metrics: Mapping[str, np.ndarray]
    figures: tuple[Any, ...]
    seconds: float

    def improved(self) -> np.ndarray:
        """Returns which members had their best value in this epoch, `[members]` bool."""
        return np.array([member.selection.epoch == self.epoch for member in self.members])


def train_epochs(
    train_epoch: Callable[[int], Mapping[str, np.ndarray]],
    evaluate: Callable[[int, int], tuple[float, Any]],
    *,
    epochs: int,
    first_epoch: int = 0,
    members: Sequence[Member] = (Member(),),
    evaluate_every: int = 1,
    patience: int = 0,
) -> Iterator[EpochResult]:
    """Trains until `epochs` are done or no member goes on; yields after every epoch.

    Args:
        train_epoch: takes the number of epochs done, trains one more, waits for it, and returns the losses of its
            steps on the host, `[members, steps]` by name; `"loss"` is one of the names.
        evaluate: takes a member's index and the number of epochs done; returns the value to select by (higher is
            better) and the figures behind it.
        epochs: epochs to train.
        first_epoch: epochs that are done already.
        members: how far each member is.
        evaluate_every: epochs from one evaluation to the next; the last epoch is always evaluated.
        patience: evaluations without a better one after which a member is done; 0 for no limit.

    Yields:
        The result of each epoch. A member that is done is neither evaluated nor selected again; a member whose loss is
        not finite is marked as failed.

    Example:
        >>> weights = [0.0]
        >>> def train_epoch(epoch):
        ...     weights.append(weights[-1] + 0.5)
        ...     return {"loss": np.array([[1.0 - weights[-1]]])}
        >>> for result in train_epochs(train_epoch, lambda member, epoch: (weights[-1], None), epochs=2):
        ...     print(result.epoch, result.members[0].selection.value)
        1 0.5
        2 1.0
    """
    epoch, members = first_epoch, tuple(members)
    while epoch < epochs and not all(member.is_done(patience) for member in members):
        started = time.perf_counter()
        metrics = train_epoch(epoch)
        seconds = time.perf_counter() - started
        epoch += 1
        is_due = epoch % evaluate_every == 0 or epoch == epochs
        updated, figures = [], []
        for index, member in enumerate(members):
            found = None
            if not member.is_done(patience):
                losses = {name: values[index] for name, values in metrics.items()}
                if failed := describe_not_finite(losses, (epoch - 1) * len(losses["loss"])):
                    member = dataclasses.replace(member, failed=failed)
                elif is_due:
                    value, found = evaluate(index, epoch)
                    member = dataclasses.replace(member, selection=member.selection.updated(epoch, value))
            updated.append(member)
            figures.append(found)
        members = tuple(updated)
        yield EpochResult(epoch, members, metrics, tuple(figures), seconds)


def describe_not_finite(metrics: Mapping[str, np.ndarray], first_step: int) -> str:
    """Says which loss `[steps]` was not finite first, such as "the pairwise loss is nan at step 11"."""
    names = (*(name for name in TERMS if name in metrics), "loss")
    losses = np.stack([metrics[name] for name in names], axis=1)
    for step, name in np.argwhere(~np.isfinite(losses))[:1]:
        which = "loss" if names[name] == "loss" else f"{names[name]} loss"
        return f"the {which} is {losses[step, name]} at step {first_step + step + 1}"
    return ""


def criterion_value(criterion: str, figures: Mapping[str, Mapping[str, float]], epoch: int) -> float:
    """Returns the value of a selection criterion for the validation figures of an epoch; higher is better.

    Args:
        criterion: `"map"`: the average map@50; `"recall"`: the average of recall@1, 5 and 10 over both directions,
            which needs no labels; `"agreement"`: the average of `gpldan_jax.retrieval.agreement`, which needs none and
            is closer to map@50; `"last"`: the epoch itself, so that the last one wins.
        figures: from `gpldan_jax.retrieval.evaluate`, for `"agreement"` with that figure as well; not looked at by
            `"last"`.
        epoch: epochs trained.

    Returns:
        The value.

    Example:
        >>> criterion_value("map", {"map@50": {"average": 0.25}}, epoch=3)
        0.25
    """
    if criterion == "map":
        return figures["map@50"]["average"]
    if criterion == "agreement":
        return figures[AGREEMENT]["average"]
    if criterion == "recall":
        recalls = [values["average"] for name, values in figures.items() if name.startswith("recall@")]
        return sum(recalls) / len(recalls)
    return float(epoch)


def criterion_figure(
    criterion: str, figures: Mapping[str, Mapping[str, float]], epoch: int
) -> tuple[str, float] | tuple[None, None]:
    """Returns the name and value of the figure to show for a criterion; for `"last"` map@50, or recall@10.

    Args:
        criterion: as in `criterion_value`.
        figures: of the epoch; empty where it was not evaluated.
        epoch: epochs trained.

    Returns:
        The name and the value, `(None, None)` without figures.

    Example:
        >>> criterion_figure("last", {"recall@10": {"average": 0.25}}, epoch=3)
        ('recall@10', 0.25)
    """
    if not figures:
        return None, None
    if criterion == "last":
        name = "map@50" if "map@50" in figures else "recall@10"
        return name, figures[name]["average"]
    return _CRITERION_NAMES[criterion], criterion_value(criterion, figures, epoch)


def epoch_line(record: Mapping[str, Any], *, epochs: int, criterion: str) -> str:
    """Returns the line of an epoch: its loss, the figure that selects, the seconds, and a star for the best so far.

    Args:
        record: of the epoch, see `train`.
        epochs: epochs to train.
        criterion: as in `criterion_value`.

    Returns:
        The line.

    Example:
        >>> record = {"epoch": 2, "loss": 0.5, "seconds": 1.5, "validation": {"map@50": {"average": 0.25}}}
        >>> epoch_line(record, epochs=9, criterion="map")
        'epoch 2/9  loss 0.5000  validation map@50 0.250  1.5 s'
    """
    line = f"epoch {record['epoch']}/{epochs}  loss {record['loss']:.4f}"
    name, value = criterion_figure(criterion, record.get("validation", {}), record["epoch"])
    if name:
        line += f"  validation {name} {value:.3f}"
    return line + f"  {record['seconds']:.1f} s" + ("  *" if record.get("selected") else "")


def check_fits(dataset: PairedDataset, *, batch_size: int, criterion: str) -> None:
    """Checks that a dataset can be trained on with a batch size and selected from by a criterion.

    Args:
        dataset: any dataset.
        batch_size: pairs of a mini-batch.
        criterion: as in `criterion_value`.

    Raises:
        DataError: fewer training pairs than `batch_size`, no validation pairs, or no labels where they are needed.

    Example:
        >>> from gpldan_jax import data
        >>> check_fits(data.load_dataset("emoji"), batch_size=64, criterion="map")
    """
    if batch_size > len(dataset.train):
        n = len(dataset.train)
        raise DataError(
            f"batch_size must not exceed the training pairs of {dataset.title}, {n}, got {batch_size}; use "
            f"train.batch_size={n} or less"
        )
    if criterion != "last" and not len(dataset.validation):
        raise DataError(f"selection by {criterion} needs validation pairs, {dataset.title} has none; use 'last'")
    if criterion == "map" and dataset.train.labels is None:
        raise DataError(f"selection by map needs labels, {dataset.title} has none; use 'agreement', 'recall' or 'last'")
