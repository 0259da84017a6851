"""Prints Markdown tables of finished workdirs: of runs the mean over seeds, of comparisons a column for each.

    gpldan summarize runs/emoji-*
    gpldan summarize runs/compare-*

Each folder is the workdir of a finished run or comparison.
"""

from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import Parser

STOPPED = "stopped"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and prints the tables."""
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="WORKDIR", help="finished workdirs")
    options = parser.parse_args(argv)
    from gpldan_jax.studies import overview_tables

    if lines := overview_tables(options.folders):
        print("\n".join(lines))
    return 0
