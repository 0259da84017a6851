"""Makes one page of runs, sweeps, comparisons and ablations: tables, curves and examples of what was retrieved.

    python experiments/report.py runs/emoji
    python experiments/report.py runs/wikipedia runs/compare-wikipedia runs/sweep-wikipedia --out=wikipedia.html

Each folder is the workdir of something finished. The page is one HTML file that needs no other, and no script.
"""

import datetime
import importlib.util
import shlex
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `configs`, which is not installed

from absl import flags

from experiments.benchmarking import machine

_OUT = flags.DEFINE_string("out", "report.html", "The file to write.")


def main(argv: list[str]) -> int:
    """Parses the flags and writes the page; returns the exit status."""
    if not {"--help", "-h", "-help"}.isdisjoint(argv):
        print(__doc__, flags.FLAGS.module_help(flags.FLAGS.find_module_defining_flag("out")), sep="\n")
        return 0
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # for users, without our line numbers
    try:
        folders = [Path(argument) for argument in flags.FLAGS(argv)[1:]]
        if not folders:
            raise ValueError("which folders? try experiments/report.py runs/emoji")
        out = Path(_OUT.value)
        machine.check_writable(out, (".html",))
        for package in ("jinja2", "matplotlib"):
            if importlib.util.find_spec(package) is None:
                raise ValueError(f"a report needs {package}: pip install -e '.[report]'")
        page = report(folders, shlex.join(["python", "experiments/report.py", *argv[1:]]))
        machine.write(out, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    except (flags.Error, OSError, ValueError) as error:  # bad input: what is wrong, in one line, without a traceback
        print(f"error: {machine.one_line(error)}", file=sys.stderr)
        return 2
    print(f"written to {out}")
    return 0


def report(folders: list[Path], command: str, date: datetime.date | None = None) -> str:
    """The page as text.

    Args:
        folders: workdirs, in the order of the page.
        command: what was called.
        date: of the page; today unless given.

    Raises:
        ValueError: a folder that cannot be reported on; nothing slow was done before.
    """
    from experiments.reporting import folders as reading  # jax takes seconds to import; a mistyped flag should not wait

    found = [reading.read(folder) for folder in folders]
    from experiments.reporting import page, sections

    made = [sections.section(one, f"s{place}") for place, one in enumerate(found, start=1)]
    return page.render(made, command, date or datetime.date.today())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
