"""How fast the loss and the training are, beside what one would use otherwise.

    gpldan benchmark loss --sizes 64 256 2048
    gpldan benchmark train --config=configs/wikipedia.py --sizes 64 256
    gpldan benchmark quality --config=configs/wikipedia.py --target 0.5
    gpldan benchmark search --sizes 20000 1000000
    gpldan benchmark features --network=vgg19
    gpldan benchmark plot RESULT.json ... --out loss.png
    gpldan benchmark compare OLD.json NEW.json

`loss`, `train`, `quality`, `search` and `features` print tables and write a JSON file. Times are of calls that wait for
their result, without compilation, all implementations in turn; "of ceiling" holds the least operations that the loss or
the search takes against the fastest matrix product of the same library, measured in the same rounds, "of best" against
that of the faster library.
`train` and `quality` use the data that the config names, `--config.dataset.synthetic` generates some of its shapes.
"""

import argparse
import importlib.util
import json
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gpldan_jax import _files
from gpldan_jax.benchmarking import machine, results
from gpldan_jax.benchmarking.problem import (
    ENCODERS,
    JAX_IMPLEMENTATIONS,
    JAX_TRAINERS,
    MODES,
    PRECISIONS,
    QUALITY_TRAINERS,
    SEARCHES,
    TORCH_IMPLEMENTATIONS,
)
from gpldan_jax.cli.arguments import Parser, parse_config, positive

_WITH_CONFIG = ("train", "quality")


STOPPED = "stopped; nothing was written"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and runs the command; returns the exit status."""
    options, rest = _parser(program).parse_known_args(argv)
    has_config = options.command in _WITH_CONFIG
    if unknown := [flag for flag in rest if not has_config or not flag.startswith("--config.")]:
        raise ValueError(f"unexpected argument {unknown[0]!r}")
    if options.command == "plot":
        return plot(options)
    if options.command == "compare":
        return compare(options)
    try:
        return measure(options, rest, argv)
    except (results.Disagreement, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def measure(options: argparse.Namespace, overrides: list[str], argv: list[str]) -> int:
    """`loss`, `train`, `quality`, `search` and `features`."""
    if options.out:
        _files.check_writable(options.out, (".json",))
    if options.plot:
        check_plot(options.plot)
    old = results.read(options.compare) if options.compare else None
    if options.command in _WITH_CONFIG:
        config, _ = parse_config(options, overrides)
    elif "width" in options and options.width % options.representations:
        raise ValueError(f"--representations must divide --width, got {options.representations} and {options.width}")

    import jax  # takes seconds; a mistyped flag should not wait for it

    if options.devices:
        jax.config.update("jax_num_cpu_devices", options.devices)
    jax.config.update("jax_enable_compilation_cache", False)  # the time to compile is a figure here
    description = machine.description()
    date = time.strftime("%Y-%m-%d-%H%M%S")
    slug = re.sub(r"\W+", "-", machine.title(description).lower()).strip("-")
    out = options.out or Path("runs") / f"benchmark-{options.command}-{slug}-{date}.json"
    _files.check_writable(out, (".json",))
    if options.command != "quality":
        options.sizes = sorted(set(options.sizes))
        options.ceiling_size = options.ceiling_size or (3072 if description["platform"] == "cpu" else 8192)
    if options.command == "train":
        from gpldan_jax.benchmarking import training_times as train

        record = train.measure(options, config)
    elif options.command == "quality":
        from gpldan_jax.benchmarking import quality_times as quality

        record = quality.measure(options, config)
    elif options.command == "search":
        from gpldan_jax.benchmarking import search_times as search

        record = search.measure(options)
    elif options.command == "features":
        from gpldan_jax.benchmarking import feature_times as features

        record = features.measure(options)
    else:
        from gpldan_jax.benchmarking import loss_times as loss

        record = loss.measure(options)
    record |= {"machine": description, "date": date, "command": shlex.join(argv), "commit": machine.commit()}
    record |= {"peak_memory_bytes": machine.own_memory("VmHWM")}

    from gpldan_jax.benchmarking import result_tables as tables

    show = tables.show_quality if options.command == "quality" else tables.show
    show(record, markdown=options.markdown)
    text = json.dumps(record | {"rows": [asdict(row) for row in record["rows"]]}, indent=2)
    _files.write_text(out, text + "\n")
    print(f"written to {out}", file=sys.stderr)
    if options.plot:
        draw([record], options.plot)
    return show_comparison(old, record, options.threshold) if old else 0


def plot(options: argparse.Namespace) -> int:
    """`plot`."""
    check_plot(options.out)
    records = [results.read(path) for path in options.results]
    for path, record in zip(options.results, records, strict=True):
        if record["benchmark"] not in ("loss", "train"):
            raise ValueError(f"{path}: expected results of loss or train to draw, found {record['benchmark']}")
    draw(records, options.out)
    return 0


def check_plot(path: Path) -> None:
    """`ValueError` where no plot can be drawn there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plot needs matplotlib: pip install 'gpldan_jax[plots]'")
    _files.check_writable(path, (".png", ".svg", ".pdf"))


def draw(records: list[dict], out: Path) -> None:
    """Writes the plot of some runs."""
    from gpldan_jax.benchmarking import result_plots as plots

    with _files.replacing(out) as temporary:
        plots.plot(records, temporary)


def compare(options: argparse.Namespace) -> int:
    """`compare`."""
    return show_comparison(results.read(options.old), results.read(options.new), options.threshold)


