"""Clip art: 1,532 drawings and their words, shipped with the package (18 kinds of objects as classes).

Model and loss: arXiv 2106.13552; the dataset is ours, see gpldan_jax/data/openclipart/README.md.

    python experiments/run.py --config=configs/openclipart.py

Expected: average test map@50 0.392 ± 0.007 over seeds 0, 1, 2; about a minute on two CPU cores.
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config():
    """The paper's settings with the changes for this dataset, which `gpldan_jax/config.py` lists."""
    return config_dict.ConfigDict(config.dataset_config("openclipart"))
