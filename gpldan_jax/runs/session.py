"""One training run in a folder, from a config to results; and the parts that other commands share with it."""

import contextlib
import dataclasses
import functools
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import rich.console
import rich.progress
import rich.table

from gpldan_jax import _checksums, _console, _files, data, models, retrieval, training
from gpldan_jax.config import with_newer_settings, with_values
from gpldan_jax.retrieval.agreement import KNOWN_PAIRS
from gpldan_jax.runs import processes, run_data
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.runs.kept_neighbours import kept_neighbourhoods
from gpldan_jax.runs.provenance import versions
from gpldan_jax.runs.run_data import load as load
from gpldan_jax.runs.run_data import load_unscaled as load_unscaled
from gpldan_jax.runs.scalars import ScalarWriter, scalars_of
from gpldan_jax.training.mesh import on_one_device

Config = Mapping[str, Mapping[str, Any]]


def run(config: Config, directory: Path, *, fresh: bool = False) -> int:
    """Trains, evaluates and writes the results; or continues or shows what the folder holds.

    A run goes on with another number of `train.epochs` where it ends with the bits of a run that always had it. Its
    data may lie at another path. Of several processes all call it; the first one prints and writes. `fresh` deletes the
    run found there first.

    Raises:
        processes.LostProcessError: another process of the run has ended.
    """
    with processes.naming_lost_processes():
        return _run(config, directory, fresh)


def _run(config: Config, directory: Path, fresh: bool) -> int:
    config = with_newer_settings(config)
    first = processes.is_first()
    console = _console.make_console(quiet=not first)
    with contextlib.ExitStack() as stack:
        with processes.together():
            mesh = training.data_mesh(config["mesh"]["data"])
            if moved := _moved_data(config["dataset"], directory, fresh):
                path = config["dataset"]["path"] or "GPLDAN_DATA_DIR"
                console.print(f"{path} leads nowhere from here; the data of {directory} are at {moved}")
                config = with_values(config, {"dataset.path": moved})
            # Who sends mini-batches one by one reads them one by one too.
            on_disk = not config["mesh"]["resident"]
            dataset, standardization = load(config["dataset"], on_disk=on_disk, share=processes.share())
            options = config["train"]
            training.check_fits(dataset, batch_size=options["batch_size"], criterion=options["selection"])
            config = training.with_epochs(config, len(dataset.train))
            if config["mesh"]["resident"]:
                training.check_resident(dataset, mesh)
            if first:  # the folder is the same for all
                description = describe(config, dataset)
                may_differ = (workdirs.EPOCHS,)
                opened = workdirs.open_workdir(directory, description, fresh=fresh, may_differ=may_differ)
                stack.enter_context(opened)
                written = workdirs.read_json(directory / workdirs.CONFIG)
                known = written["config"]
                # What the run leaves does not depend on where its data lie, or what they are called, when it is
                # continued.
                config = with_values(config, {"dataset.path": known["dataset"]["path"]})
                if not dataset.synthetic:
                    dataset = dataclasses.replace(dataset, name=written.get("dataset", dataset.name))
        processes.check_shared(directory)
        epochs = config["train"]["epochs"]
        previous = int(training.from_first_process(float(known["train"]["epochs"] if first else 0)))
        finished = directory / workdirs.RESULTS
        with processes.together():
            results = _read_results(finished) if finished.exists() else None
            lost = _lost_file(directory, results) if first and results else ""
        is_finished, is_lost = map(bool, training.from_first_process([float(bool(results)), float(bool(lost))]))
        interrupted = stack.enter_context(processes.interruption())
        if is_finished and previous == epochs and not is_lost:
            console.print(f"{directory} is finished; use a larger train.epochs to go on, or fresh to start over")
            show(results or {}, console)
            if first and not (directory / models.CARD_FILE).exists():  # of an older version; a user may have changed it
                _write_card(directory, dataset, results or {})
            return 0
        checkpoints = training.Checkpoints(directory / workdirs.CHECKPOINTS)
        stack.callback(checkpoints.close)
        if is_lost and previous == epochs:
            if checkpoints.latest() is None:
                raise workdirs.WorkdirError(f"{lost or directory}: no checkpoints are left; use fresh to start over")
            console.print(f"{lost}: it is made again from the checkpoints")
        if previous != epochs:
            with processes.together():
                _check_epochs(checkpoints, directory, config, previous, is_finished)
                if first:
                    workdirs.change_epochs(directory, epochs)
            deleted = "; its results and its model are deleted, new ones come at the end" if is_finished else ""
            console.print(f"{directory} was to train {previous} epochs; now it is to train {epochs}{deleted}")
        try:
            state, progress = _train(config, dataset, checkpoints, directory, console, interrupted, mesh)
        except training.Interrupted:
            console.print(f"stopped and saved; the same command continues {directory}")
            return 128 + interrupted.signal_number
        except training.NotFinite as error:
            print(f"error: {error}; {directory}/checkpoints keeps the epoch before", file=sys.stderr)
            return 1
        parameters, epoch = on_one_device(state.projector_parameters), progress.selection.epoch
        model = trained_model(config, dataset, standardization, parameters, epoch)
        results = _results(config, dataset, model, progress)
        if first:
            path = directory / workdirs.METRICS
            records = workdirs.read_records(path) if path.exists() else []
            if records and records[0]["epoch"] != 1:  # those of before were lost
                results[workdirs.RECORDED_FROM] = records[0]["epoch"]
            models.save_model(directory / workdirs.MODEL, model)
            _checksums.write_record(directory / workdirs.RESULTS, results)
            if not (is_lost and (directory / models.CARD_FILE).exists()):  # a user may have changed it
                _write_card(directory, dataset, results)
            show(results, console)
    return 0


