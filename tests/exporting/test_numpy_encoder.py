"""The module that an export to NumPy contains, against the model in jax."""

import ast
import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from gpldan_jax import models
from gpldan_jax.exporting import numpy_encoder
from gpldan_jax.losses import co_attention_distances
from tests.models import trained_models

# Two orders of the same float32 sums.
ROUNDING = 5e-6


def weights_of(model):
    arrays = models.model_tensors(model) | {"k": np.array(model.projector.parts)}
    if model.bank is not None:
        arrays |= {"bank/neighbours": np.array(model.bank.neighbours), "bank/weight": np.array(model.bank.weight)}
    return {name: of.astype(np.float32) if of.ndim else of for name, of in arrays.items()}


@pytest.mark.parametrize(("bank", "parts"), [(False, 2), (True, 2), (True, 1)])
def test_it_encodes_as_the_model_does(bank, parts):
    model, rng = trained_models.model(bank=bank, parts=parts), np.random.default_rng(5)
    weights, found, expected = weights_of(model), {}, {}
    for modality, width in (("image", 5), ("text", 4)):
        rows = rng.normal(size=(9, width)) * 2 + 1
        found[modality] = numpy_encoder.encode(weights, rows, modality)
        expected[modality] = getattr(model, f"encode_{modality}s")(rows)
        np.testing.assert_allclose(found[modality].representations, expected[modality].parts, atol=ROUNDING)
        np.testing.assert_allclose(found[modality].attention, expected[modality].attention, atol=ROUNDING)
        vectors = models.pooled_vectors(expected[modality])
        np.testing.assert_allclose(found[modality].vectors, vectors, atol=ROUNDING)
        assert all(of.dtype == np.float32 for of in found[modality])
    (x, y) = expected.values()
    exact = co_attention_distances(x.parts, y.parts, x.attention, y.attention)
    np.testing.assert_allclose(numpy_encoder.distances(*found.values()), exact, atol=ROUNDING)


def test_many_rows_go_through_in_blocks(monkeypatch):
    weights, images = weights_of(trained_models.model(bank=True)), np.random.default_rng(0).normal(size=(7, 5))
    whole = numpy_encoder.encode(weights, images, "image")
    distances = numpy_encoder.distances(whole, whole)
    monkeypatch.setattr(numpy_encoder, "_BLOCK", 3)
    for one, other in zip(whole, numpy_encoder.encode(weights, images, "image"), strict=True):
        np.testing.assert_allclose(one, other, atol=ROUNDING)
    np.testing.assert_allclose(numpy_encoder.distances(whole, whole), distances, atol=ROUNDING)


def test_what_is_zero_has_no_direction():
    nothing = {name: jax.tree.map(np.zeros_like, of) for name, of in trained_models.model().parameters.items()}
    model = dataclasses.replace(trained_models.model(), parameters=nothing)
    items = numpy_encoder.encode(weights_of(model), np.ones((2, 5)), "image")
    assert not items.vectors.any() and (numpy_encoder.distances(items, items) == 1).all()
    assert not models.pooled_vectors(model.encode_images(np.ones((2, 5)))).any()


@pytest.mark.parametrize(
    ("features", "modality", "message"),
    [
        (np.ones((2, 4)), "image", r"image features must be finite numbers \[n, 5\], got \[2, 4\]"),
        (np.ones((0, 4)), "text", r"text features must be finite numbers \[n, 4\], got \[0, 4\]"),
        (np.full((2, 4), np.nan), "text", "text features must be finite"),
        (np.ones((2, 4)), "sound", "modality must be 'image' or 'text', got 'sound'"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, modality, message):
    with pytest.raises(ValueError, match=message):
        numpy_encoder.encode(weights_of(trained_models.model()), features, modality)


def test_it_needs_numpy_alone():
    tree = ast.parse(Path(numpy_encoder.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"numpy", "pathlib", "typing"}
