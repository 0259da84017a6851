"""The index as its users meet it: building, adding, searching, and what it refuses."""

import dataclasses

import jax
import numpy as np
import pytest

import gpldan_jax.index
from gpldan_jax import models, retrieval, training
from gpldan_jax.data import DataError
from gpldan_jax.index import EncodedBatch, Index
from tests.containers import NA, Column
from tests.index import galleries


@pytest.mark.slow
def test_distances_are_those_of_the_evaluation():
    index, model = galleries.index(), galleries.model()
    texts = galleries.features(4, galleries.TEXT_DIM, seed=1)
    expected = retrieval.retrieval_distances(
        model.projector,
        model.parameters,
        model.standardization.images(galleries.features(30)),
        model.standardization.texts(texts),
    ).T
    np.testing.assert_allclose(index.distances(texts), expected, atol=1e-6)  # that is computed in float32


@pytest.mark.slow
def test_a_bank_moves_the_items_when_they_come_in_and_the_queries(tmp_path):
    plain = galleries.model()
    images, texts = galleries.features(40, seed=5), galleries.features(40, galleries.TEXT_DIM, seed=6)
    scaled = plain.standardization.images(images), plain.standardization.texts(texts)
    pairs = models.choose_pairs(*scaled, pairs=40)
    bank = models.network_bank(plain.projector, plain.parameters, pairs, neighbours=3, weight=1.0)
    model = dataclasses.replace(plain, bank=bank)
    items, queries = galleries.features(30), galleries.features(4, galleries.TEXT_DIM, seed=1)
    index = Index.build(model, items[:20], list(range(20)), "image").add(items[20:], list(range(20, 30)))
    inputs = model.standardization.images(items), model.standardization.texts(queries)
    expected = retrieval.retrieval_distances(model.projector, model.parameters, *inputs, bank=bank).T
    np.testing.assert_allclose(index.distances(queries), expected, atol=1e-6)
    without = retrieval.retrieval_distances(model.projector, model.parameters, *inputs).T
    assert np.abs(expected - without).max() > 0.01
    # What the exact scan promises holds for moved items.
    found = index.search(queries, 30)
    np.testing.assert_array_equal(np.take_along_axis(index.distances(queries), found.ids, axis=1), found.distances)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index").search(queries, 30)
    np.testing.assert_array_equal(again.distances, found.distances)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_search_gives_the_ids_of_the_nearest(modality):
    index = galleries.index()
    queries = galleries.features(4, galleries.IMAGE_DIM if modality == "image" else galleries.TEXT_DIM, seed=1)
    matrix = index.distances(queries, modality=modality)
    order = np.argsort(matrix, axis=1, kind="stable")[:, :7]
    distances, ids = index.search(queries, 7, modality=modality)
    assert ids.tolist() == [[f"item {i}" for i in row] for row in order]
    np.testing.assert_array_equal(distances, np.take_along_axis(matrix, order, axis=1))


@pytest.mark.slow
def test_block_size_and_devices_change_nothing():
    index, texts = galleries.index(), galleries.features(3, galleries.TEXT_DIM, seed=1)
    expected = index.search(texts, 9)
    for block_size, devices in ((5, 1), (7, 2), (64, 8)):
        found = index.search(texts, 9, block_size=block_size, mesh=training.data_mesh(devices))
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.slow
def test_an_index_on_devices_finds_the_same():
    index, texts = galleries.index(), galleries.features(3, galleries.TEXT_DIM, seed=1)
    expected = index.search(texts, 9)
    for devices in (1, 4):
        placed = index.on_devices(training.data_mesh(devices), block_size=8)
        ((_, _, block), *_) = placed.device_blocks.blocks
        assert len(block.values.sharding.device_set) == devices
        for _ in range(2):
            found = placed.search(texts, 9)
            np.testing.assert_array_equal(found.ids, expected.ids)
            np.testing.assert_array_equal(found.distances, expected.distances)
    assert placed.add(galleries.features(1), ["new"]).device_blocks is None