def describe(config: Config, dataset: data.PairedDataset) -> dict[str, Any]:
    """Returns the content of `config.json`: the config, a fingerprint of the data and where they lie, and versions."""
    return {
        "config": config,
        "data": dataset.fingerprint(),
        workdirs.DATA_PATH: run_data.absolute_path(config["dataset"]),
        "dataset": dataset.title,
        "versions": versions(),
    }


def initial_state(
    config: Config, dataset: data.PairedDataset, mesh: jax.sharding.Mesh | None = None
) -> training.TrainState:
    """Returns the state before the first step of a run on a dataset, see `gpldan_jax.training.state_from_config`."""
    return training.state_from_config(config, dataset.image_dim, dataset.text_dim, mesh)


def trained_model(
    config: Config, dataset: data.PairedDataset, standardization: data.Standardization, parameters: dict, epoch: int
) -> models.TrainedModel:
    """Returns what a run saves of its selected epoch; with a bank, where the config asks for one."""
    features = {"features": dataset.features} if dataset.features and not dataset.synthetic else {}
    about = {"dataset": dataset.title, "epoch": epoch, "config": config}
    projector, parameters = training.projector_from_config(config), jax.device_get(parameters)
    return models.TrainedModel(
        projector=projector,
        parameters=parameters,
        standardization=standardization,
        metadata={**about, "version": importlib.metadata.version("gpldan_jax"), **features},
        bank=training.make_bank_maker(dataset.train, training.bank_options(config))(projector, parameters),
    )


def show(results: dict, console: rich.console.Console) -> None:
    """Prints the figures of a run as a table: test, validation and chance side by side."""
    selection = results["selection"]
    chosen = f"epoch {selection['epoch']}"
    if selection["criterion"] != "last":
        chosen += f", chosen by {selection['criterion']} on validation ({selection['value']:.3f})"
    test, validation, chance = results["test"] or {}, results["validation"] or {}, results["chance"] or {}
    console.print(figures_table(f"{results['dataset']}: {chosen}", test, validation, chance))
    if "test_pairs" in results:
        console.print("of {of:,} test pairs {ranked:,} are ranked, drawn at random".format(**results["test_pairs"]))
    if "test_items" in results:
        console.print("test ranks {images} images and {texts} texts".format(**results["test_items"]))


def figures_table(
    title: str, test: Mapping[str, Mapping], validation: Mapping[str, Mapping], chance: Mapping[str, float], **style
) -> rich.table.Table:
    """Returns a table of figures, metric -> direction -> number or text, with those of chance and on validation."""
    table = rich.table.Table("metric", title=title, **style)
    for heading in ("image to text", "text to image", "average", "chance", "validation"):
        table.add_column(heading, justify="right")
    for metric in test or validation:
        cells = [test.get(metric, {}).get(direction) for direction in ("image_to_text", "text_to_image", "average")]
        cells += [chance.get(metric), validation.get(metric, {}).get("average")]
        texts = ("-" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells)
        table.add_row(metric, *texts)
    return table


