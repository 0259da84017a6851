"""The projector against a forward pass in NumPy; what is shared, how large it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.models import Projector, Representation
from tests.models.numpy_reference import drawn_variables, equation_1

# Float32 against float64, values of O(1).
FLOAT32_TOLERANCE = 1e-5

N, D_I, D_T = 3, 10, 6
PROJECTOR = Projector(hidden=32, width=16, parts=4)
RNG = np.random.default_rng(0)
IMAGES, TEXTS = RNG.normal(size=(N, D_I)).astype(np.float32), RNG.normal(size=(N, D_T)).astype(np.float32)

paired = jax.jit(PROJECTOR.apply)
encode = jax.jit(PROJECTOR.apply, static_argnames="method")


@pytest.fixture(scope="module")
def variables():
    return drawn_variables(PROJECTOR, IMAGES, TEXTS, scale=0.3)


def forward(parameters, inputs, modality):
    """Features, parts and attention of Sec. 2.1 in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), parameters)
    own, shared, attention = p[f"{modality}_hidden"], p["shared"], p["attention"]
    hidden = np.maximum(inputs.astype(np.float64) @ own["kernel"] + own["bias"], 0)
    features = hidden @ shared["kernel"] + shared["bias"]
    parts = np.stack(np.split(features, 4, axis=1), axis=1)
    maps = [equation_1(part, attention["w1"]["kernel"].T, attention["w2"]["kernel"][:, 0]) for part in parts]
    return Representation(features=features, parts=parts, attention=np.array(maps))


def close(one, other, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance, rtol=0), one, other)


def test_it_is_the_forward_pass_of_section_2_1(variables):
    image, text = paired(variables, IMAGES, TEXTS)
    close(image, forward(variables["params"], IMAGES, "image"), FLOAT32_TOLERANCE)
    close(text, forward(variables["params"], TEXTS, "text"), FLOAT32_TOLERANCE)
    assert image.features.shape == (N, 16) and image.parts.shape == (N, 4, 4) and image.attention.shape == (N, 4)


def test_one_modality_alone_gives_the_same(variables):
    image, text = paired(variables, IMAGES, TEXTS)
    close(encode(variables, IMAGES, method="encode_image"), image, FLOAT32_TOLERANCE)
    close(encode(variables, TEXTS, method="encode_text"), text, FLOAT32_TOLERANCE)


def test_the_modalities_share_all_but_their_own_layer(variables):
    parameters = variables["params"]
    assert set(variables) == {"params"}
    assert set(parameters) == {"image_hidden", "text_hidden", "shared", "attention"}
    assert parameters["shared"]["kernel"].shape == (32, 16)
    assert parameters["image_hidden"]["kernel"].shape == (D_I, 32)
    assert parameters["text_hidden"]["kernel"].shape == (D_T, 32)
    # With the image's own layer in the place of the text's the two encoders are one function.
    as_text = {"params": {**parameters, "text_hidden": parameters["image_hidden"]}}
    close(
        encode(as_text, IMAGES, method="encode_text"),
        encode(variables, IMAGES, method="encode_image"),
        FLOAT32_TOLERANCE,
    )


def test_applying_it_leaves_no_trace(variables):
    before = jax.tree.map(np.array, variables)
    first, second = paired(variables, IMAGES, TEXTS), paired(variables, IMAGES, TEXTS)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    jax.tree.map(np.testing.assert_array_equal, variables, before)


def parameter_count(projector, d_i, d_t):
    shapes = jax.eval_shape(projector.init, jax.random.key(0), jnp.ones((1, d_i)), jnp.ones((1, d_t)))
    return sum(x.size for x in jax.tree.leaves(shapes))


def test_the_paper_s_model_has_12_620_928_parameters():
    image_hidden, text_hidden = 4096 * 2048 + 2048, 1024 * 2048 + 2048
    shared = 2048 * 1024 + 1024
    attention = 256 * 128 + 128  # h = 1024 / 4
    assert parameter_count(Projector(), 4096, 1024) == image_hidden + text_hidden + shared + attention == 12_620_928
    assert parameter_count(Projector(parts=1), 4096, 1024) == image_hidden + text_hidden + shared


def test_a_single_part_is_the_whole_feature():
    projector = Projector(hidden=32, width=16, parts=1)
    variables = drawn_variables(projector, IMAGES, TEXTS, scale=0.3)
    assert "attention" not in variables["params"]
    image, _ = jax.jit(projector.apply)(variables, IMAGES, TEXTS)
    np.testing.assert_array_equal(image.parts[:, 0], image.features)
    np.testing.assert_array_equal(image.attention, np.ones((N, 1)))


@pytest.mark.parametrize("k, width", [(3, 16), (32, 16)])
def test_a_width_that_cannot_be_divided_is_refused(k, width):
    with pytest.raises(ValueError, match=rf"parts \(k\) must divide width \(H\), got k = {k} and H = {width}"):
        Projector(hidden=4, width=width, parts=k).init(jax.random.key(0), IMAGES, TEXTS)


def test_a_representation_is_frozen_and_a_pytree():
    representation = Representation(features=np.zeros((2, 4)), parts=np.zeros((2, 2, 2)), attention=np.zeros((2, 2)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        representation.features = None
    assert [x.shape for x in jax.tree.leaves(representation)] == [(2, 4), (2, 2, 2), (2, 2)]
    shifted = jax.tree.map(lambda x: x + 1, representation)
    assert isinstance(shifted, Representation) and shifted.attention.all() and not representation.attention.any()


def test_strict_promotion_gives_the_same():
    variables = PROJECTOR.init(jax.random.key(0), IMAGES, TEXTS)
    expected = PROJECTOR.apply(variables, IMAGES, TEXTS)
    with jax.numpy_dtype_promotion("strict"):
        found = PROJECTOR.apply(PROJECTOR.init(jax.random.key(0), IMAGES, TEXTS), IMAGES, TEXTS)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
