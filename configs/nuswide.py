"""NUS-WIDE, with the paper's ten classes or with several classes a pair.

    python experiments/run.py --config=configs/nuswide.py --config.dataset.path=FOLDER
    python experiments/run.py --config=configs/nuswide.py:multilabel --config.dataset.path=NUS-WIDE-TC21.mat
    python experiments/run.py --config=configs/nuswide.py --config.dataset.synthetic --config.train.epochs=1

NUS-WIDE-10K: 8,000 / 1,000 / 1,000 pairs of ten classes, VGG-19 fc7 (4096-d) and BERT (1024-d). Model, loss and
features: arXiv 2106.13552, which reports an average map@50 of .385 (Table 2). `multilabel`: the file of cross-modal
hashing with 21 concepts, 10,000 / 2,100 / 2,100 of its 195,834 pairs; a pair is relevant where it shares a concept. The
paper has no figures for it. We have no copy of either, so no figure is ours, and the settings are the paper's, untuned.
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config(variant: str = ""):
    """The paper's settings with the changes for this dataset, which `gpldan_jax/config.py` lists."""
    return config_dict.ConfigDict(config.dataset_config("nuswide", variant))