def test_another_mesh_is_refused():
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    with pytest.raises(ValueError, match=r"one axis 'data', got axes \('x',\)"):
        galleries.index().search(galleries.features(3, galleries.TEXT_DIM), mesh=mesh)


def test_more_results_than_items_are_all_items():
    distances, ids = galleries.index(5).search(galleries.features(2, galleries.TEXT_DIM), 100)
    assert distances.shape == ids.shape == (2, 5)
    assert sorted(ids[0]) == [f"item {i}" for i in range(5)]


def test_an_item_is_nearest_to_itself():
    index = galleries.index()
    entry = index.entry("item 17")
    distances, ids = index.search(entry.encoded, 2)
    assert ids[0, 0] == "item 17" and distances[0, 0] == 0 < distances[0, 1]
    np.testing.assert_array_equal(index.search(index.encode(galleries.features(30)[17:18], "image"), 2).ids, ids)


def test_entries_have_their_fields_and_attention():
    index = galleries.index(3, fields={"group": ["a", "", "ü"]})
    assert [index.entry(f"item {i}").fields for i in range(3)] == [{"group": "a"}, {"group": ""}, {"group": "ü"}]
    model = galleries.model()
    scaled = model.standardization.images(galleries.features(3))
    expected = model.projector.apply({"params": model.parameters}, scaled, method="encode_image").attention
    np.testing.assert_allclose(index.entry("item 1").attention, expected[1], atol=1e-6)
    with pytest.raises(KeyError):
        index.entry("item 3")


@pytest.mark.parametrize("small", [0, 65_536])
def test_added_items_are_found_as_if_built_at_once(small, monkeypatch):
    monkeypatch.setattr("gpldan_jax.index.index._SMALL", small)
    whole, names = galleries.index(30, fields={"group": [str(i) for i in range(30)]}), [f"item {i}" for i in range(30)]
    index = galleries.index(10, fields={"group": [str(i) for i in range(10)]})
    for part in (slice(10, 11), slice(11, 30)):
        more = {"group": [str(i) for i in range(30)][part]}
        index = index.add(galleries.features(30)[part], names[part], fields=more)
    assert len(index) == 30 and len(index.gallery.segments) == (1 if small else 3)
    assert index.ids.tolist() == names and index.entry("item 12").fields == {"group": "12"}
    texts = galleries.features(3, galleries.TEXT_DIM, seed=1)
    found, expected = index.search(texts, 30), whole.search(texts, 30)
    np.testing.assert_array_equal(found.ids, expected.ids)


def test_whole_numbers_are_ids_too():
    index = Index.build(galleries.model(), galleries.features(4), range(100, 104), "image")
    assert index.search(galleries.features(1, galleries.TEXT_DIM), 4).ids.dtype == np.int64
    assert index.entry(101).id == 101


LARGE = [2**64 - 1, 2**63, 5, 0]


@pytest.mark.parametrize(
    ("ids", "dtype"),
    [
        (np.array(LARGE, np.uint64), "u8"),
        (LARGE, "u8"),
        (Column(LARGE), "u8"),
        (np.arange(4, dtype=np.uint64), "u8"),
        (np.arange(4, dtype=np.uint8), "i8"),
        ([-1, 2, 2**63 - 1, 0], "i8"),
        (Column(["a", "b", "ü", ""]), "U1"),
        (np.array(["a", "b", "c", "d"], object), "U1"),
        (np.array(["a", "b", "c", "d"], np.dtypes.StringDType()), "U1"),
    ],
)
@pytest.mark.parametrize("small", [0, 65_536])
def test_ids_come_back_as_they_were(ids, dtype, small, tmp_path, monkeypatch):
    monkeypatch.setattr("gpldan_jax.index.index._SMALL", small)
    plain, features = ids if isinstance(ids, list) else np.asarray(ids).tolist(), galleries.features(4)
    index = Index.build(galleries.model(), features[:3], plain[:3], "image")
    whole = Index.build(galleries.model(), features, ids, "image")
    index = index.add(features[3:], plain[3:])
    for of in (whole, index):
        of.save(tmp_path / "index")
        for found in (of, Index.load(tmp_path / "index")):
            assert found.ids.tolist() == plain
            ranked = found.search(galleries.features(1, galleries.TEXT_DIM), 4).ids
            assert sorted(ranked[0].tolist()) == sorted(plain)
            assert [found.entry(id).id for id in plain] == plain
    assert whole.ids.dtype == dtype and Index.load(tmp_path / "index").ids.dtype.kind in "Uiu"


