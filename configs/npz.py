"""Your own features: a .npz, .h5 or .mat file with arrays `image` [n, d_i] and `text` [n, d_t].

Or a folder of `.npy` files with these names, memory-mapped; also `images.npy` and `texts.npy`, and what clip-retrieval
writes: `img_emb/img_emb_0.npy`, `text_emb/text_emb_0.npy` and further parts. The optional arrays may be `.txt` files.

Optional: `label` [n]; `split` [n] with 0 train, 1 validation, 2 test (without it 80 / 10 / 10 % are drawn with seed 0).
Model and loss: arXiv 2106.13552. The model is selected by how well partners find each other, so no labels are needed;
with labels, `--config.train.selection=map` selects by map@50.

    python experiments/run.py --config=configs/npz.py --config.dataset.path=mine.npz --workdir=runs/mine
"""

from ml_collections import config_dict

from gpldan_jax import config


def get_config():
    """The paper's settings with the changes for this dataset, which `gpldan_jax/config.py` lists."""
    return config_dict.ConfigDict(config.dataset_config("npz"))
