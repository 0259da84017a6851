"""A sweep: trains a grid of settings and seeds, selects a point on validation, and writes the results.

The runs are trained in slices; the runs of a slice are one program.

config.json        the config, the grid, a fingerprint of the data, versions
slices.json        how many runs are trained together
slices/0000.json   the results of a finished slice; slices/0000/ holds the checkpoints of an unfinished one
models/            the selected models of the best point so far, and of a point that is not finished
sweep.csv, sweep.json, best.py, figure2.png   the results
"""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import rich.console

from gpldan_jax import _checksums, _console, data, models, retrieval, training
from gpldan_jax._extras import needed_for
from gpldan_jax._figure_style import write_figure
from gpldan_jax.runs import processes, session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies import grid_points, grid_summaries
from gpldan_jax.studies.grid_points import Config, Grid, Member, member_config
from gpldan_jax.studies.grid_summaries import Result, select, summarize
from gpldan_jax.training.mesh import available_memory

CSV, JSON, BEST, FIGURE = "sweep.csv", "sweep.json", "best.py", "figure2.png"
_SLICE, _SLICES, _MODELS = "slices.json", "slices", "models"
_MEMORY_SHARE = 0.5  # of the free memory; the host, the validation and other processes need theirs too


@dataclasses.dataclass(frozen=True)
class _Sweep:
    """The settings of a sweep, see `sweep`, its data, and the devices that share the runs of a slice."""

    config: Config
    grid: Grid
    folder: Path
    dataset: data.PairedDataset
    standardization: data.Standardization
    mesh: jax.sharding.Mesh | None
    slice_size: int | None
    at_once: int | None
    on_test: bool

    @property
    def criterion(self) -> str:
        return self.config["train"]["selection"]


def sweep(
    config: Config,
    grid: Grid,
    folder: Path,
    *,
    fresh: bool = False,
    slice_size: int | None = None,
    at_once: int | None = None,
    on_test: bool = False,
    figure: bool = True,
    command: str = "",
    run_command: str = "",
) -> int:
    """Trains the missing runs of a grid, selects a point on validation, writes and shows the results.

    Args:
        config: a valid config; the settings that are not swept.
        grid: the points and seeds.
        folder: the workdir.
        fresh: whether to delete a sweep in the folder and start over.
        slice_size: the most runs trained together; `None` for as many as fit the memory.
        at_once: how many runs of a slice are computed side by side; `None` for 1 on a CPU, where more is slower, and
            for all elsewhere.
        on_test: whether to evaluate every point on test, and not only the selected one.
        figure: whether to draw the figure, where some key has more than one value; needs matplotlib.
        command: the command line of the sweep, for the files.
        run_command: the command that trains with `best.py`, for its docstring.

    Returns:
        The exit status: 0, 1 where no point can be selected, or 128 plus the signal that stopped it.

    Raises:
        ValueError: bad input; nothing was written.
        ImportError: the figure is asked for and matplotlib is missing; nothing was written.
    """
    console = _console.make_console()
    grid_points.check_criterion(config["train"]["selection"], len(grid.points()))
    if has_figure := figure and bool(grid.varied()):
        with needed_for(FIGURE, "plots", otherwise=", or figure=False"):
            import matplotlib  # noqa: F401, before hours of training, not after
    dataset, standardization = session.load(config["dataset"])
    training.check_fits(dataset, batch_size=config["train"]["batch_size"], criterion=config["train"]["selection"])
    config = training.with_epochs(config, len(dataset.train))
    if on_test and not len(dataset.test):
        raise ValueError(f"on_test needs test pairs, {dataset.title} has none")
    mesh = training.data_mesh(config["mesh"]["data"])
    at_once = at_once or (1 if jax.default_backend() == "cpu" else None)
    search = _Sweep(config, grid, folder, dataset, standardization, mesh, slice_size, at_once, on_test)
    asked = {"axes": {key: list(values) for key, values in grid.axes}, "seeds": list(grid.seeds), "test": on_test}
    description = session.describe({**config, "sweep": asked}, dataset)
    holds = (CSV, JSON, BEST, FIGURE, _SLICE, _SLICES, _MODELS)
    with workdirs.open_workdir(folder, description, fresh=fresh, holds=holds), processes.interruption() as interrupted:
        try:
            results = _train(search, console, lambda: bool(interrupted))
            if _delete_slices_of_lost_models(search, results, console):
                results = _train(search, console, lambda: bool(interrupted))
        except training.Interrupted:
            console.print(f"stopped and saved; the same command continues {folder}")
            return 128 + interrupted.signal_number
        about = {"command": command, "versions": description["versions"]}
        return _write_results(search, results, console, about, run_command=run_command, has_figure=has_figure)


