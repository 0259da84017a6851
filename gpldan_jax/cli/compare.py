"""Trains the methods of the paper's Table 2 on the same features and scores them by the same functions.

    gpldan compare --dataset=wikipedia --methods=all --seeds=5
    gpldan compare --config=configs/cub.py --methods=cca-ridge,infonce,gpldan

The settings of each method are chosen on validation. The workdir gets table2.md, table2.csv and table2.json; the same
command fits what is missing and writes them again.
"""

from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import command_line, config_parser, parse_config, parse_seeds

STOPPED = "stopped; the same command continues after the last fit that was finished"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and compares; returns 1 where a method failed."""
    parser = config_parser(program, __doc__)
    add = parser.add_argument_group("the comparison").add_argument
    add(
        "--methods", default="all", help="names separated by commas, or all; the names stand below; default %(default)s"
    )
    add("--seeds", default="1", help="how many seeds from config.train.seed on, or which: A,B,...; default %(default)s")
    if {"-h", "--help"} & set(argv):
        parser.epilog = f"{_list_methods()}\n\n{parser.epilog}"
    options, rest = parser.parse_with_overrides(argv)
    config, name = parse_config(options, rest)
    seeds = parse_seeds(config, options.seeds)
    from gpldan_jax.studies import table2  # jax takes seconds to import; a mistyped flag should not wait

    methods = table2.method_names() if options.methods == "all" else options.methods.split(",")
    workdir = options.workdir or Path("runs") / f"compare-{name}"
    command = command_line(program, argv)
    try:
        status = table2.compare(config, methods, seeds, workdir, fresh=options.fresh, command=command)
    except ValueError as error:
        raise ValueError(str(error).replace("methods: no method", f"--methods={options.methods}: no method")) from error
    print(f"next: gpldan summarize {workdir}, also with the workdirs of other datasets; or gpldan report {workdir}")
    return status


def _list_methods() -> str:
    """The methods for the help: the name, what it is called in a table, and what it sees of the labels."""
    from gpldan_jax.studies import table2  # jax takes seconds to import, and only who asks for help waits for it

    titles = table2.method_titles()
    width = max(map(len, titles))
    return "\n".join(["methods:", *(f"  {name:<{width}}  {title}" for name, title in titles.items())])
