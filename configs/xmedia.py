"""XMedia: 4,000 / 300 / 700 pairs of 20 classes, AlexNet fc7 (4096-d) and bags of words (3000-d).

Model, loss and features: arXiv 2106.13552, which reports an average map@50 of .923 (Table 2). We have no copy of these
features, so the figure is not ours and the settings are the paper's, untuned.

    python experiments/run.py --config=configs/xmedia.py --config.dataset.path=FOLDER
    python experiments/run.py --config=configs/xmedia.py --config.dataset.synthetic --config.train.epochs=1
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config():
    """The paper's settings with the changes for this dataset, which `gpldan_jax/config.py` lists."""
    return config_dict.ConfigDict(config.dataset_config("xmedia"))
