"""Trains GPLDAN without its parts, and with one part after the other, as Table 3 of the paper does.

    gpldan ablate --config=configs/wikipedia.py --seeds=5
    gpldan ablate --dataset=cub --seeds=0,7

The epoch of each run is chosen on validation. The workdir gets table3.md, table3.csv, table3.json and table3.png; the
same command trains what is missing and writes them again.
"""

from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import command_line, config_parser, parse_config, parse_seeds

STOPPED = "stopped; the same command continues after the last fit that was finished"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and trains the rows; returns 1 where a row failed."""
    parser = config_parser(program, __doc__)
    add = parser.add_argument_group("the ablation").add_argument
    add("--seeds", default="1", help="how many seeds from config.train.seed on, or which: A,B,...; default %(default)s")
    options, rest = parser.parse_with_overrides(argv)
    config, name = parse_config(options, rest)
    seeds = parse_seeds(config, options.seeds)
    from gpldan_jax.studies import table3  # jax takes seconds to import; a mistyped flag should not wait

    workdir = options.workdir or Path("runs") / f"ablate-{name}"
    status = table3.ablate(config, seeds, workdir, fresh=options.fresh, command=command_line(program, argv))
    print(f"next: gpldan report {workdir}")
    return status
