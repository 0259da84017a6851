"""Labels: every stored form against the values it stands for."""

import numpy as np
import pytest

from gpldan_jax.data import DataError, encode_labels, is_labelled, normalize_labels

VALUES = np.array([3, 1, 2, 1])
ONE_HOT = np.eye(3, dtype=np.uint8)[VALUES - 1]


@pytest.mark.parametrize(
    "raw",
    [
        VALUES,
        VALUES[:, None],
        VALUES[None, :],
        VALUES.astype(np.float64),
        VALUES.astype(np.uint8),
        VALUES.tolist(),
    ],
)
def test_numbers_keep_their_values(raw):
    found = normalize_labels(raw, 4, where="f[k]")
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("raw", [ONE_HOT, ONE_HOT.T, ONE_HOT.astype(bool), ONE_HOT.astype(float)])
def test_one_hot_rows_and_columns(raw):
    np.testing.assert_array_equal(normalize_labels(raw, 4, where="f[k]"), VALUES - 1)


def test_square_one_hot_has_items_in_rows():
    shift = np.roll(np.eye(4), 1, axis=1)
    np.testing.assert_array_equal(normalize_labels(shift, 4, where="f[k]"), [1, 2, 3, 0])
    columns = np.eye(4)[[0, 0, 1, 2]].T
    np.testing.assert_array_equal(normalize_labels(columns, 4, where="f[k]"), [0, 0, 1, 2])


@pytest.mark.parametrize(
    "raw",
    [["b", "a"], np.array([["b", "a"]]), np.array(["b", "a"], object), np.array([b"b", b"a"])],
)
def test_strings(raw):
    assert normalize_labels(raw, 2, where="f[k]").tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (VALUES[:3], r"expected 4 labels .* found \[3\]"),
        (np.ones((4, 2, 2)), r"expected 4 labels .* found \[4, 2, 2\]"),
        (np.float64(1), r"expected 4 labels .* found \[\]"),
        ([1, np.nan, 2, np.inf], r"rows 1, 3 \(counted from 0\) have NaN or Inf"),
        ([1, 2.5, 2, 1], r"expected whole numbers as labels, found 2.5 in row 1"),
        ([1, 1e300, 2, 1], r"expected whole numbers"),
        (VALUES * 1j, "found complex128"),
        (np.array([1, None, 2, 3], object), "found object"),
        ([[1, 0], [1, 1], [0, 1], [1, 1]], r"expected one class per item, found 2 in rows 1, 3"),
        ([[1, 0], [0, 0], [0, 1], [0, 1]], r"expected one class per item, found 0 in row 1"),
        ([[1, 0], [0, 2], [0, 1], [0, 1]], r"must be 0 and 1, a column for each class"),
        ([[1, 0], [0, np.nan], [0, 1], [0, 1]], r"must be 0 and 1, a column for each class"),
        (np.full((4, 2), "a"), r"must be 0 and 1, a column for each class"),
        (np.full(4, 2**64 - 1, np.uint64), "past the range of int64"),
    ],
)
def test_refused(raw, expected):
    with pytest.raises(DataError, match=expected) as caught:
        normalize_labels(raw, 4, where="a.mat[Y]")
    assert str(caught.value).startswith("a.mat[Y]: ")


def test_several_classes_or_none_where_they_are_allowed():
    several = [[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]
    found = normalize_labels(several, 4, where="f[k]", per_item="any")
    assert found.dtype == bool and found.tolist() == np.array(several, bool).tolist()
    np.testing.assert_array_equal(normalize_labels(np.array(several).T, 4, where="f[k]", per_item="any"), found)
    one_or_none = [[1, 0], [0, 0], [0, 1], [0, 1]]
    assert normalize_labels(one_or_none, 4, where="f[k]", per_item="any").tolist() == [0, -1, 1, 1]
    assert normalize_labels([1, np.nan, 2, -1], 4, where="f[k]", per_item="any").tolist() == [1, -1, 2, -1]
    with pytest.raises(DataError, match="have NaN or Inf as label"):
        normalize_labels([np.inf, 1, 1, 1], 4, where="f[k]", per_item="any")


def test_items_without_a_class_get_no_class_of_their_own():
    (train, test), names = encode_labels(np.array(["b", "", "a"]), np.array(["", "b"]))
    assert train.tolist() == [1, -1, 0] and test.tolist() == [-1, 1] and names == ("a", "b")
    assert is_labelled(train).tolist() == [True, False, True]
    (train,), names = encode_labels(np.array([5, -1]))
    assert train.tolist() == [0, -1] and names == ("5",)


def test_several_classes_are_encoded_for_all_splits():
    several = np.array([[True, True], [False, False]])
    (train, test, none), names = encode_labels(several, np.array([1, -1]), np.empty((0, 2), bool), names=("cat", "dog"))
    assert train is several and test.tolist() == [[False, True], [False, False]] and none.shape == (0, 2)
    assert names == ("cat", "dog") and encode_labels(several)[1] == ("0", "1")
    assert encode_labels(np.array([1, 0]), names=("cat", "dog"))[1] == ("cat", "dog")
    for parts, given, message in (
        ((several, np.ones((1, 3), bool)), None, "as many classes in all splits, found [2, 3]"),
        ((several, np.array(["a"])), None, "expected rows of 2 classes in all splits"),
        ((several, np.array([2])), None, "expected rows of 2 classes in all splits"),
        ((several,), ("cat",), "expected 2 class names, found 1"),
        ((np.array(["cat"]),), ("cat",), "class names belong to labels in 0..0"),
    ):
        with pytest.raises(DataError) as caught:
            encode_labels(*parts, names=given)
        assert message in str(caught.value)


def test_classes_are_mapped_jointly_and_in_order():
    (train, test, none), names = encode_labels(np.array([10, 2, 9]), np.array([9, 11]), np.empty(0))
    assert train.tolist() == [2, 0, 1] and test.tolist() == [1, 3] and none.shape == (0,)
    assert {part.dtype for part in (train, test, none)} == {np.dtype(np.int32)}
    assert names == ("2", "9", "10", "11")


def test_numbers_and_strings_do_not_mix():
    with pytest.raises(DataError, match="found numbers and strings"):
        encode_labels(np.array([1]), np.array(["1"]))
