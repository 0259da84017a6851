"""The exact search against the full matrix of distances."""

import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax.index import nearest as module
from gpldan_jax.index import scan
from gpldan_jax.index.gallery import EncodedBatch
from gpldan_jax.index.nearest import all_distances, nearest, nearest_among
from tests.index import galleries


def rank(queries, gallery, k, block_size, devices=1):
    mesh = training.data_mesh(devices) or scan.single_device_mesh()
    return nearest(queries, gallery, k, blocks=lambda: gallery.blocks(block_size), mesh=mesh)


def assert_is_ranking(found, matrix, k):
    order = np.argsort(matrix, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[0], np.take_along_axis(matrix, order, axis=1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", galleries.KINDS)
@pytest.mark.parametrize(("k_parts", "block_size"), [(1, 7), (2, 64), (4, 16)])
def test_search_is_the_ranking_by_the_full_matrix(kind, k_parts, block_size):
    queries = galleries.encoded_items(3, k_parts, kind=kind, seed=1)
    gallery = galleries.gallery(galleries.encoded_items(150, k_parts, kind=kind))
    matrix = all_distances(queries, gallery)
    for k in (1, 10, 150):
        assert_is_ranking(rank(queries, gallery, k, block_size), matrix, k)


@pytest.mark.slow
@pytest.mark.parametrize("devices", range(1, 9))
def test_search_is_the_same_on_any_number_of_devices(devices):
    queries = galleries.encoded_items(5, kind="repeated", seed=1)
    gallery = galleries.gallery(galleries.encoded_items(211, kind="repeated"))
    matrix = all_distances(queries, gallery)
    assert len(np.unique(matrix[0])) < 50  # there are ties
    for k in (4, 60):
        assert_is_ranking(rank(queries, gallery, k, 8 * devices, devices), matrix, k)


@pytest.mark.slow
def test_segments_count_on_and_padding_is_never_found():
    parts = [galleries.encoded_items(n, seed=n) for n in (5, 1, 40, 16)]
    queries = galleries.encoded_items(2, seed=1)
    gallery = galleries.gallery(*parts)
    whole = galleries.gallery(EncodedBatch(*(np.concatenate(of) for of in zip(*parts, strict=True))))
    matrix = all_distances(queries, whole)
    np.testing.assert_array_equal(all_distances(queries, gallery), matrix)
    for devices in (1, 2):
        assert_is_ranking(rank(queries, gallery, 62, 16, devices), matrix, 62)


@pytest.mark.slow
def test_more_queries_than_a_tile():
    queries = galleries.encoded_items(2 * scan.TILE + 3, seed=1)
    gallery = galleries.gallery(galleries.encoded_items(90))
    assert_is_ranking(rank(queries, gallery, 5, 32), all_distances(queries, gallery), 5)


@pytest.mark.slow
def test_more_ties_than_are_kept_are_in_the_order_of_the_gallery(monkeypatch):
    one = galleries.encoded_items(1)
    gallery = galleries.gallery(EncodedBatch(*(np.repeat(array, 500, axis=0) for array in one)))
    calls, rank_within = [], module._rank_within

    def count(*args):
        calls.append(args)
        return rank_within(*args)

    monkeypatch.setattr(module, "_rank_within", count)
    distances, positions = rank(galleries.encoded_items(2, seed=1), gallery, 20, 32)
    np.testing.assert_array_equal(positions, np.tile(np.arange(20), (2, 1)))
    assert (distances == distances[:, :1]).all()
    assert len(calls) == 1  # the second pass that such a gallery needs


@pytest.mark.slow
def test_the_nearest_among_some_positions():
    query, gallery = galleries.encoded_items(1, seed=1), galleries.gallery(galleries.encoded_items(40))
    matrix = all_distances(query, gallery)
    some = np.array([7, 30, 2, 9, 21])
    distances, positions = nearest_among(query, gallery, some, 3)
    expected = sorted(some.tolist(), key=lambda position: (matrix[0, position], position))[:3]
    assert positions.tolist() == expected
    np.testing.assert_array_equal(distances, matrix[0, expected])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_search_on_generated_galleries(seed):
    """Everything at once, drawn at random."""
    random = np.random.default_rng(seed)
    kinds = random.choice(galleries.KINDS, 2)
    sizes = random.integers(1, 120, 2)
    gallery = galleries.gallery(
        *(galleries.encoded_items(n, 2, kind=kind, seed=seed) for n, kind in zip(sizes, kinds, strict=True))
    )
    queries = galleries.encoded_items(4, 2, kind=random.choice(kinds), seed=seed + 100)
    devices, k = int(random.integers(1, 9)), int(random.integers(1, len(gallery) + 1))
    found = rank(queries, gallery, k, devices * int(random.integers(1, 40)), devices)
    assert_is_ranking(found, all_distances(queries, gallery), k)
