"""Variables of MATLAB 5 files: what MATLAB's `-v6` and `-v7` and `scipy.io.savemat` write.

A variable is a matrix element: a tag (type and length) and its bytes, which are elements in turn: flags, shape, name,
then values, or further matrices for structs and cells.

`scipy.io.loadmat` ends the process on a file with damaged bytes and trusts the sizes that a file declares. This reader
knows only the types that features have (numbers, strings, sparse matrices, structs and cells of them, and MATLAB's
`string`, `categorical` and `table`), and checks every size against the bytes that are there.
"""

import functools
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from gpldan_jax.data.files.checks import (
    LISTING_BYTES,
    Budget,
    DataError,
    dense_from_columns,
    missing_key_error,
    parse_key,
)
from gpldan_jax.data.files.mcos import Objects, decoding, is_reference, kind_of, refusal

_HEADER_BYTES = 128
_PIECE = 1 << 16
# Flags, up to 32 dimensions and a name of 63 letters are within the first bytes of a variable.
_START_BYTES = 512
_DEEPEST = 8
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_NUMERIC, _UINT32 = range(6, 16), 13
_COMPLEX_FLAG, _LOGICAL_FLAG = 0x08, 0x02
_STORAGE = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


class _DamagedError(ValueError):
    """The bytes contradict the format."""


