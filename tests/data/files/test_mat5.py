"""MATLAB 5 files: against what SciPy and hand-made bytes hold, and files that lie about their sizes."""

import struct

import numpy as np
import pytest

from gpldan_jax.data import available_keys, read_arrays
from tests.data.files.refusals import message, refuses_cheaply
from tests.data.files.writers import IMAGES, TEXTS, cells, mat5_bytes, mat5_compressed, mat5_matrix, save, sparse

CODES = np.array([[3, 1, 2, 1]], np.uint8)
MAT_VARIABLES = {
    "image": IMAGES,
    "label": CODES,
    "data": {"X1": IMAGES, "inner": {"X2": TEXTS}, "note": "two words"},
    "X": cells(IMAGES, TEXTS),
    "names": cells("cat", "horse"),
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_mat5_numbers_structs_cells_and_text(tmp_path, compressed):
    path = save(tmp_path, "a.mat", mat5_bytes(MAT_VARIABLES, compressed=compressed))
    arrays = read_arrays(
        path,
        [
            "image",
            "label",
            "data.X1",
            "data.inner.X2",
            "data.note",
            "X{1}",
            "X{2}",
            "names",
            "empty",
        ],
    )
    for key in ("image", "data.X1", "X{1}"):
        np.testing.assert_array_equal(arrays[key], IMAGES)
    for key in ("data.inner.X2", "X{2}"):
        np.testing.assert_array_equal(arrays[key], TEXTS)
    np.testing.assert_array_equal(arrays["label"], CODES)
    assert arrays["data.note"].tolist() == ["two words"]
    assert arrays["names"].tolist() == ["cat", "horse"]
    assert arrays["empty"].shape == (0, 3)
    assert {"image", "data.inner.X2", "X{2}", "names{1}"} <= set(available_keys(path))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_mat5_keeps_every_number_type(tmp_path, dtype):
    values = np.array([[1, 2, 3], [4, 5, 6]], dtype)
    found = read_arrays(save(tmp_path, "a.mat", mat5_bytes({"a": values})), ["a"])["a"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


def test_mat5_of_the_other_byte_order(tmp_path):
    body = struct.pack(">4I", 6, 8, 6, 0) + struct.pack(">4I", 5, 8, 1, 2)
    body += struct.pack(">I4s", 1 << 16 | 1, b"a") + struct.pack(">2I2d", 9, 16, 1.5, -2.0)
    data = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + struct.pack(">2I", 14, len(body)) + body
    found = read_arrays(save(tmp_path, "a.mat", data), ["a"])["a"]
    assert found.tolist() == [[1.5, -2.0]]


def test_sparse_matrices_come_dense(tmp_path):
    words = np.array([[0, 2, 0], [1, 0, 0], [0, 0, 0], [0, 5, 4.0]])
    path = save(tmp_path, "a.mat", mat5_bytes({"T": sparse(words), "B": sparse(words > 0)}))
    arrays = read_arrays(path, ["T", "B"])
    np.testing.assert_array_equal(arrays["T"], words)
    np.testing.assert_array_equal(arrays["B"], words > 0)


def test_structs_objects_and_complex_numbers_are_refused(tmp_path):
    path = save(tmp_path, "a.mat", mat5_bytes({**MAT_VARIABLES, "z": IMAGES * 1j}))
    assert "found a struct; name one field" in message(read_arrays, path, ["data"])
    assert "name one cell, as in X{1}" in message(read_arrays, path, ["X"])
    assert f"{path}[z]: expected real numbers, found complex" in message(read_arrays, path, ["z"])


def test_mat5_bombs_are_refused_before_they_expand(tmp_path):
    zeros = bytes(64 << 20)
    honest = mat5_compressed(mat5_matrix(len(zeros), zeros, (8 << 20, 1)))
    text = refuses_cheaply(save(tmp_path, "a.mat", honest), "a")
    assert "[a]: expands to" in text
    forged = mat5_compressed(mat5_matrix(8, zeros, (1, 1)))
    assert "expands past that" in refuses_cheaply(save(tmp_path, "b.mat", forged), "a")


def test_mat5_shapes_that_the_bytes_contradict(tmp_path):
    for shape in ((1 << 30, 1 << 30), (2, 3), (-1, 4)):
        path = save(tmp_path, "a.mat", mat5_compressed(mat5_matrix(8, bytes(8), shape)))
        assert "unreadable or damaged" in refuses_cheaply(path, "a")


def test_sparse_matrices_that_would_be_huge_when_dense(tmp_path):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    wide = scipy_sparse.csc_array(([1.0], ([0], [0])), shape=(1 << 30, 5))
    path = save(tmp_path, "a.mat", mat5_bytes({"T": wide}))
    assert "expands to 42949672960 bytes" in refuses_cheaply(path, "T", max_bytes=1 << 30)
