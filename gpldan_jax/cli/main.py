"""`gpldan`: finds the command and runs it."""

import importlib
import sys
from collections.abc import Callable, Sequence

import gpldan_jax
from gpldan_jax import _files
from gpldan_jax.cli import failures, signals

COMMANDS = {
    "demo": "make a page to search in of a folder of pictures and a table of captions",
    "run": "train GPLDAN on one dataset and evaluate it",
    "sweep": "train a grid of settings and seeds, select on validation, draw the paper's Figure 2",
    "compare": "train the methods of the paper's Table 2 on the same features",
    "ablate": "train GPLDAN without its parts, as in the paper's Table 3",
    "extract": "turn images and captions into features",
    "search": "build, query and serve a searchable collection",
    "export": "write the encoders of a model for NumPy alone or as ONNX",
    "report": "make one HTML page of finished workdirs",
    "summarize": "print tables of finished runs and comparisons",
    "compare-runs": "compare two finished runs on the same test pairs, query by query",
    "verify": "check the files of runs, models, collections and features for damage",
    "benchmark": "measure how fast the loss, training, search and image networks are on this machine",
}
"""What each command does, in one line."""
_COMPILING = ("benchmark",)  # measures how long that takes


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names.

    Returns:
        The exit status: 0; 1 where a run failed, or the machine refused room on a disk, permission or memory; 2 for bad
        input; 130 or 143 where SIGINT or SIGTERM stopped it.
    """
    if argv is None:  # of the process, which ends then
        return end_process(lambda: main(sys.argv[1:]))
    name, *rest = list(argv) or ["--help"]
    try:
        if name in COMMANDS:
            return run_command(name, rest, f"gpldan {name}")
        if name in ("-h", "--help", "help"):
            print(_help(), flush=True)
            return 0
        if name == "--version":
            print(f"gpldan_jax {gpldan_jax.__version__}")
            return 0
    except BrokenPipeError:  # the reader of the output, such as `head`, has what it wanted
        failures.drop_output()
        return 0
    except OSError as error:  # of an output that is not buffered
        return _refused(failures.describe(error) or error)
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f", did you mean {near[0]!r}?" if near else "; `gpldan --help` lists all"
    print(f"error: unknown command {name!r}{hint}", file=sys.stderr)
    return 2


def end_process(work: Callable[[], int]) -> int:
    """Does the work of a process, which ends then; returns its exit status."""
    failures.stay_quiet()  # also for threads that end with the process
    try:
        status = work()
    except SystemExit as end:  # of argparse, after --help
        status = end.code if isinstance(end.code, int) else 0
    return signals.finish(_flushed(status))


def run_command(name: str, argv: Sequence[str], program: str) -> int:
    """Runs one of `COMMANDS`; `program` is for its help and for the files that say how they were made."""
    be_loud = failures.stay_quiet()
    status = failures.STATUS
    try:
        with signals.raised():
            status = _run_command(name, argv, program)
    except KeyboardInterrupt as interrupt:  # before or after the command itself, which says more
        print("stopped", file=sys.stderr)
        status = signals.exit_status(interrupt)
    except BrokenPipeError:
        raise
    except Exception as error:  # such as a library that cannot be loaded for want of memory
        line = failures.describe(error)
        if line is None:
            raise
        status = _refused(line)
    finally:
        if status != failures.STATUS:
            be_loud()
    return status


def _run_command(name, argv, program):
    from gpldan_jax.cli import arguments, gpu_compiler, program_cache

    gpu_compiler.use_cublas()
    command = importlib.import_module(f"gpldan_jax.cli.{name.replace('-', '_')}")
    kept = None if name in _COMPILING else program_cache.keep_programs()
    if kept and sys.stderr.isatty() and not any(kept.glob("*-cache")):
        print(f"the first time jax compiles for a while; its programs are kept in {kept}", file=sys.stderr)
    with signals.raised(command.STOPPED):
        return _flushed(arguments.call(command.main, argv, program, stopped=command.STOPPED))


def _flushed(status):
    """The status of a process whose output is all written."""
    try:
        with _files.naming("standard output"):
            sys.stdout.flush()
    except BrokenPipeError:
        failures.drop_output()
    except OSError as error:
        return _refused(failures.describe(error) or error)
    return status


def _refused(line):
    print(f"error: {line}", file=sys.stderr)
    failures.drop_output()
    return failures.STATUS


def _help():
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:{width}}{about}" for name, about in COMMANDS.items())
    return f"""usage: gpldan COMMAND [FLAGS]

GPLDAN in JAX: image-text retrieval without labels.

commands:
{commands}

`gpldan COMMAND --help` explains a command. To try it without data: gpldan run --dataset=emoji"""
