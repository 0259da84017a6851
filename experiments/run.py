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


def main(argv: list[str]) -> int:
    """Parses the flags and runs; returns the exit status."""
    if not {"--help", "-h", "-help"}.isdisjoint(argv):
        print(__doc__, flags.FLAGS.module_help(flags.FLAGS.find_module_defining_flag("fresh")), sep="\n")
        print(f"\nSettings, where each comes from and what it may be: {Path(default.__file__).resolve()}")
        return 0
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # for users, without our line numbers
    try:
        config, workdir = parse(argv)
        from experiments import session  # jax takes seconds to import; a mistyped flag should not wait for it

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


if __name__ == "__main__":
    sys.exit(main(sys.argv))
