"""The distance matrix of retrieval: whatever the blocks, it is Eq. 2-5 on the projector's outputs."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from gpldan_jax.losses import co_attention_distances
from gpldan_jax.models import Projector
from gpldan_jax.retrieval import retrieval_distances
from tests.losses import loop_reference
from tests.models.numpy_reference import drawn_variables

# Float32 distances of O(1) from matrix products of different sizes.
FLOAT32_TOLERANCE = 1e-5
N, M = 7, 5

PROJECTOR = Projector(hidden=12, width=8, parts=2)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 6)).astype(np.float32), rng.normal(size=(M, 4)).astype(np.float32)


def encoded(projector, parameters, images, texts):
    def encode(model, images, texts):
        return model.encode_image(images), model.encode_text(texts)

    return jax.jit(nn.apply(encode, projector))({"params": parameters}, images, texts)


@pytest.fixture(scope="module")
def parameters(inputs):
    return drawn_variables(PROJECTOR, *(x[:1] for x in inputs))["params"]


@pytest.fixture(scope="module")
def representations(inputs, parameters):
    return encoded(PROJECTOR, parameters, *inputs)


@pytest.mark.parametrize("block_size", [1, 3, 1024])  # of 7 images and 5 texts
def test_blocks_make_the_matrix_of_one_call(block_size, inputs, parameters, representations):
    image, text = representations
    expected = co_attention_distances(image.parts, text.parts, image.attention, text.attention)
    found = retrieval_distances(PROJECTOR, parameters, *inputs, block_size=block_size)
    np.testing.assert_allclose(found, expected, atol=FLOAT32_TOLERANCE)


def test_rows_are_images_and_columns_are_texts(inputs, parameters, representations):
    image, text = representations
    found = retrieval_distances(PROJECTOR, parameters, *inputs)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32 and found.shape == (N, M)
    v, t, a, b = (np.asarray(x, np.float64) for x in (image.parts, text.parts, image.attention, text.attention))
    expected = [[loop_reference.pair_distance(v[i], t[j], a[i], b[j]) for j in range(M)] for i in range(N)]
    np.testing.assert_allclose(found, expected, atol=FLOAT32_TOLERANCE)
    assert np.ptp(found) > 0.1  # the cases differ, so a wrong order would show
    assert np.ptp(a, axis=1).max() > 0.1  # as would a missing attention map


def test_without_diversified_attention_it_is_the_cosine_distance(inputs):
    projector = Projector(hidden=12, width=8, parts=1)
    parameters = drawn_variables(projector, *(x[:1] for x in inputs))["params"]
    image, text = (np.asarray(x.features) for x in encoded(projector, parameters, *inputs))
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    found = retrieval_distances(projector, parameters, *inputs)
    np.testing.assert_allclose(found, 1 - image @ text.T, atol=FLOAT32_TOLERANCE)
