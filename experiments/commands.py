"""What compare.py and ablate.py share: their flags, and how they begin and end."""

import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from absl import flags

from configs import default
from experiments import run
from experiments.arguments import stopped
from experiments.sweeping import points

SEEDS = flags.DEFINE_string("seeds", "1", "How many seeds from config.train.seed on; or which, separated by commas.")


def main(argv: list[str], name: str, work: Callable[[dict, tuple[int, ...], Path, str], int]) -> int:
    """Parses the flags and calls `work`; returns the exit status.

    Args:
        argv: of the process.
        name: of the command, such as `"compare"`; its folder is runs/NAME-CONFIG unless told otherwise.
        work: takes the config, the seeds, the folder and the command as text, returns the status.
    """
    module = sys.modules[work.__module__]
    if not {"--help", "-h", "-help"}.isdisjoint(argv):
        modules = (module.__name__, __name__, run.__name__)
        print(module.__doc__, *(flags.FLAGS.module_help(of) for of in modules), sep="\n")
        return 0
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # for users, without our line numbers
    try:
        config, workdir = run.parse([_with_config(argument) for argument in argv])
        if flags.FLAGS.distributed or flags.FLAGS.coordinator:
            raise ValueError(f"{name}.py runs in one process")
        if config["train"]["selection"] == "last":
            raise ValueError("train.selection=last chooses nothing on validation; use map or recall")
        seeds = points.parse(config, {}, SEEDS.value).seeds
        directory = workdir if flags.FLAGS.workdir else workdir.with_name(f"{name}-{workdir.name}")
        return work(config, seeds, directory, shlex.join(["python", f"experiments/{name}.py", *argv[1:]]))
    except KeyboardInterrupt:
        return stopped("stopped; the same command goes on after the last fit that was finished")
    except ValueError as error:  # bad input: what is wrong, in one line, without a traceback
        print(f"error: {error}", file=sys.stderr)
        return 2


def _with_config(argument):
    name, _, value = argument.partition("=")
    if name not in ("--dataset", "-dataset"):
        return argument
    file, colon, variant = value.partition(":")
    return f"--config={Path(default.__file__).parent / file}.py{colon}{variant}"