def _write_card(directory, dataset, results):
    """Writes the card beside the model; the same bytes each time, because all that it says lies in the folder."""
    if not (directory / workdirs.MODEL).exists():
        return
    known = workdirs.read_json(directory / workdirs.CONFIG)
    card = models.model_card(
        models.load_model(directory / workdirs.MODEL),
        results,
        fingerprint=known.get("data"),
        sizes=[len(getattr(dataset, name)) for name in ("train", "validation", "test")],
        versions=known.get("versions"),
    )
    _files.write_text(directory / models.CARD_FILE, card)


def _read_results(path):
    """The results of a finished run; `WorkdirError` where they are damaged."""
    advice = "delete it, and the same command makes it again from the checkpoints"
    try:
        results = _checksums.read_record(path)
        show(results, rich.console.Console(quiet=True))
    except _checksums.DamagedError as error:
        raise workdirs.WorkdirError(f"{error}; or {advice}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise workdirs.WorkdirError(f"{path} is damaged: a run leaves something else there; {advice}") from error
    return results


def _lost_file(directory, results):
    """Why the model or the records of a finished run cannot be used; empty where they can."""
    path = directory / workdirs.MODEL
    try:
        models.load_model(path)
    except ValueError as error:
        return _files.one_line(error) if path.exists() else f"{path} is gone"
    path = directory / workdirs.METRICS
    try:
        workdirs.read_records(path, results)
    except (OSError, ValueError) as error:
        # Without checkpoints nothing can be made again, and these lines are no result.
        if any((directory / workdirs.CHECKPOINTS).glob("[0-9]*")):
            return _files.one_line(error) if path.exists() else f"{path} is gone"
    return ""


def _moved_data(config, directory, fresh):
    """Where the data of the run in the folder are, if its own path leads nowhere from here; `None` otherwise."""
    place = run_data.absolute_path(config)
    if fresh or (place and Path(place).exists()) or not (directory / workdirs.CONFIG).exists():
        return None
    known = workdirs.read_json(directory / workdirs.CONFIG).get("config", {})
    if known.get("dataset", {}).get("path") != config["path"]:
        return None
    try:
        return run_data.find(directory).path
    except run_data.DataNotFoundError:  # to load them says more
        return None


def _check_epochs(checkpoints, directory, config, previous, is_finished):
    """`WorkdirError` where the run in the folder cannot get another number of epochs."""
    epochs, latest = config["train"]["epochs"], checkpoints.latest()
    try:
        if latest is None and is_finished:
            raise ValueError(f"it is finished after {previous} epochs, and its folder checkpoints is empty or gone")
        if latest is not None:
            progress, every = checkpoints.progress(latest), config["train"]["evaluate_every"]
            training.check_epochs(progress, epochs=epochs, previous=previous, evaluate_every=every)
    except ValueError as error:
        raise workdirs.WorkdirError(
            f"{directory} cannot go on to {epochs} epochs: {error}; choose another workdir, or use fresh to start over"
        ) from error


def _results(config, dataset, model, progress):
    found: dict[str, Any] = {
        "dataset": dataset.title,
        "synthetic": dataset.synthetic,
        "seed": config["train"]["seed"],
        workdirs.EPOCHS_DONE: progress.epoch,
        "selection": {"criterion": config["train"]["selection"], **dataclasses.asdict(progress.selection)},
    }
    for name in ("validation", "test"):
        options = {"criterion": config["train"]["selection"], "evaluate_pairs": config["train"]["evaluate_pairs"]}
        evaluate = training.make_evaluator(dataset, name, **options)
        figures = evaluate(model.projector, model.parameters, model.bank)
        found[name] = training.from_first_process(figures) if figures else None
    test = training.ranked_pairs(dataset.test, config["train"]["evaluate_pairs"])
    if len(test) < len(dataset.test):
        found["test_pairs"] = {"ranked": len(test), "of": len(dataset.test)}
    if test.groups is not None:
        found["test_items"] = {"images": len(test.image_rows()), "texts": len(test.text_rows())}
    return found | {"chance": retrieval.chance_of_pairs(test) if len(test) else None}


def _train(config, dataset, checkpoints, directory, console, interrupted, mesh):
    options = training.train_options(config)
    steps = training.steps_per_epoch(len(dataset.train), options["batch_size"], options["remainder"])
    total = steps * options["epochs"]

    def should_stop():
        # Processes are signalled apart and must stop in the same epoch.
        interrupted.signal_number = int(processes.gathered(interrupted.signal_number).max())
        return bool(interrupted)

    if line := dataset.empty.line():
        console.print(line)
    limit, pairs = config["retrieval"]["bank"], len(dataset.train)
    if 0 < limit < pairs:
        used = models.pairs_used(pairs, limit)
        of = f"the {pairs}" if used == pairs else f"{used} of the {pairs}"
        console.print(f"retrieval goes through a bank of {limit}, the means of {of} training pairs: retrieval.bank")
    _say_what_is_drawn(config, dataset, console)
    resumed_step = checkpoints.latest() or 0
    progress = training.Progress()
    if resumed_step:
        progress = training.Progress.from_record(checkpoints.progress(resumed_step))
    if processes.is_first():
        # A shorter run evaluated its last epoch, whatever `evaluate_every` says; this run does not.
        goes_on, path = progress.continued(options["epochs"]), directory / workdirs.METRICS
        known = [_as_reported(record, dataset) for record in goes_on.records]
        shorter = goes_on != progress
        if problem := workdirs.keep_records(path, progress.epoch, known, without_last_evaluation=shorter):
            console.print(problem)
    if resumed_step:
        console.print(f"continuing {directory} after step {resumed_step} of {total}")
    if mesh:
        whole = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        console.print(f"{mesh.size} devices{whole} share each mini-batch")
    bar = _console.progress_bar(console, dataset.title)
    task = bar.add_task("", total=total, completed=resumed_step)
    line = functools.partial(training.epoch_line, epochs=options["epochs"], criterion=options["criterion"])
    with (
        _reporting(directory, dataset, console, line, resumed_step) as report,
        bar,
        training.announce_compilation(console.print),
    ):
        state = initial_state(config, dataset, mesh)
        return training.train(
            state,
            dataset,
            checkpoints,
            **options,
            resident=config["mesh"]["resident"],
            neighbourhoods=kept_neighbourhoods(
                dataset.train,
                state.neighbours,
                directory / workdirs.NEIGHBOURS,
                console.print,
                # Several processes would have to wait for each other to agree.
                (lambda: bool(interrupted)) if jax.process_count() == 1 else lambda: False,
            ),
            report=report,
            on_step=lambda step: bar.update(task, completed=step),
            should_stop=should_stop,
        )


def _say_what_is_drawn(config, dataset, console):
    """Says which figures are of a part of the pairs only."""
    ranked = training.ranked_pairs(dataset.validation, config["train"]["evaluate_pairs"])
    if len(ranked) < len(dataset.validation):
        of = f"{len(ranked):,} of {len(dataset.validation):,}"
        console.print(f"validation ranks {of} pairs, drawn at random: train.evaluate_pairs")
    pairs = len(dataset.train)
    if config["train"]["selection"] == "agreement" and pairs > KNOWN_PAIRS:
        of = f"{KNOWN_PAIRS:,} of the {pairs:,}"
        console.print(f"agreement looks for neighbours among {of} training pairs, drawn at random")


@contextlib.contextmanager
def _reporting(directory, dataset, console, line, resumed_step) -> Iterator[Any]:
    """Yields the function that writes and prints the record of each epoch."""
    first = processes.is_first()
    writer = ScalarWriter(directory / workdirs.TENSORBOARD, resumed_step) if first else None

    def report(record):
        record = _as_reported(record, dataset)
        if first:
            workdirs.append_record(directory / workdirs.METRICS, record)
        console.print(f"{dataset.title}  {line(record)}")
        for name, value in scalars_of(record) if writer else ():
            writer.add(f"synthetic/{name}" if dataset.synthetic else name, value, record["step"])

    try:
        yield report
    finally:
        if writer:
            writer.close()


def _as_reported(record, dataset):
    return record | {"synthetic": True} if dataset.synthetic else record
