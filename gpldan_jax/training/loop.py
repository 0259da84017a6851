"""One run: its epochs, from the latest checkpoint or from the start, to the selected model."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gpldan_jax.config import default, with_newer_settings, with_values
from gpldan_jax.data import DataError, PairedDataset
from gpldan_jax.training.batches import (
    Neighbourhoods,
    epoch_batches,
    resident_pairs,
    split_neighbourhoods,
    steps_per_epoch,
)
from gpldan_jax.training.checkpoints import Checkpoints, CheckpointsInMemory
from gpldan_jax.training.epochs import (
    Interrupted,
    Member,
    NotFinite,
    Selection,
    check_fits,
    criterion_value,
    describe_not_finite,
    train_epochs,
)
from gpldan_jax.training.evaluators import make_bank_maker, make_evaluator
from gpldan_jax.training.mesh import device_memory, from_first_process, on_one_device, replicated, shares
from gpldan_jax.training.state import TrainState
from gpldan_jax.training.step import train_epoch, train_step

_RESIDENT_SHARE = 0.8  # of a device's memory; the rest is for parameters, optimisers and mini-batches


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        epoch: finished epochs.
        window: the metrics of the steps taken in the epoch under way, oldest first; empty at the end of an epoch.
        selection: the best epoch so far.
        scheduled: the best epoch so far without the last evaluation, where `evaluate_every` did not ask for that
            evaluation and the last epoch did; `None` otherwise. A run that gets more epochs goes on with it.
        records: what `report` got of each epoch, as far as checkpoints have it: those of older versions have none.
    """

    epoch: int = 0
    window: tuple[Mapping[str, float], ...] = ()
    selection: Selection = dataclasses.field(default_factory=Selection)
    scheduled: Selection | None = None
    records: tuple[Mapping[str, Any], ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Progress":
        """Returns the progress that a checkpoint holds, of any version of this package."""
        scheduled = record.get("scheduled")
        return cls(
            record["epoch"],
            tuple(record["window"]),
            Selection(**record["selection"]),
            Selection(**scheduled) if scheduled else None,
            tuple(record.get("records", ())),
        )

    def to_record(self) -> dict[str, Any]:
        """Returns JSON values, from which `from_record` makes the progress again."""
        # The records are not copied, one by one in every epoch.
        return dataclasses.asdict(dataclasses.replace(self, records=())) | {"records": list(self.records)}

    def continued(self, epochs: int) -> "Progress":
        """Returns what a run of `epochs` goes on with: no evaluation that only a shorter run makes."""
        if self.scheduled is None or epochs <= self.epoch:
            return self
        records = [*self.records[:-1], *map(without_evaluation, self.records[-1:])]
        return dataclasses.replace(self, selection=self.scheduled, scheduled=None, records=tuple(records))


def train(
    state: TrainState,
    dataset: PairedDataset,
    checkpoints: Checkpoints | CheckpointsInMemory,
    *,
    epochs: int,
    batch_size: int,
    remainder: str = "drop",
    resident: bool = True,
    criterion: str = "map",
    evaluate_every: int = 1,
    patience: int = 0,
    bank: Mapping[str, Any] | None = None,
    evaluate_pairs: int = 0,
    neighbourhoods: Neighbourhoods | None = None,
    report: Callable[[dict[str, Any]], None] = lambda record: None,
    on_step: Callable[[int], None] = lambda step: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[TrainState, Progress]:
    """Trains from the latest checkpoint, or from `state` where there is none, and returns the selected model.

    Metrics stay on the device until their epoch ends. A run that is killed continues from its last whole epoch, a run
    that is asked to stop from the step it had reached, and a finished run with more `epochs` from its last epoch; all
    end with the same bits as a run left alone. `check_epochs` says which other numbers of epochs do not.

    Args:
        state: the state before the first step; it is donated.
        dataset: scaled features; its test split is not looked at.
        checkpoints: where the run saves, after every epoch.
        epochs: epochs to train.
        batch_size: pairs of a mini-batch.
        remainder: `"drop"` or `"mask"`, see `steps_per_epoch`.
        resident: whether the training pairs stay on the device and an epoch is one program, which is faster; otherwise
            mini-batches are sent one by one, for pairs that do not fit there. On a CPU both give the same parameters,
            bit by bit; the losses in the records may differ in their last digits.
        criterion: `"map"`, `"recall"`, `"agreement"` or `"last"`, see `criterion_value`.
        evaluate_every: epochs from one evaluation on validation to the next; the last epoch is always evaluated.
        patience: evaluations without a better one after which training ends; 0 for never.
        bank: `pairs`, `neighbours` and `weight` of the bank that validation pairs are moved by, see
            `gpldan_jax.models.make_bank`; `None` for none.
        evaluate_pairs: how many validation pairs are ranked at most, see `ranked_pairs`; 0 for all.
        neighbourhoods: of all training pairs, from `split_neighbourhoods`, where they were found before; `None` finds
            them where the state needs them.
        report: takes the record of each epoch, plain numbers that fit a JSON line.
        on_step: takes the number of steps done so far.
        should_stop: asked after every epoch; where `resident` is False and there is one process, after every step.

    Returns:
        The state of the selected epoch, and the progress at the end.

    Raises:
        Interrupted: `should_stop` said so; everything up to the last step is saved.
        NotFinite: a loss is NaN or infinite; the last checkpoint is the one before that epoch.
        DataError: as `check_fits`.

    Example:
        >>> from gpldan_jax import config, data, training
        >>> rng = np.random.default_rng(0)
        >>> split = data.PairedSplit(rng.normal(size=(20, 6)), rng.normal(size=(20, 5)))
        >>> dataset = data.PairedDataset("mine", split, split, split)
        >>> small = {"model.hidden": 8, "model.width": 8, "model.parts": 2}
        >>> state = training.state_from_config(config.with_values(config.default_config(), small), 6, 5)
        >>> memory = training.CheckpointsInMemory()
        >>> state, progress = train(state, dataset, memory, epochs=2, batch_size=10, criterion="recall")
        >>> progress.epoch
        2
    """
    check_fits(dataset, batch_size=batch_size, criterion=criterion)
    steps = steps_per_epoch(len(dataset.train), batch_size, remainder)
    template, progress = jax.eval_shape(lambda: state), Progress()
    if (latest := checkpoints.latest()) is not None:
        state, record = checkpoints.restore(template, latest, replicated(template.mesh))
        progress = Progress.from_record(record).continued(epochs)

    def save(state, progress, step):
        selections = [of for of in (progress.selection, progress.scheduled) if of and of.epoch]
        checkpoints.save(step, state, progress.to_record(), keep={of.epoch * steps for of in selections})

    run = _Run(
        state=state,
        dataset=dataset,
        batches={"batch_size": batch_size, "remainder": remainder},
        resident=resident,
        neighbourhoods=neighbourhoods,
        steps=steps,
        progress=progress,
        has_epochs=progress.epoch < epochs,
        on_step=on_step,
        should_stop=should_stop,
        save=save,
    )

    evaluate = make_evaluator(dataset, "validation", criterion=criterion, evaluate_pairs=evaluate_pairs)
    make_bank = make_bank_maker(dataset.train, bank)

    def evaluate_epoch(member, epoch):
        projector, parameters = run.state.projector, on_one_device(run.state.projector_parameters)
        figures = evaluate(projector, parameters, make_bank(projector, parameters))
        figures = from_first_process(figures) if figures else {}
        return criterion_value(criterion, figures, epoch), figures

    for result in train_epochs(
        run.train_epoch,
        evaluate_epoch,
        epochs=epochs,
        first_epoch=progress.epoch,
        members=(Member(progress.selection),),
        evaluate_every=evaluate_every,
        patience=patience,
    ):
        (member,), (figures,) = result.members, result.figures
        if member.failed:
            raise NotFinite(member.failed)
        record = {"epoch": result.epoch, "step": result.epoch * steps}
        record |= {name: float(values.astype(np.float64).mean()) for name, values in result.metrics.items()}
        record["seconds"] = result.seconds
        if figures is not None:
            record |= {"validation": figures, "selected": member.selection.epoch == result.epoch}
        is_scheduled = figures is None or result.epoch % evaluate_every == 0
        scheduled = None if is_scheduled else progress.selection
        records = (*progress.records, record)
        run.progress = progress = Progress(result.epoch, (), member.selection, scheduled, records)
        # In this order a crash between the two repeats the epoch and its record; in the other the record would be lost.
        report(record)
        save(run.state, progress, result.epoch * steps)
        if should_stop():
            raise Interrupted

    selected, _ = checkpoints.restore(template, progress.selection.epoch * steps, replicated(template.mesh))
    return selected, progress


@dataclasses.dataclass
class _Run:
    """What changes from epoch to epoch, and how an epoch is trained."""

    state: TrainState
    dataset: PairedDataset
    batches: Mapping[str, Any]
    resident: bool
    neighbourhoods: Neighbourhoods | None
    steps: int
    progress: Progress
    has_epochs: bool
    on_step: Callable[[int], None]
    should_stop: Callable[[], bool]
    save: Callable[[TrainState, Progress, int], None]

    def __post_init__(self):
        split = self.dataset.train
        self.pairs = None
        if self.neighbourhoods is None and self.has_epochs:
            self.neighbourhoods = split_neighbourhoods(split, self.state.neighbours)
        if self.resident and self.has_epochs:
            self.pairs = resident_pairs(split, self.state.mesh, neighbourhoods=self.neighbourhoods)

    def train_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        """Trains an epoch, or the rest of one that was interrupted; returns `[1, steps]` by name."""
        if self.resident and not self.progress.window:
            self.state, metrics = train_epoch(self.state, self.pairs, **self.batches)
            metrics = jax.device_get(metrics)
            self.on_step((epoch + 1) * self.steps)
            return {name: values[None] for name, values in metrics.items()}
        window = _as_floats(self._train_steps(epoch))
        return {name: np.array([[metrics[name] for metrics in window]]) for name in window[0]}

    def _train_steps(self, epoch):
        window, done = list(self.progress.window), epoch * self.steps
        batches = epoch_batches(
            self.dataset.train,
            self.state.key,
            epoch,
            **self.batches,
            first_step=len(window),
            neighbourhoods=self.neighbourhoods,
            mesh=self.state.mesh,
        )
        with contextlib.closing(batches):  # an interruption must leave no thread that reads
            for batch in batches:
                self.state, metrics = train_step(self.state, batch)
                window.append(metrics)
                self.on_step(done + len(window))
                # Several processes would have to wait for each other in every step to agree.
                if jax.process_count() == 1 and self.should_stop() and len(window) < self.steps:
                    window = _as_floats(window)
                    if failed := describe_not_finite({name: [of[name] for of in window] for name in window[0]}, done):
                        raise NotFinite(failed)
                    progress = Progress(epoch, window, self.progress.selection, records=self.progress.records)
                    self.save(self.state, progress, done + len(window))
                    raise Interrupted
        return window


def without_evaluation(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record of an epoch as it is where the epoch is not evaluated.

    Example:
        >>> without_evaluation({"epoch": 2, "loss": 0.5, "validation": {}, "selected": True})
        {'epoch': 2, 'loss': 0.5}
    """
    return {name: value for name, value in record.items() if name not in ("validation", "selected")}


def train_options(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the keyword arguments of `train` and `train_grid` that a config sets.

    Args:
        config: as `gpldan_jax.config.default_config` returns it.

    Returns:
        `epochs`, `batch_size`, `remainder`, `evaluate_every`, `evaluate_pairs`, `patience`, `criterion` and `bank`.

    Example:
        >>> from gpldan_jax.config import default_config
        >>> train_options(default_config())["batch_size"]
        64
    """
    names = ("epochs", "batch_size", "remainder", "evaluate_every", "evaluate_pairs", "patience")
    options = {name: with_newer_settings(config)["train"][name] for name in names}
    return options | {"criterion": config["train"]["selection"], "bank": bank_options(config)}


def with_epochs(config: Mapping[str, Mapping[str, Any]], pairs: int) -> dict[str, dict[str, Any]]:
    """Returns a config that says how many epochs to train: `train.epochs`, or where it is 0 what `train.steps` needs.

    Args:
        config: as `gpldan_jax.config.default_config` returns it.
        pairs: how many training pairs there are; a mini-batch at least.

    Returns:
        The config with `train.epochs` of at least 1, and with the default of `train.steps`, which it no longer needs.

    Example:
        >>> with_epochs({"train": {"epochs": 0, "steps": 200, "batch_size": 64, "remainder": "drop"}}, 1000)["train"]
        {'epochs': 14, 'steps': 200, 'batch_size': 64, 'remainder': 'drop'}
    """
    train = with_newer_settings(config)["train"]
    each = steps_per_epoch(pairs, train["batch_size"], train["remainder"])
    epochs = train["epochs"] or -(-train["steps"] // each)
    return with_values(config, {"train.epochs": epochs, "train.steps": default("train.steps")})


def bank_options(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns `pairs`, `neighbours` and `weight` of the bank that a config asks for; `None` where it asks for none.

    Args:
        config: with the group `retrieval`; without it there is no bank.

    Returns:
        Keyword arguments of `gpldan_jax.models.choose_pairs` and `make_bank`.

    Example:
        >>> bank_options({"retrieval": {"bank": 2048, "bank_neighbours": 10, "bank_weight": 1.0}})
        {'pairs': 2048, 'neighbours': 10, 'weight': 1.0}
    """
    options = config.get("retrieval", {})
    if not options.get("bank"):
        return None
    return {"pairs": options["bank"], "neighbours": options["bank_neighbours"], "weight": options["bank_weight"]}


def check_epochs(progress: Mapping[str, Any], *, epochs: int, previous: int, evaluate_every: int) -> None:
    """Checks that a run that was started with `previous` epochs can go on to `epochs`, with the bits of such a run.

    Args:
        progress: of the latest checkpoint, as `Checkpoints.progress` returns it.
        epochs: epochs to train now.
        previous: epochs that the run was to train before.
        evaluate_every: epochs from one evaluation to the next.

    Raises:
        ValueError: more than `epochs` are trained, or the evaluations until now are not those of such a run.

    Example:
        >>> progress = {"epoch": 4, "window": [], "selection": {"epoch": 4, "value": 0.5, "stale": 0}}
        >>> check_epochs(progress, epochs=9, previous=4, evaluate_every=1)
        >>> check_epochs(progress, epochs=3, previous=4, evaluate_every=1)
        Traceback (most recent call last):
        ValueError: epochs must be at least 4, since 4 epochs are trained already, got 3
    """
    found = Progress.from_record(progress)
    begun = found.epoch + bool(found.window)
    if epochs < begun:
        partly = f"{begun - 1} epochs and a part of the next are" if found.window else f"{begun} epochs are"
        raise ValueError(f"epochs must be at least {begun}, since {partly} trained already, got {epochs}")
    if found.window or found.epoch % evaluate_every == 0:
        return
    where = f"epoch {found.epoch} is no multiple of evaluate_every, {evaluate_every}"
    if epochs == found.epoch:
        raise ValueError(f"epochs must be above {epochs}: {where}, and a run that ends there evaluates it")
    if "scheduled" not in progress and found.epoch == previous:
        raise ValueError(
            f"epochs must be {previous}: {where}, but a run that ends there evaluates it, and the version of "
            "gpldan_jax that trained it did not keep what comes without that evaluation"
        )


def check_resident(dataset: PairedDataset, mesh: jax.sharding.Mesh | None) -> None:
    """Checks that the training pairs leave their devices memory to train in.

    Args:
        dataset: any dataset.
        mesh: the devices that share the pairs; `None` for one.

    Raises:
        DataError: they take too much of a device's memory.

    Example:
        >>> from gpldan_jax import data
        >>> check_resident(data.load_dataset("emoji"), mesh=None)
    """
    needed = (dataset.train.images.nbytes + dataset.train.texts.nbytes) // shares(mesh)
    limit = device_memory(jax.local_devices()[0])
    if limit and needed > _RESIDENT_SHARE * limit:
        raise DataError(
            f"the training pairs of {dataset.title} take {needed / 1e9:.1f} GB of a device's {limit / 1e9:.1f} GB; "
            "the setting mesh.resident=False sends them batch by batch"
        )


def _as_floats(window) -> tuple[dict[str, float], ...]:
    return tuple({name: float(value) for name, value in metrics.items()} for metrics in jax.device_get(window))
