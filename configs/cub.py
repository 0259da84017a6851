"""CUB: ten classes of birds, 420 / 60 / 120 pairs of GoogLeNet (1024-d) and doc2vec (300-d) features.

Model and loss: arXiv 2106.13552; the dataset is not one of the paper's, and its split is ours (stratified, seed 0).

    python experiments/run.py --config=configs/cub.py

Expected: average test map@50 0.594 ± 0.009 over seeds 0, 1, 2; about a minute on two CPU cores.
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config():
    """The paper's settings with the changes for this dataset, which `gpldan_jax/config.py` lists."""
    return config_dict.ConfigDict(config.dataset_config("cub"))
