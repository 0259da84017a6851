"""Reading whatever the format: missing keys and files, damage, the budget, and the lists of the Wikipedia release."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpldan_jax.data import DataError, available_keys, read_arrays, read_list
from tests.data.files.refusals import message
from tests.data.files.writers import IMAGES, TEXTS, cells, mat5_bytes, npz_bytes, save, sparse


def test_a_missing_key_names_the_near_one(tmp_path):
    path = save(tmp_path, "a.npz", npz_bytes(image=IMAGES, text=TEXTS))
    expected = "no key 'imge' (did you mean 'image'?); the file has image, text"
    assert message(read_arrays, path, ["imge"]) == f"{path}: {expected}"
    path = save(tmp_path, "a.mat", mat5_bytes({"data": {"X1": IMAGES}, "X": cells(IMAGES, TEXTS)}))
    assert "did you mean 'data.X1'?" in message(read_arrays, path, ["data.X2"])
    assert "no key 'X{3}'" in message(read_arrays, path, ["X{3}"])
    assert "expected a name like" in message(read_arrays, path, ["X{1"])


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


def test_a_budget_covers_all_keys_together(tmp_path):
    path = save(tmp_path, "a.npz", npz_bytes(a=IMAGES, b=IMAGES))
    assert set(read_arrays(path, ["a"], max_bytes=300)) == {"a"}
    assert "[b]: expands to" in message(read_arrays, path, ["a", "b"], max_bytes=300)


def test_lists(tmp_path):
    path = save(tmp_path, "a.list", b"t1\ti1\t6\r\nt2\ti2\t10\n\n")
    assert read_list(path) == [("t1", "i1", 6), ("t2", "i2", 10)]
    assert message(read_list, tmp_path / "no.list").endswith("no such file")
    for bad in (b"t1\ti1\n", b"t1\ti1\tsix\n", b"t1 i1 6\n"):
        assert "line 1: expected text, image and class number" in message(read_list, save(tmp_path, "a.list", bad))
    assert "unreadable" in message(read_list, save(tmp_path, "a.list", b"\xff\xfe\t\x80\t1\n"))
    assert "unreadable" in message(read_list, save(tmp_path, "a.list", b"a\tb\t" + b"9" * 5000))
