"""The settings of the paper. `gpldan_jax/config.py` lists each one: its default, where it comes from, what it may be.

X. Chen, R. Zhang, Y. Zhan, "Graph Pattern Loss based Diversified Attention Network for Cross-Modal Retrieval", arXiv
2106.13552. The files beside this one change what their dataset needs.
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config():
    """The settings of the paper, for the emoji."""
    return config_dict.ConfigDict(config.default_config())
