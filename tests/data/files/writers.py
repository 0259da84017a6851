"""Writes the file formats under test, by other libraries than the readers, and by hand."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest

IMAGES = np.arange(12, dtype=np.float64).reshape(4, 3) / 7
TEXTS = np.arange(8, dtype=np.float32).reshape(4, 2)


def save(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def mat5_bytes(variables, *, compressed=False):
    scipy_io = pytest.importorskip("scipy.io")
    stream = io.BytesIO()
    scipy_io.savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


def mat5_compressed(inner):
    packed = zlib.compress(inner)
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<2I", 15, len(packed)) + packed


def mat5_matrix(declared, body, shape):
    header = struct.pack("<4I", 6, 8, 6, 0) + struct.pack("<4i", 5, 8, *shape)
    header += struct.pack("<I4s", 1 << 16 | 1, b"a") + struct.pack("<2I", 9, len(body))
    return struct.pack("<2I", 14, len(header) + declared) + header + body


def cells(*items):
    array = np.empty((1, len(items)), object)
    for index, item in enumerate(items):
        array[0, index] = item
    return array


def sparse(values):
    return pytest.importorskip("scipy.sparse").csc_array(values)


def npz_bytes(*, compressed=False, **arrays):
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return stream.getvalue()


def npy_header(shape, descr="<f8"):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zip_bytes(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def write_mat73(path, variables):
    """Arrays, strings, lists (cells, as columns) and dicts (structs), as MATLAB 7.3 stores them."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _put73(h5py, file, file, name, value)
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124)
    with path.open("r+b") as stream:
        stream.write(text + b"\x00\x02IM")
    return path


def _put73(h5py, file, group, name, value):
    if isinstance(value, dict):
        node = group.create_group(name)
        node.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, item in value.items():
            _put73(h5py, file, node, field, item)
        return node
    if isinstance(value, list):
        cells = file.require_group("#refs#")
        node = group.create_dataset(name, (1, len(value)), dtype=h5py.ref_dtype)
        for index, item in enumerate(value):
            node[0, index] = _put73(h5py, file, cells, f"{name}_{len(cells)}", item).ref
        node.attrs["MATLAB_class"] = np.bytes_("cell")
        return node
    if isinstance(value, str):
        codes = np.array([[ord(letter)] for letter in value], np.uint16)
        node = group.create_dataset(name, data=codes)
        node.attrs["MATLAB_class"] = np.bytes_("char")
        return node
    values = np.asarray(value)
    empty = not values.size
    node = group.create_dataset(name, data=np.array(values.shape, np.uint64) if empty else values.T)
    node.attrs["MATLAB_class"] = np.bytes_("double")
    if empty:
        node.attrs["MATLAB_empty"] = np.uint8(1)
    return node
