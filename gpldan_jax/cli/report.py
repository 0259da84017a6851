"""Makes one page of runs, sweeps, comparisons and ablations: tables, curves and examples of what was retrieved.

    gpldan report runs/emoji
    gpldan report runs/wikipedia runs/compare-wikipedia runs/sweep-wikipedia --out=wikipedia.html

Each folder is the workdir of something finished. The page is one HTML file that needs no other file and no script.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from gpldan_jax import _files
from gpldan_jax.cli.arguments import Parser, needs_package

STOPPED = "stopped; no page was written"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and writes the page."""
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="WORKDIR", help="finished workdirs, in this order")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="file to write; default %(default)s")
    options = parser.parse_args(argv)
    if not options.folders:
        raise ValueError(f"which folders? try {program} runs/emoji")
    _files.check_writable(options.out, (".html",))
    for package in ("jinja2", "matplotlib"):
        needs_package(package, "a report", "report")
    from gpldan_jax import reports  # jax takes seconds to import; a mistyped flag should not wait

    _files.write_text(options.out, reports.report(options.folders, f"{program} {shlex.join(argv)}"))
    print(f"written to {options.out}")
    return 0
