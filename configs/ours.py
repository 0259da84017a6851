"""Our recipe: GPLDAN with what we added to it, one setting for every dataset, no label used. Not the paper's.

The loss and the model are those of arXiv 2106.13552. Ours are the targets from neighbourhoods, a contrastive term with
soft targets, retrieval through the training pairs, and the choice of the epoch without labels; docs/results/README.md
says why and has the figures.

    python experiments/run.py --config=configs/ours.py:emoji
    python experiments/run.py --config=configs/ours.py:wikipedia   # or wikipedia_raw, cub
    python experiments/run.py --config=configs/ours.py:npz --config.dataset.path=mine.npz --workdir=runs/mine

It is `--recipe=ours` of every command that takes a config, and `GPLDAN.from_recipe("ours")`.
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config(dataset: str = "emoji"):
    """The config of a dataset with our recipe, such as "cub"; of Wikipedia "wikipedia" or "wikipedia_raw"."""
    name, _, variant = dataset.partition("_")
    return config_dict.ConfigDict(config.dataset_config(name, variant, recipe="ours"))
