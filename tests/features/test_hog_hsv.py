"""Shapes and colours: by hand, and as the emoji dataset has them."""

import numpy as np
import pytest

from gpldan_jax.features import image_encoders as hog_hsv


def test_features_of_a_picture_known_by_hand():
    pytest.importorskip("skimage", reason="the features need scikit-image")
    picture = np.full((1, 64, 64, 3), 255, np.uint8)
    picture[:, :16, 16:32] = (0, 255, 0)
    features = hog_hsv(picture)[0]
    expected = np.zeros((16, 6, 2, 2))
    expected[:, 0, 0, 1] = 1  # white: no hue, no saturation, full value
    expected[1] = 0
    expected[1, 2, 1, 1] = 1  # green is a third of the way round: bin 2 of 6
    np.testing.assert_array_equal(features[1568:].reshape(16, 6, 2, 2), expected)
    blocks = features[:1568].reshape(7, 7, 4 * 8)
    assert (blocks[0, 0] > 0).any()
    assert (blocks[3:] == 0).all()  # rows of cells without an edge


def test_each_picture_is_taken_by_itself_and_rounded_as_the_shipped_ones():
    pytest.importorskip("skimage", reason="the features need scikit-image")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    features = hog_hsv(pictures)
    assert features.dtype == np.float32 and features.min() >= 0 and features.max() <= 1
    np.testing.assert_array_equal(features, features.astype(np.float16))
    np.testing.assert_array_equal(features, np.concatenate([hog_hsv(pictures[i : i + 1]) for i in range(3)]))
    np.testing.assert_array_equal(features, hog_hsv(list(pictures)))
    assert hog_hsv(pictures[:0]).shape == (0, 1952)


def test_other_pictures_are_refused():
    pytest.importorskip("skimage", reason="the features need scikit-image")
    with pytest.raises(ValueError, match=r"\(n, 64, 64, 3\), found \(2, 32, 32, 3\)"):
        hog_hsv(np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(TypeError, match="uint8, found float64"):
        hog_hsv(np.zeros((2, 64, 64, 3)))
