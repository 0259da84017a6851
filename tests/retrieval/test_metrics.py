"""The metrics by hand, against plain loops with many ties, against scikit-learn, and their memory."""

import tracemalloc

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from gpldan_jax.retrieval import mean_average_precision, metrics, recall_at
from tests.retrieval import loop_reference

# Both sides in float64; what is left is the order of summation.
TOLERANCE = 1e-12
# What a call may need beside the matrix, whatever its size. Without chunks the memory test would need 126 MB for
# map@50, 153 MB for map@all and 27 MB for recall.
RANKING_BYTES, RECALL_BYTES = 60e6, 16e6

CONVENTIONS = ("hits", "trec")
IN_ORDER = np.array([[0.1, 0.2, 0.3, 0.4]])
LABELS = np.array([1, 0, 1, 1])  # for a query of class 1: relevant at ranks 1, 3 and 4

DTYPES = (np.float32, np.float64, np.int32)
depths = st.one_of(st.none(), st.integers(1, 9))
generated = hypothesis.settings(max_examples=100, deadline=None, derandomize=True)


@st.composite
def tied_rankings(draw):
    """Distances, query labels and gallery labels of up to 7 by 7 with few different values."""
    q, g = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    distances = hypothesis.extra.numpy.arrays(draw(st.sampled_from(DTYPES)), (q, g), elements=st.integers(0, 3))
    classes = st.integers(0, 2)
    return (
        draw(distances),
        draw(hypothesis.extra.numpy.arrays(np.int64, q, elements=classes)),
        draw(hypothesis.extra.numpy.arrays(np.int64, g, elements=classes)),
    )


@pytest.mark.parametrize(
    "k, hits, trec",
    [
        (1, 1, 1 / 3),
        (2, 1, 1 / 3),
        (3, (1 + 2 / 3) / 2, (1 + 2 / 3) / 3),
        (4, (1 + 2 / 3 + 3 / 4) / 3, (1 + 2 / 3 + 3 / 4) / 3),
        (9, (1 + 2 / 3 + 3 / 4) / 3, (1 + 2 / 3 + 3 / 4) / 3),
        (None, (1 + 2 / 3 + 3 / 4) / 3, (1 + 2 / 3 + 3 / 4) / 3),
    ],
)
def test_average_precision_by_hand(k, hits, trec):
    for convention, expected in (("hits", hits), ("trec", trec)):
        found = mean_average_precision(IN_ORDER, [1], LABELS, k=k, convention=convention)
        assert found == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_nothing_relevant_counts_as_zero(convention):
    def found(label, k):
        return mean_average_precision(IN_ORDER, [label], LABELS, k=k, convention=convention)

    assert found(7, k=2) == found(7, k=None) == 0  # nowhere in the gallery
    assert found(0, k=1) == 0  # in the gallery, below the depth
    assert found(0, k=2) == 0.5


def test_the_mean_is_over_all_queries():
    distances = np.repeat(IN_ORDER, 4, axis=0)
    assert mean_average_precision(distances, [1, 0, 7, 7], LABELS, k=2) == (1 + 0.5 + 0 + 0) / 4


def test_the_default_is_hits_at_50():
    distances = np.arange(60.0)[None]
    labels = np.r_[np.zeros(49), 1, np.ones(10)]
    assert mean_average_precision(distances, [1], labels) == 1 / 50
    assert mean_average_precision(distances, [1], labels, convention="trec") == pytest.approx(1 / 50 / 11)


@pytest.mark.parametrize(
    "row, k, order",
    [
        pytest.param([2, 2, 2, 2], 4, [0, 1, 2, 3], id="all tied"),
        pytest.param([2, 2, 2, 2], 2, [0, 1], id="all tied, the edge among them"),
        pytest.param([5, 1, 5, 1], 4, [1, 3, 0, 2], id="two groups"),
        pytest.param([5, 1, 5, 1], 3, [1, 3, 0], id="the edge in the far group"),
        pytest.param([5, 1, 5, 1], 1, [1], id="the edge in the near group"),
        pytest.param([5, 3, 5, 5, 1], 3, [4, 1, 0], id="the edge after unequal ones"),
        pytest.param([-0.0, 0.0, -0.0], 2, [0, 1], id="signed zeros"),
    ],
)
def test_ties_rank_in_the_order_of_the_gallery(row, k, order):
    # Each item is a class of its own: the average precision of item j is 1 / rank.
    items = np.arange(len(row))
    expected = {item: 1 / rank for rank, item in enumerate(order, start=1)}
    for item in items:
        assert mean_average_precision(np.array([row]), [item], items, k=k) == expected.get(item, 0), item


