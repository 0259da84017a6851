"""A dataset and a state small enough to train in a test."""

import numpy as np

from gpldan_jax import models, training
from gpldan_jax.data import paired_dataset


def dataset(n=40, labels=True, seed=0):
    """Two views of a shared latent; n training pairs, 12 for validation and for test."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n + 24, 4))
    images, texts = latent @ rng.normal(size=(4, 10)), latent @ rng.normal(size=(4, 6))
    classes = (latent[:, 0] > 0).astype(int)
    parts = [slice(0, n), slice(n, n + 12), slice(n + 12, n + 24)]
    splits = [(images[p], texts[p], classes[p] if labels else None) for p in parts]
    return paired_dataset("tiny", train=splits[0], validation=splits[1], test=splits[2])


def state(seed=0, **changes):
    settings = {
        "projector": models.Projector(hidden=16, width=8, parts=2),
        "classifier": models.ModalityClassifier(hidden=8),
        "alpha": 1.0,
        "beta": 0.1,
        "adversarial": 0.01,
        "learning_rate": 1e-2,
        "classifier_learning_rate": 1e-3,
        "image_denoising": 0.5,
        "text_denoising": 0.7,
    }
    return training.create_train_state(seed, 10, 6, **settings | changes)
