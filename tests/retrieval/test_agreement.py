"""The agreement with neighbourhoods against plain loops."""

import numpy as np
import pytest

from gpldan_jax import retrieval
from gpldan_jax.data import PairedSplit

RNG = np.random.default_rng(0)


def split(n, seed=0, **options):
    rng = np.random.default_rng(seed)
    return PairedSplit(rng.normal(size=(n, 6)) + 1, rng.normal(size=(n, 4)), **options)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def relevance_by_loops(pairs, known, m):
    weights = np.zeros((len(pairs), len(known)))
    for i in range(len(pairs)):
        similarity = np.zeros(len(known))
        for name in ("images", "texts"):
            center = getattr(known, name).astype(np.float64).mean(0)
            rows = unit(getattr(known, name) - center)
            similarity += rows @ unit(getattr(pairs, name)[i] - center) / 2
        for j in np.argsort(-similarity)[:m]:
            weights[i, j] = max(similarity[j], 0)
        weights[i] /= np.linalg.norm(weights[i])
    return weights @ weights.T


@pytest.mark.parametrize("m", [3, 20, 500])
def test_relevance_is_that_of_plain_loops(m):
    pairs, known = split(13), split(40, seed=1)
    found = retrieval.neighbourhood_relevance(pairs, known, neighbours=m)
    expected = relevance_by_loops(pairs, known, min(m, 40))
    np.testing.assert_allclose(found(slice(0, 13)), expected, atol=1e-5)
    np.testing.assert_allclose(found(slice(5, 7)), expected[5:7], atol=1e-5)


def test_agreement_is_ndcg_of_both_directions():
    pairs, known = split(60), split(80, seed=1)
    relevance = retrieval.neighbourhood_relevance(pairs, known)
    distances = RNG.random((60, 60))
    found = retrieval.agreement(distances, relevance)
    gains = relevance_by_loops(pairs, known, 20)
    for direction, matrix, of in (("image_to_text", distances, gains), ("text_to_image", distances.T, gains.T)):
        values = []
        for row, gain in zip(matrix, of, strict=True):
            discounts = 1 / np.log2(np.arange(2, 52))
            order = np.argsort(row)[:50]
            values.append((gain[order] * discounts).sum() / (np.sort(gain)[::-1][:50] * discounts).sum())
        assert found[direction] == pytest.approx(np.mean(values), abs=1e-5)
    assert found["average"] == (found["image_to_text"] + found["text_to_image"]) / 2


def test_the_best_order_agrees_wholly_and_a_random_one_does_not():
    pairs, known = split(60), split(80, seed=1)
    relevance = retrieval.neighbourhood_relevance(pairs, known)
    assert retrieval.agreement(-relevance(slice(0, 60)), relevance)["average"] == pytest.approx(1)
    assert retrieval.agreement(RNG.random((60, 60)), relevance)["average"] < 0.9


def test_of_groups_the_different_images_and_texts_count():
    images = RNG.normal(size=(6, 5))[[0, 0, 1, 2, 3, 4]]
    pairs = PairedSplit(images, RNG.normal(size=(6, 4)), groups=[0, 0, 1, 2, 3, 4])
    relevance = retrieval.neighbourhood_relevance(pairs, split_like(images.shape[1], 4))
    assert relevance(slice(0, 5)).shape == (5, 6)


def split_like(d_i, d_t, n=30):
    return PairedSplit(RNG.normal(size=(n, d_i)), RNG.normal(size=(n, d_t)))
