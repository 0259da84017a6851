"""The figures against trec_eval, through ir_measures: relevance of groups and of several labels, exclusion, depths."""

import numpy as np
import pytest

from gpldan_jax import retrieval

ir_measures = pytest.importorskip("ir_measures", reason="ir_measures is not installed: pip install ir-measures")

ROUNDING = 1e-5  # pytrec_eval keeps scores in float32 and prints rounded figures


def case(q=40, g=90, seed=0):
    """Distances without ties, several labels (some items without any), and a column to leave out for each query."""
    random = np.random.default_rng(seed)
    distances = random.permutation(q * g).reshape(q, g) / (q * g)
    query_labels, gallery_labels = random.random((q, 5)) < 0.3, random.random((g, 5)) < 0.3
    query_labels[3], gallery_labels[[5, 6]] = False, False
    return distances, query_labels, gallery_labels, random.integers(0, g, q)


def measured(measure, distances, gains, excluded=None):
    """The mean of a measure over queries with at least one relevant item, and how many these are."""
    run, relevance = {}, {}
    for i, (row, of_query) in enumerate(zip(distances, gains, strict=True)):
        kept = [j for j in range(len(row)) if excluded is None or j != excluded[i]]
        run[f"q{i}"] = {f"d{j}": 1 - row[j] for j in kept}
        relevance[f"q{i}"] = {f"d{j}": int(of_query[j]) for j in kept if of_query[j] > 0}
    relevance = {query: of for query, of in relevance.items() if of}
    return ir_measures.calc_aggregate([measure], relevance, run)[measure], len(relevance)


@pytest.mark.parametrize("k", [1, 10, 50])
@pytest.mark.parametrize("with_exclusion", [False, True])
def test_map_and_ndcg_of_several_labels_are_those_of_trec_eval(k, with_exclusion):
    distances, queries, gallery, left_out = case()
    exclude = left_out if with_exclusion else None
    rows, columns = queries.any(axis=1), gallery.any(axis=1)
    gains = queries.astype(int) @ gallery.astype(int).T
    # Unlabelled items are not in the ranking, and unlabelled queries do not count.
    places = np.cumsum(columns) - 1
    excluded = None
    if with_exclusion:
        excluded = np.where(columns[left_out], places[left_out], -1)[rows]
    of_case = distances[np.ix_(rows, columns)], gains[np.ix_(rows, columns)], excluded
    queries_counted = rows.sum()
    expected, counted = measured(ir_measures.AP @ k, *of_case)
    found = retrieval.mean_average_precision(distances, queries, gallery, k=k, convention="trec", exclude=exclude)
    assert found == pytest.approx(expected * counted / queries_counted, abs=ROUNDING)
    expected, counted = measured(ir_measures.nDCG @ k, *of_case)
    found = retrieval.ndcg(distances, queries, gallery, k=k, exclude=exclude)
    assert found == pytest.approx(expected * counted / queries_counted, abs=ROUNDING)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_of_groups_is_success_of_trec_eval_and_the_formula_of_clip_benchmark(k):
    random = np.random.default_rng(1)
    image_groups, text_groups = np.arange(30), np.repeat(np.arange(30), 5)
    distances = random.permutation(30 * 150).reshape(30, 150) / 4500
    distances[image_groups[:, None] == text_groups] *= 0.3  # a model that is better than chance
    for matrix, queries, gallery in (
        (distances, image_groups, text_groups),
        (distances.T, text_groups, image_groups),
    ):
        found = retrieval.recall_at(matrix, k, query_groups=queries, gallery_groups=gallery)
        positives = queries[:, None] == gallery
        success, counted = measured(ir_measures.Success @ k, matrix, positives)
        assert counted == len(queries) and found == pytest.approx(success, abs=ROUNDING)
        # CLIP_benchmark: one-hot rows of the k best scores, times the positive pairs, above zero.
        best = np.zeros(matrix.shape, bool)
        np.put_along_axis(best, np.argsort(-(1 - matrix), axis=1)[:, :k], True, axis=1)
        assert found == pytest.approx(((best & positives).sum(axis=1) > 0).mean())


def test_given_relevance_takes_the_place_of_labels():
    distances, queries, gallery, _ = case()
    gains = queries.astype(int) @ gallery.astype(int).T
    expected, counted = measured(ir_measures.nDCG @ 20, distances, gains)
    for relevance in (gains, lambda rows: gains[rows]):
        found = retrieval.ndcg(distances, relevance=relevance, k=20)
        assert found == pytest.approx(expected * counted / len(distances), abs=ROUNDING)
    figures = retrieval.evaluate(distances[:, :40], None, relevance=gains[:, :40])
    assert figures["map@50_trec"]["image_to_text"] == pytest.approx(
        retrieval.mean_average_precision(distances[:, :40], relevance=gains[:, :40], convention="trec")
    )
    assert figures["ndcg@50"]["text_to_image"] == pytest.approx(
        retrieval.ndcg(distances[:, :40].T, relevance=gains[:, :40].T, k=50)
    )
    for wrong, message in (
        ({"relevance": gains[:3]}, r"relevance must be \[40, 90\]"),
        ({"relevance": -gains}, "of at least 0"),
        ({"relevance": lambda rows: gains[:1]}, r"relevance must be \[40, 90\]"),
        ({"relevance": gains, "query_labels": queries}, "relevance takes the place of both"),
        ({"query_labels": queries}, "query_labels and gallery_labels belong together"),
    ):
        with pytest.raises(ValueError, match=message):
            retrieval.ndcg(distances, **wrong)
