"""JRL against the paper's iteration, with inverses, items in columns and graphs from loops."""

import dataclasses

import numpy as np
import pytest
import scipy.spatial

from gpldan_jax.baselines import jrl
from tests.baselines.test_chance import CLASSES, average_map, splits
from tests.baselines.test_graphs import loop_graph

WEIGHTS = {"neighbours": 4, "sparsity": 3.0, "smoothness": 2.0, "correlation": 0.5, "fidelity": 1.5}


def problem():
    """12 labelled pairs, 5 more images and 7 more texts."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(17, 6)), rng.normal(size=(19, 4)), np.eye(3)[np.arange(12) % 3]


def laplacian(inputs, neighbours):
    graph = loop_graph(inputs, neighbours)
    root = np.diag(graph.sum(axis=1) ** -0.5)
    return np.eye(len(inputs)) - root @ graph @ root


def dense_iterations(images, texts, targets, iterations, *, neighbours, sparsity, smoothness, correlation, fidelity):
    n = len(targets)
    everything = [images.T, texts.T]
    labelled = [x[:, :n] for x in everything]
    smooth = [smoothness * x @ laplacian(x.T, neighbours) @ x.T for x in everything]
    projections = [
        np.linalg.inv(sparsity * np.eye(len(x)) + s + fidelity * x @ x.T) @ (fidelity * x @ targets)
        for x, s in zip(labelled, smooth, strict=True)
    ]
    for _ in range(iterations):
        for i in (0, 1):
            x, other, p = labelled[i], labelled[1 - i], projections[i]
            d = np.diag(1 / (2 * np.linalg.norm(p, axis=1)))
            inverse = np.linalg.inv(sparsity * d + smooth[i] + (correlation + fidelity) * x @ x.T)
            projections[i] = inverse @ (correlation * x @ other.T @ projections[1 - i] + fidelity * x @ targets)
    return projections


def objective(p, q, images, texts, targets, *, neighbours, sparsity, smoothness, correlation, fidelity):
    n = len(targets)
    x, z = images[:n] @ p, texts[:n] @ q
    value = correlation * np.linalg.norm(x - z) ** 2
    for projected, inputs, of in ((x, images, p), (z, texts, q)):
        value += fidelity * np.linalg.norm(projected - targets) ** 2
        value += smoothness * np.trace(of.T @ inputs.T @ laplacian(inputs, neighbours) @ inputs @ of)
        value += sparsity * sum(np.linalg.norm(row) for row in of)
    return value


@pytest.mark.parametrize("iterations", (0, 1, 4))
def test_it_is_the_papers_iteration(iterations):
    found = jrl.joint_projections(*problem(), iterations=iterations, tolerance=0.0, **WEIGHTS)
    expected = dense_iterations(*problem(), iterations, **WEIGHTS)
    np.testing.assert_allclose(found.image, expected[0], atol=1e-12)
    np.testing.assert_allclose(found.text, expected[1], atol=1e-12)
    assert len(found.objectives) == iterations + 1
    assert found.objectives[-1] == pytest.approx(objective(*expected, *problem(), **WEIGHTS), rel=1e-12)


def test_the_objective_never_grows_and_ends_at_its_minimum():
    found = jrl.joint_projections(*problem(), iterations=500, tolerance=0.0, **WEIGHTS)
    assert (np.diff(found.objectives) <= 1e-12).all()
    rng = np.random.default_rng(1)
    least = objective(found.image, found.text, *problem(), **WEIGHTS)
    for scale in (0.03, 0.3):
        for _ in range(20):
            p, q = (x + scale * rng.normal(size=x.shape) for x in (found.image, found.text))
            assert objective(p, q, *problem(), **WEIGHTS) > least


def test_it_stops_at_the_first_change_below_the_tolerance():
    everything = jrl.joint_projections(*problem(), iterations=20, tolerance=0.0, **WEIGHTS).objectives
    falls = -np.diff(everything) / everything[:-1]
    tolerance = (falls[1] + falls[2]) / 2
    assert falls[0] > tolerance
    found = jrl.joint_projections(*problem(), iterations=20, tolerance=tolerance, **WEIGHTS)
    assert found.objectives == everything[:4]


def test_a_large_sparsity_empties_all_rows_and_stays_finite():
    train, validation, test = splits()
    distances = jrl.fit(train, validation, None, seed=0, sparsity=1e6, iterations=200, tolerance=-1.0)
    found = distances(test.images, test.texts)
    np.testing.assert_array_equal(found, np.ones((100, 100)))


def test_distances_are_cosines_of_z_normalised_items_under_the_published_settings():
    train, validation, test = splits()
    image, text = (
        (np.concatenate([old, new]) - old.mean(axis=0)) / old.std(axis=0)
        for old, new in ((train.images, test.images[:40]), (train.texts, test.texts))
    )
    published = {"sparsity": 1000.0, "smoothness": 1000.0, "correlation": 1.0, "fidelity": 1.0, "neighbours": 100}
    targets = np.eye(CLASSES)[train.labels]
    p, q, objectives = jrl.joint_projections(image, text, targets, iterations=5, tolerance=0.02, **published)
    assert 2 < len(objectives) < 6  # iterations that the tolerance ended
    expected = scipy.spatial.distance.cdist(image[200:] @ p, text[200:] @ q, "cosine")
    found = jrl.fit(train, validation, None, seed=0)(test.images[:40], test.texts)
    np.testing.assert_allclose(found, expected, atol=1e-4)  # inputs are z-normalised in float32


def test_items_without_labels_matter():
    train, validation, test = splits()
    distances = jrl.fit(train, validation, None, seed=0)
    alone, together = distances(test.images[:9], test.texts[:7]), distances(test.images, test.texts)[:9, :7]
    assert alone.shape == (9, 7) and np.abs(alone - together).max() > 1e-3


@pytest.mark.parametrize("settings", jrl.METHODS[0].settings)
def test_it_beats_chance_by_far(settings):
    assert average_map(jrl.METHODS[0], **settings) > 3 / CLASSES


def test_what_it_cannot_use_is_refused():
    train, validation, _ = splits()
    with pytest.raises(ValueError, match="JRL needs the labels"):
        jrl.fit(dataclasses.replace(train, labels=None), validation, None, seed=0)
    with pytest.raises(ValueError, match="sparsity must be above 0, got 0"):
        jrl.joint_projections(*problem(), sparsity=0.0)
