"""Many items through a network, pooled vectors, and the recall that these reach."""

import dataclasses

import jax
import numpy as np
import pytest

from gpldan_jax import models
from gpldan_jax.losses import co_attention_distances
from gpldan_jax.models import encoding
from tests.models import trained_models

# Two orders of the same float32 sums.
ROUNDING = 2e-6


encode = jax.jit(models.encode, static_argnames=("projector", "modality"))


@pytest.mark.parametrize("bank", [False, True])
def test_a_model_encodes_features_that_are_not_scaled(bank):
    model = trained_models.model(bank=bank)
    images = np.random.default_rng(1).normal(size=(7, 5)) * 3 + 1
    found = model.encode_images(images)
    scaled = model.standardization.images(images.astype(np.float32))
    expected = encode(model.projector, model.parameters, scaled, "image", model.bank)
    np.testing.assert_allclose(found.parts, expected.parts, atol=ROUNDING)
    np.testing.assert_allclose(found.attention, expected.attention, atol=ROUNDING)
    assert found.features.shape == (7, 8) and found.parts.base is found.features
    assert all(isinstance(of, np.ndarray) and of.dtype == np.float32 for of in jax.tree.leaves(found))


def test_texts_are_those_of_the_other_side():
    model = trained_models.model(bank=True)
    texts = np.random.default_rng(2).normal(size=(3, 4)).tolist()
    expected = encode(model.projector, model.parameters, np.array(texts, np.float32), "text", model.bank)
    np.testing.assert_allclose(model.encode_texts(texts).features, expected.features, atol=ROUNDING)


def test_many_rows_go_through_in_blocks(monkeypatch):
    model, images = trained_models.model(bank=True), np.random.default_rng(0).normal(size=(11, 5))
    whole = model.encode_images(images)
    monkeypatch.setattr(encoding, "_BLOCK", 4)
    blocks = model.encode_images(images)
    np.testing.assert_allclose(blocks.features, whole.features, atol=ROUNDING)
    np.testing.assert_allclose(blocks.attention, whole.attention, atol=ROUNDING)


def test_distances_are_those_of_the_encoded_pairs():
    model = trained_models.model(bank=True)
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(4, 5)), rng.normal(size=(3, 4))
    v, t = model.encode_images(images), model.encode_texts(texts)
    expected = co_attention_distances(v.parts, t.parts, v.attention, t.attention)
    np.testing.assert_allclose(model.distances(images, texts), expected, atol=ROUNDING)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones((2, 4)), r"images must be real numbers \[n, 5\] with n of at least 1, got float64 \[2, 4\]"),
        (np.ones(5), r"got float64 \[5\]"),
        (np.ones((0, 5)), r"got float64 \[0, 5\]"),
        ([["a"] * 5], r"got <U1 \[1, 5\]"),
        ([[1, 2, 3, 4, 5], [1, 2, np.nan, 4, 5]], "images: row 1 has NaN, Inf or a number too large"),
        ([[1e300] * 5], "images: row 0 has NaN, Inf or a number too large"),
    ],
)
def test_features_that_do_not_fit_are_refused(images, message):
    model = trained_models.model()
    with pytest.raises(ValueError, match=message):
        model.encode_images(images)
    with pytest.raises(ValueError, match=message):
        model.distances(images, np.ones((1, 4)))


def test_an_output_that_is_not_finite_is_refused():
    model = trained_models.model()
    hidden = {"kernel": np.full((4, 6), 1e38, np.float32), "bias": np.zeros(6, np.float32)}
    model = dataclasses.replace(model, parameters=model.parameters | {"text_hidden": hidden})
    with pytest.raises(ValueError, match="text features: the output of the network for row 1 is not finite"):
        model.encode_texts([[0, 0, 0, 0], [9, 9, 9, 9]])


def test_a_model_saves_itself(tmp_path):
    model = trained_models.model(bank=True)
    model.save(tmp_path / "one.safetensors")
    models.save_model(tmp_path / "two.safetensors", model)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def test_pooled_vectors_by_hand():
    parts = np.array([[[2.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    items = models.Representation(parts.reshape(2, 4), parts, np.array([[0.75, 0.25], [0.5, 0.5]]))
    # (0.75 + 0.5) (2, 0) + (0.25 + 0.5) (0, 4) = (2.5, 3), of length sqrt(15.25)
    expected = [[2.5 / 15.25**0.5, 3 / 15.25**0.5], [0, 0]]
    np.testing.assert_allclose(models.pooled_vectors(items), expected, atol=1e-6)


def items(n, k, h, attention, seed):
    parts = np.random.default_rng(seed).normal(size=(n, k, h)).astype(np.float32)
    return models.Representation(parts.reshape(n, k * h), parts, np.broadcast_to(attention, (n, k)).astype(np.float32))


@pytest.mark.parametrize(("k", "attention"), [(1, [1.0]), (3, [1 / 3] * 3)])
def test_the_cosine_is_exact_where_attention_says_nothing(k, attention):
    x, y = items(5, k, 4, attention, 0), items(6, k, 4, attention, 1)
    exact = co_attention_distances(x.parts, y.parts, x.attention, y.attention)
    np.testing.assert_allclose(1 - models.pooled_vectors(x) @ models.pooled_vectors(y).T, exact, atol=ROUNDING)
    assert models.vector_recall(x, y, k=2) == 1


def test_recall_counts_the_nearest_items_that_are_found(monkeypatch):
    monkeypatch.setattr(encoding, "_QUERIES", 3)
    monkeypatch.setattr(encoding, "_BLOCK", 4)
    x, y = items(6, 2, 3, [0.9, 0.1], 0), items(8, 2, 3, [0.1, 0.9], 1)
    exact = np.asarray(co_attention_distances(x.parts, y.parts, x.attention, y.attention)).argsort(1)[:, :3]
    found = (-models.pooled_vectors(x) @ models.pooled_vectors(y).T).argsort(1)[:, :3]
    expected = np.mean([len(set(one) & set(other)) / 3 for one, other in zip(exact, found, strict=True)])
    assert 0 < expected < 1
    assert models.vector_recall(x, y, k=3) == pytest.approx(expected)
    assert models.vector_recall(x, y, k=99) == 1


def test_an_equal_item_is_no_miss():
    x, one = items(2, 2, 3, [0.5, 0.5], 0), items(1, 2, 3, [0.5, 0.5], 1)
    gallery = jax.tree.map(lambda of: np.repeat(of, 20, axis=0), one)
    assert models.vector_recall(x, gallery, k=5) == 1


@pytest.mark.parametrize(("count", "k"), [(0, 1), (2, 0)])
def test_recall_of_nothing_is_refused(count, k):
    x = items(count, 2, 3, [0.5, 0.5], 0)
    with pytest.raises(ValueError, match=f"need queries, a gallery and k, got {count}, {count} and {k}"):
        models.vector_recall(x, x, k=k)
