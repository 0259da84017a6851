"""The two kinds of file that `torch.save` writes, and which of their bytes are which storage.

`content` is the whole file, uint8 `[bytes]`. Both readers return what the pickle in it says and, by key, the bytes of
each storage, as views of `content`. They raise a `ValueError` of one line without the file's name.
"""

import struct

import numpy as np

from gpldan_jax.features._opcodes import LARGEST_PICKLE, Pickled, Stream, read_pickle, shown

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Of a zip file: its end, where its larger end is, the larger end, a member in the directory, and before its content.
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_HEADER = struct.Struct("<4s5H3L2H")
_ALL_ONES = 0xFFFFFFFF  # the number is in the extra field
_LARGEST_DIRECTORY = 1 << 23


def read_legacy(content: np.ndarray) -> tuple[Pickled, dict[str, np.ndarray]]:
    """Until PyTorch 1.6: pickles of a magic number, a version, the machine, the object and the keys, then storages."""
    stream = Stream(content[:LARGEST_PICKLE].tobytes())
    for expected in (_MAGIC, _PROTOCOL):
        found = read_pickle(stream).value
        if type(found) is not int or found != expected:
            raise ValueError(f"expected a file of torch.save, which begins with {expected:#x}, found another pickle")
    machine = read_pickle(stream).value
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise ValueError("expected a file of a little-endian machine, found another")
    pickled = read_pickle(stream)
    keys = read_pickle(stream).value
    if type(keys) is not list:
        raise ValueError(f"expected a list of storage keys, found {type(keys).__name__}")
    data, start = {}, stream.tell()
    for key in keys:
        if type(key) is not str or key not in pickled.storages or key in data:
            raise ValueError("expected the key of each storage once, found another or one twice")
        storage = pickled.storages[key]
        (elements,) = _fields(struct.Struct("<q"), content, start)
        if elements != storage.elements:
            raise ValueError(f"storage {shown(key)}: expected {storage.elements:,} elements, found {elements:,}")
        data[key] = _slice(content, start + 8, elements * storage.dtype.itemsize)
        start += 8 + data[key].size
    return pickled, data


def read_zip(content: np.ndarray) -> tuple[Pickled, dict[str, np.ndarray]]:
    """Since PyTorch 1.6: a zip file without compression, with a pickle and a member for each storage."""
    members = _members(content)
    pickles = [name for name in members if name.endswith(b"/data.pkl") and name.count(b"/") == 1]
    if len(pickles) != 1:
        raise ValueError(f"expected a zip file of torch.save, with one FOLDER/data.pkl, found {len(pickles)}")
    folder = pickles[0].removesuffix(b"data.pkl")
    order = folder + b"byteorder"
    if order in members and _member(content, members, order)[:9].tobytes() != b"little":
        raise ValueError("expected a file of a little-endian machine, found another")
    pickle = _member(content, members, pickles[0])
    if pickle.size > LARGEST_PICKLE:
        raise ValueError(f"expected a pickle of at most {LARGEST_PICKLE:,} bytes, found {pickle.size:,}")
    pickled = read_pickle(Stream(pickle.tobytes()))
    data, total = {}, 0
    for key, storage in pickled.storages.items():
        data[key] = _member(content, members, folder + b"data/" + key.encode(errors="surrogatepass"))
        expected = storage.elements * storage.dtype.itemsize
        if data[key].size != expected:
            raise ValueError(f"storage {shown(key)}: expected {expected:,} bytes, found {data[key].size:,}")
        total += expected
    if total > content.size:
        raise ValueError(f"expected storages of at most {content.size:,} bytes together, found {total:,}")
    return pickled, data


def _members(content: np.ndarray) -> dict[bytes, tuple[bool, int, int]]:
    """Of each member of a zip file: whether it is stored as it is, its size, and where its header begins."""
    end = content.size - _END.size
    *_, count, size, start, _ = _fields(_END, content, end, b"PK\5\6")
    if content[max(end - _LOCATOR.size, 0) :][:4].tobytes() == b"PK\6\7":
        _, end, _ = _fields(_LOCATOR, content, end - _LOCATOR.size, b"PK\6\7")
        *_, count, size, start = _fields(_END_64, content, end, b"PK\6\6")
    if size > _LARGEST_DIRECTORY:
        raise ValueError(f"expected a zip directory of at most {_LARGEST_DIRECTORY:,} bytes, found {size:,}")
    directory = _slice(content, start, size)
    members, at = {}, 0
    for _ in range(count):
        entry = _fields(_ENTRY, directory, at, b"PK\1\2")
        _, _, flags, method, _, _, _, packed, size, named, extra, comment, _, _, _, start = entry
        at += _ENTRY.size
        name = _slice(directory, at, named).tobytes()
        size, packed, start = _wide(_slice(directory, at + named, extra), size, packed, start)
        if name in members:
            raise ValueError(f"expected each zip member once, found {shown(name)} twice")
        members[name] = (method == 0 and not flags & 1 and packed == size, size, start)
        at += named + extra + comment
    return members


def _wide(extra: np.ndarray, *values: int) -> list[int]:
    """The values, those that are too large for their field taken from the field of 64-bit numbers."""
    values, at = list(values), 0
    while _ALL_ONES in values and at < extra.size:
        kind, length = _fields(struct.Struct("<2H"), extra, at)
        at += 4
        if kind == 1:
            wide = iter(range(at, at + length, 8))
            return [
                _fields(struct.Struct("<Q"), extra, next(wide, extra.size))[0] if value == _ALL_ONES else value
                for value in values
            ]
        at += length
    return values


def _member(content: np.ndarray, members: dict[bytes, tuple[bool, int, int]], name: bytes) -> np.ndarray:
    if name not in members:
        raise ValueError(f"expected a zip member {shown(name)}, found none")
    stored, size, start = members[name]
    if not stored:
        raise ValueError(f"expected zip members without compression and encryption, found {shown(name)} with it")
    *_, named, extra = _fields(_HEADER, content, start, b"PK\3\4")
    if _slice(content, start + _HEADER.size, named).tobytes() != name:
        raise ValueError(f"expected the zip member {shown(name)} at byte {start:,}, found another")
    return _slice(content, start + _HEADER.size + named + extra, size)


def _fields(form: struct.Struct, content: np.ndarray, start: int, signature: bytes | None = None) -> tuple:
    """The numbers at a place, without the signature that they must begin with."""
    found = form.unpack(_slice(content, start, form.size))
    if signature is None:
        return found
    if found[0] != signature:
        raise ValueError(f"expected a whole zip file, found another content than {signature!r} at byte {start:,}")
    return found[1:]


def _slice(content: np.ndarray, start: int, size: int) -> np.ndarray:
    if not 0 <= start <= content.size - size:
        raise ValueError(f"expected {size:,} bytes at byte {start:,}, found the end of {content.size:,}: incomplete")
    return content[start : start + size]