def test_added_numbers_must_fit_into_the_type_of_the_ids():
    features, model = galleries.features(4), galleries.model()
    unsigned = Index.build(model, features[:2], np.array([2**64 - 1, 3], np.uint64), "image")
    more = unsigned.add(features[2:3], [4])
    assert more.ids.tolist() == [2**64 - 1, 3, 4] and more.ids.dtype == np.uint64
    with pytest.raises(ValueError, match="ids must fit into the type that the index has, uint64, got -4 to -4"):
        unsigned.add(features[2:3], [-4])
    with pytest.raises(ValueError, match=r"the index has, int64, got 9223372036854775808 to"):
        Index.build(model, features[:2], [1, 2], "image").add(features[2:3], [2**63])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ["a", 1, "b"]}, "ids must be all text or all numbers, got both"),
        ({"ids": [("a", 1), ("b", 2), ("c", 3)]}, "ids must be all text or all numbers, got both"),
        ({"ids": [frozenset("a"), frozenset("b"), 3]}, "ids must be numbers or text, got values of type frozenset"),
        ({"ids": Column(["a", None, "b"])}, "ids must have no missing values, row 1"),
        ({"ids": Column([1, NA, 3])}, "ids must have no missing values, row 1"),
        ({"ids": [1, 2, 2**64]}, r"ids must be whole numbers from -2\*\*63 to 2\*\*64 - 1, got larger ones"),
        ({"ids": 3}, "ids and features must be equally many, at least one, got none and 3"),
        ({"modality": "picture"}, "modality must be 'image' or 'text', got 'picture'"),
        ({"modality": "text"}, r"text features must be \[n, 6\], as the model's, got \[3, 10\]"),
        ({"features": np.ones(10)}, r"image features must be \[n, 10\], as the model's, got \[10\]"),
        ({"ids": ["a", "b"]}, "ids and features must be equally many, at least one, got 2 and 3"),
        ({"ids": ["a", "b", "a"]}, r"ids must be all different, 'a' comes 2 times"),
        ({"ids": [0.5, 1.5, 2.5]}, r"ids must be strings or whole numbers, \[n\], got float64 \[3\]"),
        ({"ids": [], "features": np.ones((0, 10))}, "got 0 and 0"),
        ({"fields": {"Group": ["a"] * 3}}, "names of fields must be lower-case letters, got 'Group'"),
        ({"fields": {"group": ["a"]}}, "field 'group' must be 3 strings, got 1 values"),
        ({"fields": {"group": ["a", 1, "b"]}}, "field 'group' must be 3 strings"),
        ({"features": np.array([[np.nan] * 10] * 3)}, "image features from row 0 on: expected finite"),
        ({"features": np.full((3, 10), 3.4e38, np.float32)}, "the output of the network for row 0 is not finite"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message, tmp_path):
    arguments = {"features": galleries.features(3), "ids": ["a", "b", "c"], "modality": "image"} | changes
    with pytest.raises(ValueError, match=message):
        Index.build(galleries.model(), **arguments)
    with pytest.raises(ValueError, match=message):
        Index.build(galleries.model(), **arguments, folder=tmp_path / "index")
    assert not any(path.suffix == ".npy" or path.name == "index.json" for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k and block_size must be whole numbers of at least 1, got 0 and"),
        ({"k": 1.5}, "got 1.5 and"),
        ({"block_size": 0}, "10 and 0"),
        ({"modality": "picture"}, "modality must be 'image' or 'text'"),
        ({"modality": "image"}, r"image features must be \[n, 10\], as the model's, got \[2, 6\]"),
        ({"candidates": 10}, "candidates need a vector index"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        galleries.index(12).search(galleries.features(2, galleries.TEXT_DIM), **options)


def test_no_queries_and_queries_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="queries must have at least one row"):
        galleries.index().search(np.ones((0, galleries.TEXT_DIM)))
    with pytest.raises(DataError, match="text features from row 0 on: expected finite"):
        galleries.index().search(np.full((1, galleries.TEXT_DIM), np.inf))


@pytest.mark.parametrize(
    ("ids", "fields", "message"),
    [
        (["item 3"], {"group": ["x"]}, "ids must be new, the index has 'item 3'"),
        (["new"], {}, r"fields must be those of the index, \['group'\], got \[\]"),
        ([7], {"group": ["x"]}, "ids must be of the kind the index has, <U6, got int64"),
    ],
)
def test_what_cannot_be_added_is_refused(ids, fields, message):
    index = galleries.index(5, fields={"group": ["a"] * 5})
    with pytest.raises(ValueError, match=message):
        index.add(galleries.features(1), ids, fields=fields)
    assert len(index) == 5


def test_queries_may_be_items_of_a_batch():
    index = galleries.index()
    items = index.encode(galleries.features(3, galleries.TEXT_DIM))
    assert isinstance(items, EncodedBatch) and all(isinstance(array, np.ndarray) for array in items)
    assert not isinstance(items.values, jax.Array)
    np.testing.assert_array_equal(
        index.search(items, 4).ids, index.search(galleries.features(3, galleries.TEXT_DIM), 4).ids
    )


@pytest.mark.parametrize(
    ("old", "new"), [("Index", "Index"), ("Items", "EncodedBatch"), ("Found", "SearchResult"), ("Recall", "Recall")]
)
def test_old_names_still_work_and_warn(old, new):
    with pytest.warns(DeprecationWarning, match=f"gpldan_jax.retrieval.{old} is now gpldan_jax.index.{new}"):
        assert getattr(retrieval, old) is getattr(gpldan_jax.index, new)


def test_the_index_can_be_imported_from_where_it_was():
    with pytest.warns(DeprecationWarning, match="is now gpldan_jax.index.Index"):
        from gpldan_jax.retrieval import Index as OldIndex
    assert OldIndex is Index


def test_old_methods_still_work_and_warn():
    index = galleries.index(2)
    with pytest.warns(DeprecationWarning, match=r"Index\.represent is now Index\.encode"):
        encoded = index.represent(galleries.features(1), "image")
    with pytest.warns(DeprecationWarning, match=r"Entry\.items is now Entry\.encoded"):
        items = index.entry("item 0").items
    np.testing.assert_array_equal(encoded.attention, items.attention)


def test_excluded_items_are_left_out_and_the_rest_is_as_before():
    images = galleries.index(30)
    queries = images.encode(np.random.default_rng(3).standard_normal((4, galleries.IMAGE_DIM)), "image")
    whole = images.search(queries, 30)
    exclude = ["item 3", None, ["item 0", "item 29", "item 0"], whole.ids[3, :5]]
    for found in (images.search(queries, 25, exclude=exclude), images.search(queries, 40, exclude=exclude)):
        assert found.ids.shape == (4, 25)
        for row, entry in enumerate(exclude):
            out = {entry} if isinstance(entry, str) else set(() if entry is None else entry)
            kept = [column for column, id in enumerate(whole.ids[row]) if id not in out][:25]
            assert found.ids[row].tolist() == whole.ids[row, kept].tolist()
            np.testing.assert_array_equal(found.distances[row], whole.distances[row, kept])


def test_an_image_does_not_find_itself_where_it_is_excluded():
    images = galleries.index(30)
    found = images.search(images.gallery.take(np.arange(30)), 1, exclude=images.ids)
    assert not (found.ids[:, 0] == images.ids).any()
    assert (images.search(images.gallery.take(np.arange(30)), 1).ids[:, 0] == images.ids).all()


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        (["nobody"], "exclude names 'nobody', which the index does not have"),
        (["item 0", "item 1"], "exclude must have an entry for each of the 1 queries, got 2 entries"),
        ("item 0", "an entry for each of the 1 queries, got a string"),
        ([[f"item {i}" for i in range(30)]], "exclude leaves none of the 30 items"),
    ],
)
def test_what_cannot_be_excluded_is_refused(exclude, message):
    images = galleries.index(30)
    with pytest.raises(ValueError, match=message):
        images.search(np.ones((1, galleries.TEXT_DIM)), exclude=exclude)


