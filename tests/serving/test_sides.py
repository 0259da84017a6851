"""Queries of several sides, and filters, as clients of the page's interface meet them."""

import numpy as np
import pytest

from gpldan_jax import features
from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.data.paired import SPLITS
from gpldan_jax.index import Index
from gpldan_jax.serving.collection import Collection, encode_png
from gpldan_jax.serving.filters import Filters
from tests.serving import served

PICTURE = {"Content-Type": "image/png"}


def ranking(index, sides, weights, k, without=(), among=None):
    """Ids and scores by a plain loop: the weighted sum in float64, ties in the order of the index."""
    scores = sum(
        weight * index.distances(side)[0].astype(np.float64) for side, weight in zip(sides, weights, strict=True)
    )
    scores = scores.astype(np.float32)
    order = [row for row in np.argsort(scores, kind="stable") if among is None or among[row]]
    return [(index.ids[row], scores[row]) for row in order if index.ids[row] not in without][:k]


def scored(found):
    return [(result["id"], np.float32(result["score"])) for result in found["results"]]


def words(emoji, text):
    index = emoji.indexes["image"]
    return index.encode(features.extractor(index.model.metadata, "text")([text]))


@pytest.mark.slow
def test_several_sides_are_ranked_by_the_mean_of_their_distances_minus_half_of_the_unwanted(port, emoji):
    image, text = emoji.indexes["image"], emoji.indexes["text"]
    sides = [words(emoji, "red"), words(emoji, "heart"), image.entry("ogre").encoded, text.entry("fire").encoded]
    asked = {"words": ["red", "heart"], "image": "ogre", "not_text": "fire"}
    found = served.answer(port, "/api/search", **asked, k=30)
    assert scored(found) == ranking(image, sides, [1 / 3] * 3 + [-0.5], 30, without=["ogre"])
    assert (found["gallery"], found["total"], found["query"]["kind"]) == ("image", 1870, "several")
    assert [(side["kind"], side["wanted"]) for side in found["query"]["sides"]] == [
        ("words", True),
        ("words", True),
        ("item", True),
        ("item", False),
    ]
    two = served.answer(port, "/api/search", words="red", not_image=["ogre", "fire"], gallery="text", k=9)
    sides = [sides[0], sides[2], image.entry("fire").encoded]
    assert scored(two) == ranking(text, sides, [1, -0.25, -0.25], 9)


@pytest.mark.slow
def test_a_picture_and_words_are_asked_together(port, emoji):
    row = 500
    image = emoji.indexes["image"]
    seen = image.encode(load_emoji_arrays().image[row : row + 1], "image")
    path = "/api/search?words=red+heart&not_words=face&k=12"
    status, _, found = served.ask(port, path, "POST", encode_png(load_emoji_pictures()[row]), PICTURE)
    sides = [seen, words(emoji, "red heart"), words(emoji, "face")]
    assert status == 200 and scored(found) == ranking(image, sides, [0.5, 0.5, -0.5], 12)


def test_words_that_the_model_does_not_know_do_not_count(port):
    found = served.answer(port, "/api/search", words=["red", "xyzzy"], not_words="plugh")
    assert found["query"]["unknown"] == ["xyzzy", "plugh"] and found["query"]["known"]
    assert [side["weight"] for side in found["query"]["sides"]] == [1, 0, 0]
    single = served.answer(port, "/api/search", words="red")
    assert scored(found) == served.shown(single)
    nothing = served.answer(port, "/api/search", words="xyzzy", not_words="red")
    assert nothing["results"] == [] and not nothing["query"]["known"]


@pytest.mark.slow
def test_only_what_passes_the_filter_is_found_and_the_ranking_is_exact(port, emoji):
    data, index = load_emoji_arrays(), emoji.indexes["image"]
    group = data.groups[0]
    among = (np.array(data.label) == 0) & (np.array(data.split) == SPLITS.index("test"))
    found = served.answer(port, "/api/search", words="red heart", group=group, split="test", k=200)
    expected = ranking(index, [words(emoji, "red heart")], [1], 200, among=among)
    assert served.shown(found) == expected and found["total"] == among.sum() == len(found["results"])
    several = served.answer(port, "/api/search", words="red heart", not_image="ogre", group=group, k=20)
    sides = [words(emoji, "red heart"), index.entry("ogre").encoded]
    assert scored(several) == ranking(index, sides, [1, -0.5], 20, ["ogre"], among=np.array(data.label) == 0)
    name = data.names[list(data.label).index(0)]
    called = [served.answer(port, "/api/search", words=name, group=of)["exact"] for of in data.groups[:2]]
    assert [[item["id"] for item in items] for items in called] == [[name], []]


def test_filters_have_their_counts(port):
    data, filters = load_emoji_arrays(), served.answer(port, "/api/about")["filters"]
    assert list(filters["image"]["split"]) == list(SPLITS)
    for modality in ("image", "text"):
        assert sum(filters[modality]["group"].values()) == sum(filters[modality]["split"].values()) == 1870
        assert filters[modality]["group"][data.groups[2]] == (np.array(data.label) == 2).sum()


@pytest.mark.slow
def test_an_item_alone_in_its_class_finds_nothing_there():
    fields = {"group": ["a", "a", "b", ""], "split": [""] * 4}
    image = Index.build(served.model(), np.eye(4, 1952, dtype=np.float32), list("wxyz"), "image", fields=fields)
    text = Index.build(
        served.model(), np.eye(4, 952, dtype=np.float32), list("wxyz"), "text", fields={"group": ["c"] * 4}
    )
    collection = Collection({"image": image, "text": text})
    assert Filters.of(collection.indexes).counts == {"image": {"group": {"a": 2, "b": 1}}, "text": {"group": {"c": 4}}}
    alone = collection.search(collection.by_item("image", "y"), "image", 5, {"group": "b"})
    assert (alone["results"], alone["total"]) == ([], 1)
    other = collection.search(collection.by_item("image", "w"), "image", 5, {"group": "a"})
    assert [result["id"] for result in other["results"]] == ["x"]
    assert collection.search(collection.by_item("image", "y"), "text", 5, {"group": "b"})["results"] == []
    with pytest.raises(ValueError, match="no item has the split 'test'"):
        collection.search(collection.by_item("image", "y"), "text", 5, {"split": "test"})