@pytest.mark.parametrize("convention", CONVENTIONS)
@generated
@hypothesis.given(case=tied_rankings(), k=depths)
def test_average_precision_agrees_with_a_loop(convention, case, k):
    expected = loop_reference.mean_average_precision(*case, k, convention)
    assert mean_average_precision(*case, k=k, convention=convention) == pytest.approx(expected, abs=TOLERANCE)


@generated
@hypothesis.given(case=tied_rankings(), k=depths)
def test_hits_is_never_below_trec_and_equal_over_the_whole_gallery(case, k):
    hits, trec = (mean_average_precision(*case, k=k, convention=convention) for convention in CONVENTIONS)
    assert 0 <= trec <= hits <= 1
    if k is None:
        assert hits == trec


@generated
@hypothesis.given(case=tied_rankings(), k=depths, data=st.data())
def test_the_order_of_the_queries_does_not_matter(case, k, data):
    distances, query_labels, gallery_labels = case
    order = data.draw(st.permutations(range(len(distances))))
    permuted = mean_average_precision(distances[order], query_labels[order], gallery_labels, k=k)
    assert permuted == pytest.approx(mean_average_precision(*case, k=k), abs=TOLERANCE)


@generated
@hypothesis.given(
    distances=st.integers(1, 7).flatmap(
        lambda n: st.sampled_from(DTYPES).flatmap(
            lambda dtype: hypothesis.extra.numpy.arrays(dtype, (n, n), elements=st.integers(0, 3))
        )
    ),
    k=st.integers(1, 9),
)
def test_recall_agrees_with_a_loop(distances, k):
    assert recall_at(distances, k) == pytest.approx(loop_reference.recall_at(distances, k), abs=TOLERANCE)


def test_recall_by_hand():
    distances = np.array([[0.3, 0.1, 0.2], [0.5, 0.1, 0.9], [0.2, 0.2, 0.2]])  # partners rank 3, 1 and, tied, 3
    assert [recall_at(distances, k) for k in (1, 2, 3, 4)] == [1 / 3, 1 / 3, 1, 1]


def test_average_precision_agrees_with_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    distances = rng.permutation(30 * 40).reshape(30, 40)  # no ties, which scikit-learn counts as one rank
    query_labels, gallery_labels = rng.integers(0, 4, 30), np.r_[:4, rng.integers(0, 4, 36)]
    expected = [
        sklearn_metrics.average_precision_score(gallery_labels == label, -row)
        for row, label in zip(distances, query_labels, strict=True)
    ]
    found = mean_average_precision(distances, query_labels, gallery_labels, k=None)
    assert found == pytest.approx(np.mean(expected), abs=TOLERANCE)


def test_labels_may_be_text_and_k_any_whole_number():
    expected = mean_average_precision(IN_ORDER, [1], LABELS, k=3)
    names = np.array(["bird", "ship"])
    for k in (3, np.int64(3)):
        assert mean_average_precision(IN_ORDER, names[[1]], names[LABELS], k=k) == expected


