"""The exact search against the full matrix of distances, and that against loops over Eq. 2-5."""

import itertools

import jax
import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax.index import nearest as module
from gpldan_jax.index import scan
from gpldan_jax.index.gallery import EncodedBatch, exact_distances
from gpldan_jax.index.nearest import all_distances, nearest, nearest_of
from tests.index import galleries

ROUNDING = 1e-6  # of parts in float32, from which values are made in float32; of distances near 0, their square root


@pytest.fixture(autouse=True)
def quick(quick_compilation):
    pass


def searched(queries, gallery, k, block_size, devices=1):
    mesh = training.data_mesh(devices) or scan.one_device()
    return nearest(queries, gallery, k, blocks=lambda: gallery.blocks(block_size), mesh=mesh)


def assert_is_ranking(found, matrix, k):
    order = np.argsort(matrix, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[0], np.take_along_axis(matrix, order, axis=1))


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


@pytest.mark.parametrize("kind", galleries.KINDS)
@pytest.mark.parametrize(("k_parts", "block_size"), [(1, 7), (2, 64), (4, 16)])
def test_search_is_the_ranking_by_the_full_matrix(kind, k_parts, block_size):
    queries = galleries.items(3, k_parts, kind=kind, seed=1)
    gallery = galleries.gallery(galleries.items(150, k_parts, kind=kind))
    matrix = all_distances(queries, gallery)
    for k in (1, 10, 150):
        assert_is_ranking(searched(queries, gallery, k, block_size), matrix, k)


@pytest.mark.parametrize("devices", range(1, 9))
def test_search_is_the_same_on_any_number_of_devices(devices):
    queries = galleries.items(5, kind="repeated", seed=1)
    gallery = galleries.gallery(galleries.items(211, kind="repeated"))
    matrix = all_distances(queries, gallery)
    assert len(np.unique(matrix[0])) < 50  # there are ties
    for k in (4, 60):
        assert_is_ranking(searched(queries, gallery, k, 8 * devices, devices), matrix, k)


def test_segments_count_on_and_padding_is_never_found():
    parts = [galleries.items(n, seed=n) for n in (5, 1, 40, 16)]
    queries = galleries.items(2, seed=1)
    gallery = galleries.gallery(*parts)
    whole = galleries.gallery(EncodedBatch(*(np.concatenate(of) for of in zip(*parts, strict=True))))
    matrix = all_distances(queries, whole)
    np.testing.assert_array_equal(all_distances(queries, gallery), matrix)
    for devices in (1, 2):
        assert_is_ranking(searched(queries, gallery, 62, 16, devices), matrix, 62)


def test_more_queries_than_a_tile():
    queries = galleries.items(2 * scan.TILE + 3, seed=1)
    gallery = galleries.gallery(galleries.items(90))
    assert_is_ranking(searched(queries, gallery, 5, 32), all_distances(queries, gallery), 5)


@pytest.mark.parametrize("kind", galleries.KINDS)
@pytest.mark.parametrize("k_parts", [1, 4])
def test_bounds_are_below_the_distances(kind, k_parts):
    queries = galleries.items(8, k_parts, kind=kind, seed=1)
    items = galleries.items(64, k_parts, kind=kind)
    ((first, bounds),) = scan.bounds_of_blocks(queries, [(0, 64, items)], scan.one_device())
    distances = all_distances(queries, galleries.gallery(items))
    assert first == 0 and (bounds <= distances).all()
    if kind == "normal":
        assert (distances - bounds).max() < 1e-2  # or everything would have to be measured


def test_more_ties_than_are_kept_are_in_the_order_of_the_gallery(monkeypatch):
    one = galleries.items(1)
    gallery = galleries.gallery(EncodedBatch(*(np.repeat(array, 500, axis=0) for array in one)))
    limits = []
    within = module._within
    monkeypatch.setattr(module, "_within", lambda *args, **kwargs: limits.append(args[1]) or within(*args, **kwargs))
    distances, positions = searched(galleries.items(2, seed=1), gallery, 20, 32)
    np.testing.assert_array_equal(positions, np.tile(np.arange(20), (2, 1)))
    assert (distances == distances[:, :1]).all()
    assert len(limits) == 1  # the second pass that such a gallery needs


def test_one_program_serves_galleries_of_any_size():
    queries = galleries.items(4, seed=1)
    searched(queries, galleries.gallery(galleries.items(3)), 3, 32)
    compiled = scan._scan._cache_size()
    for n in (31, 32, 33, 500):
        searched(queries, galleries.gallery(galleries.items(n)), 3, 32)
    assert scan._scan._cache_size() == compiled


def test_the_nearest_of_some_positions():
    query, gallery = galleries.items(1, seed=1), galleries.gallery(galleries.items(40))
    matrix = all_distances(query, gallery)
    some = np.array([7, 30, 2, 9, 21])
    distances, positions = nearest_of(query, gallery, some, 3)
    expected = sorted(some.tolist(), key=lambda position: (matrix[0, position], position))[:3]
    assert positions.tolist() == expected
    np.testing.assert_array_equal(distances, matrix[0, expected])


@pytest.mark.parametrize("seed", range(6))
def test_search_on_generated_galleries(seed):
    """Everything at once, drawn at random."""
    random = np.random.default_rng(seed)
    kinds = random.choice(galleries.KINDS, 2)
    sizes = random.integers(1, 120, 2)
    gallery = galleries.gallery(
        *(galleries.items(n, 2, kind=kind, seed=seed) for n, kind in zip(sizes, kinds, strict=True))
    )
    queries = galleries.items(4, 2, kind=random.choice(kinds), seed=seed + 100)
    devices, k = int(random.integers(1, 9)), int(random.integers(1, len(gallery) + 1))
    found = searched(queries, gallery, k, devices * int(random.integers(1, 40)), devices)
    assert_is_ranking(found, all_distances(queries, gallery), k)


def test_items_keep_the_distances_of_the_model():
    """Values are the parts up to a power of two: the distances are those of the package's other path."""
    from gpldan_jax.losses import co_attention_distances

    random = np.random.default_rng(0)
    parts = random.standard_normal((2, 6, 4, 8)).astype(np.float32) * 1e3
    attention = random.dirichlet(np.ones(4), (2, 6)).astype(np.float32)
    from gpldan_jax.index.gallery import items_of
    from gpldan_jax.models import Representation

    x, y = (
        EncodedBatch(*map(np.asarray, items_of(Representation(None, jax.numpy.asarray(p), jax.numpy.asarray(a)))))
        for p, a in zip(parts, attention, strict=True)
    )
    assert np.abs(x.values).max() < 1
    expected = co_attention_distances(parts[0], parts[1], attention[0], attention[1])
    np.testing.assert_allclose(all_distances(x, galleries.gallery(y)), expected, atol=ROUNDING)


def test_products_are_those_of_the_values():
    items = galleries.items(3, 3, 5)
    values = items.values.reshape(3, 3, 5).astype(float)
    for column, (a, b) in enumerate(itertools.combinations_with_replacement(range(3), 2)):
        np.testing.assert_allclose(
            items.products[:, column], (values[:, a] * values[:, b]).sum(1), rtol=1e-5, atol=1e-6
        )
