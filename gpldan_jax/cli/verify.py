"""Checks the files of runs, models, indexes, comparisons, sweeps and features for damage.

    gpldan verify runs/emoji
    gpldan verify runs/emoji/model.safetensors features.npz

Every file that a later command reads is compared with its checksum. A line says of each whether it is ok, damaged, or
of an older version that wrote no checksum. The exit status is 1 where a file is damaged or missing, and 2 where a path
holds nothing of gpldan_jax.
"""

from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import Parser

STOPPED = "stopped"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags, checks and prints."""
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files, workdirs or collections")
    parser.add_argument("--quiet", action="store_true", help="print no line of a file that is ok")
    options = parser.parse_args(argv)
    if not options.paths:
        raise ValueError(f"expected a path: try {program} runs/emoji")
    from gpldan_jax.studies import verification

    counts = dict.fromkeys((verification.OK, verification.DAMAGED, verification.UNKNOWN), 0)
    for path in options.paths:
        for checked in verification.verify(path):
            counts[checked.state] += 1
            if checked.state != verification.OK or not options.quiet:
                print(f"{checked.state:<12}{checked.path}" + (f": {checked.reason}" if checked.reason else ""))
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    return 1 if counts[verification.DAMAGED] else 0
