"""Which epoch's model is kept, and when to stop looking; decided on validation pairs only.

The epochs of a run: train, evaluate on validation, select, save, report.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gpldan_jax.data import DataError, PairedDataset, PairedSplit
from gpldan_jax.models import Projector
from gpldan_jax.retrieval import evaluate, retrieval_distances
from gpldan_jax.training.batches import epoch_batches, resident_pairs, split_neighbourhoods, steps_per_epoch
from gpldan_jax.training.checkpoints import Checkpoints
from gpldan_jax.training.mesh import agreed, memory_limit, on_one_device, replicated, shares
from gpldan_jax.training.state import TrainState
from gpldan_jax.training.step import TERMS, train_epoch, train_step

CRITERIA = ("map", "recall", "last")


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
        """The selection after an evaluation; a tie keeps the earlier epoch."""
        if self.value is None or value > self.value:
            return Selection(epoch, value, 0)
        return dataclasses.replace(self, stale=self.stale + 1)


def criterion_value(criterion: str, figures: dict[str, dict[str, float]], epoch: int) -> float:
    """What `criterion` says of the validation figures of an epoch; higher is better.

    Args:
        criterion: `"map"`: the average map@50; `"recall"`: the average of recall@1, 5 and 10 over both directions,
            which needs no labels; `"last"`: the epoch itself, so that the last one wins.
        figures: from `gpldan_jax.retrieval.evaluate`; not looked at by `"last"`.
        epoch: epochs trained.

    Example:
        >>> criterion_value("map", {"map@50": {"average": 0.25}}, epoch=3)
        0.25
    """
    if criterion == "map":
        return figures["map@50"]["average"]
    if criterion == "recall":
        recalls = [values["average"] for name, values in figures.items() if name.startswith("recall@")]
        return sum(recalls) / len(recalls)
    return float(epoch)


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        epoch: finished epochs.
        window: the metrics of the steps taken in the epoch under way, oldest first; empty at the end of an epoch.
        selection: the best epoch so far.
    """

    epoch: int = 0
    window: tuple[Mapping[str, float], ...] = ()
    selection: Selection = dataclasses.field(default_factory=Selection)


# The rest is for parameters, optimisers and mini-batches.
_RESIDENT_SHARE = 0.8


class Interrupted(Exception):
    """The run was asked to stop and has saved where it is."""


class NotFinite(ArithmeticError):
    """A loss became NaN or infinite; the message names the step and the term."""


