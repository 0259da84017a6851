"""Measures how fast the loss, training, search and image networks are on this machine, beside PyTorch and NumPy.

    gpldan benchmark loss --sizes 64 256 2048
    gpldan benchmark loss --loss=soft_contrastive
    gpldan benchmark train --dataset=emoji --sizes 64 256
    gpldan benchmark quality --config=configs/wikipedia.py --target 0.5
    gpldan benchmark search --sizes 20000 1000000
    gpldan benchmark features --network=vgg19
    gpldan benchmark compile --platform=tpu --topology=v5e:2x2 --sizes 256 2048
    gpldan benchmark all --out=found.json
    gpldan benchmark show found.json
    gpldan benchmark plot RESULT.json ... --out loss.png
    gpldan benchmark compare OLD.json NEW.json

`loss`, `train`, `quality`, `search` and `features` print tables and write a JSON file. A time is that of a call that
waits for its result, without compilation; the implementations are timed in turn. "of ceiling" is the minimum FLOPs of
the loss or the search divided by the time, relative to the fastest matrix product of the same library in the same run;
"of best" is relative to the fastest product of all libraries. The similarity rows of `soft_contrastive` are as wide as
the inputs of both modalities together. `train` and `quality` read the data that the config
names; with `--config.dataset.synthetic` they generate data of the same shapes.

`all` runs these one after another on the device that jax has, beside PyTorch on the same device, within --budget
seconds: matrix products, the loss from 256 to 262,144 pairs as far as time and memory reach, tile sizes, precisions
with their errors, training steps and a grid of 25 runs, the search of a million items, VGG-19. The file is written
after each part; a part that fails says why, and the others go on.

`compile` runs nothing: it compiles the loss or the training step for an accelerator that this machine does not have,
and says how long that takes, how large the program and its memory are, what the devices exchange, and the roofline
time: what the program takes at least by published peaks. XLA's own operations and bytes count the body of a loop once;
"min Gflop" is what the products need at least.
"""

import argparse
import importlib
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpldan_jax import _files, config
from gpldan_jax.benchmarking import compile_targets, problem, results
from gpldan_jax.cli import benchmark_all, benchmark_parts
from gpldan_jax.cli.arguments import Parser, add_config_flags, command_line, needs_package, parse_config, positive

