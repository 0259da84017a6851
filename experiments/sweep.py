"""Trains a grid of settings and seeds as one program, selects on validation, and draws the paper's Figure 2.

    python experiments/sweep.py --config=configs/wikipedia.py --alpha=0.3,1,3 --beta=0,0.1,1 --seeds=5

The workdir gets sweep.csv (a row for each run), sweep.json (means and spreads), best.py (the selected config, for
run.py) and figure2.png. The same command continues an interrupted sweep and shows the result of a finished one.
"""

import importlib.util
import shlex
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `configs`, which is not installed

from absl import flags

from experiments import run
from experiments.sweeping import outputs, points

for _name, _key in points.AXES.items():
    flags.DEFINE_string(_name, None, f"Values of config.{_key}, separated by commas; default: that of the config.")
_SEEDS = flags.DEFINE_string("seeds", "1", "How many seeds from config.train.seed on; or which, separated by commas.")
_SLICE = flags.DEFINE_integer("slice", None, "Runs trained together, at most; default: what fits the memory.", 1)
_AT_ONCE = flags.DEFINE_integer(
    "at_once", None, "Runs of a slice computed side by side (vmap); default: 1 on a CPU, elsewhere all.", 1
)
_TEST = flags.DEFINE_bool("test", False, "Evaluate every point on test, not only the selected one; draw test figures.")
_FIGURE = flags.DEFINE_bool("figure", True, "Draw figure2.png; needs matplotlib.")


def main(argv: list[str]) -> int:
    """Parses the flags and runs; returns the exit status."""
    if not {"--help", "-h", "-help"}.isdisjoint(argv):
        print(__doc__, *(flags.FLAGS.module_help(module) for module in (__name__, run.__name__)), sep="\n")
        return 0
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # for users, without our line numbers
    try:
        config, workdir = run.parse(argv)
        if flags.FLAGS.distributed or flags.FLAGS.coordinator:
            raise ValueError("a sweep runs in one process, on all devices of its machine")
        grid = points.parse(config, {name: flags.FLAGS[name].value for name in points.AXES}, _SEEDS.value)
        outputs.check_criterion(config["train"]["selection"], len(grid.points()))
        if _FIGURE.value and grid.varied() and importlib.util.find_spec("matplotlib") is None:
            raise ValueError("figure2.png needs matplotlib: pip install 'gpldan_jax[plots]'; or --nofigure")

        from experiments.sweeping import running  # jax takes seconds to import; a mistyped flag should not wait

        return running.run(
            config,
            grid,
            workdir if flags.FLAGS.workdir else workdir.with_name(f"sweep-{workdir.name}"),
            fresh=flags.FLAGS.fresh,
            slice_size=_SLICE.value,
            at_once=_AT_ONCE.value,
            on_test=_TEST.value,
            figure=_FIGURE.value,
            command=shlex.join(["python", "experiments/sweep.py", *argv[1:]]),
        )
    except ValueError as error:  # bad input: what is wrong, in one line, without a traceback
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
