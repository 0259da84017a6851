"""Several texts of an image and several labels of an item, against plain loops over the definitions."""

import math

import numpy as np
import pytest

from gpldan_jax import retrieval
from gpldan_jax.data import PairedSplit

TOLERANCE = 1e-12  # of sums in float64


def ranking(row, excluded=-1):
    """The columns of a row from near to far, ties in the order of the gallery."""
    return [
        column for column in sorted(range(len(row)), key=lambda column: (row[column], column)) if column != excluded
    ]


def loop_recall(distances, k, query_groups, gallery_groups, exclude):
    hits = 0
    for i, row in enumerate(distances):
        hits += any(gallery_groups[j] == query_groups[i] for j in ranking(row, exclude[i])[:k])
    return hits / len(distances)


def loop_map(distances, query_labels, gallery_labels, k, convention, exclude):
    values = []
    for i, row in enumerate(distances):
        if not query_labels[i].any():
            continue
        order = [j for j in ranking(row, exclude[i]) if gallery_labels[j].any()]
        relevant = [bool((query_labels[i] & gallery_labels[j]).any()) for j in order]
        hits, total = 0, 0.0
        for rank, is_relevant in enumerate(relevant[:k], start=1):
            hits += is_relevant
            total += is_relevant * hits / rank
        divisor = hits if convention == "hits" else sum(relevant)
        values.append(total / divisor if divisor else 0.0)
    return sum(values) / len(values)


def loop_ndcg(distances, query_labels, gallery_labels, k, exclude):
    def dcg(gains):
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:k], start=1))

    values = []
    for i, row in enumerate(distances):
        if not query_labels[i].any():
            continue
        order = [j for j in ranking(row, exclude[i]) if gallery_labels[j].any()]
        gains = [int((query_labels[i] & gallery_labels[j]).sum()) for j in order]
        best = dcg(sorted(gains, reverse=True))
        values.append(dcg(gains) / best if best else 0.0)
    return sum(values) / len(values)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("excluding", [False, True])
def test_every_metric_is_that_of_a_loop(seed, excluding):
    rng = np.random.default_rng(seed)
    q, g, c = 13, 17, 4
    distances = rng.integers(0, 6, (q, g)) / 5  # with ties
    query_labels, gallery_labels = rng.random((q, c)) < 0.3, rng.random((g, c)) < 0.3
    query_groups, gallery_groups = rng.integers(0, 4, q), np.append(rng.integers(0, 4, g - 8), [0, 1, 2, 3] * 2)
    exclude = rng.integers(-1, g - 8, q) if excluding else np.full(q, -1)
    option = {"exclude": exclude} if excluding else {}
    for k in (1, 3, 100):
        found = retrieval.recall_at(distances, k, query_groups=query_groups, gallery_groups=gallery_groups, **option)
        assert found == loop_recall(distances, k, query_groups, gallery_groups, exclude)
        for convention in ("hits", "trec"):
            found = retrieval.mean_average_precision(
                distances, query_labels, gallery_labels, k=k, convention=convention, **option
            )
            expected = loop_map(distances, query_labels, gallery_labels, k, convention, exclude)
            assert found == pytest.approx(expected, abs=TOLERANCE)
        found = retrieval.ndcg(distances, query_labels, gallery_labels, k=k, **option)
        assert found == pytest.approx(loop_ndcg(distances, query_labels, gallery_labels, k, exclude), abs=TOLERANCE)


@pytest.mark.parametrize(
    "labels, without",
    [
        (np.array([0, -1, 1, 0, 1]), [0, 2, 3, 4]),
        (np.array([0, np.nan, 1, 0, 1]), [0, 2, 3, 4]),
        (np.array(["a", "", "b", "a", "b"]), [0, 2, 3, 4]),
        (np.array(["a", "", "b", "a", "b"], object), [0, 2, 3, 4]),
        (np.array([[1, 0], [0, 0], [0, 1], [1, 0], [0, 1]]), [0, 2, 3, 4]),
    ],
)
def test_items_without_a_label_are_left_out(labels, without):
    distances = np.random.default_rng(0).random((5, 5))
    expected = retrieval.mean_average_precision(distances[np.ix_(without, without)], labels[without], labels[without])
    assert retrieval.mean_average_precision(distances, labels, labels) == expected


def test_one_label_each_is_a_matrix_of_one():
    rng = np.random.default_rng(1)
    distances, labels = rng.random((8, 8)), rng.integers(0, 3, 8)
    expected = retrieval.mean_average_precision(distances, labels, labels)
    assert retrieval.mean_average_precision(distances, np.eye(3)[labels], np.eye(3)[labels]) == expected


