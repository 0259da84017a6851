"""Encoded items, against the formulas of Eq. 2-5 and against the distances of the evaluation."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.index.gallery import EncodedBatch, encode, encode_representation, exact_distances
from gpldan_jax.index.nearest import all_distances
from gpldan_jax.losses import co_attention_distances
from gpldan_jax.models import Representation
from tests.index import galleries
from tests.models import trained_models

ROUNDING = 1e-6  # of parts in float32, from which values are made in float32; of distances near 0, their square root


def test_distances_are_those_of_the_formulas():
    x, y = np.random.default_rng(0).standard_normal((2, 5, 3, 4))
    a, b = np.random.default_rng(1).dirichlet(np.ones(3), (2, 5))

    def item(parts, attention):
        values = parts + (attention[:, :, None] * parts).sum(1, keepdims=True)
        return EncodedBatch(values.reshape(len(parts), -1), attention, None)

    queries, gallery = item(x, a), item(y, b)
    for i in range(5):
        found = exact_distances(EncodedBatch(queries.values[[i] * 5], a[[i] * 5], None), gallery)
        for j in range(5):
            fused_x = sum((a[i, part] + b[j, part]) * x[i, part] for part in range(3))
            fused_y = sum((a[i, part] + b[j, part]) * y[j, part] for part in range(3))
            expected = 1 - fused_x @ fused_y / np.linalg.norm(fused_x) / np.linalg.norm(fused_y)
            assert found[j] == np.float32(expected)


def test_encoded_items_keep_the_distances_of_the_model():
    """Values are lifted parts up to a power of two: the distances are those of the evaluation."""
    random = np.random.default_rng(0)
    parts = random.standard_normal((2, 6, 4, 8)).astype(np.float32) * 1e3
    attention = random.dirichlet(np.ones(4), (2, 6)).astype(np.float32)

    def encode(parts, attention):
        representation = Representation(None, jnp.asarray(parts), jnp.asarray(attention))
        return EncodedBatch(*map(np.asarray, encode_representation(representation)))

    x, y = map(encode, parts, attention)
    assert np.abs(x.values).max() < 1
    expected = co_attention_distances(parts[0], parts[1], attention[0], attention[1])
    np.testing.assert_allclose(all_distances(x, galleries.gallery(y)), expected, atol=ROUNDING)


def test_the_gram_entries_are_inner_products_of_the_values():
    items = galleries.encoded_items(3, 3, 5)
    values = items.values.reshape(3, 3, 5).astype(float)
    for column, (a, b) in enumerate(itertools.combinations_with_replacement(range(3), 2)):
        np.testing.assert_allclose(items.gram[:, column], (values[:, a] * values[:, b]).sum(1), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_long_collections_are_encoded_block_by_block(monkeypatch):
    expected = galleries.index(30).gallery.segments[0].encoded
    monkeypatch.setattr("gpldan_jax.index.gallery._BLOCK", 8)
    done = []
    found = galleries.index(30, on_items=done.append).gallery.segments[0].encoded
    assert done == [8, 16, 24, 30]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_items_with_a_large_offset_are_encoded_as_those_without():
    model, images = trained_models.model(), np.random.default_rng(0).normal(size=(6, 5))
    scaling = model.standardization
    mean, std = scaling.image_mean.astype(float) + 1.7e9, scaling.image_std.astype(float)
    far = dataclasses.replace(model, standardization=dataclasses.replace(scaling, image_mean=mean, image_std=std))
    (expected,), (found,) = encode(model, images, "image"), encode(far, 1.7e9 + images, "image")
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
