"""Precision against recall and figures of classes: by hand, against plain loops with ties, against scikit-learn."""

import json

import numpy as np
import pytest

from gpldan_jax.retrieval import evaluate, map_per_class, metrics, precision_recall
from tests.retrieval import loop_reference

# Both sides in float64; what is left is the order of summation.
TOLERANCE = 1e-12
DIRECTIONS = ("image_to_text", "text_to_image", "average")
LEVELS = [level / 20 for level in range(21)]


def loop_curve(distances, labels, recalls):
    """From the definition: at each level the largest precision at any rank whose recall reaches it."""
    curves = []
    for row, own in zip(distances, labels, strict=True):
        relevant = [labels[j] == own for j in loop_reference.ranking(row)]
        if not any(relevant):
            continue
        points = [(sum(relevant[:r]) / sum(relevant), sum(relevant[:r]) / r) for r in range(1, len(relevant) + 1)]
        curves.append([max(precision for recall, precision in points if recall >= level - 1e-12) for level in recalls])
    return np.mean(np.array(curves, np.float64), axis=0)


def tied(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (n, n)), rng.integers(0, classes, n)


# 20 and more items of a class: shares such as 7 of 20 must count as .35 whatever their rounding.
@pytest.mark.parametrize("n, classes", [(1, 1), (7, 3), (40, 2), (60, 3)])
def test_curves_agree_with_a_loop(n, classes):
    distances, labels = tied(n, classes)
    found = precision_recall(distances, labels)
    images, texts = loop_curve(distances, labels, LEVELS), loop_curve(distances.T, labels, LEVELS)
    assert tuple(found) == DIRECTIONS
    np.testing.assert_allclose(found["image_to_text"], images, atol=TOLERANCE)
    np.testing.assert_allclose(found["text_to_image"], texts, atol=TOLERANCE)
    np.testing.assert_allclose(found["average"], (images + texts) / 2, atol=TOLERANCE)


def test_levels_that_rounding_would_miss():
    # 20 relevant items of 40, found at random ranks: each twentieth is reached by one more of them.
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    distances = np.tile(rng.permutation(40), (40, 1))
    found = precision_recall(distances, labels)["image_to_text"]
    np.testing.assert_allclose(found, loop_curve(distances, labels, LEVELS), atol=TOLERANCE)


def test_curves_agree_with_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(2)
    distances, labels = rng.permutation(900).reshape(30, 30), rng.integers(0, 3, 30)  # no ties: one rank there
    expected = []
    for row, own in zip(distances, labels, strict=True):
        precision, recall, _ = sklearn_metrics.precision_recall_curve(labels == own, -row)
        ranked = slice(0, len(precision) - 1)  # the last point, precision 1 at recall 0, is no rank
        expected.append([precision[ranked][recall[ranked] >= level - 1e-12].max() for level in LEVELS])
    found = precision_recall(distances, labels)["image_to_text"]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=TOLERANCE)


def test_ties_rank_in_the_order_of_the_gallery():
    # All distances equal: the order is 0, 1, 1 for every query.
    found = precision_recall(np.zeros((3, 3)), np.array([0, 1, 1]), recalls=[0.5, 1])
    assert found["image_to_text"] == found["text_to_image"] == pytest.approx([(1 + 2 / 3 + 2 / 3) / 3] * 2)


def test_items_without_a_label_are_left_out():
    labels = np.array([0.0, np.nan, 0.0])
    distances = np.array([[1.0, 2, 3], [1, 2, 3], [1, 2, 3]])
    assert precision_recall(distances, labels, recalls=[1])["image_to_text"] == [1.0]
    assert map_per_class(distances, labels)["image_to_text"] == {"0.0": 1.0}
    with pytest.raises(ValueError, match="no item has a label"):
        precision_recall(distances, np.full(3, np.nan))


@pytest.mark.parametrize("k", [1, 3, 50])
def test_the_figure_of_a_class_is_the_mean_over_its_queries(k):
    distances, labels = tied(60, 4)
    found = map_per_class(distances, labels, k=k)
    for value in range(4):
        own = labels == value
        images, texts = (
            loop_reference.mean_average_precision(matrix[own], labels[own], labels, k, "hits")
            for matrix in (distances, distances.T)
        )
        expected = {"image_to_text": images, "text_to_image": texts, "average": (images + texts) / 2}
        for direction in DIRECTIONS:
            assert found[direction][str(value)] == pytest.approx(expected[direction], abs=TOLERANCE)


