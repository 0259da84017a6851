"""Wikipedia: 2,173 / 231 / 462 pairs of ten classes, in the three forms in which its features circulate.

Model and loss: arXiv 2106.13552. The paper's own features (VGG-19 and BERT, `vgg19_bert`) are unpublished.

    python experiments/run.py --config=configs/wikipedia.py              # 128-d CNN, 100-d text
    python experiments/run.py --config=configs/wikipedia.py:raw          # the original release: 128-d SIFT, 10-d LDA
    python experiments/run.py --config=configs/wikipedia.py:vgg19_bert   # 4096-d and 1024-d, as in the paper

Expected: average test map@50 0.421 ± 0.005 (128-d and 100-d) and 0.340 ± 0.004 (raw) over seeds 0, 1, 2; about a minute
on two CPU cores.
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config(variant: str = ""):
    """The paper's settings; without denoising where there are few columns to lose."""
    return config_dict.ConfigDict(config.dataset_config("wikipedia", variant))
