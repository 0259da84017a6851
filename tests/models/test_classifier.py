"""The modality classifier against a forward pass in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.models import ModalityClassifier
from tests.models.numpy_reference import drawn_variables

# Float32 against float64, values of O(1).
FLOAT32_TOLERANCE = 1e-5


def test_it_is_one_hidden_layer_and_two_logits():
    classifier = ModalityClassifier(hidden=8)
    features = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    variables = drawn_variables(classifier, features, scale=0.3)
    logits = jax.jit(classifier.apply)(variables, features)
    p = jax.tree.map(lambda x: x.astype(np.float64), variables["params"])
    hidden = np.maximum(features @ p["hidden_layer"]["kernel"] + p["hidden_layer"]["bias"], 0)
    np.testing.assert_allclose(
        logits, hidden @ p["output"]["kernel"] + p["output"]["bias"], atol=FLOAT32_TOLERANCE, rtol=0
    )
    assert logits.shape == (3, 2) and set(variables) == {"params"}
    assert (hidden > 0).any() and (hidden == 0).any()  # the ReLU shows


def test_its_widths():
    parameters = jax.eval_shape(ModalityClassifier().init, jax.random.key(0), jnp.ones((1, 1024)))["params"]
    assert jax.tree.map(lambda x: x.shape, parameters) == {
        "hidden_layer": {"kernel": (1024, 128), "bias": (128,)},
        "output": {"kernel": (128, 2), "bias": (2,)},
    }