@pytest.mark.parametrize("chunk_elements", [1, 10, 36, 1000])
def test_the_size_of_a_chunk_does_not_matter(monkeypatch, chunk_elements):
    rng = np.random.default_rng(1)
    distances, labels = rng.integers(0, 4, (13, 13)), rng.integers(0, 3, 13)

    def figures():
        ranked = [
            mean_average_precision(distances, labels, labels, k=k, convention=convention)
            for k in (1, 5, None)
            for convention in CONVENTIONS
        ]
        return ranked + [recall_at(distances, k) for k in (1, 5, 13)]

    expected = figures()
    monkeypatch.setattr(metrics, "_CHUNK_ELEMENTS", chunk_elements)
    np.testing.assert_allclose(figures(), expected, atol=TOLERANCE)
    broken = distances.astype(float)
    broken[11, 3] = np.nan
    with pytest.raises(ValueError, match="row 11 is not"):
        recall_at(broken, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(bad):
    distances = np.zeros((4, 4))
    distances[2, 1] = distances[3, 0] = bad
    for metric in (lambda x: recall_at(x, 1), lambda x: mean_average_precision(x, np.zeros(4), np.zeros(4))):
        with pytest.raises(ValueError, match=r"^distances must be finite, row 2 is not$"):
            metric(distances)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (0, 3), (3, 0), (0, 0), ()])
def test_distances_that_are_no_matrix_are_refused(shape):
    expected = r"distances must be \[q, g\] with at least one of each, got " + str(shape).replace("(", r"\(")[:-1]
    with pytest.raises(ValueError, match=expected):
        mean_average_precision(np.zeros(shape), np.zeros(shape[:1]), np.zeros(shape[1:2]))
    with pytest.raises(ValueError, match=expected):
        recall_at(np.zeros(shape), 1)


def test_shapes_that_do_not_fit_are_refused():
    for queries, gallery, expected in (
        (3, 2, r"query_labels must be \[2\], or \[2, classes\] of 0 and 1, got \[3\]"),
        (2, 2, r"gallery_labels must be \[3\], or \[3, classes\] of 0 and 1, got \[2\]"),
        ((2, 1), 3, r"query_labels \[2, 1\] and gallery_labels \[3\] must have the same classes"),
    ):
        with pytest.raises(ValueError, match=expected):
            mean_average_precision(np.zeros((2, 3)), np.zeros(queries), np.zeros(gallery))
    with pytest.raises(ValueError, match=r"recall needs the distances of n pairs, \[n, n\], or groups, got \(2, 3\)"):
        recall_at(np.zeros((2, 3)), 1)


@pytest.mark.parametrize("k", [0, -1, 1.5, 3.0, float("inf"), float("nan"), "3"])
def test_depths_that_are_none_are_refused(k):
    expected = f"^k must be a whole number of at least 1, got {k!r}$"
    with pytest.raises(ValueError, match=expected):
        mean_average_precision(IN_ORDER, [1], LABELS, k=k)
    with pytest.raises(ValueError, match=expected):
        recall_at(np.zeros((2, 2)), k)


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match=r"^convention must be 'hits' or 'trec', got 'HITS'$"):
        mean_average_precision(IN_ORDER, [1], LABELS, convention="HITS")


@pytest.mark.parametrize(
    "metric, limit",
    [
        pytest.param(lambda x, labels: mean_average_precision(x, labels, labels), RANKING_BYTES, id="map@50"),
        pytest.param(lambda x, labels: mean_average_precision(x, labels, labels, k=None), RANKING_BYTES, id="map@all"),
        pytest.param(lambda x, labels: recall_at(x, 10), RECALL_BYTES, id="recall@10"),
    ],
)
def test_memory_beside_the_matrix_is_modest(metric, limit):
    n = 3000
    rng = np.random.default_rng(2)
    distances, labels = rng.random((n, n), dtype=np.float32), rng.integers(0, 10, n)
    tracemalloc.start()
    try:
        metric(distances, labels)
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("convention", metrics.CONVENTIONS)
def test_the_mean_of_the_average_precisions_is_map(convention):
    rng = np.random.default_rng(3)
    distances, labels = rng.random((9, 12)), rng.integers(-1, 3, 12)  # -1 is no label
    options = {"k": 5, "convention": convention}
    found = metrics.average_precisions(distances, labels[:9], labels, **options)
    assert found.shape == ((labels[:9] >= 0).sum(),)
    assert found.mean() == pytest.approx(metrics.mean_average_precision(distances, labels[:9], labels, **options))
    alone = [
        metrics.mean_average_precision(distances[i : i + 1], labels[i : i + 1], labels, **options)
        for i in range(9)
        if labels[i] >= 0
    ]
    np.testing.assert_allclose(found, alone)
