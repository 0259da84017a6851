"""Queries outside the page, against the searches of the index, and the recall of two stages."""

import numpy as np
import pytest

from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.features import SourceNeededError
from gpldan_jax.index import Index
from gpldan_jax.serving.building import build_from_run
from gpldan_jax.serving.collection import encode_png
from gpldan_jax.serving.queries import ask, measure_recall
from tests.index import galleries

ROUNDING = 1e-6  # of the network, which rounds one input alone in another way than among others


def ids(answer):
    return [entry.id for entry in answer.entries]


def test_words_find_pictures(built):
    (answer,) = ask(built, "text", "Red heart xyzzy", k=3)
    emoji, index = load_emoji_arrays(), Index.load(built / "image")
    bag = np.array([[word in ("red", "heart") for word in emoji.vocabulary]], np.float32)
    expected = index.search(bag, 3)
    assert (answer.query, answer.unknown, answer.gallery, answer.total) == (
        "Red heart xyzzy",
        ("xyzzy",),
        "image",
        1870,
    )
    assert ids(answer) == expected.ids[0].tolist() and list(answer.distances) == expected.distances[0].tolist()
    assert answer.entries[0].fields.keys() == {"group", "split", "picture"}


def test_a_picture_finds_itself_and_words(built, tmp_path):
    (tmp_path / "mine.png").write_bytes(encode_png(load_emoji_pictures()[42]))
    (answer,) = ask(built, "picture", tmp_path / "mine.png", gallery="image")
    assert ids(answer)[0] == load_emoji_arrays().names[42] and answer.distances[0] < ROUNDING
    (answer,) = ask(built, "picture", tmp_path / "mine.png", k=2)
    assert answer.gallery == "text" and len(answer.entries) == 2


@pytest.mark.slow
def test_features_are_asked_row_by_row(tmp_path):
    index = galleries.index(20)
    index.save(tmp_path / "mine/image")
    queries = galleries.features(2, galleries.TEXT_DIM, seed=1)
    np.save(tmp_path / "texts.npy", queries)
    answers = ask(tmp_path / "mine", "features", tmp_path / "texts.npy", k=5)
    assert [ids(answer) for answer in answers] == index.search(queries, 5).ids.tolist()
    assert answers[1].query == f"{tmp_path / 'texts.npy'}, row 1"


def test_one_index_is_a_collection_and_numbers_are_ids(tmp_path):
    Index.build(galleries.model(), galleries.features(20), range(20), "image", folder=tmp_path / "image")
    (answer,) = ask(tmp_path / "image", "item", "7", gallery="image", k=20)
    # All but the item itself.
    assert answer.total == 19 and sorted(ids(answer)) == [number for number in range(20) if number != 7]


@pytest.mark.slow
def test_recall_is_measured_and_kept(workdir, tmp_path):
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    build_from_run(workdir, tmp_path, ["test"], candidates=True)
    report = measure_recall(tmp_path, [10, 370], queries=50)
    assert (report.gallery, report.total, report.queries) == ("image", 370, "texts of the collection")
    assert [recall.candidates for recall in report.recalls] == [10, 370]
    assert 0 < report.recalls[0].recall < report.recalls[1].recall == 1 and report.recalls[0].queries == 50
    assert Index.load(tmp_path / "image").candidates.recalls == report.recalls
    exact, candidates = (ask(tmp_path, "text", "cat", candidates=number)[0] for number in (None, 370))
    assert ids(exact) == ids(candidates) and exact.distances == candidates.distances
    np.save(tmp_path / "texts.npy", load_emoji_arrays().text[:9])
    report = measure_recall(tmp_path / "image", [20], features=tmp_path / "texts.npy", k=3)
    assert (report.queries, report.recalls[0].k, report.recalls[0].queries) == ("features", 3, 9)


def test_what_a_collection_lacks_is_said(tmp_path):
    galleries.index(3).save(tmp_path / "image")
    with pytest.raises(ValueError, match="has no texts to ask by; give features"):
        measure_recall(tmp_path, [2])
    with pytest.raises(ValueError, match="has no texts, only images; choose another gallery"):
        ask(tmp_path, "item", "item 1", gallery="text")
    with pytest.raises(ValueError, match="no item 'nobody'; the first is 'item 0'"):
        ask(tmp_path, "item", "nobody")
    with pytest.raises(ValueError, match=r"candidates need a vector index; make one with Index\.with_candidates"):
        ask(tmp_path, "item", "item 1", gallery="image", k=1, candidates=2)
    with pytest.raises(ValueError, match="it was trained on features from elsewhere; give features"):
        ask(tmp_path, "text", "cat")


def test_a_model_says_which_source_it_needs(tmp_path):
    made = {"image": {"extractor": "vgg19", "weights": {"sha256": "0" * 64}}}
    Index.build(galleries.model(features=made), galleries.features(1), ["a"], "image", folder=tmp_path / "image")
    with pytest.raises(SourceNeededError, match=r"give the file of its weights \(SHA-256 0000000000000000\.\.\.\)$"):
        ask(tmp_path, "picture", tmp_path / "a.png")
