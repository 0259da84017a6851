"""Readers: every format against what wrote it, and every kind of bad file against its message."""

import io
import os
import struct
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpldan_jax.data import DataError, available_keys, read_arrays, read_list
from tests.data.files import mat5_bytes, npy_header, npz_bytes, write_mat73, zip_bytes

IMAGES = np.arange(12, dtype=np.float64).reshape(4, 3) / 7
TEXTS = np.arange(8, dtype=np.float32).reshape(4, 2)
CODES = np.array([[3, 1, 2, 1]], np.uint8)
# What one refusal may allocate besides the file itself; the bombs below would expand to 64 MiB.
MODEST_BYTES = 4 << 20


def save(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def cells(*items):
    array = np.empty((1, len(items)), object)
    for index, item in enumerate(items):
        array[0, index] = item
    return array


def sparse(values):
    return pytest.importorskip("scipy.sparse").csc_array(values)


def message(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


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


def test_mat73_turns_arrays_back(tmp_path):
    variables = {
        "image": IMAGES,
        "data": {"X1": IMAGES, "note": "two words"},
        "X": [IMAGES, TEXTS],
        "names": ["cat", "horse"],
        "empty": np.zeros((0, 3)),
    }
    path = write_mat73(tmp_path / "a.mat", variables)
    keys = ["image", "data.X1", "data.note", "X{1}", "X{2}", "names", "empty"]
    arrays = read_arrays(path, keys)
    for key in ("image", "data.X1", "X{1}"):
        np.testing.assert_array_equal(arrays[key], IMAGES)
    np.testing.assert_array_equal(arrays["X{2}"], TEXTS)
    assert arrays["data.note"].tolist() == ["two words"]
    assert arrays["names"].tolist() == ["cat", "horse"]
    assert arrays["empty"].shape == (0, 3)
    assert "expected an array, found a group with X1, note" in message(read_arrays, path, ["data"])
    assert "a cell array of 2; name one cell" in message(read_arrays, path, ["X"])
    assert "no key 'X{3}'" in message(read_arrays, path, ["X{3}"])


def test_mat73_sparse(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path = write_mat73(tmp_path / "a.mat", {})
    with h5py.File(path, "r+") as file:
        group = file.create_group("T")
        group.attrs["MATLAB_sparse"] = np.uint64(3)
        group["data"], group["ir"], group["jc"] = [2.0, 7.0], [2, 0], [0, 1, 2]
    assert read_arrays(path, ["T"])["T"].tolist() == [[0, 7], [0, 0], [2, 0]]


def test_plain_hdf5_is_not_transposed(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"], file["group/text"] = IMAGES, TEXTS
        file["label"] = ["cat", "dog"]
    arrays = read_arrays(tmp_path / "a.h5", ["image", "group.text", "group/text", "label"])
    np.testing.assert_array_equal(arrays["image"], IMAGES)
    np.testing.assert_array_equal(arrays["group.text"], TEXTS)
    assert arrays["label"].tolist() == ["cat", "dog"]
    assert available_keys(tmp_path / "a.h5") == ("group.text", "image", "label")


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(tmp_path, compressed):
    data = npz_bytes(compressed=compressed, image=np.asfortranarray(IMAGES), text=TEXTS.astype(">f4"), s=["a"])
    # The content decides, not the name.
    arrays = read_arrays(save(tmp_path, "a.mat", data), ["image", "text", "s"], optional=["none"])
    np.testing.assert_array_equal(arrays["image"], IMAGES)
    np.testing.assert_array_equal(arrays["text"], TEXTS)
    assert set(arrays) == {"image", "text", "s"}


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    path = save(tmp_path, "a.h5", b"\x89HDF\r\n\x1a\n" + bytes(600))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'gpldan_jax[hdf5]'" in message(read_arrays, path, ["a"])


def test_a_missing_key_names_the_near_one(tmp_path):
    path = save(tmp_path, "a.npz", npz_bytes(image=IMAGES, text=TEXTS))
    expected = "no key 'imge' (did you mean 'image'?); the file has image, text"
    assert message(read_arrays, path, ["imge"]) == f"{path}: {expected}"
    path = save(tmp_path, "a.mat", mat5_bytes(MAT_VARIABLES))
    assert "did you mean 'data.X1'?" in message(read_arrays, path, ["data.X2"])
    assert "no key 'X{3}'" in message(read_arrays, path, ["X{3}"])
    assert "expected a name like" in message(read_arrays, path, ["X{1"])


def test_structs_objects_and_complex_numbers_are_refused(tmp_path):
    path = save(tmp_path, "a.mat", mat5_bytes({**MAT_VARIABLES, "z": IMAGES * 1j}))
    assert "found a struct; name one field" in message(read_arrays, path, ["data"])
    assert "name one cell, as in X{1}" in message(read_arrays, path, ["X"])
    assert f"{path}[z]: expected real numbers, found complex" in message(read_arrays, path, ["z"])


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickles_are_not_executed(tmp_path):
    sprung = tmp_path / "sprung"
    objects = np.empty(1, object)
    objects[0] = Trap(sprung)
    path = save(tmp_path, "a.npz", npz_bytes(image=objects))
    assert f"{path}[image]: expected numbers, found pickled objects" in message(read_arrays, path, ["image"])
    stream = io.BytesIO()
    np.save(stream, objects, allow_pickle=True)
    assert "a single .npy array" in message(read_arrays, save(tmp_path, "b.npz", stream.getvalue()), ["image"])
    objects.dump(tmp_path / "c.npz")
    assert "looks like a pickle" in message(read_arrays, tmp_path / "c.npz", ["image"])
    assert not sprung.exists()


def test_files_that_are_none(tmp_path):
    assert message(read_arrays, tmp_path, ["a"]).endswith("expected a file, found a directory")
    assert message(read_arrays, tmp_path / "no.npz", ["a"]).endswith("no such file")
    assert message(read_arrays, save(tmp_path, "e.mat", b""), ["a"]).endswith("the file is empty")
    text = save(tmp_path, "t.npz", b"image,text\n1,2\n")
    assert "expected a .npz, HDF5 or MATLAB 5 or 7.3 file" in message(read_arrays, text, ["a"])
    os.mkfifo(tmp_path / "pipe.npz")
    assert "regular file" in message(read_arrays, tmp_path / "pipe.npz", ["a"])


def test_unreadable_files(tmp_path, monkeypatch):
    path = save(tmp_path, "a.npz", npz_bytes(a=IMAGES))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert message(read_arrays, path, ["a"]) == f"{path}: no permission to read the file"


def valid_files():
    files = {
        "npz": npz_bytes(a=IMAGES, b=TEXTS),
        "deflated npz": npz_bytes(compressed=True, a=IMAGES, b=TEXTS),
        "mat5": mat5_bytes({"a": IMAGES, "b": {"c": TEXTS, "d": cells("x", IMAGES)}}),
        "deflated mat5": mat5_bytes({"a": IMAGES, "b": sparse(IMAGES)}, compressed=True),
    }
    try:
        import h5py
    except ImportError:
        return files
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["a"], file["b"] = IMAGES, TEXTS
        file.create_dataset("c", data=IMAGES, chunks=(2, 3), compression="gzip")
    return files | {"hdf5": stream.getvalue()}


VALID = valid_files()


@pytest.mark.parametrize("kind", VALID)
def test_truncated_files(tmp_path, kind):
    whole = VALID[kind]
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        path = save(tmp_path, "a.bin", whole[: max(1, int(share * len(whole)))])
        assert message(read_arrays, path, ["a", "b"]).startswith(f"{path}: ")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files_raise_nothing_else(tmp_path, data):
    content = bytearray(data.draw(st.one_of(st.binary(max_size=300), st.sampled_from([*VALID.values()]))))
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            position = data.draw(st.integers(0, len(content) - 1))
            content[position] ^= 1 << data.draw(st.integers(0, 7))
    content = content[: data.draw(st.integers(0, len(content)))] or content
    path = save(tmp_path, "a.bin", bytes(content))
    try:
        for key in available_keys(path):
            read_arrays(path, [key], max_bytes=1 << 20)
    except DataError as error:
        assert "\n" not in str(error)


def refuses_cheaply(path, key, max_bytes=1 << 20):
    tracemalloc.start()
    try:
        text = message(read_arrays, path, [key], max_bytes=max_bytes)
        assert tracemalloc.get_traced_memory()[1] < MODEST_BYTES
    finally:
        tracemalloc.stop()
    return text


def test_npz_bombs_are_refused_before_they_expand(tmp_path):
    zeros = bytes(64 << 20)
    bomb = zip_bytes(a=npy_header((8 << 20,)) + zeros)
    text = refuses_cheaply(save(tmp_path, "a.npz", bomb), "a")
    assert "[a]: expands to" in text and "limit of 1048576 bytes (max_bytes)" in text


def test_a_budget_covers_all_keys_together(tmp_path):
    path = save(tmp_path, "a.npz", npz_bytes(a=IMAGES, b=IMAGES))
    assert set(read_arrays(path, ["a"], max_bytes=300)) == {"a"}
    assert "[b]: expands to" in message(read_arrays, path, ["a", "b"], max_bytes=300)


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 20), (1 << 62,), (0, 1 << 70), (-1, 4), (3,) * 70])
def test_npy_headers_with_gigantic_shapes(tmp_path, shape):
    path = save(tmp_path, "a.npz", zip_bytes(a=npy_header(shape) + bytes(96)))
    refuses_cheaply(path, "a")
    path = save(tmp_path, "b.npz", zip_bytes(a=npy_header((1 << 40,), "<U0")))
    refuses_cheaply(path, "a")


def test_forged_zip_sizes(tmp_path):
    honest = zip_bytes(a=npy_header((8,)) + bytes(64))
    size = zipfile.ZipFile(io.BytesIO(honest)).getinfo("a.npy").file_size
    directory = honest.index(b"PK\1\2")
    for forged in (size // 2, size + 1, 1 << 30, 0xFFFFFFFE):
        data = bytearray(honest)
        struct.pack_into("<I", data, directory + 24, forged)
        refuses_cheaply(save(tmp_path, "a.npz", bytes(data)), "a", max_bytes=1 << 40)


def mat5_compressed(inner):
    packed = zlib.compress(inner)
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<2I", 15, len(packed)) + packed


def mat5_matrix(declared, body, shape):
    header = struct.pack("<4I", 6, 8, 6, 0) + struct.pack("<4i", 5, 8, *shape)
    header += struct.pack("<I4s", 1 << 16 | 1, b"a") + struct.pack("<2I", 9, len(body))
    return struct.pack("<2I", 14, len(header) + declared) + header + body


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


def test_hdf5_arrays_past_the_limit(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (1 << 40,), "f4", chunks=(1 << 10,), compression="gzip")
        file.create_dataset("b", (1,), "f4", maxshape=(None,), chunks=(1 << 24,))
    for key in "ab":
        assert f"[{key}]: expands to" in refuses_cheaply(tmp_path / "a.h5", key)


def test_hdf5_does_not_open_other_files(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    (tmp_path / "secret").write_bytes(bytes(8))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("b.h5", "/a")
        file.create_dataset("outside", (1,), "f8", external=[(tmp_path / "secret", 0, 8)])
    assert "links are not followed" in message(read_arrays, tmp_path / "a.h5", ["link"])
    assert "not opened" in message(read_arrays, tmp_path / "a.h5", ["outside"])


def test_hdf5_groups_that_contain_themselves(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("g")
        for index in range(50):
            group[f"again{index}"] = group
        group["z"] = IMAGES
    assert available_keys(tmp_path / "a.h5") == ("g.z",)
    assert "no key 'a'" in message(read_arrays, tmp_path / "a.h5", ["a"])


def test_lists(tmp_path):
    path = save(tmp_path, "a.list", b"t1\ti1\t6\r\nt2\ti2\t10\n\n")
    assert read_list(path) == [("t1", "i1", 6), ("t2", "i2", 10)]
    assert message(read_list, tmp_path / "no.list").endswith("no such file")
    for bad in (b"t1\ti1\n", b"t1\ti1\tsix\n", b"t1 i1 6\n"):
        assert "line 1: expected text, image and class number" in message(read_list, save(tmp_path, "a.list", bad))
    assert "unreadable" in message(read_list, save(tmp_path, "a.list", b"\xff\xfe\t\x80\t1\n"))
    assert "unreadable" in message(read_list, save(tmp_path, "a.list", b"a\tb\t" + b"9" * 5000))
