"""Trains GPLDAN without its parts, and with one after the other, as Table 3 of the paper does.

    python experiments/ablate.py --config=configs/wikipedia.py --seeds=5
    python experiments/ablate.py --dataset=cub --seeds=0,7

`--dataset=NAME` stands for `--config=configs/NAME.py`. The epoch of each run is chosen on validation. The workdir
gets table3.md, table3.csv, table3.json and table3.png; the same command trains what is missing and writes them anew.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `configs`, which is not installed

from absl import flags

from experiments import commands
from experiments.ablating import rows as table3

_TABLES, _FIGURE = ("table3.md", "table3.csv", "table3.json"), "table3.png"


def ablate(config: dict, seeds: tuple[int, ...], directory: Path, command: str) -> int:
    """Trains, writes the tables and the figure, and prints one; returns the exit status, 1 where a row failed."""
    table3.check(config)
    from experiments import session  # jax takes seconds to import; a mistyped flag should not wait
    from experiments.ablating import tables
    from experiments.comparing import gpldan, running
    from experiments.comparing.tables import write
    from gpldan_jax import retrieval, training
    from gpldan_jax.training import workdir as workdirs

    dataset, _ = session.load(config["dataset"])
    criterion = config["train"]["selection"]
    training.check_fits(dataset, batch_size=config["train"]["batch_size"], criterion=criterion)
    if not len(dataset.test):
        raise ValueError(f"{dataset.title} has no test pairs to compare on")
    whole = gpldan.methods(config, dataset)["gpldan"]
    methods = [
        dataclasses.replace(whole, name=row.name, title=row.title, settings=(row.settings(),))
        for row in table3.VARIANTS.values()
    ]
    about = {"dataset": dataset.title, "versions": session.versions()}
    description = {"config": config, "data": dataset.fingerprint(), **about}
    with workdirs.opened(directory, description, fresh=flags.FLAGS.fresh, holds=(*_TABLES, _FIGURE, *table3.VARIANTS)):
        rows = running.fit_showing(methods, dataset, seeds, directory, criterion=criterion)
        metric = "map@50" if dataset.test.labels is not None else "recall@10"
        published = {name: table3.published(name, config["dataset"]) for name in table3.VARIANTS}
        shown = {
            "dataset": dataset.title,
            "metric": metric,
            "chance": retrieval.chance(len(dataset.test), dataset.test.labels)[metric],
            "published": published,
        }
        text = tables.markdown(rows, seeds=seeds, criterion=criterion, command=command, **shown)
        about |= {"synthetic": dataset.synthetic, "metric": metric, "seeds": seeds, "command": command}
        contents = (
            text,
            tables.table_csv(rows, seeds=seeds, published=published),
            tables.record(rows, about, published=published),
        )
        for name, content in zip(_TABLES, contents, strict=True):
            write(directory / name, content)
        has_figure = _draw(rows, directory / _FIGURE, **shown)
    print(f"\n{text}\nwritten to {directory}: {', '.join(_TABLES)}{f', {_FIGURE}' if has_figure else ''}")
    if not has_figure:
        print(f"{_FIGURE} needs matplotlib: pip install -e '.[plots]', then the same command", file=sys.stderr)
    return int(any(row.failed for row in rows))


def _draw(rows, path, **shown):
    try:
        from experiments.ablating import figure  # matplotlib takes a second to import
    except ImportError:
        path.unlink(missing_ok=True)  # it would not be of these tables
        return False
    figure.draw(rows, path, **shown)
    return True


if __name__ == "__main__":
    sys.exit(commands.main(sys.argv, "ablate", ablate))