def captioned(images=200, captions=5, seed=0):
    """A split of images with several captions, and the distances under which every caption finds its image."""
    groups = np.repeat(np.arange(images), captions)
    rng = np.random.default_rng(seed)
    split = PairedSplit(rng.normal(size=(images, 3))[groups], rng.normal(size=(len(groups), 2)), groups % 7, groups)
    return split, (np.arange(images)[:, None] != groups).astype(float)


def test_a_perfect_model_on_five_captions_an_image_is_perfect():
    split, distances = captioned()
    figures = retrieval.evaluate_pairs(distances, split)
    for k in (1, 5, 10):
        assert figures[f"recall@{k}"] == {"image_to_text": 1.0, "text_to_image": 1.0, "average": 1.0}
    all_pairs = (split.groups[:, None] != split.groups).astype(float)
    assert retrieval.evaluate_pairs(all_pairs, split) == figures


def test_an_imperfect_model_is_that_of_the_loop():
    split, distances = captioned(images=20)
    distances = distances + np.random.default_rng(2).normal(size=distances.shape)
    figures = retrieval.evaluate_pairs(distances, split)
    images = np.arange(20)
    for k in (1, 5, 10):
        values = figures[f"recall@{k}"]
        assert values["image_to_text"] == loop_recall(distances, k, images, split.groups, [-1] * 20)
        assert values["text_to_image"] == loop_recall(distances.T, k, split.groups, images, [-1] * 100)
    assert 0 < figures["recall@1"]["average"] < 1


def test_folds_are_the_means_of_their_parts():
    split, distances = captioned(images=20)
    distances = distances + np.random.default_rng(3).normal(size=distances.shape)
    groups = {"image_groups": np.arange(20), "text_groups": split.groups}
    labels = (np.arange(20) % 7, split.labels)
    found = retrieval.evaluate(distances, labels, **groups, folds=2)
    halves = [
        retrieval.evaluate(
            distances[10 * half : 10 * half + 10, 50 * half : 50 * half + 50],
            (labels[0][10 * half : 10 * half + 10], labels[1][50 * half : 50 * half + 50]),
            image_groups=groups["image_groups"][10 * half : 10 * half + 10],
            text_groups=split.groups[50 * half : 50 * half + 50],
        )
        for half in (0, 1)
    ]
    for name, values in found.items():
        for direction, value in values.items():
            assert value == pytest.approx((halves[0][name][direction] + halves[1][name][direction]) / 2)
    for count in (3, 0):
        with pytest.raises(ValueError, match=f"folds must divide the images, got {count} and 20 images"):
            retrieval.evaluate(distances, labels, **groups, folds=count)
    with pytest.raises(ValueError, match="with groups, labels must be a tuple of the images' labels"):
        retrieval.evaluate(distances, split.labels, **groups)


def test_chance_of_groups_is_that_of_random_rankings():
    split, distances = captioned(images=30)
    expected = retrieval.chance_of_pairs(split)
    rng, trials = np.random.default_rng(4), 200
    found = [retrieval.evaluate_pairs(rng.random(distances.shape), split) for _ in range(trials)]
    for name in ("recall@1", "recall@10", "map@all"):
        values = [figures[name]["average"] for figures in found]
        assert expected[name] == pytest.approx(np.mean(values), abs=5 * np.std(values) / math.sqrt(trials) + 2e-3)


def test_what_does_not_fit_is_named():
    distances = np.zeros((2, 3))
    for arguments, message in (
        ({"query_groups": [0, 1]}, "query_groups and gallery_groups belong together"),
        ({"query_groups": [0, 1], "gallery_groups": [0, 1]}, r"gallery_groups must be \[3\]"),
        ({"query_groups": [0, 5], "gallery_groups": [0, 0, 1]}, "nothing in the gallery is of the group of row 1"),
        ({"query_groups": [0, 1], "gallery_groups": [0, 0, 1], "exclude": [0, 3]}, r"exclude must be \[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            retrieval.recall_at(distances, 1, **arguments)
    for labels, message in (
        (([0, 1], ["a", "b", "c"]), "no two could be equal"),
        (([-1, -1], [0, 1, 1]), "no query has a label"),
        (([[0, 1], [1, 0]], [[1], [0], [1]]), "must have the same classes"),
        (([[0, 2], [1, 0]], [[1, 0], [0, 0], [1, 1]]), "must hold 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            retrieval.mean_average_precision(distances, *labels)
