"""MIRFlickr-25K: 10,000 / 2,000 / 2,000 pairs with up to 24 labels each, 4096-d image features and 1386-d tags.

The file is the one of cross-modal hashing, `FLICKR-25K.mat`, 20,015 pairs: its first 2,000 are the test pairs (the
queries of that field), the next 10,000 the training pairs, the next 2,000 validation. Here the test pairs are also the
gallery; the rest of that field's database is not used, so figures of hashing papers are not comparable. A pair is
relevant where it shares a label. Model and loss: arXiv 2106.13552; the dataset is not one of the paper's, we have no
copy of it, and the settings are the paper's, untuned.

    python experiments/run.py --config=configs/mirflickr.py --config.dataset.path=FLICKR-25K.mat
    python experiments/run.py --config=configs/mirflickr.py --config.dataset.synthetic --config.train.epochs=1
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config():
    """The paper's settings with the changes for this dataset, which `gpldan_jax/config.py` lists."""
    return config_dict.ConfigDict(config.dataset_config("mirflickr"))