def train(
    state: TrainState,
    dataset: PairedDataset,
    checkpoints: Checkpoints,
    *,
    epochs: int,
    batch_size: int,
    remainder: str = "drop",
    resident: bool = True,
    criterion: str = "map",
    evaluate_every: int = 1,
    patience: int = 0,
    report: Callable[[dict[str, Any]], None] = lambda record: None,
    on_step: Callable[[int], None] = lambda step: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[TrainState, Progress]:
    """Trains from the latest checkpoint, or from `state` where there is none, and gives back the selected model.

    Metrics stay on the device until their epoch ends. A run that is killed continues from its last whole epoch, one
    that is asked to stop from the step it had reached, and both end with the same bits as a run left alone.

    Args:
        state: the state before the first step; it is donated.
        dataset: scaled features; its test split is not looked at.
        checkpoints: where the run saves, after every epoch.
        epochs: epochs to train.
        batch_size: pairs of a mini-batch.
        remainder: `"drop"` or `"mask"`, see `steps_per_epoch`.
        resident: whether the training pairs stay on the device and an epoch is one program, which is faster; otherwise
            mini-batches are sent one by one, for pairs that do not fit there. Both give the same bits on a CPU.
        criterion: `"map"`, `"recall"` or `"last"`, see `criterion_value`.
        evaluate_every: epochs from one evaluation on validation to the next; the last epoch is always evaluated.
        patience: evaluations without a better one after which training ends; 0 for never.
        report: takes the record of each epoch, plain numbers that fit a JSON line.
        on_step: takes the number of steps done so far.
        should_stop: asked after every epoch; where `resident` is False and there is one process, after every step.

    Returns:
        The state of the selected epoch, and the progress at the end.

    Raises:
        Interrupted: `should_stop` said so; everything up to the last step is saved.
        NotFinite: a loss is NaN or infinite; the last checkpoint is the one before that epoch.
        DataError: as `check_fits`.
    """
    steps = steps_per_epoch(len(dataset.train), batch_size, remainder)
    check_fits(dataset, batch_size=batch_size, criterion=criterion)
    template, progress = jax.eval_shape(lambda: state), Progress()
    if (latest := checkpoints.latest()) is not None:
        state, record = checkpoints.restore(template, latest, replicated(template.mesh))
        progress = Progress(record["epoch"], tuple(record["window"]), Selection(**record["selection"]))
    neighbours, neighbourhoods, pairs = template.neighbours, None, None
    if resident and progress.epoch < epochs:
        pairs = resident_pairs(dataset.train, state.mesh, neighbours=neighbours)
    if progress.window or not resident:
        neighbourhoods = split_neighbourhoods(dataset.train, neighbours)
    batches = {"batch_size": batch_size, "remainder": remainder}

    def save(step):
        checkpoints.save(step, state, dataclasses.asdict(progress), keep={progress.selection.epoch * steps})

    while progress.epoch < epochs and not (patience and progress.selection.stale >= patience):
        epoch, window, started = progress.epoch, list(progress.window), time.perf_counter()
        if resident and not window:
            state, metrics = train_epoch(state, pairs, **batches)
            metrics = jax.device_get(metrics)
            window = [{name: values[step] for name, values in metrics.items()} for step in range(steps)]
            on_step((epoch + 1) * steps)
        else:  # or the rest of an epoch that was interrupted
            for batch in epoch_batches(
                dataset.train,
                state.key,
                epoch,
                **batches,
                first_step=len(window),
                neighbourhoods=neighbourhoods,
                mesh=state.mesh,
            ):
                state, metrics = train_step(state, batch)
                window.append(metrics)
                on_step(epoch * steps + len(window))
                # Several processes would have to wait for each other in every step to agree.
                if jax.process_count() == 1 and should_stop() and len(window) < steps:
                    window = _on_host(window, epoch * steps)
                    progress = Progress(epoch, window, progress.selection)
                    save(epoch * steps + len(window))
                    raise Interrupted
        window = _on_host(window, epoch * steps)
        record = {"epoch": epoch + 1, "step": (epoch + 1) * steps} | _means(window)
        record["seconds"] = time.perf_counter() - started

        selection = progress.selection
        if (epoch + 1) % evaluate_every == 0 or epoch + 1 == epochs:
            figures = evaluate_split(state, dataset.validation) if len(dataset.validation) else {}
            selection = selection.updated(epoch + 1, criterion_value(criterion, figures, epoch + 1))
            record |= {"validation": figures, "selected": selection.epoch == epoch + 1}
        progress = Progress(epoch + 1, (), selection)
        # In this order a crash between the two repeats the epoch and its record; in the other the record would be lost.
        report(record)
        save((epoch + 1) * steps)
        if should_stop():
            raise Interrupted

    selected, _ = checkpoints.restore(template, progress.selection.epoch * steps, replicated(template.mesh))
    return selected, progress


def check_fits(dataset: PairedDataset, *, batch_size: int, criterion: str) -> None:
    """`DataError` where a dataset cannot be trained on with this batch size and selected from by this criterion."""
    if batch_size > len(dataset.train):
        raise DataError(
            f"train.batch_size must not exceed the training pairs of {dataset.title}, {len(dataset.train)}, "
            f"got {batch_size}"
        )
    if criterion != "last" and not len(dataset.validation):
        raise DataError(f"train.selection={criterion} needs validation pairs, {dataset.title} has none; use 'last'")
    if criterion == "map" and dataset.train.labels is None:
        raise DataError(f"train.selection=map needs labels, {dataset.title} has none; use 'recall' or 'last'")


def check_resident(dataset: PairedDataset, mesh: jax.sharding.Mesh | None) -> None:
    """`DataError` where the training pairs leave their devices no memory to train in."""
    needed = (dataset.train.images.nbytes + dataset.train.texts.nbytes) // shares(mesh)
    limit = memory_limit(jax.local_devices()[0])
    if limit and needed > _RESIDENT_SHARE * limit:
        raise DataError(
            f"the training pairs of {dataset.title} take {needed / 1e9:.1f} GB of a device's {limit / 1e9:.1f} GB; "
            "--config.mesh.resident=False sends them batch by batch"
        )


def evaluate_split(state: TrainState, split: PairedSplit) -> dict[str, dict[str, float]]:
    """All metrics of a split under the projector of `state`; see `gpldan_jax.retrieval.evaluate`."""
    return agreed(evaluate_parameters(state.projector, on_one_device(state.projector_parameters), split))


def evaluate_parameters(projector: Projector, parameters: dict, split: PairedSplit) -> dict[str, dict[str, float]]:
    """Likewise, under a projector and its parameters on one device."""
    return evaluate(retrieval_distances(projector, parameters, split.images, split.texts), split.labels)


def not_finite(metrics: Mapping[str, np.ndarray], first_step: int) -> str:
    """Which loss was not finite first, such as "the pairwise loss is nan at step 11"; empty where all were finite.

    Args:
        metrics: of each step, `[steps]`.
        first_step: steps before the first of these.
    """
    names = (*(name for name in TERMS if name in metrics), "loss")
    losses = np.stack([metrics[name] for name in names], axis=1)
    for step, name in np.argwhere(~np.isfinite(losses))[:1]:
        which = "loss" if names[name] == "loss" else f"{names[name]} loss"
        return f"the {which} is {losses[step, name]} at step {first_step + step + 1}"
    return ""


def _on_host(window: list[Mapping], first_step: int) -> tuple[dict[str, float], ...]:
    window = tuple({name: float(value) for name, value in metrics.items()} for metrics in jax.device_get(window))
    if message := not_finite({name: [metrics[name] for metrics in window] for name in window[0]}, first_step):
        raise NotFinite(message)
    return window


def _means(window) -> dict[str, float]:
    return {name: float(np.mean([metrics[name] for metrics in window])) for name in window[0]}
