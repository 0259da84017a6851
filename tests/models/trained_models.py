"""Small models as `load_model` returns them, without any training."""

import functools

import numpy as np

from gpldan_jax import models
from tests.models.numpy_reference import drawn_variables


@functools.cache
def model(*, bank=False, parts=2):
    """A model of 5 image and 4 text features, H = 8; images are scaled, texts are not."""
    rng = np.random.default_rng(0)
    projector = models.Projector(hidden=6, width=8, parts=parts)
    parameters = drawn_variables(projector, np.ones((1, 5)), np.ones((1, 4)), scale=0.7)["params"]
    scaling = [rng.normal(size=5), rng.uniform(1, 3, 5), np.zeros(4), np.ones(4)]
    pairs = models.choose_pairs(rng.normal(size=(12, 5)), rng.normal(size=(12, 4)), pairs=12)
    return models.TrainedModel(
        projector,
        parameters,
        models.Standardization(*(np.asarray(of, np.float32) for of in scaling)),
        {},
        models.network_bank(projector, parameters, pairs, neighbours=3, weight=1.0) if bank else None,
    )
