"""Trains the methods of the paper's Table 2 on the same features and scores them by the same functions.

    python experiments/compare.py --dataset=wikipedia --methods=all --seeds=5
    python experiments/compare.py --config=configs/cub.py --methods=cca-ridge,infonce,gpldan

`--dataset=NAME` stands for `--config=configs/NAME.py`. The settings of each method are chosen on validation. The
workdir gets table2.md, table2.csv and table2.json; the same command fits what is missing and writes them anew.
"""

import shlex
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `configs`, which is not installed

import rich.console
from absl import flags

from configs import default
from experiments import run
from experiments.sweeping import points

_METHODS = flags.DEFINE_string("methods", "all", "Names separated by commas, or all.")
_SEEDS = flags.DEFINE_string("seeds", "1", "How many seeds from config.train.seed on; or which, separated by commas.")


def main(argv: list[str]) -> int:
    """Parses the flags and runs; returns the exit status."""
    if not {"--help", "-h", "-help"}.isdisjoint(argv):
        print(__doc__, *(flags.FLAGS.module_help(module) for module in (__name__, run.__name__)), sep="\n")
        return 0
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # for users, without our line numbers
    try:
        config, workdir = run.parse([_with_config(argument) for argument in argv])
        if flags.FLAGS.distributed or flags.FLAGS.coordinator:
            raise ValueError("a comparison runs in one process")
        if config["train"]["selection"] == "last":
            raise ValueError("train.selection=last chooses nothing; use map or recall")
        seeds = points.parse(config, {}, _SEEDS.value).seeds
        directory = workdir if flags.FLAGS.workdir else workdir.with_name(f"compare-{workdir.name}")
        command = shlex.join(["python", "experiments/compare.py", *argv[1:]])
        return compare(config, _METHODS.value, seeds, directory, command)
    except KeyboardInterrupt:
        print("stopped; the same command goes on after the last finished method and seed", file=sys.stderr)
        return 130
    except ValueError as error:  # bad input: what is wrong, in one line, without a traceback
        print(f"error: {error}", file=sys.stderr)
        return 2


def compare(config: dict, names: str, seeds: tuple[int, ...], directory: Path, command: str) -> int:
    """Fits, writes the tables and prints one; returns the exit status, 1 where a method failed."""
    from experiments import session  # jax takes seconds to import; a mistyped flag should not wait
    from experiments.comparing import gpldan, running, tables
    from gpldan_jax import training
    from gpldan_jax.baselines.registry import METHODS
    from gpldan_jax.training import workdir as workdirs

    known = [*METHODS, *gpldan.NAMES]
    wanted = known if names == "all" else names.split(",")
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"--methods={names}: no method {unknown[0]!r}; there are {', '.join(known)}")
    dataset, _ = session.load(config["dataset"])
    training.check_fits(dataset, batch_size=config["train"]["batch_size"], criterion=config["train"]["selection"])
    if not len(dataset.test):
        raise ValueError(f"{dataset.title} has no test pairs to compare on")
    methods = METHODS | gpldan.methods(config, dataset)
    chosen = [methods[name] for name in known if name in wanted]
    if dataset.train.labels is None and (needing := [of.name for of in chosen if of.supervision != "unsupervised"]):
        raise ValueError(f"{dataset.title} has no labels, which {needing[0]} needs")
    description = {
        "config": config,
        "data": dataset.fingerprint(),
        "dataset": dataset.title,
        "versions": session.versions(),
    }
    holds = ("table2.md", "table2.csv", "table2.json", *known)
    console = rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    bar = session.progress_bar(console, f"{dataset.title}  fits")
    task = bar.add_task("fits", total=sum(running.fits(method, seeds) for method in chosen))
    with workdirs.opened(directory, description, fresh=flags.FLAGS.fresh, holds=holds):
        with bar:
            rows = running.fit_all(
                chosen,
                dataset,
                seeds,
                directory,
                criterion=config["train"]["selection"],
                epochs=config["train"]["epochs"],
                report=lambda line: console.print(f"{dataset.title}  {line}"),
                on_fits=lambda count: bar.advance(task, count),
            )
        metric = "map@50" if dataset.test.labels is not None else "recall@10"
        name = config["dataset"]["name"]
        about = {"dataset": dataset.title, "synthetic": dataset.synthetic, "seeds": seeds, "command": command}
        text = tables.markdown(rows, dataset=dataset.title, name=name, metric=metric, seeds=seeds, command=command)
        tables.write(directory / "table2.md", text)
        tables.write(directory / "table2.csv", tables.table_csv(rows, name=name))
        tables.write(directory / "table2.json", tables.record(rows, about | {"versions": description["versions"]}))
    print(f"\n{text}\nwritten to {directory}: table2.md, table2.csv, table2.json")
    return int(any(row.failed for row in rows))


def _with_config(argument):
    name, _, value = argument.partition("=")
    if name not in ("--dataset", "-dataset"):
        return argument
    file, colon, variant = value.partition(":")
    return f"--config={Path(default.__file__).parent / file}.py{colon}{variant}"


if __name__ == "__main__":
    sys.exit(main(sys.argv))
