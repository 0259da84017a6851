"""Makes one page of runs, sweeps, comparisons and ablations: tables, curves and examples of what was retrieved.

    gpldan report runs/emoji
    gpldan report runs/wikipedia runs/compare-wikipedia runs/sweep-wikipedia --out=wikipedia.html

Each folder is the workdir of something finished. The page is one HTML file that needs no other file and no script. The
curves and examples of a run need its data; if these have moved, --data says where they are.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from gpldan_jax import _files
from gpldan_jax.cli.arguments import Parser, in_flags, needs_package

STOPPED = "stopped; no page was written"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and writes the page."""
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="WORKDIR", help="finished workdirs, in this order")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="file to write; default %(default)s")
    parser.add_argument("--data", type=Path, action="append", default=[], metavar="PATH",
        help="where data lie now that have moved; several times for several datasets")  # fmt: skip
    options = parser.parse_args(argv)
    if not options.folders:
        raise ValueError(f"which folders? try {program} runs/emoji")
    _files.check_writable(options.out, (".html",))
    for package in ("jinja2", "matplotlib"):
        needs_package(package, "a report", "report")
    from gpldan_jax import reports  # jax takes seconds to import; a mistyped flag should not wait

    page = reports.report(
        options.folders,
        f"{program} {shlex.join(argv)}",
        data_paths=options.data,
        on_missing=lambda line: print(f"warning: {in_flags(line)}", file=sys.stderr),
    )
    _files.write_text(options.out, page)
    print(f"written to {options.out}; next: open it in a browser, it needs no other file")
    return 0
