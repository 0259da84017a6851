"""The bounds of the scan against exact distances."""

import pytest

from gpldan_jax.index import scan
from gpldan_jax.index.nearest import all_distances, nearest
from tests.index import galleries


@pytest.mark.slow
@pytest.mark.parametrize("kind", galleries.KINDS)
@pytest.mark.parametrize("k_parts", [1, 4])
def test_bounds_are_below_the_distances(kind, k_parts):
    queries = galleries.encoded_items(8, k_parts, kind=kind, seed=1)
    items = galleries.encoded_items(64, k_parts, kind=kind)
    ((first, bounds),) = scan.bounds_of_blocks(queries, [(0, 64, items)], scan.single_device_mesh())
    distances = all_distances(queries, galleries.gallery(items))
    assert first == 0 and (bounds <= distances).all()
    if kind == "normal":
        assert (distances - bounds).max() < 1e-2  # or everything would have to be measured


@pytest.mark.slow
def test_one_program_serves_galleries_of_any_size():
    queries, mesh = galleries.encoded_items(4, seed=1), scan.single_device_mesh()

    def rank(items):
        gallery = galleries.gallery(items)
        return nearest(queries, gallery, 3, blocks=lambda: gallery.blocks(32), mesh=mesh)

    rank(galleries.encoded_items(3))
    compiled = scan._scan._cache_size()
    for n in (31, 32, 33, 500):
        rank(galleries.encoded_items(n))
    assert scan._scan._cache_size() == compiled
