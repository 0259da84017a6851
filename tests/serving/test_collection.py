"""Collections of other models than those of the emoji."""

import numpy as np
import pytest

from gpldan_jax.index import Index
from gpldan_jax.serving.collection import Collection
from tests.serving.served import answer, ask, indexes, model, serving, shown


@pytest.mark.slow
def test_a_model_of_features_from_elsewhere_is_asked_by_its_items(tmp_path):
    index = Index.build(model(dataset="mine", features=None), np.eye(3, 1952, dtype=np.float32), [7, 8, 9], "image")
    index.save(tmp_path)
    with serving(Collection.load(tmp_path)) as port:
        about = answer(port, "/api/about")
        assert about["asks"] == {"words": False, "picture": False} and about["galleries"] == {"image": 3}
        assert (
            not about["pictures"]
            and not about["phrases"]
            and [item["id"] for item in about["shelf"]] == ["7", "8", "9"]
        )
        assert [id for id, _ in shown(answer(port, "/api/search", image="8"))] in (["7", "9"], ["9", "7"])
        for path, method in [
            ("/api/search?words=red", "GET"),
            ("/api/search?image=8&gallery=text", "GET"),
            ("/api/search", "POST"),
        ]:
            status, _, content = ask(
                port, path, method, b"x" if method == "POST" else None, {"Content-Type": "image/png"}
            )
            assert status == 400 and ("cannot read" in content["error"] or "has no texts" in content["error"])


@pytest.mark.slow
def test_a_model_whose_texts_went_through_a_function_of_its_user_is_served(tmp_path):
    made = {"image": {"extractor": "hog_hsv"}, "text": {"extractor": "mine:encode"}}
    index = Index.build(model(dataset="mine", features=made), np.eye(3, 1952, dtype=np.float32), [7, 8, 9], "image")
    index.save(tmp_path)
    with serving(Collection.load(tmp_path)) as port:
        assert answer(port, "/api/about")["asks"] == {"words": False, "picture": True}
    with pytest.raises(ValueError, match=r"the extractor hog_hsv needs no file, got x\.pth"):
        Collection.load(tmp_path, {"image": "x.pth"})


def test_a_collection_of_before_says_that_it_has_no_pictures(tmp_path):
    old = indexes(sprite=[str(row) for row in range(1870)])
    old["image"].save(tmp_path / "image")
    with pytest.warns(UserWarning, match="was built by an older version and shows no pictures; build it again"):
        assert Collection.load(tmp_path).pictures is None


def test_indexes_of_different_models_are_no_collection(tmp_path):
    indexes()["image"].save(tmp_path / "image")
    indexes(model(seed=1))["text"].save(tmp_path / "text")
    with pytest.raises(ValueError, match="different models"):
        Collection.load(tmp_path)


@pytest.mark.slow
def test_a_large_collection_ranks_the_candidates_of_a_vector_index(tmp_path):
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    exact = Collection(indexes())
    with_vectors = {name: index.with_candidates() for name, index in exact.indexes.items()}
    query = exact.by_item("text", "red heart")
    every = exact.search(query, "image", 50)["results"]
    assert Collection(with_vectors, candidates=1870).search(query, "image", 50)["results"] == every
    few = Collection(with_vectors, candidates=200).search(query, "image", 200)["results"]
    assert len({item["id"] for item in few} & {item["id"] for item in every}) > 25  # most of the 50
    assert [item["distance"] for item in few] == sorted(item["distance"] for item in few)
    for name, index in exact.indexes.items():
        index.save(tmp_path / name)
    with pytest.raises(ValueError, match="that of the images has none; make one with"):
        Collection.load(tmp_path, candidates=500)
    with pytest.raises(ValueError, match="candidates must be at least 200, the most results of a search, got 50"):
        Collection.load(tmp_path, candidates=50)
