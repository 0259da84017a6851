"""Pascal Sentence: 800 / 100 / 100 pairs of 20 classes, VGG-19 fc7 (4096-d) and BERT (1024-d).

Model, loss and features: arXiv 2106.13552, which reports an average map@50 of .469 (Table 2). We have no copy of these
features, so the figure is not ours and the settings are the paper's, untuned.

    python experiments/run.py --config=configs/pascal.py --config.dataset.path=FOLDER
    python experiments/run.py --config=configs/pascal.py --config.dataset.synthetic --config.train.epochs=1
"""

from configs import default


def get_config():
    """The paper's settings."""
    config = default.get_config()
    config.dataset.name = "pascal"
    return config
