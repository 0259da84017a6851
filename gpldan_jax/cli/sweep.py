"""Trains a grid of settings and seeds as one program, selects on validation, and draws the paper's Figure 2.

    gpldan sweep --config=configs/wikipedia.py --alpha=0.3,1,3 --beta=0,0.1,1 --seeds=5

The workdir gets sweep.csv (a row for each run), sweep.json (means and spreads), best.py (the selected config, for
`gpldan run`) and figure2.png. The same command continues an interrupted sweep and shows the result of a finished one.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax.cli.arguments import (
    add_switch,
    command_line,
    config_parser,
    needs_package,
    parse_config,
    parse_numbers,
    parse_seeds,
    positive,
)
from gpldan_jax.studies.grid_points import AXES, Grid, check_criterion

STOPPED = "stopped; the same command continues after the last epoch that was saved"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and trains the grid."""
    parser = config_parser(program, __doc__)
    add = parser.add_argument_group("the grid").add_argument
    for name, key in AXES.items():
        add(f"--{name}", metavar="A,B,...", help=f"values of config.{key}; default: that of the config")
    add("--seeds", default="1", help="how many seeds from config.train.seed on, or which: A,B,...; default %(default)s")
    add("--slice", type=positive, help="runs trained together at most; default: what fits the memory")
    add("--at_once", type=positive, help="runs of a slice computed side by side; default: 1 on a CPU, else all")
    add_switch(add, "test", "evaluate every point on test, not only the selected one; draw test figures")
    add_switch(add, "figure", "draw figure2.png; needs matplotlib", default=True)
    options, rest = parser.parse_with_overrides(argv)
    config, name = parse_config(options, rest)
    grid = parse_grid(config, {axis: getattr(options, axis) for axis in AXES}, options.seeds)
    check_criterion(config["train"]["selection"], len(grid.points()))
    if options.figure and grid.varied():
        needs_package("matplotlib", "figure2.png (or give --nofigure)", "plots")
    from gpldan_jax.studies import grid_search  # jax takes seconds to import; a mistyped flag should not wait

    workdir = options.workdir or Path("runs") / f"sweep-{name}"
    best = [f"--config={workdir / grid_search.BEST}", f"--workdir={workdir / 'best'}"]
    try:
        status = grid_search.sweep(
            config,
            grid,
            workdir,
            fresh=options.fresh,
            slice_size=options.slice,
            at_once=options.at_once,
            on_test=options.test,
            figure=options.figure,
            command=command_line(program, argv),
            run_command=f"{program.replace('sweep', 'run')} {shlex.join(best)}",
        )
    except ValueError as error:
        raise ValueError(str(error).replace("on_test needs", "--test needs")) from error
    if not status:
        print(f"next: gpldan run {shlex.join(best)}; or gpldan report {workdir}")
    return status


def parse_grid(config: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str | None], seeds: str) -> Grid:
    """The grid that the flags ask for, from the value of each flag of `AXES` that is given, and of `--seeds`.

    Example:
        >>> from gpldan_jax.config import default_config
        >>> parse_grid(default_config(), {"beta": "0,0.1"}, "2")
        Grid(axes=(('loss.beta', (0.0, 0.1)),), seeds=(0, 1))
    """
    axes = tuple(
        (key, parse_numbers(config, name, text, key, float))
        for name, key in AXES.items()
        if (text := texts.get(name)) is not None
    )
    return Grid(axes, parse_seeds(config, seeds))
