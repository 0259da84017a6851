"""A query of several sides, and a search among some of the items, against plain loops in float64."""

import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax.index import EncodedBatch, scan
from gpldan_jax.index.nearest import all_distances, nearest
from tests.index import galleries


def scores_of(queries, gallery, weights):
    """The definition: a sum over the sides, in float64, rounded to float32."""
    scores = np.zeros(len(gallery))
    for weight, distances in zip(weights, all_distances(queries, gallery).astype(np.float64), strict=True):
        scores += weight * distances
    return scores.astype(np.float32)


def assert_ranks(found, scores, positions, k):
    order = positions[np.lexsort((positions, scores[positions]))][:k]
    np.testing.assert_array_equal(found[1], [order])
    np.testing.assert_array_equal(found[0], [scores[order]])


@pytest.mark.slow
@pytest.mark.parametrize("kind", galleries.KINDS)
def test_a_query_of_several_sides_is_ranked_by_its_weighted_sum(kind):
    weights = np.array([0.5, 0.5, -0.25, -0.25, 0.1])
    queries = galleries.encoded_items(5, kind=kind, seed=1)
    gallery = galleries.gallery(galleries.encoded_items(150, kind=kind))
    scores, some = scores_of(queries, gallery, weights), np.arange(150) % 3 == 1
    for devices, block_size in ((1, 16), (2, 64)):
        mesh = training.data_mesh(devices) or scan.single_device_mesh()
        for k, among in ((10, None), (150, None), (50, some)):
            found = nearest(
                queries,
                gallery,
                k,
                blocks=lambda size=block_size: gallery.blocks(size),
                mesh=mesh,
                weights=weights,
                among=among,
            )
            assert_ranks(found, scores, np.arange(150) if among is None else np.flatnonzero(some), k)


@pytest.mark.slow
@pytest.mark.parametrize("kind", galleries.KINDS)
def test_bounds_of_a_weighted_sum_are_below_it(kind):
    queries, weights = galleries.encoded_items(4, kind=kind, seed=1), np.float32([0.7, -1.5, 0, -0.2])
    items = galleries.encoded_items(64, kind=kind)
    ((_, bounds),) = scan.bounds_of_blocks(queries, [(0, 64, items)], scan.single_device_mesh(), weights)
    scores = scores_of(queries, galleries.gallery(items), weights.astype(np.float64))
    assert bounds.shape == (1, 64) and (bounds[0] <= scores).all()
    if kind == "normal":
        assert (scores - bounds).max() < 2e-2  # or everything would have to be measured


@pytest.mark.slow
def test_more_ties_than_are_kept_are_in_the_order_of_the_items_that_may_be_found():
    one = galleries.encoded_items(1)
    gallery = galleries.gallery(EncodedBatch(*(np.repeat(array, 500, axis=0) for array in one)))
    queries, weights, among = galleries.encoded_items(2, seed=1), np.array([1, -0.5]), np.arange(500) % 2 == 1
    mesh = scan.single_device_mesh()
    found = nearest(queries, gallery, 20, blocks=lambda: gallery.blocks(32), mesh=mesh, weights=weights, among=among)
    np.testing.assert_array_equal(found[1], [np.arange(20) * 2 + 1])
    found = nearest(queries, gallery, 20, blocks=lambda: gallery.blocks(32), mesh=mesh, among=among)
    np.testing.assert_array_equal(found[1], [np.arange(20) * 2 + 1] * 2)


@pytest.mark.slow
def test_an_index_finds_only_what_it_may():
    index, texts = galleries.index(200), galleries.features(3, galleries.TEXT_DIM, seed=1)
    matrix, among = index.distances(texts), np.random.default_rng(0).random(200) < 0.1
    distances, ids = index.search(texts, 7, among=among)
    for row in range(3):
        order = sorted(np.flatnonzero(among), key=lambda position: matrix[row, position])[:7]
        assert ids[row].tolist() == [f"item {position}" for position in order]
        np.testing.assert_array_equal(distances[row], matrix[row, order])
    assert index.search(texts, 1000, among=among).ids.shape == (3, among.sum())  # all that may be found
    placed = index.on_devices(training.data_mesh(2), block_size=8).search(texts, 7, among=among)
    np.testing.assert_array_equal(placed.ids, ids)


@pytest.mark.slow
def test_an_excluded_item_counts_only_where_it_may_be_found():
    index = galleries.index(30)
    among = np.arange(30) < 5
    query = index.entry("item 2").encoded
    inside = index.search(query, 30, among=among, exclude=["item 2"])
    assert sorted(inside.ids[0]) == ["item 0", "item 1", "item 3", "item 4"]
    outside = index.search(query, 30, among=among, exclude=["item 20"])
    assert sorted(outside.ids[0]) == [f"item {i}" for i in range(5)]
    both = index.encode(galleries.features(30)[2:4], "image")
    left = index.search(both, 30, among=among, weights=[1, 1], exclude=[["item 2", "item 3"]])
    assert sorted(left.ids[0]) == ["item 0", "item 1", "item 4"]


@pytest.mark.slow
def test_candidates_of_several_sides_are_those_of_all_that_are_wanted():
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    n, weights = 300, [0.5, 0.5, -0.5]
    index = galleries.index(n).with_candidates(seed=1)
    queries = index.encode(galleries.features(3, galleries.TEXT_DIM, seed=1))
    scores = scores_of(queries, index.gallery, weights)
    exact = index.search(queries, 10, weights=weights)
    everything = index.search(queries, 10, weights=weights, candidates=n)
    np.testing.assert_array_equal(everything.ids, exact.ids)
    np.testing.assert_array_equal(everything.distances, exact.distances)
    wanted = EncodedBatch(*(array[:2] for array in queries))
    proposed = np.unique(np.concatenate(index.candidates.search(wanted, 20)))
    found = index.search(queries, 10, weights=weights, candidates=20)
    positions = [int(id.split()[1]) for id in found.ids[0]]
    assert positions == sorted(proposed, key=lambda position: scores[position])[:10]


@pytest.mark.slow
@pytest.mark.parametrize("passing", [0.05, 0.5])
def test_candidates_are_the_nearest_of_what_may_be_found(passing):
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    index = galleries.index(600).with_candidates(seed=1)
    queries = index.encode(galleries.features(4, galleries.TEXT_DIM, seed=1))
    among = np.random.default_rng(0).random(600) < passing
    proposed = index.candidates.search(queries, 60, among)
    assert all(among[positions].all() and len(positions) == min(60, among.sum()) for positions in proposed)
    found = index.search(queries, 20, among=among, candidates=60)
    assert all(among[int(id.split()[1])] for id in found.ids.ravel())
    if among.sum() <= 60:
        np.testing.assert_array_equal(found.ids, index.search(queries, 20, among=among).ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1]}, r"weights must be one for each of the 3 queries, at most 64, got \(1,\)"),
        ({"weights": [1, np.nan, 1]}, "weights must be finite"),
        ({"weights": [0, 0, 0]}, "not all 0"),
        ({"among": [True]}, r"among must be \[30\] bool, one for each item, got \[1\] bool"),
        ({"among": np.arange(30)}, r"got \[30\] int64"),
        ({"among": np.zeros(30, bool)}, "true for one item at least"),
        ({"among": np.arange(30) == 3, "exclude": ["item 3"] * 3}, "exclude leaves none"),
        ({"weights": [1, 1, 1], "exclude": [None] * 3}, "an entry for each of the 1 queries"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        galleries.index(30).search(galleries.features(3, galleries.TEXT_DIM), **options)
