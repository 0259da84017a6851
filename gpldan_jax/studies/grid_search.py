"""A sweep from grid to results.

config.json        the config, the grid, a fingerprint of the data, versions
slices.json        how many runs are trained together
slices/0000.json   the results of a finished slice; slices/0000/ the checkpoints of the one under way
models/            the selected models of the best point so far, and of a point that is not finished
sweep.csv, sweep.json, best.py, figure2.png   the results
"""

import dataclasses
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import jax
import rich.console

from gpldan_jax import _files, data, models, retrieval, training
from gpldan_jax.runs import processes, session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies import grid_points as points
from gpldan_jax.studies import grid_slices as slices
from gpldan_jax.studies import grid_summaries as outputs
from gpldan_jax.studies.grid_points import Grid
from gpldan_jax.studies.grid_summaries import Result

CSV, JSON, BEST, FIGURE = "sweep.csv", "sweep.json", "best.py", "figure2.png"
_SLICE, _SLICES, _MODELS = "slices.json", "slices", "models"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is swept, on what.

    Attributes:
        config: the settings of what is not swept.
        grid: what is.
        directory: the folder of the sweep.
        dataset: scaled.
        standardization: how.
        mesh: the devices that share the runs of a slice; `None` for one.
        slice_size: runs trained together at most, `None` for what fits the memory.
        at_once: see `train_grid_epoch`.
        on_test: whether every point is evaluated on test, not the selected one alone.
    """

    config: dict
    grid: Grid
    directory: Path
    dataset: data.PairedDataset
    standardization: data.Standardization
    mesh: jax.sharding.Mesh | None
    slice_size: int | None
    at_once: int | None
    on_test: bool


def run(
    config: dict,
    grid: Grid,
    directory: Path,
    *,
    fresh: bool,
    slice_size: int | None,
    at_once: int | None,
    on_test: bool,
    figure: bool,
    command: str,
) -> int:
    """Trains what is missing of a grid, selects on validation, writes and shows the results.

    Args:
        config: the settings of what is not swept.
        grid: what is.
        directory: the folder of the sweep.
        fresh: whether to delete the sweep found there.
        slice_size: as in `Sweep`.
        at_once: as in `Sweep`; `None` for 1 on a CPU, where more is slower, and all elsewhere.
        on_test: as in `Sweep`.
        figure: whether to draw it, where more than one value of something was tried.
        command: what was called.

    Returns:
        The exit status: 0, 1 where no point can be selected, or 128 plus the signal that stopped it.

    Raises:
        ValueError: bad input; nothing has been written.
    """
    console = rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    dataset, standardization = session.load(config["dataset"])
    training.check_fits(dataset, batch_size=config["train"]["batch_size"], criterion=config["train"]["selection"])
    if on_test and not len(dataset.test):
        raise ValueError(f"--test needs test pairs, {dataset.title} has none")
    mesh = training.data_mesh(config["mesh"]["data"])
    at_once = at_once or (1 if jax.default_backend() == "cpu" else None)
    sweep = Sweep(config, grid, directory, dataset, standardization, mesh, slice_size, at_once, on_test)
    asked = {"axes": {key: list(values) for key, values in grid.axes}, "seeds": list(grid.seeds), "test": on_test}
    description = session.describe(config | {"sweep": asked}, dataset)
    holds = (CSV, JSON, BEST, FIGURE, _SLICE, _SLICES, _MODELS)
    with workdirs.opened(directory, description, fresh=fresh, holds=holds), processes.interruption() as interrupted:
        try:
            results = _train(sweep, console, lambda: bool(interrupted))
        except training.Interrupted:
            console.print(f"stopped and saved; the same command continues {directory}")
            return 128 + interrupted.signal_number
        return _finish(sweep, results, console, figure=figure, command=command)


def _train(sweep: Sweep, console: rich.console.Console, should_stop: Callable[[], bool]) -> list[Result]:
    """The results of all members, slice by slice; those of finished slices are read."""
    members, epochs = sweep.grid.members(), sweep.config["train"]["epochs"]
    size = _slice_size(sweep, members)
    chunks = [members[start : start + size] for start in range(0, len(members), size)]
    title = f"{sweep.dataset.title}  {len(sweep.grid.points())} points, {len(members)} runs"
    console.print(f"{title} of {epochs} epochs, {size} at a time")
    for name in (_SLICES, _MODELS):
        (sweep.directory / name).mkdir(exist_ok=True)
    results: list[Result] = []
    bar = session.progress_bar(console, title)
    task = bar.add_task("sweep", total=len(members) * epochs)
    with bar:
        for index, chunk in enumerate(chunks):
            path = sweep.directory / _SLICES / f"{index:04d}.json"
            if not path.exists():
                started, before = time.perf_counter(), len(results) * epochs

                def on_epoch(epoch, before=before, chunk=chunk):
                    bar.update(task, completed=before + epoch * len(chunk))

                found = _train_slice(sweep, chunk, size, path.with_suffix(""), on_epoch, should_stop)
                _files.write_json(path, [dataclasses.asdict(result) for result in found])
                console.print(f"{title}  slice {index + 1}/{len(chunks)}  {time.perf_counter() - started:.1f} s")
            records = workdirs.read_json(path)
            results += [Result(**record | {"member": of}) for record, of in zip(records, chunk, strict=True)]
            bar.update(task, completed=len(results) * epochs)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            _prune_models(sweep, results)
    return results


def _slice_size(sweep, members):
    """Of the first start, for good: how runs are put together may show in their last bits."""
    path = sweep.directory / _SLICE
    if not path.exists():
        wanted = members[: sweep.slice_size]
        size = slices.fitting_size(sweep.config, sweep.dataset, wanted, at_once=sweep.at_once, mesh=sweep.mesh)
        _files.write_json(path, {"slice": min(size, len(wanted))})
    return workdirs.read_json(path)["slice"]


def _train_slice(sweep, chunk, size, folder, on_epoch, should_stop):
    # The last slice is filled up, and every one to a multiple of the devices: the same program for all.
    padded = [*chunk, *[chunk[-1]] * (size - len(chunk) + -size % training.shares(sweep.mesh))]
    settings, checkpoints = sweep.config["train"], training.Checkpoints(folder)
    try:
        parameters, progress = training.train_grid(
            slices.states(sweep.config, sweep.dataset, padded),
            sweep.dataset,
            checkpoints,
            epochs=settings["epochs"],
            batch_size=settings["batch_size"],
            remainder=settings["remainder"],
            criterion=settings["selection"],
            evaluate_every=settings["evaluate_every"],
            patience=settings["patience"],
            at_once=sweep.at_once,
            mesh=sweep.mesh,
            on_epoch=on_epoch,
            should_stop=should_stop,
        )
    finally:
        checkpoints.close()
    return [
        _result(sweep, member, progress[index], training.member_of(parameters, index))
        for index, member in enumerate(chunk)
    ]


def _result(sweep, member, progress, parameters):
    if progress.failed:
        return Result(member, 0, None, None, None, progress.failed)
    config = slices.member_config(sweep.config, member)
    epoch = progress.selection.epoch
    model = session.trained_model(config, sweep.dataset, sweep.standardization, parameters, epoch)
    models.save_model(_model_path(sweep, member), model)
    figures = {
        name: training.evaluate_parameters(model.projector, parameters, getattr(sweep.dataset, name))
        for name in ("validation", *["test"] * sweep.on_test)
        if len(getattr(sweep.dataset, name))
    }
    return Result(member, epoch, progress.selection.value, figures.get("validation"), figures.get("test"))


def _model_path(sweep, member):
    values = [*((points.name(key), points.number(value)) for key, value in member.point), ("seed", member.seed)]
    return sweep.directory / _MODELS / ("-".join(f"{name}-{value}" for name, value in values) + ".safetensors")


def _prune_models(sweep, results):
    """Keeps the models of the best finished point, and of the one that is not finished."""
    each = len(sweep.grid.seeds)
    finished = results[: len(results) // each * each]
    try:
        best = outputs.select(outputs.summarize(finished), sweep.config["train"]["selection"]).point
    except ValueError:  # all failed, so far
        best = None
    for result in finished:
        if result.member.point != best:
            _model_path(sweep, result.member).unlink(missing_ok=True)


def _finish(sweep, results, console, *, figure, command):
    config, grid, dataset, directory = sweep.config, sweep.grid, sweep.dataset, sweep.directory
    criterion = config["train"]["selection"]
    about = {"criterion": criterion, "dataset": dataset.title}
    chance = retrieval.chance(len(dataset.test), dataset.test.labels) if len(dataset.test) else None
    try:
        point = outputs.select(outputs.summarize(results), criterion).point
    except ValueError as error:
        outputs.write_csv(directory / CSV, results, criterion=criterion, synthetic=dataset.synthetic)
        outputs.show(outputs.summarize(results), None, console, **about)
        console.print(f"error: {error}")
        return 1
    results = [_with_test(sweep, of) if of.member.point == point else of for of in results]
    summaries = outputs.summarize(results)
    selected = next(summary for summary in summaries if summary.point == point)
    outputs.write_csv(directory / CSV, results, criterion=criterion, synthetic=dataset.synthetic)
    outputs.write_json(
        directory / JSON,
        summaries,
        selected,
        grid=grid,
        synthetic=dataset.synthetic,
        command=command,
        versions=session.versions(),
        chance=chance,
        **about,
    )
    best = directory / BEST
    source = outputs.best_config_source(
        config,
        point,
        grid,
        title=dataset.title,
        command=command,
        run=shlex.join(["python", "experiments/run.py", f"--config={best}", f"--workdir={directory / 'best'}"]),
        figure=outputs.describe(selected, criterion),
    )
    _files.write_text(best, source)
    written = [CSV, JSON, BEST]
    if figure and grid.varied():
        from gpldan_jax.studies import figures  # matplotlib takes seconds to import

        metric = outputs.CRITERIA[criterion]
        split = "test" if sweep.on_test else "validation"
        figures.draw_grid(
            summaries, selected, grid, directory / FIGURE, dataset=dataset.title, metric=metric, split=split
        )
        written.append(FIGURE)
    outputs.show(summaries, selected, console, chance=chance, **about)
    console.print(f"written to {directory}: {', '.join(written)}")
    return 0


def _with_test(sweep, result):
    if result.test or not len(sweep.dataset.test):
        return result
    model = models.load_model(_model_path(sweep, result.member))
    figures = training.evaluate_parameters(model.projector, model.parameters, sweep.dataset.test)
    return dataclasses.replace(result, test=figures)
