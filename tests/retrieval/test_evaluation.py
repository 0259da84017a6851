"""The distance matrix of retrieval, against Eq. 2-5; the metrics in both directions; chance."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from gpldan_jax.losses import co_attention_distances
from gpldan_jax.models import Projector
from gpldan_jax.retrieval import chance, evaluate, mean_average_precision, retrieval_distances
from tests.losses import loop_reference as loss_reference
from tests.models.numpy_reference import drawn_variables
from tests.retrieval import loop_reference

# Both sides in float64; what is left is the order of summation.
TOLERANCE = 1e-12
# Float32 distances of O(1) from matrix products of different sizes.
FLOAT32_TOLERANCE = 1e-5
# Means of samples with a fixed seed: standard errors that the difference may have.
STANDARD_ERRORS = 5

MAPS = ("map@50", "map@50_trec", "map@all")
RECALLS = ("recall@1", "recall@5", "recall@10")
DIRECTIONS = ("image_to_text", "text_to_image", "average")

# Every image finds text 0 first; text 0 and text 1 find their own image first, text 2 finds image 0.
ASYMMETRIC = np.array([[0.10, 0.5, 0.6], [0.20, 0.3, 0.7], [0.15, 0.4, 0.8]])
CLASSES = np.array([0, 1, 1])
N, M = 7, 5
PROJECTOR = Projector(hidden=12, width=8, parts=2)


def test_the_directions_are_the_right_way_round():
    figures = evaluate(ASYMMETRIC, CLASSES)
    # Text 0, of class 0, comes first: (1/2 + 2/3) / 2 for a query of class 1.
    late = 7 / 12
    image_to_text, text_to_image = (1 + late + late) / 3, (1 + 1 + late) / 3
    average = (image_to_text + text_to_image) / 2
    expected = {"image_to_text": image_to_text, "text_to_image": text_to_image, "average": average}
    for name in MAPS:
        assert figures[name] == pytest.approx(expected, abs=TOLERANCE)
    assert figures["recall@1"] == pytest.approx(
        {"image_to_text": 1 / 3, "text_to_image": 2 / 3, "average": 1 / 2}, abs=TOLERANCE
    )
    assert figures["recall@5"] == figures["recall@10"] == dict.fromkeys(DIRECTIONS, 1.0)


def test_transposed_distances_swap_the_directions():
    rng = np.random.default_rng(0)
    distances, labels = rng.random((60, 60)), rng.integers(0, 3, 60)
    figures, swapped = evaluate(distances, labels), evaluate(distances.T, labels)
    for name in MAPS + RECALLS:
        assert swapped[name] == {
            "image_to_text": figures[name]["text_to_image"],
            "text_to_image": figures[name]["image_to_text"],
            "average": figures[name]["average"],
        }


def test_the_structure_of_a_report():
    figures = evaluate(ASYMMETRIC, CLASSES)
    assert tuple(figures) == MAPS + RECALLS
    for values in figures.values():
        assert tuple(values) == DIRECTIONS
        assert all(type(value) is float for value in values.values())


def test_each_name_means_its_depth_and_convention():
    rng = np.random.default_rng(1)
    distances, labels = rng.random((70, 70)), rng.integers(0, 3, 70)
    figures = evaluate(distances, labels)
    for name, k, convention in [("map@50", 50, "hits"), ("map@50_trec", 50, "trec"), ("map@all", None, "hits")]:
        expected = loop_reference.mean_average_precision(distances, labels, labels, k, convention)
        assert figures[name]["image_to_text"] == pytest.approx(expected, abs=TOLERANCE)
    for name, k in [("recall@1", 1), ("recall@5", 5), ("recall@10", 10)]:
        assert figures[name]["image_to_text"] == pytest.approx(loop_reference.recall_at(distances, k), abs=TOLERANCE)


def test_without_labels_only_recall_is_reported():
    figures = evaluate(ASYMMETRIC, None)
    assert tuple(figures) == RECALLS
    assert figures == {name: evaluate(ASYMMETRIC, CLASSES)[name] for name in RECALLS}


def test_chance_of_recall_is_exact():
    assert chance(400, None) == {"recall@1": 1 / 400, "recall@5": 5 / 400, "recall@10": 10 / 400}
    assert chance(4, None) == {"recall@1": 0.25, "recall@5": 1.0, "recall@10": 1.0}


def test_chance_has_the_names_of_a_report():
    assert tuple(chance(len(CLASSES), CLASSES)) == tuple(evaluate(ASYMMETRIC, CLASSES))


@pytest.mark.parametrize("n", [1, 7, 60])
def test_one_class_leaves_nothing_to_chance(n):
    labels = np.zeros(n, int)
    figures = chance(n, labels, trials=2)
    report = evaluate(np.random.default_rng(2).random((n, n)), labels)
    for name, expected in {"map@50": 1, "map@all": 1, "map@50_trec": min(50 / n, 1)}.items():
        assert figures[name] == pytest.approx(expected, abs=TOLERANCE)
        assert report[name] == pytest.approx(dict.fromkeys(DIRECTIONS, expected), abs=TOLERANCE)


def test_chance_of_map_agrees_with_a_simulation():
    n, trials, samples = 90, 20, 4000
    labels = np.repeat([0, 1, 2], (60, 24, 6))
    figures = chance(n, labels, trials=trials)
    # A random ranking is a random order of the gallery's labels; the query's class is that of a random item.
    rng = np.random.default_rng(3)
    ranked = rng.permuted(np.tile(labels, (samples, 1)), axis=1)
    relevant = ranked == rng.choice(labels, samples)[:, None]
    precise = relevant * relevant.cumsum(axis=1) / np.arange(1, n + 1)
    simulated = {
        "map@50": precise[:, :50].sum(axis=1) / np.maximum(relevant[:, :50].sum(axis=1), 1),
        "map@50_trec": precise[:, :50].sum(axis=1) / relevant.sum(axis=1),
        "map@all": precise.sum(axis=1) / relevant.sum(axis=1),
    }
    for name, values in simulated.items():
        standard_error = values.std() * np.sqrt(1 / samples + 1 / (trials * n))
        assert abs(figures[name] - values.mean()) < STANDARD_ERRORS * standard_error, name
    # The three are far enough apart for the check to tell them from each other.
    assert figures["map@50"] > figures["map@all"] + 0.01 > figures["map@50_trec"] + 0.05


def test_chance_follows_from_its_seed():
    labels = np.arange(30) % 3
    assert chance(30, labels, trials=2) == chance(30, labels, trials=2)
    assert chance(30, labels, trials=2, seed=1) != chance(30, labels, trials=2)


def test_chance_samples_the_queries_of_a_large_test_set():
    n = 1200
    labels = np.arange(n) % 10
    figures = chance(n, labels, trials=1)
    # Of 1,200 items 120 are relevant: precision at any rank is near 1/10.
    assert 0.09 < figures["map@all"] < 0.12
    distances = np.random.default_rng(4).random((n, n), dtype=np.float32)
    assert figures["map@50"] == pytest.approx(mean_average_precision(distances, labels, labels), abs=0.02)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 6)).astype(np.float32), rng.normal(size=(M, 4)).astype(np.float32)


def encoded(projector, parameters, images, texts):
    def encode(model, images, texts):
        return model.encode_image(images), model.encode_text(texts)

    return jax.jit(nn.apply(encode, projector))({"params": parameters}, images, texts)


@pytest.fixture(scope="module")
def parameters(inputs):
    return drawn_variables(PROJECTOR, *(x[:1] for x in inputs))["params"]


@pytest.fixture(scope="module")
def representations(inputs, parameters):
    return encoded(PROJECTOR, parameters, *inputs)


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [1, 3, 1024])  # of 7 images and 5 texts
def test_blocks_make_the_matrix_of_one_call(block_size, inputs, parameters, representations):
    image, text = representations
    expected = co_attention_distances(image.parts, text.parts, image.attention, text.attention)
    distances = retrieval_distances(PROJECTOR, parameters, *inputs, block_size=block_size)
    np.testing.assert_allclose(distances, expected, atol=FLOAT32_TOLERANCE)


def test_rows_are_images_and_columns_are_texts(inputs, parameters, representations):
    image, text = representations
    distances = retrieval_distances(PROJECTOR, parameters, *inputs)
    assert isinstance(distances, np.ndarray) and distances.dtype == np.float32 and distances.shape == (N, M)
    v, t, a, b = (np.asarray(x, np.float64) for x in (image.parts, text.parts, image.attention, text.attention))
    expected = [[loss_reference.pair_distance(v[i], t[j], a[i], b[j]) for j in range(M)] for i in range(N)]
    np.testing.assert_allclose(distances, expected, atol=FLOAT32_TOLERANCE)
    assert np.ptp(distances) > 0.1  # the cases differ, so a wrong order would show
    assert np.ptp(a, axis=1).max() > 0.1  # as would a missing attention map


def test_without_diversified_attention_it_is_the_cosine_distance(inputs):
    projector = Projector(hidden=12, width=8, parts=1)
    parameters = drawn_variables(projector, *(x[:1] for x in inputs))["params"]
    image, text = (np.asarray(x.features) for x in encoded(projector, parameters, *inputs))
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    distances = retrieval_distances(projector, parameters, *inputs)
    np.testing.assert_allclose(distances, 1 - image @ text.T, atol=FLOAT32_TOLERANCE)


def test_strict_promotion_gives_the_same():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(N, 5)), rng.normal(size=(N, 4))
    parameters = PROJECTOR.init(jax.random.key(0), images, texts)["params"]
    expected = retrieval_distances(PROJECTOR, parameters, images, texts)
    with jax.numpy_dtype_promotion("strict"):
        found = retrieval_distances(PROJECTOR, parameters, images, texts)
        figures = evaluate(found, np.arange(N) % 2)
    np.testing.assert_array_equal(found, expected)
    assert figures == evaluate(expected, np.arange(N) % 2)
