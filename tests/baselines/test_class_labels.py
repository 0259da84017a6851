"""Labels of several classes in the supervised methods: by hand, and equal to one class where each item has one."""

import numpy as np
import pytest

from gpldan_jax import data, retrieval
from gpldan_jax.baselines import acmr, cmcp, dscmr, jrl
from gpldan_jax.baselines.class_labels import class_targets, count_classes, share_a_class
from gpldan_jax.data import synthetic_splits

CLASSES = 6
SEVERAL = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
TOLERANCE = 1e-6  # float32 sums in another order


def test_items_share_a_class_or_not():
    assert share_a_class(SEVERAL).tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    labels = np.array([2, 0, 2])
    np.testing.assert_array_equal(share_a_class(np.eye(3, dtype=bool)[labels]), share_a_class(labels))
    np.testing.assert_array_equal(class_targets(np.eye(3, dtype=bool)[labels], 3), class_targets(labels, 3))
    assert count_classes(SEVERAL) == count_classes(labels) == 3


def test_losses_of_one_class_a_row_are_those_of_class_numbers():
    random = np.random.default_rng(0)
    image, text = random.standard_normal((2, 6, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 1])
    rows = np.eye(3, dtype=bool)[labels]
    for loss in (dscmr.discrimination_loss, lambda *of: acmr.triplet_loss(*of, margin=4.0, negative=1.0)):
        np.testing.assert_allclose(loss(image, text, rows), loss(image, text, labels), rtol=TOLERANCE)


def test_the_label_loss_of_several_classes_is_that_of_a_loop():
    random = np.random.default_rng(1)
    image, text = random.standard_normal((2, 3, 4)).astype(np.float32)
    kernel = random.standard_normal((4, 3)).astype(np.float32)
    parameters = {"layer_0": {"kernel": kernel, "bias": np.zeros(3, np.float32)}}
    expected = 0.0
    for codes in (image, text):
        for code, row in zip(codes.astype(float), SEVERAL, strict=True):
            for logit, is_of_class in zip(code @ kernel, row, strict=True):
                probability = 1 / (1 + np.exp(-logit))
                expected -= np.log(probability if is_of_class else 1 - probability) / len(SEVERAL)
    found = acmr.label_loss(parameters, image, text, SEVERAL)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_correlations_of_sets_of_classes_weigh_relevant_and_other_items_alike():
    related = np.array([[True, True, False], [True, True, False], [False, False, True]])
    found = cmcp.class_correlations(np.array([2, 1, 4]), related)
    # Three items share a class with the first set, four do not; of the third set it is the other way round.
    third, quarter = 1 / 3, 1 / 4
    expected = [[third, third, -quarter], [third, third, -quarter], [0, 0, quarter]]
    expected[2][:2] = [-third, -third]
    expected = (np.array(expected) + np.array(expected).T) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (acmr.METHODS[0], {"epochs": 30, "learning_rate": 1e-3}),
        (dscmr.METHODS[0], {"epochs": 40, "hidden": 64, "width": 32, "learning_rate": 1e-3}),
        (jrl.METHODS[0], {"sparsity": 1.0, "smoothness": 1.0}),
        (cmcp.METHODS[0], {}),
    ],
    ids=lambda of: getattr(of, "name", ""),
)
def test_a_supervised_method_learns_from_several_classes(method, settings):
    generated = synthetic_splits((300, 60, 90), image_dim=20, text_dim=12, classes=CLASSES)
    train, validation, test = (_with_a_second_class(*arrays) for arrays in generated)

    def score(distances):
        return retrieval.evaluate(distances, validation.labels)["map@50"]["average"]

    distances = method.fit(train, validation, score, seed=0, **settings)
    found = retrieval.evaluate(distances(test.images, test.texts), test.labels)
    chance = retrieval.chance(len(test), test.labels)
    assert found["map@50"]["average"] > 1.3 * chance["map@50"], (found["map@50"], chance["map@50"])
    assert found["ndcg@50"]["average"] > chance["ndcg@50"]


def _with_a_second_class(images, texts, labels):
    one_hot = np.eye(CLASSES, dtype=bool)
    return data.PairedSplit(images, texts, one_hot[labels] | one_hot[(labels + 1) % CLASSES])
