"""MATLAB's objects in `.mat` files of both versions: `string`, `categorical` and `table` become arrays.

A variable of a class holds only a reference: uint32 numbers, which are a mark, the number of dimensions, the sizes, the
numbers of the objects and the number of the class. The objects are apart, in a cell array of the file's "subsystem".
Its first cell, the metadata, says which property of which object is in which cell. The cells after the second one hold
the properties.

No object is built and no code of a class runs: the properties are arrays, and three classes are decoded from them.
Other classes are refused by name.

References:
    The format is not published. Facts from the notes of mat-io (github.com/foreverallama/matio, docs/): where the
    regions of the metadata begin, what their numbers mean, and the properties of the three classes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpldan_jax.data.files.checks import Budget, DataError, first_few

_MARK = 0xDD000000
# Versions 2 to 4 differ in the cells after the properties, which are not read.
_VERSIONS = (2, 3, 4)
_FIRST_PROPERTY = 2
_MISSING = 2**64 - 1
_TEXT_VERSION = 1
# How MATLAB makes numbers or text of its classes.
_FIXES = {
    "table": "save a column of it: {0} = {0}.NAME",
    "timetable": "save a column of it: {0} = {0}.NAME",
    "containers.Map": "save its values: {0} = values({0})",
    "dictionary": "save its values: {0} = values({0})",
    "datetime": "save it as text: {0} = cellstr({0})",
    "duration": "save it as numbers: {0} = seconds({0})",
    "function_handle": "save the numbers or the text that it returns",
}
_FIX = "save it as text or numbers: {0} = cellstr({0}) or {0} = double({0})"


def kind_of(class_name: str) -> str:
    """Returns the words for a variable of a MATLAB class.

    Example:
        >>> kind_of("categorical")
        'a MATLAB categorical'
    """
    return f"a MATLAB {'function handle' if class_name == 'function_handle' else class_name or 'object'}"


def refusal(where: str, class_name: str, why: str = "which is not read") -> DataError:
    """Makes the error for a variable of a class that is not read; it says how to save the variable instead.

    Args:
        where: the file and the variable's key, "FILE[KEY]".
        class_name: of MATLAB.
        why: what is wrong with it, as a clause.
    """
    key = where.rpartition("[")[2].removesuffix("]")
    fix = _FIXES.get(class_name, _FIX).format(key)
    return DataError(f"{where}: {key} is {kind_of(class_name)}, {why}; in MATLAB, {fix}")


@contextmanager
def decoding(where: str, class_name: str) -> Iterator[None]:
    """Names the variable and its class where its objects are damaged or of an unknown form."""
    try:
        yield
    except DataError:
        raise
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise refusal(where, class_name, f"which cannot be decoded ({error})") from error


def is_reference(values: np.ndarray) -> bool:
    """Whether numbers are the reference of an object and no data."""
    if values.dtype != np.uint32 or values.size < 5 or values.size != max(values.shape) or values.flat[0] != _MARK:
        return False
    numbers = values.ravel().tolist()
    if not 2 <= numbers[1] <= min(32, len(numbers) - 3):
        return False
    count = 1
    for size in numbers[2 : 2 + numbers[1]]:
        count *= size
    return len(numbers) == 3 + numbers[1] + count


class Objects:
    """The objects of one file.

    The readers of both versions give the cells as nodes of their own kind, and say what is in a node.
    """

    def __init__(
        self,
        metadata: np.ndarray,
        cells: Sequence[Any],
        read: Callable[[Any, Budget, str], np.ndarray],
        members: Callable[[Any], list[Any]],
        order: str = "<",
    ):
        """Takes the parts of a file's subsystem.

        Args:
            metadata: uint8, the first cell.
            cells: all cells, as nodes.
            read: returns the array of a node; strings for text and for cells of text.
            members: returns the nodes in the node of a cell array.
            order: the byte order of the metadata, "<" or ">".

        Raises:
            ValueError: metadata of another version, or damaged.
        """
        data = metadata.ravel().astype(np.uint8).tobytes()
        if len(data) < 40:
            raise ValueError("the metadata of the objects are cut off")
        version, names, *starts = np.frombuffer(data, f"{order}u4", 8).tolist()
        if version not in _VERSIONS:
            raise ValueError(f"expected objects of version 2, 3 or 4, found {version}")
        # Five regions end where the next one starts; the sixth start may be absent in old versions.
        ends = [start for start in starts[1:6] if start]
        if not 40 <= starts[0] <= min(ends, default=0) or ends != sorted(ends) or ends[-1] > len(data):
            raise ValueError("the metadata of the objects are damaged")
        self._names = [name.decode("utf-8", "replace") for name in data[40 : starts[0]].split(b"\0")[:names]]
        self._classes, self._saved, self._objects, self._plain = (
            np.frombuffer(data[start:end], f"{order}i4", (end - start) // 4).tolist()
            for start, end in zip(starts, ends[:4], strict=False)
        )
        self._cells, self._read, self._members, self._order = cells, read, members, order

    def class_name(self, reference: np.ndarray) -> str:
        """Returns the name of the class of a reference, with its namespace; "" where the file does not say it."""
        block = self._classes[4 * int(reference.ravel()[-1]) :][:2]
        names = [self._names[number - 1] for number in block if 0 < number <= len(self._names)]
        return ".".join(names)

    def columns(self, reference: np.ndarray, budget: Budget, where: str) -> dict[str, Any]:
        """Returns the columns of a table by name, as nodes; nothing for another class."""
        if self.class_name(reference) != "table":
            return {}
        parts = self._properties(reference)
        if "varnames" not in parts or "data" not in parts:
            return {}
        names = self._read(parts["varnames"], budget, where).ravel().tolist()
        return dict(zip(names, self._members(parts["data"]), strict=False))

    def values(self, reference: np.ndarray, budget: Budget, where: str) -> np.ndarray:
        """Returns what an object holds: strings in the shape of a string or a categorical, or a table's only column.

        A missing string and an undefined categorical are "".

        Args:
            reference: numbers that `is_reference` takes.
            budget: charged with the size of the strings.
            where: the file and key, for messages.

        Raises:
            DataError: another class, a table of several columns, or damage.
        """
        name = self.class_name(reference)
        with decoding(where, name):
            return self._decode(name, reference, budget, where)

    def _decode(self, name: str, reference: np.ndarray, budget: Budget, where: str) -> np.ndarray:
        if name == "table":
            columns = self.columns(reference, budget, where)
            if len(columns) != 1:
                listed = first_few(columns, limit=10) or "none"
                raise refusal(where, name, f"and no array (its columns: {listed})")
            return self.node_values(next(iter(columns.values())), budget, where)
        parts = self._properties(reference)
        if name == "string":
            return self._strings(self._numbers(parts, "any", budget, where), budget, where)
        if name == "categorical":
            codes = self._numbers(parts, "codes", budget, where)
            node = parts.get("categoryNames")
            names = np.zeros(0, str) if node is None else self.node_values(node, budget, where).ravel()
            return self._class_names(codes, names, budget, where)
        raise refusal(where, name)

    def node_values(self, node: Any, budget: Budget, where: str) -> np.ndarray:
        """Returns the array of a node, which may be a reference itself."""
        values = self._read(node, budget, where)
        return self.values(values, budget, where) if is_reference(values) else values

    def _properties(self, reference: np.ndarray) -> dict[str, Any]:
        """The saved properties of one object by name, as nodes."""
        numbers = reference.ravel().tolist()
        if len(numbers) != 4 + numbers[1]:
            return {}
        block = self._objects[6 * numbers[-2] :][:6]
        if len(block) < 6 or block[0] != numbers[-1]:
            raise ValueError("a reference to an object that is not there")
        # A class with a `saveobj` of its own, such as string, saves another value in place of its properties.
        region, position = (self._saved, block[3]) if block[3] else (self._plain, block[4])
        found, start = {}, 0
        for number in range(position + 1):
            if start >= len(region) or region[start] < 0:
                raise ValueError("the properties of an object are cut off")
            count, first = region[start], start + 1
            start = first + 3 * count
            start += start % 2
            if number < position:
                continue
            for name, kind, value in zip(*(region[first + i : first + 3 * count : 3] for i in range(3)), strict=False):
                index = _FIRST_PROPERTY + value
                if kind == 1 and 0 < name <= len(self._names) and _FIRST_PROPERTY <= index < len(self._cells):
                    found[self._names[name - 1]] = self._cells[index]
        return found

    def _numbers(self, parts: dict[str, Any], name: str, budget: Budget, where: str) -> np.ndarray:
        values = self._read(parts[name], budget, where) if name in parts else np.zeros((0, 0), np.uint64)
        if values.size and values.dtype.kind != "u":
            raise ValueError(f"expected unsigned whole numbers in {name}, found {values.dtype}")
        return values

    def _class_names(self, codes: np.ndarray, names: np.ndarray, budget: Budget, where: str) -> np.ndarray:
        """The names of codes, which count from 1; 0 is undefined."""
        if names.size and names.dtype.kind != "U":
            raise ValueError(f"expected names of classes, found {names.dtype}")
        if codes.size and codes.max() > len(names):
            raise ValueError(f"class {codes.max()} of a categorical with {len(names)} classes")
        names = np.concatenate([np.array([""]), names.astype(str)])
        budget.charge(codes.size * names.dtype.itemsize, where)
        return names[codes.astype(np.int64)]

    def _strings(self, numbers: np.ndarray, budget: Budget, where: str) -> np.ndarray:
        """Strings: a version, the number of dimensions, the sizes, the lengths, and UTF-16 text, as uint64 numbers."""
        if not numbers.size:
            return np.zeros((0, 0), str)
        stored = numbers.ravel()
        head = stored[:34].tolist()
        if head[0] != _TEXT_VERSION or len(head) < 2 or not 2 <= head[1] <= 32 or len(head) < 2 + head[1]:
            raise ValueError(f"expected strings of version {_TEXT_VERSION}, found {head[:2]}")
        shape = tuple(head[2 : 2 + head[1]])
        count = 1
        for size in shape:
            count *= size
        lengths = stored[2 + head[1] :][:count].tolist()
        text = stored[2 + head[1] + count :].astype(f"{self._order}u8").tobytes()
        lengths = [0 if length == _MISSING else length for length in lengths]
        if len(lengths) != count or 2 * sum(lengths) > len(text):
            raise ValueError("strings that are cut off")
        budget.charge(4 * count * max(lengths, default=0), where)
        coding = "utf-16-le" if self._order == "<" else "utf-16-be"
        items, start = [], 0
        for length in lengths:
            items.append(text[start : start + 2 * length].decode(coding, "replace"))
            start += 2 * length
        return np.array(items, dtype=str).reshape(shape, order="F")