def _train(search: _Sweep, console: rich.console.Console, should_stop: Callable[[], bool]) -> list[Result]:
    """Returns the results of all members, slice by slice; those of finished slices are read."""
    members, epochs = search.grid.members(), search.config["train"]["epochs"]
    size = _slice_size(search, members)
    chunks = [members[start : start + size] for start in range(0, len(members), size)]
    title = f"{search.dataset.title}  {len(search.grid.points())} points, {len(members)} runs"
    console.print(f"{title} of {epochs} epochs, {size} at a time")
    if line := search.dataset.empty.line():
        console.print(line)
    for name in (_SLICES, _MODELS):
        (search.folder / name).mkdir(exist_ok=True)
    results: list[Result] = []
    bar = _console.progress_bar(console, title)
    task = bar.add_task("", total=len(members) * epochs)
    with bar:
        for index, chunk in enumerate(chunks):
            path = search.folder / _SLICES / f"{index:04d}.json"
            if not path.exists():
                started, before = time.perf_counter(), len(results) * epochs

                def on_epoch(epoch, before=before, chunk=chunk):
                    bar.update(task, completed=before + epoch * len(chunk))

                found = _train_slice(search, chunk, size, path.with_suffix(""), on_epoch, should_stop)
                _checksums.write_record(path, {"results": [dataclasses.asdict(result) for result in found]})
                console.print(f"{title}  slice {index + 1}/{len(chunks)}  {time.perf_counter() - started:.1f} s")
            results += _read_slice(path, chunk)
            bar.update(task, completed=len(results) * epochs)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            _delete_models(search, results)
    return results


def _read_slice(path: Path, chunk: Sequence[Member]) -> list[Result]:
    """Returns the results of a finished slice."""
    records = workdirs.read_json(path)
    if not isinstance(records, list):  # it is one in older versions
        records = workdirs.read_json(path, {"results": list})["results"]
    try:
        return [Result(**record | {"member": of}) for record, of in zip(records, chunk, strict=True)]
    except (TypeError, ValueError) as error:
        again = "delete it, and the same command makes it again"
        raise workdirs.WorkdirError(f"{path} is damaged: expected the results of {len(chunk)} runs; {again}") from error


def _slice_size(search: _Sweep, members: Sequence[Member]) -> int:
    """Returns the size of the slices, which is chosen once: it may change the last bits of a run."""
    path = search.folder / _SLICE
    if not path.exists():
        members = members[: search.slice_size]
        _checksums.write_record(path, {"slice": min(_fitting_size(search, members), len(members))})
    return workdirs.read_json(path, {"slice": int})["slice"]


def _fitting_size(search: _Sweep, members: Sequence[Member]) -> int:
    """Returns how many members fit half of the free memory together, as XLA counts it; at least one a device."""
    devices = training.shares(search.mesh)
    device = jax.local_devices()[0]
    budget = _MEMORY_SHARE * available_memory(device)
    if device.platform == "cpu":
        budget /= devices  # the devices of a CPU share one memory; each accelerator has its own
    neighbours = jax.eval_shape(lambda: _initial_states(search, members[:1])).neighbours
    pairs = training.resident_pairs(search.dataset.train, neighbours=neighbours)
    shapes = jax.eval_shape(lambda: pairs)
    batches = {key: search.config["train"][key] for key in ("batch_size", "remainder")}
    each = -(-len(members) // devices)
    while each > 1:
        states = jax.eval_shape(lambda count=each: _initial_states(search, members[:1] * count))
        program = training.train_grid_epoch.lower(states, shapes, at_once=search.at_once, **batches).compile()
        sizes: Any = program.memory_analysis()
        needed = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        needed += sizes.temp_size_in_bytes
        # The selected parameters, and once more while they are replaced.
        needed += 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(states.projector_parameters))
        if needed <= budget:
            break
        each = max(1, min(each - 1, int(each * budget / needed)))
    return each * devices


def _initial_states(search: _Sweep, members: Sequence[Member]) -> training.TrainState:
    """Returns the members before their first step, stacked."""
    configs = [member_config(search.config, member) for member in members]
    return training.stack_states([session.initial_state(config, search.dataset) for config in configs])


def _train_slice(search, chunk, size, folder, on_epoch, should_stop):
    # The last slice is filled up to the size, and each slice to a multiple of the devices: one program for all.
    padded = [*chunk, *[chunk[-1]] * (size - len(chunk) + -size % training.shares(search.mesh))]
    with contextlib.closing(training.Checkpoints(folder)) as checkpoints:
        parameters, progress = training.train_grid(
            _initial_states(search, padded),
            search.dataset,
            checkpoints,
            **training.train_options(search.config),
            at_once=search.at_once,
            mesh=search.mesh,
            on_epoch=on_epoch,
            should_stop=should_stop,
        )
    return [
        _result(search, member, progress[index], training.member_of(parameters, index))
        for index, member in enumerate(chunk)
    ]