def show_comparison(old: dict, new: dict, threshold: float) -> int:
    """Prints the ratios; 1 where one is below the threshold."""
    compared = results.compare(old, new)
    print(f"old: {machine.title(old['machine'])}; new: {machine.title(new['machine'])}")
    print(f"{'old time / new time':60}  as it is  in units of each run's ceiling")
    for row, raw, normalised in compared:
        name = f"{row.implementation}, {results.MODE_TITLES[row.mode]}, {row.precision}, n = {row.n}"
        print(f"{name:60} {raw:9.3f} {normalised:9.3f}{'  slower' if normalised < threshold else ''}")
    return int(any(normalised < threshold for _, _, normalised in compared))


def _parser(program: str = "gpldan benchmark") -> Parser:
    parser = Parser(prog=program, description=__doc__)
    parser.set_defaults(plot=None, compare=None)  # of a command that has neither
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, about):
        return commands.add_parser(name, help=about, description=about).add_argument

    add_to_loss = add = command("loss", "Times the graph pattern loss.")
    for flag, choices, default, about in (
        ("--implementations", (*JAX_IMPLEMENTATIONS, *TORCH_IMPLEMENTATIONS), None, "default: all that can run here"),
        ("--mode", MODES, ["forward_and_grad"], "default: the latter"),
        ("--precisions", PRECISIONS, ["highest"], "default: highest, all that vmap and torch have"),
    ):
        about = f"of {', '.join(choices)}; {about}"
        add(flag, nargs="+", choices=choices, default=default, metavar="NAME", help=about)
    add("--block_size", type=positive, help="of blocked and sharded")
    add("--width", type=positive, default=1024, help="H; default %(default)s")
    add("--representations", type=positive, default=4, help="k; default %(default)s")
    add("--image_inputs", type=positive, default=4096, help="width of the image inputs; default %(default)s")
    add("--text_inputs", type=positive, default=1024, help="width of the text inputs; default %(default)s")
    add_to_train = add = command("train", "Times training steps: one by one, and an epoch or a grid of runs at once.")
    choices = (*JAX_TRAINERS, *TORCH_IMPLEMENTATIONS)
    about = f"of {', '.join(choices)}; default: all that can run here"
    add("--implementations", nargs="+", choices=choices, metavar="NAME", help=about)
    add("--members", type=positive, default=9, help="runs of the grid, of other seeds and alphas; default %(default)s")
    add_to_quality = add = command("quality", "Times training until validation reaches a figure.")
    about = f"of {', '.join(QUALITY_TRAINERS)}; default: all that can run here"
    add("--implementations", nargs="+", choices=QUALITY_TRAINERS, metavar="NAME", help=about)
    add("--target", type=float, required=True, help="of the average map@50, or of what config.train.selection names")
    add("--max_epochs", type=positive, default=30, help="after which it gives up; default %(default)s")
    add_to_search = add = command("search", "Times the exact search of an index on disk.")
    about = f"of {', '.join(SEARCHES)}; default: all that can run here"
    add("--implementations", nargs="+", choices=SEARCHES, metavar="NAME", help=about)
    add("--queries", type=positive, default=64, help="asked at once; default %(default)s")
    add("-k", type=positive, default=10, help="nearest items of each; default %(default)s")
    add("--width", type=positive, default=1024, help="H; default %(default)s")
    add("--representations", type=positive, default=4, help="k of the paper; default %(default)s")
    add("--folder", type=Path, help="where to write the index meanwhile; default: the system's temporary folder")
    add_to_features = add = command("features", "Times fc7 of an image network with random weights.")
    about = f"of {', '.join(ENCODERS)}; default: all that can run here"
    add("--implementations", nargs="+", choices=ENCODERS, metavar="NAME", help=about)
    add("--network", choices=("vgg19", "alexnet"), default="vgg19", help="default %(default)s")
    for add in (add_to_train, add_to_quality):
        add("--config", help="a file of configs/; --config.KEY=VALUE changes a setting")
        add("--dataset", help="instead of --config: the package's own config of a dataset")
        add("--recipe", default="paper", help="with --dataset")
    for add, what, sizes in (
        (add_to_loss, "pairs", [64, 256, 2048]),
        (add_to_train, "pairs", [64, 256]),
        (add_to_search, "items", [20_000, 1_000_000]),
        (add_to_features, "pictures", [8, 32]),
    ):
        add("--sizes", nargs="+", type=positive, default=sizes, metavar="N", help=f"{what}; default %(default)s")
        add("--rounds", type=positive, help="how often to time each; default: as often as --seconds allow")
        add("--seconds", type=float, default=20, help="about how long to time each size; default %(default)s")
        add("--ceiling_size", type=positive, help="rows of the ceiling's product; default 3072, on accelerators 8192")
        if add in (add_to_loss, add_to_train):
            add("--plot", type=Path, help="draw the results too: PNG, SVG or PDF file")
        add("--compare", type=Path, metavar="OLD", help="compare with an earlier JSON file, like the command compare")
        add("--threshold", type=float, default=0.9, help="of that comparison; default %(default)s")
    for add in (add_to_loss, add_to_train, add_to_quality, add_to_search, add_to_features):
        add("--devices", type=positive, help="split the CPU into this many devices")
        add("--out", type=Path, help="JSON file; default runs/benchmark-COMMAND-MACHINE-DATE.json")
        add("--markdown", action="store_true", help="print the tables in Markdown")
    add = command("plot", "Draws time and memory against n.")
    add("results", nargs="+", type=Path, help="JSON files")
    add("--out", type=Path, required=True, help="PNG, SVG or PDF file")
    add = command("compare", "Compares two runs; exit status 1 where the new one is slower than the threshold.")
    add("old", type=Path)
    add("new", type=Path)
    add("--threshold", type=float, default=0.9, help="least old time / new time; default %(default)s")
    return parser
