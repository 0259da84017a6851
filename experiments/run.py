"""Trains GPLDAN on one dataset and evaluates it.

    python experiments/run.py --config=configs/emoji.py
    python experiments/run.py --config=configs/wikipedia.py:raw --config.loss.alpha=0.5 --workdir=runs/alpha-0.5

The same command continues an interrupted run and shows the result of a finished one.
"""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `configs`, which is not installed

from absl import flags
from ml_collections import config_flags

from configs import default

_CONFIG = config_flags.DEFINE_config_file("config", None, "Settings: a file of configs/, see its header.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default: runs/<config name>.")
_FRESH = flags.DEFINE_bool("fresh", False, "Delete the run found in the workdir and start over.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One process of several: SLURM, Open MPI or Kubernetes knows.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of the first process, where no cluster says so.")
_PROCESSES = flags.DEFINE_integer("processes", None, "With --coordinator: how many processes.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", None, "With --coordinator: which of them this is, from 0.", lower_bound=0)


def main(argv: list[str]) -> int:
    """Parses the flags and runs; returns the exit status."""
    if not {"--help", "-h", "-help"}.isdisjoint(argv):
        print(__doc__, flags.FLAGS.module_help(flags.FLAGS.find_module_defining_flag("fresh")), sep="\n")
        print(f"\nSettings, where each comes from and what it may be: {Path(default.__file__).resolve()}")
        return 0
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # for users, without our line numbers
    try:
        config, workdir = parse(argv)
        from experiments import processes, session  # jax takes seconds to import; a mistyped flag should not wait

        if _DISTRIBUTED.value or _COORDINATOR.value:
            processes.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
        return session.run(config, workdir, fresh=_FRESH.value)
    except ValueError as error:  # bad input: what is wrong, in one line, without a traceback
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse(argv: list[str]) -> tuple[dict, Path]:
    """The validated config and the workdir; `ValueError` for flags that cannot be used."""
    try:
        rest = flags.FLAGS(argv)[1:]
        if rest:
            raise ValueError(f"unexpected argument {rest[0]!r}")
        if not _CONFIG.present:
            raise ValueError("--config is missing; try --config=configs/emoji.py")
        file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
        if not Path(file).is_file():
            raise ValueError(f"no config file {file}")
        _check_processes()
        config = _CONFIG.value
        default.validate(config)
    except (AttributeError, KeyError) as error:  # ml_collections quotes its message twice
        raise ValueError(
            "unknown config key " + str(error).strip("'\"").replace("\\n", ". ").replace("\\'", "'")
        ) from error
    except (flags.Error, OSError) as error:
        # Where a config file itself fails, the message ends with its traceback, whose last line says why.
        lines = str(error).strip().splitlines()
        raise ValueError(lines[-1].removeprefix("ValueError: ")) from error
    name = "-".join(part for part in (Path(file).stem, argument, config.dataset.synthetic and "synthetic") if part)
    return config.to_dict(), Path(_WORKDIR.value or Path("runs") / name)


def _check_processes():
    given = [flag.value is not None for flag in (_COORDINATOR, _PROCESSES, _PROCESS)]
    if any(given) and (not all(given) or _DISTRIBUTED.value):
        raise ValueError("--coordinator, --processes and --process belong together, --distributed needs none of them")
    if all(given) and _PROCESS.value >= _PROCESSES.value:
        raise ValueError(f"--process must be below --processes, got {_PROCESS.value} of {_PROCESSES.value}")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
