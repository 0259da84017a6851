"""The search in two stages, and its measured recall."""

import numpy as np
import pytest

from tests.index import galleries


@pytest.mark.slow
def test_candidates_are_ranked_exactly_and_their_recall_is_measured():
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    n, texts = 300, galleries.features(20, galleries.TEXT_DIM, seed=1)
    index = galleries.index(n).with_candidates(seed=1)
    exact = index.search(texts, 10)
    everything = index.search(texts, 10, candidates=n)
    np.testing.assert_array_equal(everything.ids, exact.ids)
    np.testing.assert_array_equal(everything.distances, exact.distances)

    found = index.search(texts, 10, candidates=20)
    matrix = index.distances(texts)
    positions = np.vectorize(lambda id: int(id.split()[1]))(found.ids)
    np.testing.assert_array_equal(np.take_along_axis(matrix, positions, axis=1), found.distances)
    assert (np.diff(found.distances) >= 0).all()
    share = np.mean([np.isin(a, b).mean() for a, b in zip(exact.ids, found.ids, strict=True)])
    assert 0.3 < share < 1  # as much as its pooled vectors tell, which is less than all
    measured = index.with_recall(texts, 10, [20]).candidates.recalls
    assert [(of.k, of.candidates, of.queries) for of in measured] == [(10, 20, 20)]
    assert measured[0].recall == pytest.approx(share)
    again = index.with_recall(texts, 10, [20, n]).with_recall(texts, 10, [20]).candidates.recalls
    assert [(of.candidates, of.recall) for of in again] == [(n, 1), (20, measured[0].recall)]
    with pytest.raises(ValueError, match="candidates must be at least k = 10, got 5"):
        index.search(texts, 10, candidates=5)
    assert index.add(galleries.features(1), ["new"]).candidates is None


def test_a_vector_index_needs_faiss(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install 'gpldan_jax\[ann\]'"):
        galleries.index().with_candidates()
