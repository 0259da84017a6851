"""CMCP against the paper's two propagations of a dense matrix of all images by all texts."""

import dataclasses

import numpy as np
import pytest

from gpldan_jax.baselines import cmcp
from tests.baselines.test_chance import CLASSES, average_map, splits
from tests.baselines.test_graphs import loop_graph


def published(query, gallery, labels, neighbours, alpha):
    """Correlations of given queries (rows) with the gallery: Y filled in pair by pair, queries propagated first."""
    n = len(labels)
    y = np.zeros((len(query), len(gallery)))
    for i in range(n):
        for j in range(n):
            same = np.sum(labels == labels[j])
            y[i, j] = 1 / same if labels[i] == labels[j] else -1 / (n - same)
    for inputs, axis in ((query, 0), (gallery, 1)):
        graph = loop_graph(inputs, neighbours)
        degrees = np.diag(graph.sum(axis=1) ** -0.5)
        spread = (1 - alpha) * np.linalg.inv(np.eye(len(inputs)) - alpha * degrees @ graph @ degrees)
        y = spread @ y if axis == 0 else y @ spread
    return y[n:, n:]


def items(labels):
    rng = np.random.default_rng(0)
    n = len(labels)
    return rng.normal(size=(n + 4, 5)), rng.normal(size=(n + 6, 3))


def test_balanced_classes_give_the_papers_matrix_in_both_directions():
    labels = np.array([0, 1, 2] * 5)
    images, texts = items(labels)
    found = cmcp.propagated_correlations(images, texts, labels, neighbours=4, alpha=0.6)
    assert found.shape == (4, 6)
    np.testing.assert_allclose(found, published(images, texts, labels, 4, 0.6), atol=1e-14)
    np.testing.assert_allclose(found.T, published(texts, images, labels, 4, 0.6), atol=1e-14)


def test_unbalanced_classes_give_the_mean_of_both_directions():
    labels = np.array([7] * 3 + [2] * 9 + [5] * 4)  # in no order, and not from 0 on
    images, texts = items(labels)
    found = cmcp.propagated_correlations(images, texts, labels, neighbours=3, alpha=0.9)
    of_images, of_texts = published(images, texts, labels, 3, 0.9), published(texts, images, labels, 3, 0.9).T
    assert np.abs(of_images - of_texts).max() > 1e-4
    np.testing.assert_allclose(found, (of_images + of_texts) / 2, atol=1e-14)


@pytest.mark.slow
def test_distances_are_of_z_normalised_items_and_the_published_settings():
    train, validation, test = splits()
    images, texts = test.images[:20], test.texts[:30]
    found = cmcp.fit(train, validation, None, seed=0)(images, texts)
    image, text = (
        (np.concatenate([old, new]) - old.mean(axis=0)) / old.std(axis=0)
        for old, new in ((train.images, images), (train.texts, texts))
    )
    expected = -published(image, text, train.labels, 30, 0.6)  # 200 pairs, 40 of each class
    # Inputs are z-normalised in float32; correlations are of the order of 1e-4.
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_one_class_correlates_positively_with_itself():
    np.testing.assert_array_equal(cmcp.class_correlations(np.array([4])), [[0.25]])


@pytest.mark.parametrize("settings", cmcp.METHODS[0].settings)
def test_it_beats_chance_by_far(settings):
    assert average_map(cmcp.METHODS[0], **settings) > 3 / CLASSES


def test_what_it_cannot_use_is_refused():
    train, validation, _ = splits()
    with pytest.raises(ValueError, match="CMCP needs the labels"):
        cmcp.fit(dataclasses.replace(train, labels=None), validation, None, seed=0)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\), got 1"):
        cmcp.fit(train, validation, None, seed=0, alpha=1.0)(train.images, train.texts)
