"""Trains the model of a fit and says how far it is: nothing, a progress bar, or a line for each epoch."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax

from gpldan_jax import data, models, training
from gpldan_jax._console import make_console, progress_bar

Record = dict[str, Any]
Callbacks = Iterable[Callable[[Record], Any]]
_LINES = 10  # of a fit where no bar can be drawn


def train_model(
    config: Mapping[str, Mapping[str, Any]],
    dataset: data.PairedDataset,
    *,
    resident: bool | None = None,
    verbose: int = 0,
    callbacks: Callbacks = (),
) -> tuple[models.TrainedModel, list[Record]]:
    """Trains a model of a dataset on one device.

    Args:
        config: of the run, with a number of epochs.
        dataset: features, not scaled.
        resident: as in `GPLDAN`.
        verbose: as in `fit_progress`.
        callbacks: they take the record of each epoch when it ends.

    Returns:
        The model of the selected epoch, with this epoch as its metadata, and the records of all epochs without their
        seconds.

    Raises:
        gpldan_jax.training.NotFinite: a loss became NaN or infinite.
        gpldan_jax.data.DataError: all columns of the images or of the texts are constant.

    Example:
        >>> import numpy as np
        >>> from gpldan_jax.config import default_config, with_values
        >>> split = data.PairedSplit(np.random.default_rng(0).normal(size=(20, 6)), np.eye(20, 5))
        >>> small = {"model.hidden": 8, "model.width": 8, "model.parts": 2, "train.batch_size": 10, "train.epochs": 2}
        >>> config = with_values(default_config(), small | {"train.selection": "recall"})
        >>> model, history = train_model(config, data.PairedDataset("mine", split, split, split))
        >>> model.metadata["epoch"] in (1, 2), [record["step"] for record in history]
        (True, [2, 4])
    """
    scale = {side: config["dataset"][f"{side}_scaling"] == "standardize" for side in ("image", "text")}
    dataset, standardization = data.standardize(dataset, **scale)
    dataset.empty.check(dataset.name)
    options = training.train_options(config)
    steps = training.steps_per_epoch(len(dataset.train), options["batch_size"], options["remainder"])
    shown = {"epochs": options["epochs"], "steps": steps, "criterion": options["criterion"]}
    callbacks, history = list(callbacks), list[Record]()
    if verbose and (line := dataset.empty.line()):
        make_console().print(line)
    with fit_progress(verbose, **shown) as (show, on_step):

        def report(record: Record) -> None:
            # Seconds would make two files of the same run differ.
            history.append({key: value for key, value in record.items() if key != "seconds"})
            show(record)
            for callback in callbacks:
                callback(dict(record))

        state, progress = training.train(
            training.state_from_config(config, dataset.image_dim, dataset.text_dim),
            dataset,
            training.CheckpointsInMemory(),
            **options,
            resident=jax.default_backend() != "cpu" if resident is None else resident,
            report=report,
            on_step=on_step,
        )
    make_bank = training.make_bank_maker(dataset.train, training.bank_options(config))
    model = models.TrainedModel(
        projector=state.projector,
        parameters=jax.device_get(state.projector_parameters),
        standardization=standardization,
        metadata={"epoch": progress.selection.epoch},
        bank=make_bank(state.projector, state.projector_parameters),
    )
    return model, history


@contextlib.contextmanager
def fit_progress(
    verbose: int, *, epochs: int, steps: int, criterion: str
) -> Iterator[tuple[Callable[[Record], None], Callable[[int], None]]]:
    """Yields the functions that a fit calls after each epoch and after its steps.

    Args:
        verbose: 0 for silence; 1 for a progress bar on a terminal and in a notebook, and for ten lines elsewhere; 2 for
            a line after each epoch.
        epochs: epochs to train.
        steps: mini-batches of an epoch.
        criterion: as in `gpldan_jax.training.criterion_value`.

    Example:
        >>> record = {"epoch": 1, "loss": 0.5, "seconds": 1.5}
        >>> with fit_progress(2, epochs=9, steps=3, criterion="last") as (on_epoch, on_step):
        ...     on_epoch(record)
        epoch 1/9  loss 0.5000  1.5 s
    """
    if not verbose:
        yield (lambda record: None), (lambda step: None)
        return
    console = make_console()
    bar = progress_bar(console, "GPLDAN")
    if verbose > 1:
        bar.disable = True
    task, printed = bar.add_task("", total=epochs * steps), 0

    def on_epoch(record: Record) -> None:
        nonlocal printed
        line = training.epoch_line(record, epochs=epochs, criterion=criterion)
        bar.update(task, description=line, refresh=True)
        part = _LINES * record["epoch"] // epochs
        if verbose > 1 or (bar.disable and part > printed):
            printed = part
            console.print(line)

    with bar, training.announce_compilation(console.print):
        yield on_epoch, lambda step: bar.update(task, completed=step)
