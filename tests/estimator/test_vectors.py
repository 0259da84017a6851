"""The vectors of an estimator, for vector stores."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from gpldan_jax import GPLDAN, models
from tests.containers import Frame
from tests.estimator.test_gpldan import SMALL
from tests.training import tiny


@pytest.fixture(scope="module")
def split():
    return tiny.dataset(n=60).train


@pytest.fixture(scope="module", params=[1, 2])
def model(split, request):
    return GPLDAN(**SMALL | {"parts": request.param}, random_state=0).fit(split.images, split.texts)


def test_vectors_have_length_one_and_approximate_the_distance(model, split):
    images, texts = model.transform_images(split.images), model.transform_texts(split.texts)
    assert images.shape == texts.shape == (60, SMALL["width"] // model.parts) and images.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    found = np.corrcoef((1 - images @ texts.T).ravel(), model.distances(split.images, split.texts).ravel())[0, 1]
    assert found > (0.9 if model.parts > 1 else 0.99999)


def test_score_vectors_is_the_share_of_the_nearest_that_they_find(model, split):
    nearest = np.argsort(model.distances(split.images, split.texts), axis=1)[:, :5]
    products = model.transform_images(split.images) @ model.transform_texts(split.texts).T
    found = np.argsort(-products, axis=1)[:, :5]
    to_text = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(nearest, found, strict=True)])
    sides = model.model_.encode_images(split.images), model.model_.encode_texts(split.texts)
    assert models.vector_recall(*sides, k=5) == pytest.approx(to_text)
    expected = (to_text + models.vector_recall(*sides[::-1], k=5)) / 2
    assert model.score_vectors(split.images, split.texts, k=5) == pytest.approx(expected)
    assert model.parts > 1 or expected == 1


def test_features_that_do_not_fit_are_refused(model, split):
    with pytest.raises(NotFittedError):
        GPLDAN().transform_images(split.images)
    with pytest.raises(ValueError, match="texts"):
        model.transform_texts(split.texts[:, :-1])
    with pytest.raises(ValueError, match="images"):
        model.transform_images(split.images * np.nan)


def test_columns_are_compared_with_those_of_fit(split):
    names = [
        [f"{view}{column}" for column in range(of.shape[1])] for view, of in (("i", split.images), ("t", split.texts))
    ]
    frames = Frame(split.images, names[0]), Frame(split.texts, names[1])
    model = GPLDAN(**SMALL, random_state=0).fit(*frames)
    assert model.transform_images(frames[0]).shape == (60, 4)
    with pytest.raises(ValueError, match="texts"):
        model.transform_texts(Frame(split.texts, names[1][::-1]))
    with pytest.warns(UserWarning, match="images have no feature names") as warned:
        model.transform_images(split.images)
    assert warned[0].filename == __file__
