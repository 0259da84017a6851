"""XMedia: 4,000 / 300 / 700 pairs of 20 classes, AlexNet fc7 (4096-d) and bags of words (3000-d).

Model, loss and features: arXiv 2106.13552, which reports an average map@50 of .923 (Table 2). We have no copy of these
features, so the figure is not ours and the settings are the paper's, untuned.

    python experiments/run.py --config=configs/xmedia.py --config.dataset.path=FOLDER
    python experiments/run.py --config=configs/xmedia.py --config.dataset.synthetic --config.train.epochs=1
"""

from configs import default


def get_config():
    """The paper's settings."""
    config = default.get_config()
    config.dataset.name = "xmedia"
    config.dataset.text_scaling = "raw"  # ours: bags of words, as for emoji
    return config