STOPPED = "stopped; nothing was written but what all had finished"
_WITH_CONFIG = ("train", "quality")
_MODULES = {
    "loss": "loss_times",
    "train": "training_times",
    "quality": "training_times",
    "search": "search_times",
    "features": "feature_times",
    "compile": "compile_times",
    "products": "timing",
}
_PLOT_FORMATS = (".png", ".svg", ".pdf")
# The arguments of the library that its errors name, where they are flags here.
_ARGUMENTS = re.compile(
    r"^(?:members|folder|representations|topology|devices|precisions|by_host)\b"
    r"|(?<=divide )width\b|\b(?:platform|what)(?==)"
)


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and measures, draws or compares."""
    options, rest = _parser(program).parse_known_args(argv)
    has_config = options.command in _WITH_CONFIG
    if unknown := [flag for flag in rest if not has_config or not flag.startswith("--config.")]:
        raise ValueError(f"unexpected argument {unknown[0]!r}")
    if options.command == "plot":
        _check_plot(options.out)
        return _draw([results.read(path, results.DRAWABLE) for path in options.results], options.out)
    if options.command == "show":
        return _show(options.result, options.markdown)
    if options.command == "all":
        return _measure_all(options, command_line(program, argv))
    if options.command == "compare":
        return _compare(results.read(options.old), results.read(options.new), options.threshold)
    try:
        return _measure(options, rest, command_line(program, argv))
    except ValueError as error:
        message = _ARGUMENTS.sub(r"--\g<0>", str(error))
        raise ValueError(message.replace("jax_num_cpu_devices=2", "--devices 2")) from error


def _measure(options: argparse.Namespace, overrides: Sequence[str], command: str) -> int:
    if options.out:
        _files.check_writable(options.out, (".json",))
    if options.plot:
        _check_plot(options.plot)
    old = results.read(options.compare, [options.command]) if options.compare else None
    settings = parse_config(options, overrides)[0] if options.command in _WITH_CONFIG else {}
    if "width" in options:
        problem.part_width(options.width, options.representations)

    is_compiled = options.command == "compile"
    if is_compiled and compile_targets.check_target(options.platform, options.topology):
        for name, value in compile_targets.ENVIRONMENT.items():
            os.environ.setdefault(name, value)

    import jax  # takes seconds; a mistyped flag should not wait for it

    from gpldan_jax.runs.provenance import commit
    from gpldan_jax.training import NotFinite

    if is_compiled:
        jax.config.update("jax_platforms", "cpu")  # an accelerator that is here after all is not taken
    if options.devices and not (is_compiled and options.platform != "cpu"):
        jax.config.update("jax_num_cpu_devices", options.devices)
    jax.config.update("jax_enable_compilation_cache", False)  # the time to compile is a figure here
    description, date = problem.describe(), time.strftime("%Y-%m-%d-%H%M%S")
    made = {"machine": description, "date": date, "command": command, "commit": commit()}
    slug = re.sub(r"\W+", "-", problem.machine_title(description).lower()).strip("-")
    out = options.out or Path("runs") / f"benchmark-{options.command}-{slug}-{date}.json"
    _files.check_writable(out, (".json",))
    try:
        record = _record(options, settings)
    except (results.Disagreement, NotFinite) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    record |= made | {"peak_memory_bytes": problem.process_memory("VmHWM")}

    from gpldan_jax.benchmarking import presentation

    results.write(record, out)  # first, for it may have taken hours
    presentation.show(record, markdown=options.markdown)
    next_step = f"; next, after a change: gpldan benchmark compare {out} NEW.json" if not is_compiled else ""
    print(f"written to {out}{next_step}", file=sys.stderr)
    if options.plot:
        _draw([record], options.plot)
    return _compare(old, record, options.threshold) if old else 0


def _record(options: argparse.Namespace, settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from gpldan_jax.benchmarking import timing

    module = importlib.import_module(f"gpldan_jax.benchmarking.{_MODULES[options.command]}")
    if options.command == "compile":
        keys = ("platform", "topology", "devices", "by_host", "what", "loss", "precisions")
        widths = ("width", "representations", "image_inputs", "text_inputs")
        return module.measure(options.sizes, **{key: getattr(options, key) for key in keys + widths})
    if options.command == "products":
        return module.measure_products(options.precisions, timing.Schedule((), ceiling_size=options.ceiling_size))
    names = options.implementations
    if options.command == "quality":
        limits = {"target": options.target, "max_epochs": options.max_epochs}
        return module.measure_quality(settings, **limits, implementations=names)
    schedule = timing.Schedule(options.sizes, options.rounds, options.seconds, options.ceiling_size)
    if options.command == "train":
        return module.measure_steps(settings, schedule, implementations=names, members=options.members)
    if options.command == "features":
        return module.measure(schedule, network=options.network, implementations=names)
    shape = {"width": options.width, "representations": options.representations}
    if options.command == "search":
        asked = {"queries": options.queries, "nearest": options.k, "folder": options.folder}
        return module.measure(schedule, **shape, **asked, implementations=names)
    return module.measure(
        schedule,
        **shape,
        image_inputs=options.image_inputs,
        text_inputs=options.text_inputs,
        implementations=names,
        modes=options.mode,
        precisions=options.precisions,
        block_sizes=options.block_size,
        loss=options.loss,
        errors=options.errors,
    )


def _measure_all(options: argparse.Namespace, command: str) -> int:
    from gpldan_jax.runs.provenance import commit

    date = time.strftime("%Y-%m-%d-%H%M%S")
    out = options.out or Path("runs") / f"benchmark-all-{date}.json"
    _files.check_writable(out, (".json",))
    parts = {part.name: part for part in benchmark_parts.parts(tiny=options.tiny)}
    if unknown := [name for name in options.parts or () if name not in parts]:
        raise ValueError(f"--parts must be of {', '.join(parts)}, got {unknown[0]!r}")
    chosen = [part for name, part in parts.items() if name in (options.parts or parts)]
    made = {"command": command, "date": date, "commit": commit()}
    record = benchmark_all.measure(chosen, out, made, budget=options.budget)
    _show(out, options.markdown)
    print(f"written to {out}; to see it again: gpldan benchmark show {out}", file=sys.stderr)
    return 0 if any(part["record"] for part in record["parts"]) else 1


def _show(path: Path, markdown: bool) -> int:
    from gpldan_jax.benchmarking import presentation

    record = results.read(path, (*results.SHOWN, "all"))
    show = presentation.show_all if record["benchmark"] == "all" else presentation.show
    show(record, markdown=markdown)
    return 0


def _compare(old: dict[str, Any], new: dict[str, Any], threshold: float) -> int:
    from gpldan_jax.benchmarking import presentation

    return 0 if presentation.show_comparison(old, new, threshold) else 1


def _check_plot(path: Path) -> None:
    needs_package("matplotlib", "a plot", "plots")
    _files.check_writable(path, _PLOT_FORMATS)


def _draw(records: Sequence[dict[str, Any]], path: Path) -> int:
    from gpldan_jax.benchmarking import presentation

    presentation.draw(records, path)
    return 0


def _parser(program: str = "gpldan benchmark") -> Parser:
    parser = Parser(prog=program, description=__doc__)
    parser.set_defaults(plot=None, compare=None)  # of a command that has neither
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, about):
        return commands.add_parser(name, help=about, description=about).add_argument

    _add_loss(command("loss", "Times the graph pattern loss, or another loss."))
    _add_training(command)
    _add_search(command("search", "Times the exact search of an index on disk."))
    add = command("features", "Times fc7 of an image network with random weights.")
    _add_implementations(add, problem.ENCODERS)
    add("--network", choices=("vgg19", "alexnet"), default="vgg19", help="default %(default)s")
    _add_timing(add, "pictures", [8, 32])
    _add_compile(command("compile", "Compiles the loss or the training step for an accelerator that is not there."))
    _add_all(command)
    add = command("plot", "Draws time and memory against n.")
    add("results", nargs="+", type=Path, help="JSON files of loss and train")
    add("--out", type=Path, required=True, help="PNG, SVG or PDF file")
    add = command("compare", "Compares two runs; exit status 1 where the new one is slower than the threshold.")
    add("old", type=Path)
    add("new", type=Path)
    _add_threshold(add)
    return parser


def _add_loss(add):
    _add_names(add, "--mode", problem.MODES, "forward_and_grad")
    _add_implementations(add, problem.IMPLEMENTATIONS)
    add("--block_size", nargs="+", type=positive, metavar="N", help="pairs on a side of a tile, of blocked and sharded")
    add("--errors", action="store_true", help="compare with float64, up to 1024 pairs")
    _add_problem(add)
    _add_timing(add, "pairs", [64, 256, 2048])
    _add_plot(add)


def _add_compile(add):
    about = "tpu needs the extra tpu, cuda the packages jax-cuda12-plugin and jax-cuda12-pjrt; default %(default)s"
    add("--platform", choices=compile_targets.PLATFORMS, default="tpu", help=about)
    shown = " or ".join(filter(None, compile_targets.DEFAULT_TOPOLOGIES.values()))
    add("--topology", metavar="NAME", help=f"the accelerator and how many; default {shown}")
    add("--devices", type=positive, help="of the topology, to share the pairs; default all, on a CPU 1")
    add("--by_host", action="store_true", help="a mesh of two axes, the hosts and the devices of each; of the loss")
    _add_names(add, "--what", ("loss", "step"), "loss")
    _add_problem(add)
    add("--sizes", nargs="+", type=positive, default=[256], metavar="N", help="pairs; default %(default)s")
    _add_files(add)


def _add_all(command):
    add = command("products", "Times matrix products alone: the ceiling of everything else.")
    _add_names(add, "--precisions", problem.PRECISIONS, "highest")
    add("--ceiling_size", type=positive, help="rows of the products; default 3072, on accelerators 8192")
    _add_output(add)
    add = command("all", "Runs every benchmark on the device that jax has, within a time.")
    about = "seconds for all parts; default %(default)s, to fit ten minutes"
    add("--budget", type=positive, default=benchmark_all.BUDGET, help=about)
    add("--parts", nargs="+", metavar="NAME", help="such as products loss-4096 train; default all")
    add("--tiny", action="store_true", help="a few numbers each: shows whether all parts run here, measures nothing")
    _add_files(add)
    add = command("show", "Prints the tables of a result file again.")
    add("result", type=Path, help="JSON file of all, loss, train, search, features or products")
    add("--markdown", action="store_true", help="print the tables in Markdown")


def _add_training(command):
    add_steps = command("train", "Times training steps: one by one, and an epoch or a grid of runs at once.")
    add_quality = command("quality", "Times training until validation reaches a value.")
    for add, names in ((add_steps, problem.TRAINERS), (add_quality, problem.QUALITY_TRAINERS)):
        _add_implementations(add, names)
        add_config_flags(add)
    about = "runs of the grid, of other seeds and alphas; default %(default)s"
    add_steps("--members", type=positive, default=9, help=about)
    _add_timing(add_steps, "pairs", [64, 256])
    _add_plot(add_steps)
    about = "of the average map@50, or of the recall where config.train.selection says recall"
    add_quality("--target", type=float, required=True, help=about)
    add_quality("--max_epochs", type=positive, default=30, help="after which it gives up; default %(default)s")
    _add_output(add_quality)


def _add_search(add):
    _add_implementations(add, problem.SEARCHES)
    add("--queries", type=positive, default=64, help="asked at once; default %(default)s")
    add("-k", type=positive, default=10, help="nearest items of each query; default %(default)s")
    _add_shape(add)
    add("--folder", type=Path, help="where to write the index meanwhile; default: the system's temporary folder")
    _add_timing(add, "items", [20_000, 1_000_000])


def _add_problem(add):
    about = f"of {', '.join(problem.LOSSES)}; default %(default)s"
    add("--loss", choices=problem.LOSSES, default="graph_pattern", metavar="NAME", help=about)
    _add_names(add, "--precisions", problem.PRECISIONS, "highest")
    _add_shape(add)
    add("--image_inputs", type=positive, default=4096, help="width of the image inputs; default %(default)s")
    add("--text_inputs", type=positive, default=1024, help="width of the text inputs; default %(default)s")


def _add_names(add, flag, choices, default):
    about = f"of {', '.join(choices)}; default: {default}"
    add(flag, nargs="+", choices=choices, default=[default], metavar="NAME", help=about)


def _add_implementations(add, names):
    about = f"of {', '.join(names)}; default: all that can run here"
    if problem.COMPILED in names:
        about += f" but {problem.COMPILED}, which torch.compile makes of torch-matmul, in a minute for each size"
    add("--implementations", nargs="+", choices=names, metavar="NAME", help=about)


def _add_shape(add):
    add("--width", type=positive, default=config.default("model.width"), help="H; default %(default)s")
    add("--representations", type=positive, default=config.default("model.parts"), help="k; default %(default)s")


def _add_timing(add, what, sizes):
    add("--sizes", nargs="+", type=positive, default=sizes, metavar="N", help=f"{what}; default %(default)s")
    add("--rounds", type=positive, help="how often to time each; default: as often as --seconds allow")
    add("--seconds", type=float, default=20, help="about how long to time each size; default %(default)s")
    add("--ceiling_size", type=positive, help="rows of the ceiling's product; default 3072, on accelerators 8192")
    add("--compare", type=Path, metavar="OLD", help="compare with an earlier JSON file, like the command compare")
    _add_threshold(add)
    _add_output(add)


def _add_threshold(add):
    add("--threshold", type=float, default=0.9, help="least old time / new time; default %(default)s")


def _add_plot(add):
    add("--plot", type=Path, help="draw the results too: PNG, SVG or PDF file")


def _add_output(add):
    add("--devices", type=positive, help="split the CPU into this many devices")
    _add_files(add)


def _add_files(add):
    add("--out", type=Path, help="JSON file; default runs/benchmark-COMMAND-MACHINE-DATE.json")
    add("--markdown", action="store_true", help="print the tables in Markdown")
