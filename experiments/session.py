"""One run from config to results: what `run.py` does once its flags are understood."""

import contextlib
import dataclasses
import importlib.metadata
import platform
import sys
from pathlib import Path

import jax
import rich.console
import rich.progress
import rich.table

from experiments import processes
from gpldan_jax import data, models, retrieval, training
from gpldan_jax.training import workdir as workdirs


def run(config: dict, directory: Path, *, fresh: bool = False) -> int:
    """Trains, evaluates and writes the results, or continues or shows what the workdir holds.

    Returns the exit status: 0, 1 where a loss was not finite, or 128 plus the signal that stopped it. Bad input raises
    `ValueError` before anything is written. Of several processes all call it; the first one prints and writes.
    """
    first = processes.is_first()
    console = rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=not first)
    with contextlib.ExitStack() as stack:
        with processes.together():
            mesh = training.data_mesh(config["mesh"]["data"])
            dataset, standardization = load(config["dataset"])
            training.check_fits(
                dataset, batch_size=config["train"]["batch_size"], criterion=config["train"]["selection"]
            )
            if config["mesh"]["resident"]:
                training.check_resident(dataset, mesh)
            description = {
                "config": config,
                "data": dataset.fingerprint(),
                "dataset": dataset.title,
                "versions": versions(),
            }
            if first:  # the folder is the same for all
                stack.enter_context(workdirs.opened(directory, description, fresh=fresh))
        results = workdirs.read_results(directory)
        interrupted = stack.enter_context(training.interruption())
        if training.agreed(float(bool(results))):
            console.print(f"{directory} is finished (--fresh starts over)")
            show(results, console)
            return 0
        try:
            state, progress = _train(config, dataset, directory, console, interrupted, mesh)
        except training.Interrupted:
            console.print(f"stopped and saved; the same command continues {directory}")
            return 128 + interrupted.signal_number
        except training.NotFinite as error:
            print(f"error: {error}; {directory}/checkpoints keeps the epoch before", file=sys.stderr)
            return 1
        results = {
            "dataset": dataset.title,
            "synthetic": dataset.synthetic,
            "seed": config["train"]["seed"],
            "selection": {"criterion": config["train"]["selection"], **dataclasses.asdict(progress.selection)},
        }
        for name in ("validation", "test"):
            split = getattr(dataset, name)
            results[name] = training.evaluate_split(state, split) if len(split) else None
        results["chance"] = retrieval.chance(len(dataset.test), dataset.test.labels) if len(dataset.test) else None
        if not first:
            return 0
        model = trained_model(config, dataset, standardization, state.projector_parameters, progress.selection.epoch)
        models.save_model(directory / workdirs.MODEL, model)
        workdirs.write_json(directory / workdirs.RESULTS, results)
        show(results, console)
    return 0


def load(config: dict) -> tuple[data.PairedDataset, data.Standardization]:
    """The dataset that a config names, scaled as it says."""
    return data.standardize(
        unscaled(config),
        image=config["image_scaling"] == "standardize",
        text=config["text_scaling"] == "standardize",
    )


def unscaled(config: dict) -> data.PairedDataset:
    """Likewise as it is in its files."""
    return data.load_dataset(
        config["name"],
        variant=config["variant"] or None,
        path=config["path"] or None,
        synthetic=config["synthetic"],
    )


def trained_model(
    config: dict, dataset: data.PairedDataset, standardization: data.Standardization, parameters: dict, epoch: int
) -> models.TrainedModel:
    """What a run saves of the selected epoch."""
    features = {"features": dataset.features} if dataset.features and not dataset.synthetic else {}
    return models.TrainedModel(
        projector=projector(config),
        parameters=jax.device_get(parameters),
        standardization=standardization,
        metadata={
            "dataset": dataset.title,
            "epoch": epoch,
            "config": config,
            "version": importlib.metadata.version("gpldan_jax"),
            **features,
        },
    )


def projector(config: dict) -> models.Projector:
    """The network G that a config describes."""
    model = config["model"]
    return models.Projector(hidden=model["hidden"], width=model["width"], parts=model["parts"])


def initial_state(
    config: dict, dataset: data.PairedDataset, mesh: jax.sharding.Mesh | None = None
) -> training.TrainState:
    """The state before the first step, from the groups `model`, `loss`, `denoise`, `optim` and the seed."""
    model, loss, optim = config["model"], config["loss"], config["optim"]
    return training.create_train_state(
        config["train"]["seed"],
        dataset.image_dim,
        dataset.text_dim,
        projector=projector(config),
        classifier=models.ModalityClassifier(hidden=model["classifier_hidden"]),
        alpha=loss["alpha"],
        beta=loss["beta"],
        adversarial=loss["adversarial"],
        learning_rate=optim["learning_rate"],
        weight_decay=optim["weight_decay"],
        classifier_learning_rate=optim["classifier_learning_rate"],
        discrepancy=loss["discrepancy"],
        contrastive=loss["contrastive"] or None,
        temperature=loss["temperature"] if loss["contrastive"] else None,
        neighbours=neighbours(config),
        image_denoising=config["denoise"]["image"],
        text_denoising=config["denoise"]["text"],
        mesh=mesh,
    )