def test_removed_items_are_gone_and_may_come_again(tmp_path):
    features = np.random.default_rng(1).standard_normal((12, galleries.IMAGE_DIM))
    ids = [f"n{i}" for i in range(12)]
    whole = Index.build(galleries.model(), features, ids, "image", fields={"text": ids})
    less = whole.remove(["n3", "n10"])
    kept = [i for i in range(12) if i not in (3, 10)]
    assert less.ids.tolist() == [ids[i] for i in kept] and less.entry("n11").fields == {"text": "n11"}
    queries = np.random.default_rng(2).standard_normal((3, galleries.TEXT_DIM))
    rebuilt = Index.build(galleries.model(), features[kept], [ids[i] for i in kept], "image", fields={"text": ids[:10]})
    for found, expected in zip(less.search(queries, 5), rebuilt.search(queries, 5), strict=True):
        np.testing.assert_array_equal(found, expected)
    less.save(tmp_path / "less")
    assert Index.load(tmp_path / "less").ids.tolist() == less.ids.tolist()
    again = less.add(features[[3]], ["n3"], fields={"text": ["n3"]})
    assert len(again) == 11 and again.search(again.entry("n3").encoded, 1).ids[0, 0] == "n3"
    for wrong, message in ((["x"], "has no 'x'"), (ids, "all 12 items")):
        with pytest.raises(ValueError, match=message):
            whole.remove(wrong)