def _result(search, member, progress, parameters):
    """Saves the selected model of a run and returns its figures."""
    if progress.failed:
        return Result(member, 0, None, None, None, progress.failed)
    epoch = progress.selection.epoch
    config = member_config(search.config, member)
    model = session.trained_model(config, search.dataset, search.standardization, parameters, epoch)
    models.save_model(_model_path(search, member), model)
    figures = {
        name: _evaluate(search, name, model)
        for name in ("validation", *["test"] * search.on_test)
        if len(getattr(search.dataset, name))
    }
    return Result(member, epoch, progress.selection.value, figures.get("validation"), figures.get("test"))


def _model_path(search, member):
    values = [f"{grid_points.AXIS_NAMES[key]}-{grid_points.value_text(value)}" for key, value in member.point]
    return search.folder / _MODELS / ("-".join([*values, f"seed-{member.seed}"]) + ".safetensors")


def _delete_models(search, results):
    """Deletes all models but those of the best finished point, and of a point that is not finished."""
    each = len(search.grid.seeds)
    finished = results[: len(results) // each * each]
    try:
        best = select(summarize(finished), search.criterion).point
    except ValueError:  # all failed, so far
        best = None
    for result in finished:
        if result.member.point != best:
            _model_path(search, result.member).unlink(missing_ok=True)


def _delete_slices_of_lost_models(search, results, console):
    """Where models of the best point are damaged or gone, deletes their slices, which are then trained again."""
    try:
        best = select(summarize(results), search.criterion).point
    except ValueError:  # all failed
        return False
    members, lost = search.grid.members(), False
    size = _slice_size(search, members)
    for result in results:
        path = _model_path(search, result.member)
        if result.member.point != best or result.test or result.failed or not len(search.dataset.test):
            continue
        try:
            models.load_model(path)
        except ValueError as error:
            reason = str(error) if path.exists() else f"{path} is gone"
            slice_path = search.folder / _SLICES / f"{members.index(result.member) // size:04d}.json"
            console.print(f"{reason}; the runs of {slice_path.name} are trained again")
            slice_path.unlink(missing_ok=True)
            lost = True
    return lost


def _write_results(search, results, console, about, *, run_command, has_figure):
    """Selects a point, evaluates it on test, writes the files and shows the figures."""
    dataset, folder, criterion = search.dataset, search.folder, search.criterion
    chance = retrieval.chance_of_pairs(dataset.test) if len(dataset.test) else None
    try:
        point = select(summarize(results), criterion).point
    except ValueError as error:
        grid_summaries.write_csv(folder / CSV, results, criterion=criterion, synthetic=dataset.synthetic)
        grid_summaries.show(summarize(results), None, console, criterion=criterion, dataset=dataset.title)
        console.print(f"error: {error}")
        return 1
    results = [_with_test(search, of) if of.member.point == point else of for of in results]
    summaries = summarize(results)
    selected = next(summary for summary in summaries if summary.point == point)
    about |= {"dataset": dataset.title, "synthetic": dataset.synthetic, "criterion": criterion, "chance": chance}
    grid_summaries.write_csv(folder / CSV, results, criterion=criterion, synthetic=dataset.synthetic)
    grid_summaries.write_json(folder / JSON, summaries, selected, grid=search.grid, about=about)
    source = grid_points.best_config_source(
        search.config,
        point,
        search.grid,
        title=dataset.title,
        command=about["command"],
        run=run_command,
        figure=grid_summaries.describe(selected, criterion),
    )
    _checksums.write_source(folder / BEST, source)
    written = [CSV, JSON, BEST]
    if has_figure:
        from gpldan_jax.studies.figures import compose_grid  # matplotlib takes seconds to import

        drawn = {"metric": grid_summaries.CRITERIA[criterion], "split": "test" if search.on_test else "validation"}
        write_figure(compose_grid(summaries, selected, search.grid, dataset=dataset.title, **drawn), folder / FIGURE)
        written.append(FIGURE)
    grid_summaries.show(summaries, selected, console, criterion=criterion, dataset=dataset.title, chance=chance)
    console.print(f"written to {folder}: {', '.join(written)}")
    return 0


def _with_test(search, result):
    if result.test or not len(search.dataset.test):
        return result
    model = models.load_model(_model_path(search, result.member))
    return dataclasses.replace(result, test=_evaluate(search, "test", model))


def _evaluate(search, split, model):
    evaluate_pairs = training.train_options(search.config)["evaluate_pairs"]
    evaluate = training.make_evaluator(search.dataset, split, criterion=search.criterion, evaluate_pairs=evaluate_pairs)
    return evaluate(model.projector, model.parameters, model.bank)
