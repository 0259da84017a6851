""".npz archives: against what NumPy wrote, pickles, and archives that lie about their sizes."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax.data import read_arrays
from tests.data.files.refusals import message, refuses_cheaply
from tests.data.files.writers import IMAGES, TEXTS, npy_header, npz_bytes, save, zip_bytes


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(tmp_path, compressed):
    data = npz_bytes(compressed=compressed, image=np.asfortranarray(IMAGES), text=TEXTS.astype(">f4"), s=["a"])
    # The content decides, not the name.
    arrays = read_arrays(save(tmp_path, "a.mat", data), ["image", "text", "s"], optional=["none"])
    np.testing.assert_array_equal(arrays["image"], IMAGES)
    np.testing.assert_array_equal(arrays["text"], TEXTS)
    assert set(arrays) == {"image", "text", "s"}


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


def test_npz_bombs_are_refused_before_they_expand(tmp_path):
    zeros = bytes(64 << 20)
    bomb = zip_bytes(a=npy_header((8 << 20,)) + zeros)
    text = refuses_cheaply(save(tmp_path, "a.npz", bomb), "a")
    assert "[a]: expands to" in text and "limit of 1048576 bytes (max_bytes)" in text


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