@dataclass(frozen=True)
class _Matrix:
    """A matrix element: what its header says, and the bytes [start, end) that follow."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: str
    start: int
    end: int
    class_name: str = ""  # of an object
    system: str = ""  # of an opaque object: MCOS for MATLAB's own classes, java, handle

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class _MatrixBytes:
    """The bytes of one variable, and the elements in them."""

    def __init__(self, data: bytes | bytearray, order: Literal["<", ">"]):
        self._data = memoryview(data)
        self._order = order

    def _element(self, start: int, end: int) -> tuple[int, int, int, int]:
        """The element at `start`: its type, first byte, number of bytes, and what follows."""
        if start + 8 > end:
            raise _DamagedError(f"an element is cut off at byte {start}")
        word, length = np.frombuffer(self._data[start : start + 8], f"{self._order}u4").tolist()
        if word >> 16:
            kind, length, first, following = word & 0xFFFF, word >> 16, start + 4, start + 8
            if length > 4:
                raise _DamagedError(f"a small element of {length} bytes at byte {start}")
        else:
            kind, first = word, start + 8
            following = first + length + (-length % 8)
        # The padding of the last element may be missing.
        if first + length > end:
            raise _DamagedError(f"an element of {length} bytes at byte {start} is cut off")
        return kind, first, length, min(following, end)

    def _numbers(self, start: int, end: int, stored: str = "") -> tuple[np.ndarray, int]:
        """The numbers of the element at `start`, and what follows; `stored` overrides the type of its tag."""
        kind, first, length, following = self._element(start, end)
        if kind not in _STORAGE:
            raise _DamagedError(f"expected numbers at byte {start}, found type {kind}")
        dtype = np.dtype(stored or _STORAGE[kind]).newbyteorder(self._order)
        if length % dtype.itemsize:
            raise _DamagedError(f"{length} bytes at byte {start} are no whole {dtype} values")
        values = np.frombuffer(self._data[first : first + length], dtype)
        return values.astype(dtype.newbyteorder("="), copy=False), following

    def matrix(self, start: int, end: int | None = None, *, partial: bool = False) -> _Matrix:
        """The matrix element at `start`; with `partial` its end may be past the bytes."""
        end = len(self._data) if end is None else end
        if start + 8 > end:
            raise _DamagedError(f"a matrix is cut off at byte {start}")
        kind, length = np.frombuffer(self._data[start : start + 8], f"{self._order}u4").tolist()
        if kind != _MATRIX or (not partial and length > end - start - 8):
            raise _DamagedError(f"expected a whole matrix at byte {start}")
        if not length:
            return _Matrix(_NUMERIC[0], 0, (0, 0), "", start + 8, start + 8)
        end = min(start + 8 + length, end)
        flags, position = self._numbers(start + 8, end)
        word = int(flags[0]) if flags.size else 0
        kind, bits = word & 0xFF, word >> 8 & 0xFF
        if kind == _OPAQUE:
            name, position = self._name(position, end)
            system, position = self._name(position, end)
            class_name, position = self._name(position, end)
            return _Matrix(kind, bits, (1, 1), name, position, end, class_name, system)
        shape, position = self._numbers(position, end)
        if not flags.size or not 2 <= shape.size <= 32 or shape.min() < 0:
            raise _DamagedError(f"a matrix without a valid shape at byte {start}")
        name, position = self._name(position, end)
        class_name = "function_handle" if kind == _FUNCTION else ""
        if kind == _OBJECT:
            class_name, position = self._name(position, end)
        return _Matrix(kind, bits, tuple(int(size) for size in shape), name, position, end, class_name)

    def _name(self, start: int, end: int) -> tuple[str, int]:
        _, first, width, following = self._element(start, end)
        return bytes(self._data[first : first + width]).decode("latin-1"), following

    def _children(self, parent: _Matrix) -> Iterator[tuple[str | int, _Matrix]]:
        """Fields by name and cells by number from 1; nothing for an array of structs."""
        position, names = parent.start, None
        if parent.kind == _STRUCT:
            width, position = self._numbers(position, parent.end)
            _, first, length, position = self._element(position, parent.end)
            if width.size != 1 or width[0] < 1 or length % width[0]:
                raise _DamagedError(f"field names of a struct at byte {parent.start}")
            text, step = bytes(self._data[first : first + length]), int(width[0])
            fields = [text[i : i + step] for i in range(0, length, step)]
            names = [field.split(b"\0")[0].decode("latin-1") for field in fields]
            if parent.size != 1:
                return
        elif parent.kind != _CELL:
            return
        for index in range(parent.size if names is None else len(names)):
            child = self.matrix(position, parent.end)
            position = child.end
            yield (index + 1 if names is None else names[index]), child

    def member(self, parent: _Matrix, step: str | int) -> _Matrix | None:
        """The field or cell `step` of `parent`, or None."""
        return next((child for name, child in self._children(parent) if name == step), None)

    def cells(self, matrix: _Matrix) -> list[_Matrix]:
        """The matrices in a cell array, or in the cell array that an opaque object holds."""
        matrix = self.matrix(matrix.start, matrix.end) if matrix.kind == _OPAQUE else matrix
        return [child for _, child in self._children(matrix)] if matrix.kind == _CELL else []

    def leaves(self, matrix: _Matrix, key: str, depth: int = 0) -> Iterator[tuple[str, _Matrix]]:
        """The keys of the arrays in `matrix`, which is called `key`, with the arrays."""
        if matrix.kind not in (_STRUCT, _CELL) or depth == _DEEPEST:
            yield key, matrix
            return
        for name, child in self._children(matrix):
            suffix = f".{name}" if isinstance(name, str) else f"{{{name}}}"
            yield from self.leaves(child, key + suffix, depth + 1)

    def values(self, matrix: _Matrix, budget: Budget, where: str) -> np.ndarray:
        """The array of a matrix; strings for text and for cells of text."""
        if matrix.flags & _COMPLEX_FLAG:
            raise DataError(f"{where}: expected real numbers, found complex ones")
        if matrix.kind in _NUMERIC:
            if not matrix.size:
                return np.zeros(matrix.shape)
            values, _ = self._numbers(matrix.start, matrix.end)
            if values.size != matrix.size:
                raise _DamagedError(f"expected {matrix.size} values, found {values.size}")
            values = values.reshape(matrix.shape, order="F")
            return values.astype(bool) if matrix.flags & _LOGICAL_FLAG else values
        if matrix.kind == _CHAR:
            return self._text(matrix)
        if matrix.kind == _SPARSE:
            return self._sparse(matrix, budget, where)
        if matrix.kind == _CELL:
            cells = self.cells(matrix)
            if all(cell.kind == _CHAR and cell.shape[0] <= 1 for cell in cells):
                items = ["".join(self._text(cell)) for cell in cells]
                budget.charge(4 * len(items) * max(map(len, items), default=0), where)
                return np.array(items, dtype=str)
            raise DataError(f"{where}: a cell array of {len(cells)}; name one cell, as in X{{1}}")
        if matrix.kind == _OPAQUE and matrix.system == "MCOS" and matrix.start < matrix.end:
            reference = self.matrix(matrix.start, matrix.end)
            if reference.kind in _NUMERIC and is_reference(found := self.values(reference, budget, where)):
                return found
        if matrix.kind == _STRUCT:
            raise DataError(f"{where}: expected an array, found a struct; name one field, as in data.X1")
        raise refusal(where, matrix.class_name)

    def _sparse(self, matrix: _Matrix, budget: Budget, where: str) -> np.ndarray:
        ir, position = self._numbers(matrix.start, matrix.end)
        jc, position = self._numbers(position, matrix.end)
        if len(matrix.shape) != 2 or len(jc) != matrix.shape[1] + 1:
            raise _DamagedError(f"a sparse matrix of shape {matrix.shape} with {len(jc)} column starts")
        # MATLAB tags the entries of a logical matrix as float64 and writes one byte for each.
        _, _, length, _ = self._element(position, matrix.end)
        bytewise = bool(matrix.flags & _LOGICAL_FLAG) and length < 8 * len(ir)
        data, _ = self._numbers(position, matrix.end, "u1" if bytewise else "")
        return dense_from_columns(data, ir, jc, rows=matrix.shape[0], budget=budget, where=where)

    def _text(self, matrix: _Matrix) -> np.ndarray:
        if not matrix.size:
            return np.zeros(0, dtype=str)
        kind, first, length, _ = self._element(matrix.start, matrix.end)
        coding = _TEXT.get(kind)
        if coding is None:
            raise _DamagedError(f"expected text, found type {kind}")
        if coding in ("utf-16", "utf-32"):
            coding += "-le" if self._order == "<" else "-be"
        text = bytes(self._data[first : first + length]).decode(coding, "replace")
        rows = matrix.shape[0]
        # One row may differ: MATLAB counts UTF-16 units.
        if rows > 1 and len(text) != matrix.size:
            raise _DamagedError(f"expected {matrix.size} letters, found {len(text)}")
        return np.array([text[row::rows].rstrip(" \0") for row in range(rows)])


@dataclass(frozen=True)
class _Variable:
    """Where a variable is in the file, and whether it is compressed."""

    offset: int
    length: int
    compressed: bool


class Mat5File:
    """An open file; the path is for messages."""

    def __init__(self, path: Path, stream: BinaryIO):
        self.path = path
        self._stream = stream
        header = stream.read(_HEADER_BYTES)
        self._order: Literal["<", ">"] = "<" if header[126:128] == b"IM" else ">"
        self._end = stream.seek(0, 2)
        at = int(np.frombuffer(header[116:124], f"{self._order}u8")[0])
        # Zeros or blanks where the file has no objects.
        self._subsystem = at if at < self._end else 0
        self._loaded: tuple[_MatrixBytes, Objects] | None = None
        # The last variable read, since the fields of one struct are asked for one by one.
        self._held: tuple[str, _MatrixBytes] | None = None

    @functools.cached_property
    def _variables(self) -> dict[str, _Variable]:
        return dict(self._scan())

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()

    def contents(self) -> dict[str, str]:
        """Returns the keys of the arrays, fields and cells included, with the words for what is no plain array."""
        found: dict[str, str] = {}
        for name, variable in self._variables.items():
            matrix = _MatrixBytes(self._start(variable), self._order).matrix(0, partial=True)
            budget, where = Budget(LISTING_BYTES), f"{self.path}[{name}]"
            found[name] = kind_of(matrix.class_name) if matrix.class_name else ""
            if matrix.kind not in (_STRUCT, _CELL) and matrix.class_name != "table":
                continue
            try:
                data = self._load(variable, budget, where)
                keys: dict[str, str] = {}
                for key, leaf in data.leaves(data.matrix(0), name):
                    kind = kind_of(leaf.class_name) if leaf.class_name else ""
                    columns = self._columns(data, leaf, budget, where)
                    keys |= {f"{key}.{column}": kind for column in columns} or {key: kind}
            except (ValueError, zlib.error):  # the other variables may be whole
                continue
            del found[name]
            found |= keys
        return found

    def read(self, key: str, budget: Budget) -> np.ndarray:
        """Reads one array."""
        head, *steps = parse_key(key)
        where = f"{self.path}[{key}]"
        if head not in self._variables:
            raise missing_key_error(str(self.path), key, self.contents())
        if self._held is None or self._held[0] != head:
            self._held = None
            self._held = head, self._load(self._variables[head], budget, where)
        data = self._held[1]
        matrix = data.matrix(0)
        for step in steps:
            member = data.member(matrix, step)
            if member is None and (column := self._columns(data, matrix, budget, where).get(str(step))) is not None:
                data, member = self._objects(budget, where)[0], column
            if member is None:
                raise missing_key_error(str(self.path), key, self.contents())
            matrix = member
        values = data.values(matrix, budget, where)
        if not is_reference(values):
            return values
        with decoding(where, matrix.class_name):
            objects = self._objects(budget, where)[1]
        return objects.values(values, budget, where)

    def _columns(self, data: _MatrixBytes, matrix: _Matrix, budget: Budget, where: str) -> dict[str, _Matrix]:
        """The columns of a table by name, in the bytes of the subsystem; nothing for what is no table."""
        # Within structs a reference may be plain uint32 numbers.
        if not self._subsystem or (matrix.kind != _UINT32 and matrix.class_name != "table"):
            return {}
        reference = data.values(matrix, budget, where)
        if not is_reference(reference):
            return {}
        with decoding(where, matrix.class_name):
            return self._objects(budget, where)[1].columns(reference, budget, where)

    def _objects(self, budget: Budget, where: str) -> tuple[_MatrixBytes, Objects]:
        """The objects of the file, and the bytes that they are in: a file within a nameless variable."""
        if self._loaded is None:
            variable = next((part for part in self._elements() if part.offset == self._subsystem), None)
            if variable is None:
                raise _DamagedError("the file has no objects")
            outer = self._load(variable, budget, where)
            stored = outer.values(outer.matrix(0), budget, where).astype(np.uint8, copy=False).tobytes()
            order: Literal["<", ">"] = "<" if stored[2:4] == b"IM" else ">"
            data = _MatrixBytes(stored[8:], order)
            wrapper = data.member(data.matrix(0), "MCOS")
            cells = [] if wrapper is None else data.cells(wrapper)
            if not cells:
                raise _DamagedError("the file has no objects of MATLAB's classes")
            objects = Objects(data.values(cells[0], budget, where), cells, data.values, data.cells, order)
            self._loaded = data, objects
        return self._loaded

    def _scan(self) -> Iterator[tuple[str, _Variable]]:
        for variable in self._elements():
            matrix = _MatrixBytes(self._start(variable), self._order).matrix(0, partial=True)
            # The nameless variable holds MATLAB's objects and the workspace of function handles.
            if matrix.name:
                yield matrix.name, variable

    def _elements(self) -> Iterator[_Variable]:
        offset = _HEADER_BYTES
        while offset < self._end:
            self._stream.seek(offset)
            tag = self._stream.read(8)
            if len(tag) < 8:
                raise _DamagedError(f"truncated at byte {offset}")
            kind, length = np.frombuffer(tag, f"{self._order}u4").tolist()
            if kind not in (_MATRIX, _COMPRESSED):
                raise _DamagedError(f"expected a variable at byte {offset}, found type {kind}")
            if length > (left := self._end - offset - 8):
                raise _DamagedError(f"truncated; expected {length} bytes at byte {offset}, found {left}")
            yield _Variable(offset, length, kind == _COMPRESSED)
            offset += 8 + length

    def _start(self, variable: _Variable) -> bytes:
        """The first bytes of a variable, from its own tag on."""
        self._stream.seek(variable.offset)
        if not variable.compressed:
            return self._stream.read(min(_START_BYTES, 8 + variable.length))
        self._stream.seek(8, 1)
        stored = self._stream.read(min(_START_BYTES, variable.length))
        return zlib.decompressobj().decompress(stored, _START_BYTES)

    def _load(self, variable: _Variable, budget: Budget, where: str) -> _MatrixBytes:
        """All bytes of a variable; the declared size is charged before anything is expanded."""
        declared = 8 + variable.length
        if variable.compressed:
            start = self._start(variable)
            if len(start) < 8:
                raise _DamagedError("truncated; a compressed variable without a size")
            declared = 8 + int(np.frombuffer(start[4:8], f"{self._order}u4")[0])
        budget.charge(declared, where)
        self._stream.seek(variable.offset + (8 if variable.compressed else 0))
        if not variable.compressed:
            return _MatrixBytes(self._stream.read(declared), self._order)
        left, data, inflate = variable.length, bytearray(), zlib.decompressobj()
        while left and not inflate.eof:
            piece = self._stream.read(min(left, _PIECE))
            if not piece:
                break
            left -= len(piece)
            while piece and not inflate.eof:
                # One byte more than declared shows a stream that expands further.
                data += inflate.decompress(piece, min(_PIECE, declared + 1 - len(data)))
                piece = inflate.unconsumed_tail
                if len(data) > declared:
                    raise _DamagedError(f"a variable of {declared} bytes expands past that")
        if not inflate.eof or len(data) != declared:
            raise _DamagedError(f"truncated; expected {declared} bytes of a variable, found {len(data)}")
        return _MatrixBytes(data, self._order)
