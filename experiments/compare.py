"""Trains the methods of the paper's Table 2 on the same features and scores them by the same functions.

    python experiments/compare.py --dataset=wikipedia --methods=all --seeds=5
    python experiments/compare.py --config=configs/cub.py --methods=cca-ridge,infonce,gpldan

`--dataset=NAME` stands for `--config=configs/NAME.py`. The settings of each method are chosen on validation. The
workdir gets table2.md, table2.csv and table2.json; the same command fits what is missing and writes them anew.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `configs`, which is not installed

from absl import flags

from experiments import commands

_METHODS = flags.DEFINE_string("methods", "all", "Names separated by commas, or all.")


def compare(config: dict, seeds: tuple[int, ...], directory: Path, command: str) -> int:
    """Fits, writes the tables and prints one; returns the exit status, 1 where a method failed."""
    from experiments import session  # jax takes seconds to import; a mistyped flag should not wait
    from experiments.comparing import gpldan, running, tables
    from gpldan_jax import training
    from gpldan_jax.baselines.registry import METHODS
    from gpldan_jax.training import workdir as workdirs

    names, known = _METHODS.value, [*METHODS, *gpldan.NAMES]
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
    with workdirs.opened(directory, description, fresh=flags.FLAGS.fresh, holds=holds):
        criterion, epochs = config["train"]["selection"], config["train"]["epochs"]
        rows = running.fit_showing(chosen, dataset, seeds, directory, criterion=criterion, epochs=epochs)
        metric = "map@50" if dataset.test.labels is not None else "recall@10"
        name = "" if dataset.synthetic else config["dataset"]["name"]  # nothing is published of generated features
        about = {"dataset": dataset.title, "synthetic": dataset.synthetic, "seeds": seeds, "command": command}
        text = tables.markdown(rows, dataset=dataset.title, name=name, metric=metric, seeds=seeds, command=command)
        tables.write(directory / "table2.md", text)
        tables.write(directory / "table2.csv", tables.table_csv(rows, name=name))
        tables.write(directory / "table2.json", tables.record(rows, about | {"versions": description["versions"]}))
    print(f"\n{text}\nwritten to {directory}: table2.md, table2.csv, table2.json")
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(commands.main(sys.argv, "compare", compare))
