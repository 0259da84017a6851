"""Pairs as arguments: DataFrames and tensors, missing values, and the names of columns."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from gpldan_jax.data.frames import check_column_names, check_pairs, column_names, feature_rows
from tests import containers
from tests.containers import NA, Column, Frame

IMAGES, TEXTS = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((4, 2), np.float32)
NAMES = {"image": ["red", "green", "blue"], "text": ["cat", "dog"]}


def frames(image="red green blue", text="cat dog"):
    return Frame(IMAGES, image.split()), Frame(TEXTS, text.split())


@pytest.mark.parametrize("kind", containers.NUMBERS)
def test_features_in_any_container(kind):
    np.testing.assert_array_equal(feature_rows(containers.NUMBERS[kind](IMAGES), "images", 3), IMAGES)


def test_features_of_a_nullable_frame():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"a": pandas.array([1, 2], "Int64"), "b": pandas.array([0.5, 1.5], "Float64")})
    np.testing.assert_array_equal(feature_rows(frame, "images"), [[1, 0.5], [2, 1.5]])
    assert column_names(frame, frame) == {"image": ["a", "b"], "text": ["a", "b"]}
    frame.loc[1, "a"] = pandas.NA
    with pytest.raises(ValueError, match="images: expected finite float32 values, found NaN, Inf or overflow in row 1"):
        feature_rows(frame, "images")


@pytest.mark.parametrize(
    ("values", "width", "error", "message"),
    [
        (sparse.csr_array(IMAGES), None, TypeError, "images must be a dense array, got a sparse csr_array"),
        (np.zeros((0, 3)), None, ValueError, r"images must have rows, got shape \[0, 3\]"),
        (IMAGES, 4, ValueError, r"images must be \[n, 4\] as in fit, got \[4, 3\]"),
        ([["a", "b"]], None, ValueError, "images: expected real numbers, found <U1"),
        ([[1, "b"]], None, ValueError, "images must be all text or all numbers, got both"),
    ],
)
def test_features_that_are_refused(values, width, error, message):
    with pytest.raises(error, match=message):
        feature_rows(values, "images", width)


def test_labels_and_groups_that_are_objects():
    pairs = check_pairs(IMAGES, TEXTS, Column(["a", NA, "b", None]), Column([7, 7, 8, 9]))
    assert pairs.labels.tolist() == ["a", "", "b", ""] and pairs.groups.tolist() == [7, 7, 8, 9]
    assert check_pairs(IMAGES, TEXTS, Column([3, NA, 4, 3])).labels.tolist() == [3, -1, 4, 3]
    with pytest.raises(ValueError, match=r"validation groups must have no missing values, row 1 \(counted from 0\)"):
        check_pairs(IMAGES, TEXTS, None, Column([7, NA, 8, 9]), prefix="validation ")
    with pytest.raises(ValueError, match="labels must be all text or all numbers, got both"):
        check_pairs(IMAGES, TEXTS, Column(["a", 1, "b", "c"]))


def test_names_of_columns():
    assert column_names(*frames()) == NAMES
    assert column_names(IMAGES, Frame(TEXTS, range(2))) == {}
    with pytest.raises(TypeError, match="the column names of texts must be all strings or none, got int, str"):
        column_names(IMAGES, Frame(TEXTS, ["a", 3]))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("green red blue", "must be in the same order as they were in fit"),
        ("red green", r"\(seen at fit time, yet now missing: blue\)"),
        ("red green blue hue", r"\(unseen at fit time: hue\)"),
        ("red hue blue", r"\(unseen at fit time: hue; seen at fit time, yet now missing: green\)"),
    ],
)
def test_other_names_than_in_fit(image, message):
    with pytest.raises(ValueError, match="images: the feature names should match .* during fit.*" + message):
        check_column_names(*frames(image), NAMES)
    with pytest.raises(ValueError, match=r"^validation texts: .*unseen at fit time: dog, rat; "):
        check_column_names(*frames("red green blue", "dog rat"), NAMES | {"text": ["cat", "cow"]}, "validation ")


def test_names_on_one_side_only_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_column_names(*frames(), NAMES)
        check_column_names(IMAGES, TEXTS, {})
    with pytest.warns(UserWarning, match="texts have no feature names, but GPLDAN was fitted with feature names"):
        check_column_names(frames()[0], TEXTS, NAMES)
    with pytest.warns(UserWarning, match="images have feature names, but GPLDAN was fitted without feature names"):
        check_column_names(*frames(), {"text": NAMES["text"]})
