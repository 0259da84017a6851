"""Neighbour graphs against loops over items."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from gpldan_jax.baselines import graphs
from gpldan_jax.data import PairedSplit


def loop_graph(inputs, neighbours):
    """The symmetric cosine kNN graph, item by item."""
    n = len(inputs)
    directed = np.zeros((n, n))
    for i in range(n):
        cosines = [inputs[i] @ x / (np.linalg.norm(inputs[i]) * np.linalg.norm(x)) for x in inputs]
        others = sorted((j for j in range(n) if j != i), key=lambda j: -cosines[j])
        for j in others[:neighbours]:
            directed[i, j] = max(cosines[j], 0)
    return (directed + directed.T) / 2


def points(n=23, d=3):
    return np.random.default_rng(2).normal(size=(n, d))


@pytest.mark.parametrize("neighbours", (1, 4, 20))
def test_the_graph_is_that_of_a_loop_also_in_blocks(neighbours, monkeypatch):
    expected = loop_graph(points(), neighbours)
    np.testing.assert_allclose(graphs.neighbour_graph(points(), neighbours), expected, atol=1e-12)
    monkeypatch.setattr(graphs, "_BLOCK_ELEMENTS", 5 * 23)
    np.testing.assert_allclose(graphs.neighbour_graph(points(), neighbours), expected, atol=1e-12)


def test_more_neighbours_than_items_are_all_items():
    np.testing.assert_allclose(graphs.neighbour_graph(points(), 100), loop_graph(points(), 22), atol=1e-12)


def test_a_zero_item_has_no_edges_and_divides_nothing_by_zero():
    inputs = points()
    inputs[4] = 0
    adjacency = graphs.normalised_adjacency(graphs.neighbour_graph(inputs, 3))
    assert np.isfinite(adjacency).all() and not adjacency[4].any()


def test_the_normalised_adjacency_has_the_roots_of_the_degrees_as_its_largest_eigenvector():
    graph = graphs.neighbour_graph(points(), 4)
    adjacency = graphs.normalised_adjacency(graph)
    roots = np.sqrt(graph.sum(axis=1))
    np.testing.assert_allclose(adjacency @ roots, roots, atol=1e-12)
    assert np.abs(np.linalg.eigvalsh(adjacency)).max() < 1 + 1e-12


def test_the_smoothness_matrix_is_the_sum_over_neighbours():
    inputs = points()
    graph = graphs.neighbour_graph(inputs, 4)
    graph[4] = graph[:, 4] = 0
    projection = np.random.default_rng(3).normal(size=(3, 2))
    degrees = graph.sum(axis=1)
    expected = 0.0
    for i, j in np.argwhere(graph > 0):
        step = inputs[i] @ projection / np.sqrt(degrees[i]) - inputs[j] @ projection / np.sqrt(degrees[j])
        expected += graph[i, j] * (step @ step) / 2
    found = np.trace(projection.T @ graphs.smoothness_matrix(inputs, graph) @ projection)
    assert found == pytest.approx(expected, rel=1e-12)


def test_items_are_scaled_by_the_training_items_alone():
    rng = np.random.default_rng(4)
    train = PairedSplit(rng.normal(2, 3, size=(30, 4)), rng.normal(-1, 2, size=(30, 2)))
    images, texts = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(6, 2)).astype(np.float32)
    found = graphs.with_training_items(train, images, texts)
    for ours, old, new in zip(found, (train.images, train.texts), (images, texts), strict=True):
        np.testing.assert_allclose(ours, StandardScaler().fit(old).transform(np.concatenate([old, new])), atol=1e-5)


@pytest.mark.parametrize(("n", "neighbours"), ((1, 3), (5, 0)))
def test_what_makes_no_graph_is_refused(n, neighbours):
    with pytest.raises(ValueError, match=f"got {n} and {neighbours}"):
        graphs.neighbour_graph(points(n), neighbours)
