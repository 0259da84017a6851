"""Writes MATLAB files with objects (`string`, `categorical`, `table`, ...), version 5 by hand and 7.3 with h5py."""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.data.files.writers import write_mat73

MARK = 0xDD000000
CLASSES = {"u1": 9, "u2": 11, "u4": 13, "i4": 12, "u8": 15, "f8": 6}
STORAGE = {"u1": 2, "u2": 4, "u4": 6, "i4": 5, "u8": 13, "f8": 9}


@dataclass(frozen=True)
class MatObject:
    """An object: the name of its class, and its properties."""

    class_name: str
    properties: dict[str, Any]


class Opaque(np.ndarray):
    """The numbers of a reference, with the name of the class."""

    class_name = ""


def strings(items, shape=None):
    """A `string`; None is a missing one."""
    sizes = shape or (len(items), 1)
    text = [(item or "").encode("utf-16-le") for item in items]
    lengths = [2**64 - 1 if item is None else len(codes) // 2 for item, codes in zip(items, text, strict=True)]
    packed = b"".join(text)
    packed += bytes(-len(packed) % 8)
    numbers = np.array([1, len(sizes), *sizes, *lengths], np.uint64)
    return MatObject("string", {"any": np.concatenate([numbers, np.frombuffer(packed, np.uint64)])[None]})


def categorical(codes, names):
    """A `categorical`; code 0 is undefined."""
    return MatObject("categorical", {"categoryNames": list(names), "codes": np.array(codes, np.uint8)[:, None]})


def table(**columns):
    """A `table`; a list is a column of text."""
    return MatObject("table", {"data": list(columns.values()), "varnames": list(columns)})


class Store:
    """Collects objects into the cells of a file's subsystem."""

    def __init__(self):
        self.names, self.classes, self.saved, self.plain, self.objects, self.values = [], [], [], [], [], []

    def _number(self, name, among):
        if name not in among:
            among.append(name)
        return among.index(name) + 1

    def put(self, value):
        """The value with references in place of objects."""
        if isinstance(value, list):
            return [self.put(item) for item in value]
        if isinstance(value, dict):
            return {name: self.put(item) for name, item in value.items()}
        if not isinstance(value, MatObject):
            return value
        block = [len(value.properties)]
        for name, item in value.properties.items():
            item = self.put(item)
            self.values.append(item)
            block += [self._number(name, self.names), 1, len(self.values) - 1]
        region = self.saved if "any" in value.properties else self.plain
        region.append(block + [0] * (len(block) % 2))
        kind = self._number(value.class_name, self.classes)
        self.objects.append([kind, 0, 0, *((len(region), 0) if region is self.saved else (0, len(region))), 0])
        reference = np.array([[MARK, 2, 1, 1, len(self.objects), kind]], np.uint32).T.view(Opaque)
        reference.class_name = value.class_name
        return reference

    def cells(self, version=4):
        """The cells of the subsystem, the metadata first."""
        classes = [[0, self._number(name, self.names), 0, 0] for name in self.classes]
        names = b"".join(name.encode() + b"\0" for name in self.names)
        names += bytes(-len(names) % 8)
        regions = [
            np.array([0] * first + [number for block in blocks for number in block], "<i4").tobytes()
            for first, blocks in (
                (4, classes), (2, self.saved), (6, self.objects), (2, self.plain), (2, [[0, 0]] * len(self.objects))
            )
        ]  # fmt: skip
        starts = [40 + len(names)]
        for region in regions:
            starts.append(starts[-1] + len(region))
        starts += [starts[-1]] * (8 - len(starts))
        head = struct.pack("<10I", version, len(self.names), *starts)
        metadata = np.frombuffer(head + names + b"".join(regions), np.uint8)[:, None]
        # Of each class: what is not known, an alias, and the default properties.
        empty = [np.zeros((0, 0))] * (len(self.classes) + 1)
        tail = [empty, np.zeros((len(empty), 1), np.int32), empty]
        return [metadata, np.zeros((0, 0)), *self.values, *tail[max(0, 4 - version) :]]


def write_objects73(path, variables, version=4):
    """A file of version 7.3."""
    store = Store()
    plain = {name: store.put(value) for name, value in variables.items()}
    write_mat73(path, plain | {"#subsystem#": {"MCOS": store.cells(version)}})
    import h5py

    with h5py.File(path, "r+") as file:

        def mark(group, values):
            for name, value in values.items():
                if isinstance(value, dict):
                    mark(group[name], value)
                elif isinstance(value, Opaque):
                    group[name].attrs["MATLAB_class"] = np.bytes_(value.class_name)
                    group[name].attrs["MATLAB_object_decode"] = np.int32(3)

        mark(file, plain)
    return path


def _element(kind, data):
    return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)


def _matrix(number, parts):
    return _element(14, _element(6, struct.pack("<2I", number, 0)) + b"".join(parts))


def _head(shape, name):
    return [_element(5, np.array(shape, "<i4").tobytes()), _element(1, name.encode())]


def _opaque(class_name, inner, name=""):
    return _matrix(17, [_element(1, text.encode()) for text in (name, "MCOS", class_name)] + [inner])


def _value5(value, name="", nested=False):
    if isinstance(value, dict):
        fields = b"".join(field.encode().ljust(32, b"\0") for field in value)
        parts = [_element(5, struct.pack("<i", 32)), _element(1, fields)]
        return _matrix(2, _head((1, 1), name) + parts + [_value5(item) for item in value.values()])
    if isinstance(value, list):
        return _matrix(1, _head((len(value), 1), name) + [_value5(item, nested=True) for item in value])
    if isinstance(value, str):
        return _matrix(4, [*_head((1, len(value)), name), _element(4, value.encode("utf-16-le"))])
    if isinstance(value, Opaque) and not nested:
        return _opaque(value.class_name, _value5(value.view(np.ndarray)), name)
    values = np.atleast_2d(np.asarray(value))
    key = values.dtype.str[1:]
    return _matrix(CLASSES[key], [*_head(values.shape, name), _element(STORAGE[key], values.tobytes(order="F"))])


def write_objects5(path, variables, version=4, compressed=True, function=None):
    """A file of version 5; `function` is the name of a function handle in it."""
    store = Store()
    elements = [_value5(store.put(value), name) for name, value in variables.items()]
    if function:
        elements.append(_matrix(16, [*_head((1, 1), function), _value5({"function": "sin"})]))
    cells = [_value5(cell, nested=True) for cell in store.cells(version)]
    wrapper = _opaque("FileWrapper__", _matrix(1, _head((len(cells), 1), "") + cells))
    fields = [_element(5, struct.pack("<i", 32)), _element(1, b"MCOS".ljust(32, b"\0"))]
    inner = b"\0\1IM\0\0\0\0" + _matrix(2, _head((1, 1), "") + fields + [wrapper])
    elements.append(_value5(np.frombuffer(inner, np.uint8)[None]))
    if compressed:
        packed = [zlib.compress(element) for element in elements]
        elements = [struct.pack("<2I", 15, len(element)) + element for element in packed]
    offset = 128 + sum(map(len, elements[:-1]))
    path.write_bytes(b"MATLAB 5.0".ljust(116) + struct.pack("<Q", offset) + b"\0\1IM" + b"".join(elements))
    return path