def test_classes_weighted_by_their_queries_make_the_figure_of_the_report():
    distances, labels = tied(150, 5)
    counts = np.bincount(labels)
    for direction, values in map_per_class(distances, labels).items():
        weighted = sum(counts[int(name)] * value for name, value in values.items()) / len(labels)
        assert weighted == pytest.approx(evaluate(distances, labels)["map@50"][direction], abs=TOLERANCE)


def test_both_survive_json_and_labels_may_be_text():
    distances, labels = tied(9, 3)
    names = np.array(["bird", "ship", "<art>"])[labels]
    assert precision_recall(distances, names) == precision_recall(distances, labels)
    found = [precision_recall(distances, labels), map_per_class(distances, labels), map_per_class(distances, names)]
    assert json.loads(json.dumps(found)) == found
    assert list(found[2]["average"]) == ["<art>", "bird", "ship"]


def test_the_size_of_a_chunk_does_not_matter(monkeypatch):
    distances, labels = tied(23, 3)
    expected = precision_recall(distances, labels)
    monkeypatch.setattr(metrics, "_CHUNK_ELEMENTS", 50)
    np.testing.assert_allclose(precision_recall(distances, labels)["average"], expected["average"], atol=TOLERANCE)


@pytest.mark.parametrize("figure", [precision_recall, map_per_class])
def test_shapes_that_do_not_fit_are_refused(figure):
    for distances, labels, message in [
        (np.zeros((2, 3)), [0, 1], r"distances \[2, 3\] .* need a tuple of the labels of both"),
        (np.zeros((2, 2)), [0, 1, 1], r"labels must be \[2\], or \[2, classes\] of 0 and 1, got \[3\]"),
        (np.zeros((2, 3)), ([0, 1], [0, 1]), r"labels of texts must be \[3\]"),
        (np.zeros(2), [0, 1], r"distances must be \[q, g\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            figure(distances, labels)
    with pytest.raises(ValueError, match="row 1 is not"):
        figure(np.array([[0, 1], [0, np.nan]]), [0, 1])


@pytest.mark.parametrize("recalls", [[-0.1], [1.1], [float("nan")], 0.5])
def test_levels_that_are_none_are_refused(recalls):
    with pytest.raises(ValueError, match=r"recalls must be a list of levels in \[0, 1\], got "):
        precision_recall(np.zeros((2, 2)), [0, 1], recalls)


def sides(seed=0):
    """Distances of 12 images and 30 texts, and several labels of both, or none."""
    random = np.random.default_rng(seed)
    images, texts = random.random((12, 3)) < 0.5, random.random((30, 3)) < 0.3
    images[0], texts[:2] = False, False
    return random.integers(0, 9, (12, 30)), images, texts


def gains_of(queries, gallery):
    """Of each labelled query which labelled gallery items share a label, with their columns."""
    columns = [j for j, other in enumerate(gallery) if other.any()]
    return [
        (i, columns, [bool((own & gallery[j]).any()) for j in columns]) for i, own in enumerate(queries) if own.any()
    ]


def test_curves_of_images_and_texts_with_several_labels_agree_with_a_loop():
    distances, images, texts = sides()
    found = precision_recall(distances, (images, texts))
    for direction, matrix, queries, gallery in (
        ("image_to_text", distances, images, texts),
        ("text_to_image", distances.T, texts, images),
    ):
        curves = []
        for i, columns, shared in gains_of(queries, gallery):
            relevant = [shared[place] for place in loop_reference.ranking(matrix[i, columns])]
            total = sum(relevant)
            points = [(sum(relevant[:r]) / total, sum(relevant[:r]) / r) for r in range(1, len(relevant) + 1) if total]
            curves.append([max((p for recall, p in points if recall >= level - 1e-12), default=0) for level in LEVELS])
        np.testing.assert_allclose(found[direction], np.mean(curves, axis=0), atol=TOLERANCE)


def test_figures_of_several_classes_agree_with_a_loop():
    distances, images, texts = sides()
    found = map_per_class(distances, (images, texts), k=7)
    assert list(found["average"]) == ["0", "1", "2"]
    for direction, matrix, queries, gallery in (
        ("image_to_text", distances, images, texts),
        ("text_to_image", distances.T, texts, images),
    ):
        precisions = {}
        for i, columns, shared in gains_of(queries, gallery):
            relevant = [shared[place] for place in loop_reference.ranking(matrix[i, columns])][:7]
            hits = [sum(relevant[: r + 1]) / (r + 1) for r in range(len(relevant)) if relevant[r]]
            precisions[i] = sum(hits) / len(hits) if hits else 0.0
        for name, column in zip("012", queries.T, strict=True):
            expected = np.mean([precisions[i] for i in np.flatnonzero(column)])
            assert found[direction][name] == pytest.approx(expected, abs=TOLERANCE)
