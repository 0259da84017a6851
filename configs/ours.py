"""GPLDAN with what we added to it: targets from neighbourhoods, and a contrastive term. Not the paper's.

The loss and the model are those of arXiv 2106.13552; docs/results/README.md has the figures of the changes. They use no
labels, and were chosen on validation, as one recipe for four datasets.

    python experiments/run.py --config=configs/ours.py:emoji
    python experiments/run.py --config=configs/ours.py:wikipedia   # or wikipedia_raw, cub
    python experiments/run.py --config=configs/ours.py:npz --config.dataset.path=mine.npz --workdir=runs/mine

Expected: average test map@50 0.604 ± 0.004 (emoji), 0.429 ± 0.007 (wikipedia), 0.330 ± 0.007 (wikipedia_raw) and
0.621 ± 0.011 (cub) over seeds 0, 1, 2. On the others it has not been tried.
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config(dataset: str = "emoji"):
    """The config of a dataset with our changes, such as "cub"; of Wikipedia "wikipedia" or "wikipedia_raw"."""
    name, _, variant = dataset.partition("_")
    return config_dict.ConfigDict(config.dataset_config(name, variant, recipe="ours"))
