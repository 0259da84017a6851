"""NUS-WIDE-10K: 8,000 / 1,000 / 1,000 pairs of ten classes, VGG-19 fc7 (4096-d) and BERT (1024-d).

Model, loss and features: arXiv 2106.13552, which reports an average map@50 of .385 (Table 2). We have no copy of these
features, so the figure is not ours and the settings are the paper's, untuned.

    python experiments/run.py --config=configs/nuswide.py --config.dataset.path=FOLDER
    python experiments/run.py --config=configs/nuswide.py --config.dataset.synthetic --config.train.epochs=1
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config():
    """The paper's settings with the changes for this dataset, which `gpldan_jax/config.py` lists."""
    return config_dict.ConfigDict(config.dataset_config("nuswide"))
