"""Prints tables of finished workdirs: of runs the mean over seeds, of comparisons a column for each.

    gpldan summarize runs/emoji-*
    gpldan summarize runs/compare-* --figure=methods.png
    gpldan summarize runs/* --latex > table.tex

Each folder is the workdir of a finished run or comparison. Runs with the same data and settings are the seeds of one
row; where runs of a dataset differ, the row says in which settings. Where there are no test pairs, the figures are of
the validation pairs and the row says so.
"""

from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import Parser, needs_package

STOPPED = "stopped"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and prints the tables."""
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="WORKDIR", help="finished workdirs")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="a figure of the comparisons, needs matplotlib")
    parser.add_argument("--latex", action="store_true", help="LaTeX tables in place of Markdown, for booktabs")
    options = parser.parse_args(argv)
    if not options.folders:
        raise ValueError(f"which folders? try {program} runs/emoji")
    if options.figure:
        needs_package("matplotlib", "--figure", "plots")
    from gpldan_jax.studies import overview_tables
    from gpldan_jax.studies.overview import read_folders
    from gpldan_jax.studies.tables import latex_table, markdown_table

    lines = overview_tables(options.folders, latex_table if options.latex else markdown_table)
    comment = "% " if options.latex else ""
    print("\n".join(f"{comment}{line}" if line.startswith("- ") else line for line in lines))
    if options.figure:
        from gpldan_jax._figure_style import write_figure
        from gpldan_jax.studies.comparison_figure import compose_comparison

        write_figure(compose_comparison(read_folders(options.folders)[1]), options.figure)
        print(f"\nwritten to {options.figure}")
    return 0