def test_upserted_items_are_replaced_or_added():
    random = np.random.default_rng(1)
    first, second = random.standard_normal((2, 6, galleries.IMAGE_DIM))
    images = Index.build(galleries.model(), first, [f"n{i}" for i in range(6)], "image")
    more = images.upsert(second[:3], ["n1", "new", "n5"])
    assert more.ids.tolist() == ["n0", "n2", "n3", "n4", "n1", "new", "n5"]
    expected = Index.build(galleries.model(), second[:1], ["n1"], "image").entry("n1").encoded
    for found, values in zip(more.entry("n1").encoded, expected, strict=True):
        np.testing.assert_allclose(found, values, atol=1e-6)  # a block of another size rounds otherwise
    assert images.upsert(second, images.ids).ids.tolist() == images.ids.tolist()  # all are replaced
    assert len(images.upsert(second[:1], ["new"])) == 7
    with pytest.raises(ValueError, match="fields must be those of the index"):
        images.upsert(second, images.ids, fields={"text": ["a"] * 6})


def test_strict_promotion_gives_the_same():
    queries = galleries.features(4, galleries.TEXT_DIM, seed=1)
    expected = galleries.index().search(queries, 3)
    with jax.numpy_dtype_promotion("strict"):
        found = galleries.index().search(queries, 3)
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(found.distances, expected.distances)
