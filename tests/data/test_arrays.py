"""One conversion for lists, pandas, jax and PyTorch: numbers, text, what is missing, and what is neither."""

import datetime

import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.data import DataError
from gpldan_jax.data.arrays import as_array
from tests import containers
from tests.containers import NA, Column


@pytest.mark.parametrize("kind", [*containers.VECTORS, *containers.NUMBERS])
@pytest.mark.parametrize("values", [[3, 1, 2], ["b", "a", "b"], [0.5, 2.0, 1.0], [True, False, True]])
def test_every_container_holds_the_same(kind, values):
    values = np.array(values)
    if values.dtype.kind == "U" and kind in containers.NUMBERS:
        pytest.skip("no text there")
    found = as_array((containers.VECTORS | containers.NUMBERS)[kind](values), "labels")
    assert found.tolist() == values.tolist() and found.dtype.kind in (values.dtype.kind, "f" if kind == "jax" else "")


@pytest.mark.parametrize("none", [None, NA, float("nan"), np.float32("nan")])
def test_missing_values(none):
    numbers, text, bools = Column([1, none, 3]), Column(["a", none, "b"]), Column([True, none])
    assert as_array(numbers, "labels", missing="unlabelled").tolist() == [1, -1, 3]
    assert as_array(text, "labels", missing="unlabelled").tolist() == ["a", "", "b"]
    assert as_array(bools, "labels", missing="unlabelled").tolist() == [1, -1]
    np.testing.assert_array_equal(as_array(numbers, "images"), [1, np.nan, 3])
    np.testing.assert_array_equal(as_array(Column([0.5, none]), "labels", missing="unlabelled"), [0.5, np.nan])
    np.testing.assert_array_equal(as_array(Column([none, none]), "images"), [np.nan, np.nan])
    for values, missing in ((numbers, "refuse"), (text, "refuse"), (text, "nan"), (Column([none]), "refuse")):
        row = 0 if len(values) == 1 else 1
        with pytest.raises(DataError, match=rf"ids must have no missing values, row {row} \(counted from 0\) has none"):
            as_array(values, "ids", missing=missing)


def test_missing_values_of_pandas():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    for dtype in ("Int64", "Float64"):
        found = as_array(pandas.Series([1, None, 3], dtype=dtype), "labels", missing="unlabelled")
        np.testing.assert_array_equal(np.nan_to_num(found, nan=-1), [1, -1, 3])
    for dtype in ("string", "category", object):
        found = as_array(pandas.Series(["a", None, "b"], dtype=dtype), "labels", missing="unlabelled")
        assert found.tolist() == ["a", "", "b"]
    assert as_array(pandas.Series([True, None], dtype="boolean"), "l", missing="unlabelled").tolist() == [1, -1]
    frame = pandas.DataFrame({"a": pandas.array([1, None], dtype="Int64"), "b": [0.5, 1.5]})
    np.testing.assert_array_equal(as_array(frame, "images"), [[1, 0.5], [np.nan, 1.5]])


def test_large_whole_numbers_are_exact():
    for values, dtype in (([2**62, -5], np.int64), ([2**64 - 1, 5], np.uint64)):
        for given in (values, Column(values)):
            found = as_array(given, "ids")
            assert found.tolist() == values and found.dtype == dtype
    assert as_array([1e300, 0.5], "distances").tolist() == [1e300, 0.5]
    with pytest.raises(DataError, match=r"ids must be whole numbers from -2\*\*63 to 2\*\*64 - 1"):
        as_array([2**70], "ids")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 1], "ids must be all text or all numbers, got both"),
        (Column(["a", 1.5]), "ids must be all text or all numbers, got both"),
        (Column([b"a", b"b"]), "ids must be numbers or text, got values of type bytes"),
        (Column([(), 1]), "ids must be numbers or text, got values of type tuple"),
        ([datetime.date(2020, 1, 1)], "ids must be numbers or text, got values of type date"),
        ([[1, 2], [3]], "ids must be an array of numbers or text, got list"),
        (np.array([1, np.nan]), r"ids must have no missing values, row 1 \(counted from 0\) is NaN"),
    ],
)
def test_what_is_neither_numbers_nor_text(values, message):
    with pytest.raises(DataError, match=message):
        as_array(values, "ids", missing="refuse")


def test_numbers_of_other_libraries():
    half = as_array(jnp.array([0.5, 2], jnp.bfloat16), "distances")
    assert half.dtype == np.float32 and half.tolist() == [0.5, 2]
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert as_array(torch.tensor([0.5, 2], dtype=torch.bfloat16), "distances").tolist() == [0.5, 2]
