"""HDF5 and MATLAB 7.3 files: against what h5py wrote, and files that reach for other files."""

import subprocess
import sys

import numpy as np
import pytest

from gpldan_jax.data import DataError, available_keys, read_arrays
from tests.data.files.refusals import message, refuses_cheaply
from tests.data.files.writers import IMAGES, TEXTS, save, write_mat73


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


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    path = save(tmp_path, "a.h5", b"\x89HDF\r\n\x1a\n" + bytes(600))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'gpldan_jax[hdf5]'" in message(read_arrays, path, ["a"])


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


_WRITER = """
import sys, h5py, numpy
file = h5py.File(sys.argv[1], "w", libver=sys.argv[2])
file["image"] = numpy.ones((3, 2))
if sys.argv[2] == "latest":
    file.flush()  # the other version leaves a file that is damaged until it is closed
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_file_that_another_program_writes_to_is_not_called_damaged(tmp_path, version):
    pytest.importorskip("h5py", reason="h5py is not installed")
    path = tmp_path / "a.h5"
    command = [sys.executable, "-c", _WRITER, path, version]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(DataError, match=r"a\.h5: the file is open for writing, .*; close it there and try again"):
            read_arrays(path, ["image"])
        writer.communicate()
    assert read_arrays(path, ["image"])["image"].shape == (3, 2)


def test_a_file_that_this_program_writes_to_is_not_called_damaged(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.ones((3, 2))
        file.flush()
        with pytest.raises(DataError, match="open for writing, in another program or in this one"):
            read_arrays(tmp_path / "a.h5", ["image"])
