"""Arrays in HDF5 files: plain `.h5` and MATLAB 7.3 `.mat`.

MATLAB writes its column-major arrays in the order of memory, so they come transposed. Structs are groups, cells are
datasets of references, text is UTF-16 codes, and a sparse matrix is a group. An object is a reference to the group
`#subsystem#`. Links are not followed, since an external link would open another file.
"""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpldan_jax._extras import needed_for
from gpldan_jax.data.files.checks import (
    LISTING_BYTES,
    Budget,
    DataError,
    dense_from_columns,
    missing_key_error,
    parse_key,
)
from gpldan_jax.data.files.mcos import Objects, decoding, is_reference, kind_of, refusal

_STRINGS_AT_ONCE = 256
_CELLS_LISTED = 20
_LONGEST_REFERENCE = 64


class Hdf5File:
    """A file that HDF5 opens by itself; the first bytes of the stream say whether MATLAB wrote it."""

    def __init__(self, path: Path, stream: BinaryIO):
        with needed_for("HDF5 and MATLAB 7.3 files", "hdf5"):
            import h5py
        self.path = path
        self._h5py = h5py
        self._matlab = stream.read(10) == b"MATLAB 7.3"
        try:
            self._file = h5py.File(path, "r", locking=False)
        except OSError as error:
            if _is_open_elsewhere(h5py, path, error):
                raise DataError(
                    f"{path}: the file is open for writing, in another program or in this one; close it there and try "
                    f"again (if no program has it open, one crashed: `h5clear -s {path.name}` removes its mark)"
                ) from error
            raise
        self._loaded: Objects | None = None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def contents(self) -> dict[str, str]:
        """Returns the keys of the arrays, fields and cells included, with the words for what is no plain array."""
        return dict(self._leaves(self._file, "", set()))

    def read(self, key: str, budget: Budget) -> np.ndarray:
        """Reads one array."""
        where = f"{self.path}[{key}]"
        node = self._find(key, budget, where)
        values = self._node_values(node, budget, where)
        if not is_reference(values):
            return values
        with decoding(where, _matlab_class(node)):
            objects = self._objects(budget, where)
        return objects.values(values, budget, where)

    def _node_values(self, node, budget: Budget, where: str) -> np.ndarray:
        """The array of a node; of an object the reference."""
        if "MATLAB_sparse" in node.attrs:
            return self._sparse(node, budget, where)
        if "MATLAB_object_decode" in node.attrs and (self._is_group(node) or node.dtype != np.uint32):
            raise refusal(where, _matlab_class(node))
        if self._is_group(node):
            raise DataError(f"{where}: expected an array, found a group with {', '.join(node)}")
        if self._is_cell(node):
            return self._cell_strings(node, budget, where)
        values = self._values(node, budget, where)
        if "MATLAB_object_decode" in node.attrs and not is_reference(values):
            raise refusal(where, _matlab_class(node))
        if _matlab_class(node) == "char":
            return _char_rows(values)
        return values

    def _objects(self, budget: Budget, where: str) -> Objects:
        """The objects of the file."""
        if self._loaded is None:
            group = self._child(self._file, "#subsystem#")
            wrapper = None if group is None else self._child(group, "MCOS")
            if wrapper is None or not (cells := self._cells(wrapper)):
                raise ValueError("the file has no objects")
            metadata = self._values(cells[0], budget, where)
            self._loaded = Objects(metadata, cells, self._node_values, self._cells)
        return self._loaded

    def _columns(self, node, budget: Budget, where: str) -> dict:
        """The columns of a table by name; nothing for what is no table."""
        if self._is_group(node) or node.dtype != np.uint32 or node.size > _LONGEST_REFERENCE:
            return {}
        reference = self._values(node, budget, where)
        if not is_reference(reference):
            return {}
        with decoding(where, _matlab_class(node)):
            return self._objects(budget, where).columns(reference, budget, where)

    def _cells(self, node) -> list:
        """The nodes of a cell array, in MATLAB's column-major order."""
        if self._is_group(node) or not self._is_cell(node):
            return []
        return [self._file[reference] for reference in node[()].ravel()]

    def _is_group(self, node) -> bool:
        return not isinstance(node, self._h5py.Dataset)

    def _child(self, node, name: str):
        """The member `name` of a group, or None; `DataError` for a link."""
        link = node.get(name, getlink=True) if isinstance(node, self._h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, self._h5py.HardLink):
            raise DataError(f"{self.path}: {name!r} is a link; links are not followed")
        child = node[name]
        return child if isinstance(child, self._h5py.Group | self._h5py.Dataset) else None

    def _find(self, key: str, budget: Budget, where: str):
        # A plain file may use the characters of the key syntax, or "/", in a name.
        node = self._child(self._file, key) if "/" not in key else None
        if node is not None:
            return node
        node = self._file
        for step in parse_key(key.strip("/").replace("/", ".")):
            if isinstance(step, int):
                cell = isinstance(node, self._h5py.Dataset) and self._is_cell(node)
                node = self._file[_item(node, step)] if cell and 1 <= step <= node.size else None
            elif self._is_group(node):
                node = self._child(node, step)
            else:
                node = self._columns(node, budget, where).get(step)
            if node is None:
                raise missing_key_error(str(self.path), key, self.contents())
        return node

    def _is_cell(self, node) -> bool:
        return self._h5py.check_ref_dtype(node.dtype) is self._h5py.Reference

    def _leaves(self, node, prefix: str, seen: set[int]):
        # A group may be its own member under another name.
        address = self._h5py.h5o.get_info(node.id).addr
        if address in seen:
            return
        seen.add(address)
        for name in node:
            if name.startswith("#") or not isinstance(node.get(name, getlink=True), self._h5py.HardLink):
                continue
            key, kind = f"{prefix}{name}", ""
            try:
                child = node[name]
                kind = kind_of(_matlab_class(child)) if "MATLAB_object_decode" in child.attrs else ""
                if self._is_group(child) and "MATLAB_sparse" not in child.attrs and not kind:
                    yield from self._leaves(child, f"{key}.", seen)
                elif not self._is_group(child) and self._is_cell(child) and not kind:
                    cells = range(1, min(child.size, _CELLS_LISTED) + 1)
                    yield from ((f"{key}{{{number}}}", "") for number in cells)
                else:
                    columns = self._columns(child, Budget(LISTING_BYTES), f"{self.path}[{key}]")
                    yield from ((f"{key}.{column}", kind) for column in columns or [])
                    if not columns:
                        yield key, kind
            except (ValueError, TypeError, KeyError, OSError, RuntimeError):  # the other variables may be whole
                yield key, kind or "unreadable"

    def _values(self, node, budget: Budget, where: str) -> np.ndarray:
        if node.external or node.is_virtual:
            raise DataError(f"{where}: the values are in another file, which is not opened")
        if node.dtype.kind == "O" and self._h5py.check_string_dtype(node.dtype):
            return self._strings(node, budget, where)
        if node.dtype.kind not in "biufSU" or node.shape is None:
            raise DataError(f"{where}: expected real numbers or strings, found {node.dtype}")
        # A chunk is expanded as a whole, even where the array is smaller than a chunk.
        size = max(math.prod(node.shape), math.prod(node.chunks or (0,)))
        budget.charge(size * node.dtype.itemsize, where)
        matlab = self._matlab or "MATLAB_class" in node.attrs
        if matlab and node.attrs.get("MATLAB_empty"):
            shape = tuple(int(size) for size in node[()].ravel())
            if not node.size or node.size > 32 or math.prod(shape):
                raise DataError(f"{where}: damaged; an empty array of shape {shape}")
            return np.zeros(shape)
        values = np.asarray(node[()])
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        return values.T if matlab else values

    def _strings(self, node, budget: Budget, where: str) -> np.ndarray:
        if len(node.shape) != 1:
            raise DataError(f"{where}: expected strings of shape [rows], found {list(node.shape)}")
        found: list[str] = []
        for start in range(0, node.shape[0], _STRINGS_AT_ONCE):
            piece = [str(item) for item in node.asstr()[start : start + _STRINGS_AT_ONCE]]
            budget.charge(sum(4 * len(item) + 64 for item in piece), where)
            found += piece
        # NumPy pads every string to the longest.
        budget.charge(4 * len(found) * max(map(len, found), default=0), where)
        return np.array(found, dtype=str)

    def _cell_strings(self, node, budget: Budget, where: str) -> np.ndarray:
        items = []
        for number in range(1, node.size + 1):
            item = self._file[_item(node, number)]
            if not isinstance(item, self._h5py.Dataset) or _matlab_class(item) != "char":
                raise DataError(f"{where}: a cell array of {node.size}; name one cell, as in X{{1}}")
            rows = _char_rows(self._values(item, budget, where))
            items.append(rows[0] if len(rows) else "")
        budget.charge(4 * len(items) * max(map(len, items), default=0), where)
        return np.array(items, dtype=str)

    def _sparse(self, node, budget: Budget, where: str) -> np.ndarray:
        parts = {}
        for name in ("data", "ir", "jc"):
            child = self._child(node, name)
            # MATLAB leaves out data and ir of a matrix without entries.
            values = np.zeros(0) if child is None else self._values(child, budget, where)
            parts[name] = np.atleast_1d(values).ravel()
        rows = int(node.attrs["MATLAB_sparse"])
        return dense_from_columns(**parts, rows=rows, budget=budget, where=where)


def _is_open_elsewhere(h5py, path: Path, error: OSError) -> bool:
    """Whether HDF5 could not open a file because somebody writes to it; half of such a file may be on the disk."""
    if any(words in str(error) for words in ("already open for write", "locking flag values")):
        return True
    try:
        h5py.File(path, "r", locking=True).close()
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _matlab_class(node) -> str:
    name = node.attrs.get("MATLAB_class", b"")
    return name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)


def _item(node, number: int):
    """The reference in cell `number` (from 1), in MATLAB's column-major order."""
    # The stored array is the transpose, so its row-major order is MATLAB's column-major one.
    return node[np.unravel_index(number - 1, node.shape)]


def _char_rows(codes: np.ndarray) -> np.ndarray:
    """UTF-16 codes `[rows, width]` as strings `[rows]`, without the padding at their ends."""
    if codes.ndim != 2 or codes.dtype.kind not in "iu" or not codes.size:
        return np.zeros(0, dtype=str)
    rows = np.ascontiguousarray(codes, dtype="<u2")
    return np.array([row.tobytes().decode("utf-16-le", "replace").rstrip(" \0") for row in rows])