def neighbours(config: dict) -> int | None:
    """How many neighbours make the target distances; `None` where they come from the inputs."""
    return config["loss"]["neighbours"] if config["loss"]["target"] == "neighbours" else None


def show(results: dict, console: rich.console.Console) -> None:
    """Prints the figures of a run as a table, test and validation beside chance."""
    selection = results["selection"]
    chosen = f"epoch {selection['epoch']}"
    if selection["criterion"] != "last":
        chosen += f", chosen by {selection['criterion']} on validation ({selection['value']:.3f})"
    table = rich.table.Table(title=f"{results['dataset']}: {chosen}")
    table.add_column("metric")
    for heading in ("image to text", "text to image", "average", "chance", "validation"):
        table.add_column(heading, justify="right")
    test, validation, chance = results["test"] or {}, results["validation"] or {}, results["chance"] or {}
    for metric in test or validation:
        found, beside = test.get(metric, {}), validation.get(metric, {})
        cells = [found.get("image_to_text"), found.get("text_to_image"), found.get("average"), chance.get(metric)]
        cells.append(beside.get("average"))
        table.add_row(metric, *("-" if cell is None else f"{cell:.3f}" for cell in cells))
    console.print(table)


def progress_bar(console: rich.console.Console, title: str) -> rich.progress.Progress:
    """A bar for a terminal; nothing elsewhere."""
    return rich.progress.Progress(
        rich.progress.TextColumn(title),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _train(config, dataset, directory, console, interrupted, mesh):
    settings = config["train"]
    steps = training.steps_per_epoch(len(dataset.train), settings["batch_size"], settings["remainder"])
    checkpoints = training.Checkpoints(directory / workdirs.CHECKPOINTS)
    resumed_step = checkpoints.latest() or 0
    first = processes.is_first()
    if first:
        workdirs.keep_records(directory / workdirs.METRICS, resumed_step // steps)
    if resumed_step:
        console.print(f"continuing {directory} after step {resumed_step} of {steps * settings['epochs']}")
    if mesh:
        whole = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        console.print(f"{mesh.size} devices{whole} share each mini-batch")
    writer = _tensorboard(directory / workdirs.TENSORBOARD, resumed_step) if first else None
    bar = progress_bar(console, dataset.title)
    task = bar.add_task("train", total=steps * settings["epochs"], completed=resumed_step)

    def report(record):
        if dataset.synthetic:
            record = record | {"synthetic": True}
        if first:
            workdirs.append_record(directory / workdirs.METRICS, record)
        console.print(_line(record, settings["epochs"], dataset))
        if writer:
            for name, value in _scalars(record):
                writer.add_scalar(f"synthetic/{name}" if dataset.synthetic else name, value, record["step"])

    def should_stop():
        # Processes are signalled apart and must stop in the same epoch.
        interrupted.signal_number = int(processes.gathered(interrupted.signal_number or 0).max()) or None
        return bool(interrupted)

    try:
        with bar:
            return training.train(
                initial_state(config, dataset, mesh),
                dataset,
                checkpoints,
                epochs=settings["epochs"],
                batch_size=settings["batch_size"],
                remainder=settings["remainder"],
                resident=config["mesh"]["resident"],
                criterion=settings["selection"],
                evaluate_every=settings["evaluate_every"],
                patience=settings["patience"],
                report=report,
                on_step=lambda step: bar.update(task, completed=step),
                should_stop=should_stop,
            )
    finally:
        checkpoints.close()
        if writer:
            writer.close()


def _line(record, epochs, dataset):
    line = f"{dataset.title}  epoch {record['epoch']}/{epochs}  loss {record['loss']:.4f}"
    figures = record.get("validation") or {}
    for metric in ("map@50", "recall@10"):
        if metric in figures:
            line += f"  validation {metric} {figures[metric]['average']:.3f}"
            break
    return line + f"  {record['seconds']:.1f} s" + ("  *" if record.get("selected") else "")


def _scalars(record):
    for name, value in record.items():
        if name == "validation":
            yield from ((f"validation/{metric}", directions["average"]) for metric, directions in value.items())
        elif name not in ("epoch", "step", "selected", "synthetic"):
            yield f"train/{name}", value


def _tensorboard(directory, step):
    try:
        import tensorboardX
    except ImportError:
        return None
    return tensorboardX.SummaryWriter(str(directory), purge_step=step or None)


def versions() -> dict[str, str]:
    """Of what computes, and the device it computes on."""
    packages = ("gpldan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {package: importlib.metadata.version(package) for package in packages}
    return found | {"python": platform.python_version(), "device": jax.devices()[0].device_kind}
