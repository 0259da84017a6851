"""Variables of MATLAB 5 files (what MATLAB's `-v6` and `-v7` and `scipy.io.savemat` write).

`scipy.io.loadmat` ends the process on a file with damaged bytes and trusts the sizes that a file
declares. This reader knows only what features come in (numbers, strings, sparse matrices, and
structs and cells of them), and checks every size against the bytes that are there.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpldan_jax.data._keys import Budget, missing_key, parse_key
from gpldan_jax.data._mat5_matrix import CELL, COMPRESSED, MATRIX, STRUCT, Damaged, MatrixBytes
from gpldan_jax.data.errors import DataError

_HEADER_BYTES = 128
_PIECE = 1 << 16
# Flags, up to 32 dimensions and a 63-letter name of a variable lie within its first bytes.
_START_BYTES = 512
# A struct past this size is listed by its own name, without its fields.
_LISTING_BYTES = 1 << 28


@dataclass(frozen=True)
class _Variable:
    """Where a variable lies in the file, and how."""

    offset: int
    length: int
    compressed: bool


class Mat5File:
    """An open file; `keys` lists its arrays, `read` returns one."""

    def __init__(self, path: Path):
        self.path = path
        self._stream = path.open("rb")
        header = self._stream.read(_HEADER_BYTES)
        self._order = "<" if header[126:128] == b"IM" else ">"
        self._end = self._stream.seek(0, 2)
        # The last variable read, since the fields of one struct are asked for one by one.
        self._held: tuple[str, MatrixBytes] | None = None

    @functools.cached_property
    def _variables(self) -> dict[str, _Variable]:
        return dict(self._scan())

    def close(self) -> None:
        self._stream.close()

    def keys(self) -> list[str]:
        keys: list[str] = []
        for name, variable in self._variables.items():
            start = MatrixBytes(self._start(variable), self._order)
            if start.matrix(0, partial=True).kind not in (STRUCT, CELL):
                keys.append(name)
                continue
            try:
                data = self._load(variable, Budget(_LISTING_BYTES), f"{self.path}[{name}]")
            except DataError:
                keys.append(name)
                continue
            keys += data.leaves(data.matrix(0), name)
        return keys

    def read(self, key: str, budget: Budget) -> np.ndarray:
        head, *steps = parse_key(key)
        where = f"{self.path}[{key}]"
        if head not in self._variables:
            raise missing_key(str(self.path), key, self.keys())
        if self._held is None or self._held[0] != head:
            self._held = None
            self._held = head, self._load(self._variables[head], budget, where)
        data = self._held[1]
        matrix = data.matrix(0)
        for step in steps:
            matrix = data.member(matrix, step)
            if matrix is None:
                raise missing_key(str(self.path), key, self.keys())
        return data.values(matrix, budget, where)

    def _scan(self) -> Iterator[tuple[str, _Variable]]:
        offset = _HEADER_BYTES
        while offset < self._end:
            self._stream.seek(offset)
            tag = self._stream.read(8)
            if len(tag) < 8:
                raise Damaged(f"truncated at byte {offset}")
            kind, length = np.frombuffer(tag, f"{self._order}u4").tolist()
            if kind not in (MATRIX, COMPRESSED):
                raise Damaged(f"expected a variable at byte {offset}, found type {kind}")
            if length > self._end - offset - 8:
                raise Damaged(f"truncated; expected {length} bytes at byte {offset}, found {self._end - offset - 8}")
            variable = _Variable(offset, length, kind == COMPRESSED)
            offset += 8 + length
            matrix = MatrixBytes(self._start(variable), self._order).matrix(0, partial=True)
            # The nameless variable is MATLAB's own workspace of function handles.
            if matrix.name:
                yield matrix.name, variable

    def _start(self, variable: _Variable) -> bytes:
        """The first bytes of a variable, from its own tag on."""
        self._stream.seek(variable.offset)
        if not variable.compressed:
            return self._stream.read(min(_START_BYTES, 8 + variable.length))
        self._stream.seek(8, 1)
        stored = self._stream.read(min(_START_BYTES, variable.length))
        return zlib.decompressobj().decompress(stored, _START_BYTES)

    def _load(self, variable: _Variable, budget: Budget, where: str) -> MatrixBytes:
        """All bytes of a variable; the declared size is charged before the first is expanded."""
        declared = 8 + variable.length
        if variable.compressed:
            start = self._start(variable)
            if len(start) < 8:
                raise Damaged("truncated; a compressed variable without a size")
            declared = 8 + int(np.frombuffer(start[4:8], f"{self._order}u4")[0])
        budget.charge(declared, where)
        self._stream.seek(variable.offset + (8 if variable.compressed else 0))
        if not variable.compressed:
            return MatrixBytes(self._stream.read(declared), self._order)
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
                    raise Damaged(f"a variable of {declared} bytes expands past that")
        if not inflate.eof or len(data) != declared:
            raise Damaged(f"truncated; expected {declared} bytes of a variable, found {len(data)}")
        return MatrixBytes(data, self._order)
