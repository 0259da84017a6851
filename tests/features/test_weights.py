"""Weights that PyTorch wrote, read without it. The files are made here byte by byte, and by PyTorch where it is."""

import copyreg
import io
import itertools
import json
import os
import pickle
import random
import struct
import sys
import tarfile
import tracemalloc
import zipfile
import zlib

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from gpldan_jax.features.state_dict import read_state_dict

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
BIAS = np.array([0.5, -1.5], np.float32)
KINDS = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
KIND_OF = {np.dtype(dtype): kind for kind, dtype in KINDS.items()}


# Opcodes. Each function gives those that leave one value on the stack.


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def several(*items):
    return b"(" + b"".join(items) + b"t"


def counts(values):
    return several(*map(number, values))


def name(dotted):
    module, _, attribute = dotted.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def call(dotted, *arguments):
    return name(dotted) + several(*arguments) + b"R"


def mapping(entries):
    return (
        b"}(" + b"".join((text(key) if isinstance(key, str) else key) + value for key, value in entries.items()) + b"u"
    )


def storage(dtype, key, elements, *view):
    kind = name(f"torch.{KIND_OF[np.dtype(dtype)]}Storage")
    return several(text("storage"), kind, text(key), text("cpu"), number(elements), *view) + b"Q"


def tensor(stored, shape, strides, offset=0):
    hooks = call("collections.OrderedDict")
    place = number(offset), counts(shape), counts(strides)
    return call("torch._utils._rebuild_tensor_v2", stored, *place, b"\x89", hooks)


def whole(key, array):
    """A tensor that is all of its storage."""
    strides = [stride // array.itemsize for stride in array.strides]
    return tensor(storage(array.dtype, key, array.size), array.shape, strides)


def pickled(value, protocol=2):
    return b"\x80" + bytes([protocol]) + value + b"."


# Files.


def data_of(storages):
    return {key: value if isinstance(value, bytes) else value.tobytes() for key, value in storages.items()}


def zipped(value, storages, *, folder="weights", others=(), **settings):
    members = [(f"{folder}/data.pkl", pickled(value)), (f"{folder}/version", b"3\n"), *others]
    members += [(f"{folder}/data/{key}", data) for key, data in data_of(storages).items()]
    return archive(members, **settings)


def archive(members, *, method=0, flags=0, wide=False, size=None, entries=None):
    """A zip file. `wide` puts numbers into the fields of 64 bits; `size` and `entries` state what is not so."""
    content, directory, found = bytearray(), bytearray(), []
    for title, data in members:
        packed, unpacked = data, len(data) if size is None else size
        if method == 8:
            compressor = zlib.compressobj(wbits=-15)
            packed = compressor.compress(data) + compressor.flush()
        found.append((title, len(packed), unpacked, len(content)))
        content += member_header(title, b"FB\0\0") + packed
    for title, *numbers in found if entries is None else entries:
        extra = b""
        if wide:
            extra = struct.pack("<2H4s2H3Q", 7, 4, b"none", 1, 24, numbers[1], numbers[0], numbers[2])
            numbers = 3 * [2**32 - 1]
        fields = 0, 0, flags, method, 0, 0, 0, *numbers[:2], len(title), len(extra), 0, 0, 0, 0, numbers[2]
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + title.encode() + extra
    count = len(found if entries is None else entries)
    end = count, len(directory), len(content)
    content += directory
    if wide:
        at = len(content)
        content += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 0, 0, 0, 0, count, *end)
        content += struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
        end = 2**16 - 1, 2**32 - 1, 2**32 - 1
    return bytes(content + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, end[0], *end, 0))


def member_header(title, extra=b""):
    """What stands before a member; its sizes are only in the directory, as PyTorch writes them."""
    return struct.pack("<4s5H3L2H", b"PK\3\4", *8 * [0], len(title), len(extra)) + title.encode() + extra


def legacy(value, storages, *, little=b"\x88", keys=None, sizes=None):
    keys = list(storages) if keys is None else keys
    machine = mapping({"protocol_version": number(1001), "little_endian": little})
    content = pickled(number(0x1950A86A20F9469CFC6C)) + pickled(number(1001)) + pickled(machine) + pickled(value)
    content += pickled(b"](" + b"".join(map(text, keys)) + b"e")
    for (key, data), array in zip(data_of(storages).items(), storages.values(), strict=True):
        elements = (sizes or {}).get(key, len(data) if isinstance(array, bytes) else array.size)
        content += struct.pack("<q", elements) + data
    return content


FORMATS = pytest.mark.parametrize("file_of", [zipped, legacy])


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "weights.bin"
        path.write_bytes(content)
        return read_state_dict(path)

    return read


@pytest.fixture
def refused(tmp_path):
    """Asserts that a content is refused, with one line that has the path and the given words."""

    def refused(content, *words):
        path = tmp_path / "weights.bin"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.bin: ") as raised:
            read_state_dict(path)
        message = str(raised.value)
        assert len(message.splitlines()) == 1
        assert len(message) < 2000
        for word in words:
            assert word in message
        return message

    return refused


def assert_same(found, expected):
    assert list(found) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, strict=True)


def assert_inside(array):
    """The memory that an array can reach is that of the file."""
    if array.flags.owndata:
        return
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    first, length = root.ctypes.data, root.nbytes
    reach = sum((size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)) + array.itemsize
    assert first <= array.ctypes.data
    assert array.ctypes.data + reach <= first + length
    array.tobytes()  # the system would stop an access beyond the file


PLAIN = mapping({"weight": whole("0", WEIGHT), "bias": whole("1", BIAS)}), {"0": WEIGHT, "1": BIAS}


@FORMATS
def test_a_state_dict(read, file_of):
    assert_same(read(file_of(*PLAIN)), {"weight": WEIGHT, "bias": BIAS})


@FORMATS
@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype(read, file_of, kind):
    array = np.array([[0, 1, 3], [7, 50, 100]]).astype(KINDS[kind])
    found = read(file_of(mapping({"a": whole("0", array)}), {"0": array}))
    assert_same(found, {"a": array.astype(np.float32) if kind == "BFloat16" else array})


@FORMATS
def test_tensors_that_share_memory_go_on_sharing_it(read, file_of):
    stored = storage(np.float32, "0", 6)
    value = mapping({"a": tensor(stored, (2, 3), (3, 1)), "b": tensor(stored, (3,), (1,), offset=3)})
    found = read(file_of(value, {"0": WEIGHT}))
    assert_same(found, {"a": WEIGHT, "b": WEIGHT[1]})
    assert np.shares_memory(found["a"], found["b"])


@FORMATS
def test_bfloat16_that_is_shared_is_converted_once(read, file_of):
    array = WEIGHT.astype(ml_dtypes.bfloat16)
    stored = storage(array.dtype, "0", 6)
    found = read(file_of(mapping({key: tensor(stored, (3, 2), (1, 3)) for key in "ab"}), {"0": array}))
    assert_same(found, {"a": WEIGHT.T, "b": WEIGHT.T})
    assert np.shares_memory(found["a"], found["b"])


@FORMATS
def test_strides_and_offsets(read, file_of):
    stored = np.arange(24, dtype=np.int32)
    cube = stored.reshape(2, 3, 4)
    views = {
        "transposed": cube.transpose(2, 0, 1),
        "sliced": cube[1:, ::2, 1:3],
        "diagonal": stored[:16].reshape(4, 4).diagonal(),
        "scalar": stored[5:6].reshape(()),
        "last": stored[23:],
        "all": stored,
    }
    entries = {}
    for key, view in views.items():
        offset = (view.ctypes.data - stored.ctypes.data) // 4
        strides = [stride // 4 for stride in view.strides]
        entries[key] = tensor(storage(np.int32, "0", 24), view.shape, strides, offset)
    entries["one"] = tensor(storage(np.int32, "0", 24), (1, 24, 1), (2**47, 1, 0))
    found = read(file_of(mapping(entries), {"0": stored}))
    assert_same(found, {**views, "one": stored.reshape(1, 24, 1)})
    for key, view in views.items():
        assert found[key].strides == view.strides, key


@FORMATS
def test_empty_tensors_and_storages(read, file_of):
    empty = np.empty((0, 3), np.float64)
    value = {"a": whole("0", empty), "b": tensor(storage(np.float32, "1", 6), (2, 0), (9, 9), offset=9)}
    found = read(file_of(mapping(value), {"0": empty, "1": WEIGHT}))
    assert_same(found, {"a": empty, "b": np.empty((2, 0), np.float32)})
    assert not any(array.flags.writeable for array in found.values())


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_arrays_are_read_only_views_of_the_file(tmp_path, kind):
    elements, path = 1 << 24, tmp_path / "large"
    value = mapping({"a": tensor(storage(np.float32, "0", elements), (4096, 4096), (4096, 1))})
    with open(path, "wb") as file:
        if kind == "legacy":
            file.write(legacy(value, {"0": b""}, sizes={"0": elements}))
            file.truncate(file.tell() + 4 * elements)
        elif kind == "safetensors":
            header = {"a": {"dtype": "F32", "shape": [4096, 4096], "data_offsets": [0, 4 * elements]}}
            header = json.dumps(header).encode()
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(file.tell() + 4 * elements)
        else:
            with zipfile.ZipFile(file, "w") as archive_file:
                archive_file.writestr("weights/data.pkl", pickled(value))
                with archive_file.open("weights/data/0", "w") as member:
                    for _ in range(64):
                        member.write(bytes(elements // 16))
    read_state_dict(path)  # imports what it needs
    tracemalloc.start()
    array = read_state_dict(path)["a"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert array.shape == (4096, 4096)
    assert peak < array.nbytes / 4
    assert not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    assert_inside(array)


@FORMATS
def test_parameters_and_metadata(read, file_of):
    parameter = call("torch._utils._rebuild_parameter", whole("0", WEIGHT), b"\x88", call("collections.OrderedDict"))
    metadata = mapping({"": mapping({"version": number(2)})})
    value = call("collections.OrderedDict") + b"(" + text("weight") + parameter + b"u"
    value += mapping({"_metadata": metadata}) + b"b"
    assert_same(read(file_of(value, {"0": WEIGHT})), {"weight": WEIGHT})


def python_2():
    """As PyTorch on Python 2 wrote it: byte strings, an ordered dict made of a list of lists, long integers."""

    def string(value, code=b"U", form="<B"):
        return code + struct.pack(form, len(value)) + value.encode("latin-1")

    def long(value):
        return b"\x8a\x01" + bytes([value])

    kind = name("torch.FloatStorage") + b"q\x05"
    pairs = []
    for key, array, place in (("weight", WEIGHT, (3, 1)), ("bias", BIAS, (1,))):
        stored = several(string("storage"), kind, string(str(array.shape)), string("cpu"), long(array.size), b"N")
        kind = b"h\x05"
        rebuilt = call(
            "torch._utils._rebuild_tensor",
            stored + b"Q",
            b"K\0",
            several(*map(long, array.shape)),
            several(*map(long, place)),
        )
        pairs.append(b"](" + string(key, b"T", "<i") + rebuilt + b"e")
    value = name("collections.OrderedDict") + b"](" + b"".join(pairs) + b"e\x85R"
    value += b"}" + string("_metadata") + b"}sb"
    return value, {"(2, 3)": WEIGHT, "(2,)": BIAS}


def pytorch_0_1_10():
    """Tensors and variables that are made empty and get their content after that."""

    def unfinished(key, array):
        strides = [stride // 4 for stride in array.strides]
        made = name("torch.FloatTensor") + b")\x81"
        return (
            made
            + several(storage(np.float32, key, array.size, b"N"), number(0), counts(array.shape), counts(strides))
            + b"b"
        )

    variable = name("torch.nn.parameter.Parameter")
    entries = {
        "tensor": unfinished("0", WEIGHT),
        "reduced": unfinished("1", BIAS).replace(b")\x81", b")R"),
        "empty_variable": variable + b")\x81" + several(unfinished("2", BIAS), b"N", b"N", b"\x88", b"\x89") + b"b",
        "variable": variable + unfinished("3", WEIGHT) + b"\x85R" + b"q\x09" + several(b"\x88", b"\x89", b"N") + b"b",
        "same": b"h\x09",
    }
    return mapping(entries), {"0": WEIGHT, "1": BIAS, "2": BIAS, "3": WEIGHT}


OLD = {"tensor": WEIGHT, "reduced": BIAS, "empty_variable": BIAS, "variable": WEIGHT, "same": WEIGHT}


def test_files_of_python_2(read):
    assert_same(read(legacy(*python_2())), {"weight": WEIGHT, "bias": BIAS})


def test_files_of_pytorch_0_1(read):
    assert_same(read(legacy(*pytorch_0_1_10())), OLD)


def test_protocol_4(read):
    """`torch.save(pickle_protocol=4)`: short strings, names from the stack, an implicit memo, frames."""

    def short(value):
        return b"\x8c" + bytes([len(value)]) + value.encode() + b"\x94"

    stored = several(short("storage"), short("torch") + short("FloatStorage") + b"\x93", short("0"), b"h\x00", b"K\x06")
    rebuilt = short("torch._utils") + short("_rebuild_tensor_v2") + b"\x93"
    hooks = short("collections") + short("OrderedDict") + b"\x93)R"
    rebuilt += several(stored + b"Q", b"K\0", b"K\2K\3\x86", b"K\3K\1\x86", b"\x89", hooks) + b"R"
    value = b"}(" + short("weight") + rebuilt + b"u"
    content = pickled(b"\x95" + struct.pack("<Q", len(value)) + value, protocol=4)
    members = [("a/data.pkl", content), ("a/data/0", WEIGHT.tobytes())]
    assert_same(read(archive(members)), {"weight": WEIGHT})


@pytest.mark.parametrize("outer", ["state_dict", "model"])
def test_the_state_dict_inside_a_checkpoint(read, outer):
    rest = {
        "epoch": number(3),
        "loss": b"G" + struct.pack(">d", 0.5),
        "best": b"\x88",
        "name": text("VGG"),
        "other": b"N",
    }
    state = mapping({number(0): mapping({"momentum": whole("2", WEIGHT)})})
    rest["optimizer"] = mapping({"state": state, "groups": b"](" + mapping({"params": b"]K\0a"}) + b"e"})
    value = mapping({**rest, outer: PLAIN[0]})
    assert_same(read(legacy(value, {**PLAIN[1], "2": WEIGHT})), {"weight": WEIGHT, "bias": BIAS})


@FORMATS
def test_the_prefix_of_data_parallel_is_removed(read, file_of):
    both = mapping({"module.weight": whole("0", WEIGHT), "module.bias": whole("1", BIAS)})
    assert list(read(file_of(both, PLAIN[1]))) == ["weight", "bias"]
    one = mapping({"module.weight": whole("0", WEIGHT), "bias": whole("1", BIAS)})
    assert list(read(file_of(one, PLAIN[1]))) == ["module.weight", "bias"]
    assert list(read(safetensors.numpy.save({"module.a": BIAS}))) == ["a"]


@FORMATS
def test_what_is_no_state_dict(refused, file_of):
    weight = whole("0", WEIGHT)
    for value, *words in (
        (mapping({"weight": weight, "epoch": number(3)}), "'epoch': expected a tensor, found int"),
        (mapping({"weight": weight, "inner": mapping({})}), "'inner': expected a tensor, found dict"),
        (mapping({"model": mapping({"w": weight}), "state_dict": mapping({})}), "'model'", "found dict"),
        (mapping({"model": mapping({"w": text("x")})}), "'w': expected a tensor, found str"),
        (mapping({number(7): weight}), "expected names of tensors, found the key 7"),
        (mapping({"s": storage(np.float32, "0", 6)}), "'s': expected a tensor, found Storage"),
        (mapping({"unfinished": name("torch.FloatTensor") + b")R"}), "'unfinished': expected a tensor"),
        (weight, "expected a dict of tensors, found Tensor"),
        (b"](" + weight + b"e", "expected a dict of tensors, found list"),
        (name("torch.FloatStorage"), "expected a dict of tensors"),
    ):
        refused(file_of(value, {"0": WEIGHT} if weight in value or b"storage" in value else {}), *words)
    refused(file_of(mapping({}), {}), "expected tensors, found none")


# Pickles that do something when they are run.


def trap_module(folder):
    marker = folder / "ran"
    (folder / "trap_of_a_test.py").write_text(
        "import pathlib\n"
        f"def spring(*_): pathlib.Path({str(marker)!r}).touch()\n"
        "class Trap:\n"
        "    def __setstate__(self, state): spring()\n"
        "class New:\n"
        "    def __new__(cls, *_): spring(); return object.__new__(cls)\n"
        "class Mapping(dict):\n"
        "    def __setitem__(self, *_): spring()\n"
        "class List(list):\n"
        "    def append(self, _): spring()\n"
        "    extend = append\n"
    )
    return marker


TRAP = "trap_of_a_test"
EVIL = {
    "REDUCE": lambda marker: call("os.system", text(f"touch {marker}")),
    "REDUCE of a builtin": lambda marker: call(
        "builtins.exec", text(f"import pathlib; pathlib.Path({str(marker)!r}).touch()")
    ),
    "STACK_GLOBAL": lambda marker: text("os") + text("system") + b"\x93" + several(text(f"touch {marker}")) + b"R",
    "INST": lambda marker: b"(" + text(f"touch {marker}") + b"ios\nsystem\n",
    "OBJ": lambda marker: b"(" + name("os.system") + text(f"touch {marker}") + b"o",
    "EXT1": lambda marker: b"\x82\xc8" + several(text(f"touch {marker}")) + b"R",
    "EXT2": lambda marker: b"\x83\xc8\0" + several(text(f"touch {marker}")) + b"R",
    "EXT4": lambda marker: b"\x84\xc8\0\0\0" + several(text(f"touch {marker}")) + b"R",
    "NEWOBJ": lambda marker: name(f"{TRAP}.New") + b")\x81",
    "NEWOBJ_EX": lambda marker: name(f"{TRAP}.New") + b")}\x92",
    "BUILD": lambda marker: name(f"{TRAP}.Trap") + b")\x81" + text("state") + b"b",
    "SETITEM": lambda marker: name(f"{TRAP}.Mapping") + b")\x81" + text("a") + b"Ns",
    "SETITEMS": lambda marker: name(f"{TRAP}.Mapping") + b")\x81(" + text("a") + b"Nu",
    "APPENDS": lambda marker: name(f"{TRAP}.List") + b")\x81(Ne",
    "inside an ordered dict": lambda marker: call("collections.OrderedDict", call(f"{TRAP}.spring")),
}


@pytest.mark.parametrize("evil", EVIL)
def test_a_pickle_that_would_run_code_is_not_run(tmp_path, monkeypatch, refused, evil):
    monkeypatch.syspath_prepend(tmp_path)
    marker = trap_module(tmp_path)
    monkeypatch.delitem(sys.modules, TRAP, raising=False)
    value = EVIL[evil](marker)
    if evil.startswith("EXT"):
        copyreg.add_extension("os", "system", 200)
    try:
        for content in (
            zipped(value, {}),
            legacy(value, {}),
            legacy(mapping({"a": value, "weight": whole("0", WEIGHT)}), {"0": WEIGHT}),
            pickled(value),
            legacy(mapping({}), {}, little=value),
        ):
            message = refused(content)
            assert "it is not executed, because a pickle can run code" in message
            assert ("os.system" in message) or TRAP in message or evil[:4] in message or "builtins.exec" in message
            assert not marker.exists()
        try:
            pickle.loads(pickled(value))
        except Exception:  # what is left behind is not always sound
            assert evil == "inside an ordered dict"
        assert marker.exists()  # so that the test shows something
    finally:
        if evil.startswith("EXT"):
            copyreg.remove_extension("os", "system", 200)


@FORMATS
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (name("os.system"), "names 'os.system'"),
        (name("torch._utils._rebuild_qtensor"), "names 'torch._utils._rebuild_qtensor'"),
        (name("torch.ComplexFloatStorage"), "names 'torch.ComplexFloatStorage'"),
        (name("builtins.getattr"), "names 'builtins.getattr'"),
        (name("collections.OrderedDict.update"), "names 'collections.OrderedDict.update'"),
        (b"NN\x93", "names ''"),
        (text("a" * 5000) + text("b") + b"\x93", "names 'aaa"),
        (b"NN\x85R", "calls NoneType"),
        (text("torch.FloatTensor") + b")R", "calls str"),
        (name("torch.FloatStorage") + b")R", "calls Float32DType"),
        (name("torch.FloatTensor") + b"]R", "calls function"),
        (b"NNb", "sets the state of NoneType"),
        (b"}]b", "sets the state of dict"),
        (
            whole("0", WEIGHT) + several(storage(np.float32, "0", 6), b"K\0", b")", b")") + b"b",
            "sets the state of Tensor",
        ),
        (name("torch.FloatTensor") + b")R" + several(b"N", b"N", b"N") + b"b", "sets the state of Tensor"),
        (b"P1\n", "uses the pickle opcode PERSID"),
        (b"NQ", "refers to something that is no storage"),
        (several(*5 * [name("torch.FloatStorage")]) + b"Q", "refers to something that is no storage"),
        (several(text("module"), *4 * [b"N"]) + b"Q", "refers to a 'module'"),
        (b"\x8f", "uses the pickle opcode EMPTY_SET"),
        (b"C\1a", "uses the pickle opcode SHORT_BINBYTES"),
        (b"N0N", "uses the pickle opcode POP"),
    ],
)
def test_what_is_not_needed_for_tensors(refused, file_of, value, found):
    refused(file_of(value, {}), found, "expected only what tensors need; it is not executed")


@FORMATS
def test_a_whole_model_gets_a_hint(refused, file_of):
    model = name("torchvision.models.vgg.VGG") + b")\x81" + mapping({"_modules": mapping({})}) + b"b"
    refused(file_of(model, {}), "save model.state_dict() instead: it names 'torchvision.models.vgg.VGG'")


# Hostile numbers.

BEYOND = {
    "beyond": ((2, 4), (4, 1), 0),
    "offset": ((6,), (1,), 1),
    "large offset": ((1,), (1,), 2**40),
    "stride": ((2, 2), (5, 1), 0),
    "one stride": ((2,), (6,), 0),
    "repeated": ((7,), (0,), 0),
    "many": ((2**32, 2**32), (0, 0), 0),
    "long axis": ((2**48,), (0,), 0),
    "overlap": ((4, 3), (1, 1), 0),
}
NO_NUMBERS = {
    "negative offset": ((1,), (1,), -1),
    "negative size": ((-1,), (1,), 0),
    "two negative sizes": ((-2, -3), (3, 1), 0),
    "negative stride": ((6,), (-1,), 5),
    "overflow of the offset": ((1,), (1,), 2**62),
    "overflow of the stride": ((3,), (2**63,), 0),
    "overflow to the beginning": ((3,), (2**64 - 4,), 0),
    "very large": ((2**2000,), (1,), 0),
}


@FORMATS
@pytest.mark.parametrize(
    ("place", "found"),
    [(BEYOND[case], "'a': expected to fit into its storage of 6 elements") for case in BEYOND]
    + [(NO_NUMBERS[case], "expected offsets, sizes and strides from 0 to") for case in NO_NUMBERS]
    + [
        (((0, 2**30, 2**30), (1, 1, 1), 0), "'a': expected sizes that fit into memory"),
        (((2, 3), (1,), 0), "expected a stride for each of at most 32 sizes, found 2 and 1"),
        ((33 * (1,), 33 * (1,), 0), "found 33 and 33"),
    ],
    ids=str,
)
def test_a_tensor_that_does_not_fit(refused, file_of, place, found):
    shape, strides, offset = place
    refused(file_of(mapping({"a": tensor(storage(np.float32, "0", 6), shape, strides, offset)}), {"0": WEIGHT}), found)


@FORMATS
def test_what_tensors_are_made_of(refused, file_of):
    stored = storage(np.float32, "0", 6)
    rebuilt = "torch._utils._rebuild_tensor"
    cases = [
        (call(rebuilt, stored, b"\x88", b")", b")"), "expected offsets"),
        (call(rebuilt, stored, b"G" + bytes(8), b")", b")"), "expected offsets"),
        (call(rebuilt, stored, b"K\0", b"\x88\x85", b"\x88\x85"), "expected offsets"),
        (call(rebuilt, stored, b"K\0", b"]", b"]"), "expected tensors of a storage"),
        (call(rebuilt, b"N", b"K\0", b")", b")"), "expected tensors of a storage"),
        (call(rebuilt, stored, b"K\0", b")"), "expected tensors of a storage"),
        (call(f"{rebuilt}_v2", stored, b"K\0", b")", b")", b"\x89", b"N", mapping({"neg": b"\x88"})), "a storage"),
        (call("torch.FloatTensor", b"K\1"), "expected tensors of a storage"),
        (call("torch.nn.parameter.Parameter", b"K\1"), "expected parameters made of a tensor, found int"),
        (call("collections.OrderedDict", b"N"), "a list of pairs, found another"),
        (call("collections.OrderedDict", b"](Ne"), "a list of pairs, found another"),
        (call("collections.OrderedDict", b"](K\1\x85e"), "a list of pairs, found 1 values"),
        (b"}" + b")Ns", "expected keys that are strings or counts, found tuple"),
        (b"}" + number(-1) + b"Ns", "expected keys that are strings or counts, found int"),
        (b"}" + number(2**61 - 1) + b"Ns", "expected keys that are strings or counts, found int"),
        (b"}(Nu", "expected a dict and pairs, found dict and 1 values"),
        (b"]K\1Ns", "expected a dict and pairs, found list"),
        (b"}Na", "expected a list to append to, found dict"),
        (storage(np.float32, "0", -1), "expected storages with a type, a key and a size"),
        (storage(np.float32, "0", 2**63), "expected storages with a type, a key and a size"),
        (several(text("storage"), text("F"), text("0"), b"N", b"K\6") + b"Q", "expected storages with a type"),
        (several(text("storage"), name("torch.FloatStorage"), b"K\0", b"N", b"K\6") + b"Q", "expected storages"),
        (storage(np.float32, "0", 6, several(text("1"), b"K\0", b"K\1")), "found a view of one"),
        (storage(np.float32, "0", 6) + storage(np.float64, "0", 6), "storage '0': expected one type and size"),
        (storage(np.float32, "0", 6) + storage(np.float32, "0", 5), "storage '0': expected one type and size"),
    ]
    for value, found in cases:
        refused(file_of(value, {}), found)


@pytest.mark.parametrize(
    "value",
    [
        b"a",
        b"e",
        b"u",
        b"s",
        b"t",
        b"\x85",
        b"N\x86",
        b"NN\x87",
        b"q\0",
        b"h\0",
        b"R",
        b"NR",
        b"b",
        b"Q",
        b"\x93",
        b"",
        b"\x81",
        b"\x94",
    ],
)
def test_a_pickle_whose_values_are_missing(refused, value):
    refused(archive([("a/data.pkl", pickled(value))]), "expected a whole pickle, found ")


# Costs.


def test_a_long_pickle(refused):
    refused(zipped(b"N" * 1_000_001, {}), "expected a pickle of at most 1,000,000 opcodes")
    refused(legacy(b"N" * 1_000_001, {}), "expected a pickle of at most 1,000,000 opcodes")


def test_values_nested_without_end(refused):
    refused(zipped(b")" + b"\x85" * 400_000, {}), "expected a dict of tensors, found tuple")
    refused(zipped(b"]q\0h\0a", {}), "expected a dict of tensors, found list")
    nested = b"]" * 300_000 + b"a" * 299_999
    refused(zipped(b"}" + text("a") + nested + b"s", {}), "'a': expected a tensor, found list")
    refused(zipped(b"}" + b")" + b"\x85" * 400_000 + b"Ns", {}), "expected keys that are strings")


def test_pairs_that_are_used_again_and_again(refused):
    pairs = b"](" + b"".join(b"M" + struct.pack("<H", key) + b"N\x86" for key in range(50_000)) + b"e\x85q\0"
    value = pairs + name("collections.OrderedDict") + b"q\1" + b"h\1h\0R" * 100
    refused(zipped(value, {}), "expected a pickle of at most 1,000,000 opcodes")


def test_long_strings_and_pickles(refused):
    refused(zipped(text("a" * 65_537), {}), "strings of at most 65,536 bytes, found a broken one")
    refused(zipped(b"X" + b"\xff\xff\xff\xff", {}), "found a broken one")
    refused(zipped(b"\x8d" + b"\xff" * 8, {}), "found a broken one")
    refused(zipped(b"c" + b"o" * 300 + b"\nsystem\n", {}), "found a broken one")
    refused(zipped(b"c\\d\nsystem\n", {}), "found a broken one")  # an escape that Python would warn of
    refused(zipped(text("a" * 65_000) * 130, {}), "expected a pickle of at most 8,388,608 bytes")
    refused(legacy(text("a" * 65_000) * 130, {}), "found a broken one")
    message = refused(zipped(mapping({"k" * 60_000: number(1)}), {}), "expected a tensor, found int")
    assert len(message) < 600


# Containers.


def test_zip_members_that_are_compressed_encrypted_or_of_another_size(refused):
    refused(zipped(*PLAIN, method=8), "expected zip members without compression and encryption", "data.pkl")
    refused(zipped(*PLAIN, method=12), "expected zip members without compression and encryption")  # of the same size
    refused(zipped(*PLAIN, flags=1), "expected zip members without compression and encryption")
    refused(zipped(*PLAIN, size=5), "expected zip members without compression and encryption")
    refused(zipped(PLAIN[0], {"0": WEIGHT}), "expected a zip member b'weights/data/1', found none")
    for data in (WEIGHT.tobytes()[:-1], WEIGHT.tobytes() + b"\0", b""):
        refused(zipped(PLAIN[0], {"0": data, "1": BIAS}), "storage '0': expected 24 bytes, found ")


def test_a_zip_file_whose_compressed_member_is_a_storage(refused, tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive_file:
        archive_file.writestr("a/data.pkl", pickled(mapping({"a": whole("0", np.zeros(10_000_000, np.float32))})))
        archive_file.writestr("a/data/0", bytes(40_000_000), zipfile.ZIP_DEFLATED)
    assert len(file.getvalue()) < 100_000
    refused(file.getvalue(), "without compression", "a/data/0")


def test_a_zip_file_whose_storages_are_the_same_bytes(refused):
    """A small file cannot be many large tensors, which are copied where they are bfloat16."""
    array = np.zeros(10_000, ml_dtypes.bfloat16)
    keys = [f"{key:03}" for key in range(100)]
    data = pickled(mapping({key: whole(key, array) for key in keys}))
    titles = [f"a/data/{key}" for key in keys]
    headers = [member_header(title) for title in titles]
    first = ("a/data.pkl", len(data), len(data), 0)
    # One behind the other in one member, so that what follows each goes on over the others.
    box = b"".join(headers) + array.tobytes()
    members = [("a/data.pkl", data), ("a/box", box)]
    start = archive(members).index(box)
    starts = itertools.accumulate(map(len, headers[:-1]), initial=start)
    entries = [(title, array.nbytes, array.nbytes, at) for title, at in zip(titles, starts, strict=True)]
    content = archive(members, entries=[first, *entries])
    assert len(content) < 60_000
    refused(content, "expected storages of at most", "together, found 2,000,000")
    entries = [(title, array.nbytes, array.nbytes, start) for title in titles]
    refused(archive(members, entries=[first, *entries]), "expected the zip member b'a/data/001' at byte ")


def test_zip_files_with_64_bit_numbers(read, refused):
    content = zipped(*PLAIN, wide=True)
    assert_same(read(content), {"weight": WEIGHT, "bias": BIAS})
    field = content.index(struct.pack("<2H", 1, 24))
    refused(content[: field + 2] + b"\x08\0" + content[field + 4 :])
    refused(content[:field] + b"\x09\0" + content[field + 2 :], "expected", "bytes at byte 4,294,967,295")
    for offset in (40, 48):  # of the larger end: the directory's size and place
        at = content.rindex(b"PK\6\6") + offset
        for value in (2**64 - 1, 2**63, 2**40, 0):
            refused(content[:at] + struct.pack("<Q", value) + content[at + 8 :], "expected")


def test_zip_directories_that_are_not_so(read, refused):
    content = zipped(*PLAIN)
    end = len(content) - 22
    for offset, form, value in itertools.product((10, 12, 16), "HL", (0, 1, 2**16 - 1, 2**32 - 1)):
        if value < 2 ** (16 if form == "H" else 32):
            changed = bytearray(content)
            changed[end + offset : end + offset + struct.calcsize(form)] = struct.pack(f"<{form}", value)
            if changed != content:
                refused(bytes(changed), "expected")
    refused(content + b"\0", "expected a whole zip file")
    refused(content[:200], "expected a whole zip file")
    refused(zipped(*PLAIN, others=[("weights/data/0", b"")]), "expected each zip member once, found b'weights/data/0'")
    refused(zipped(*PLAIN, others=[("other/data.pkl", b"")]), "expected a zip file of torch.save", "found 2")
    assert len(read(zipped(*PLAIN, others=[("weights/code/data.pkl", b"")]))) == 2
    refused(archive([("word/document.xml", b"<xml>")]), "expected a zip file of torch.save", "found 0")
    changed = content.replace(b"weights/data/0", b"weights/data/2", 1)
    refused(changed, "expected the zip member b'weights/data/0' at byte ")


def test_a_zip_file_with_too_many_members(refused):
    refused(zipped(*PLAIN, others=[(f"{i:099}", b"") for i in range(60_000)]), "expected a zip directory of at most")


def test_byte_orders(read, refused):
    assert read(zipped(*PLAIN, others=[("weights/byteorder", b"little")]))
    refused(zipped(*PLAIN, others=[("weights/byteorder", b"big")]), "expected a file of a little-endian machine")
    for machine in (b"\x89", b"N", number(1)):
        refused(legacy(*PLAIN, little=machine), "expected a file of a little-endian machine")


def test_older_files_that_are_not_so(read, refused):
    good = legacy(*PLAIN)
    assert len(read(good + b"behind it")) == 2  # torch.load does not look there either
    refused(good[:-1], "incomplete")
    refused(good.replace(b"\xe9\3\0\0", b"\xea\3\0\0", 1), "which begins with 0x3e9, found another pickle")
    refused(pickled(number(5)), "which begins with 0x1950a86a20f9469cfc6c, found another pickle")
    refused(pickled(name("torch.FloatStorage")), "found another pickle")
    refused(pickled(mapping({"a": number(1)}), protocol=4), "found another pickle")
    refused(legacy(*PLAIN, sizes={"0": 5}), "storage '0': expected 6 elements, found 5")
    refused(legacy(*PLAIN, sizes={"1": -2}), "storage '1': expected 2 elements, found -2")
    for keys in (["0", "0"], ["0", "2"], ["0", ""]):
        refused(legacy(*PLAIN, keys=keys), "expected the key of each storage once")
    refused(legacy(*PLAIN, keys=["0"]), "storage '1': expected its elements, found none")
    refused(legacy(PLAIN[0], {"0": WEIGHT, "1": b""}, sizes={"1": 2}), "incomplete")
    for keys in (b"]K\1a", b"})s", b"N", b"]]a"):
        changed = good.replace(b"](" + text("0") + text("1") + b"e", keys)
        assert changed != good
        refused(changed, "expected")


# Any damage.


SMALL = {
    "zip": zipped(*PLAIN),
    "wide zip": zipped(*PLAIN, wide=True),
    "legacy": legacy(*PLAIN),
    "python 2": legacy(*python_2()),
    "pytorch 0.1": legacy(*pytorch_0_1_10()),
    "safetensors": safetensors.numpy.save({"weight": WEIGHT, "bias": BIAS, "scalar": np.array(1.0)}),
}


@pytest.mark.parametrize("kind", SMALL)
def test_a_file_that_is_cut(refused, kind):
    content = SMALL[kind]
    assert len(content) > 200
    for length in range(0, len(content), 7):
        refused(content[:length])
    refused(content[:-1])


@pytest.mark.parametrize("kind", SMALL)
def test_a_file_with_a_wrong_byte(tmp_path, kind):
    """It is refused, or some arrays inside the file come out."""
    path, ends = tmp_path / "weights.bin", set()
    for seed in range(300):
        random_ = random.Random(seed)
        content = bytearray(SMALL[kind])
        content[random_.randrange(len(content))] ^= random_.randrange(1, 256)
        path.write_bytes(content)
        try:
            arrays = read_state_dict(path)
        except ValueError as error:
            assert len(str(error).splitlines()) == 1
            assert str(error).startswith(f"{path}: ")
            ends.add("refused")
        else:
            for key, array in arrays.items():
                assert isinstance(key, str)
                assert_inside(array)
            ends.add("read")
    assert ends == {"refused", "read"}


# Safetensors.


def header(entries, data=b""):
    encoded = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def test_safetensors(read):
    arrays = {
        "weight": WEIGHT,
        "empty": np.empty((0, 4), np.float16),
        "scalar": np.array(7, np.uint16),
        **{str(np.dtype(dtype)): np.array([0, 1, 100]).astype(dtype) for dtype in KINDS.values()},
        **{dtype: np.array([0, 1, 100], dtype) for dtype in ("uint16", "uint32", "uint64")},
    }
    content = safetensors.numpy.save(arrays, metadata={"format": "pt"})
    found = read(content)
    assert found["bfloat16"].dtype == np.float32
    arrays["bfloat16"] = arrays["bfloat16"].astype(np.float32)
    assert_same(dict(sorted(found.items())), dict(sorted(arrays.items())))
    for key, array in found.items():
        assert not array.flags.writeable, key
        assert_inside(array)


def test_safetensors_that_are_not_so(refused):
    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for change in (
        {"dtype": "F64"},
        {"shape": [3]},
        {"shape": [-2]},
        {"shape": [2**63, 2]},
        {"data_offsets": [0, 4]},
        {"data_offsets": [4, 12]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [-8, 0]},
        {"data_offsets": None},
        {"dtype": "\n" * 3000},
    ):
        refused(header({"a": good | change}, bytes(8)), "expected a whole safetensors file, found a damaged one")
    refused(header({"a": good, "b": good}, bytes(8)), "found a damaged one")
    refused(header({"a": good}, bytes(9)), "found a damaged one")
    refused(header(b"{" + b"[" * 5000, bytes(8)), "found a damaged one")
    refused(header(b"{}"), "expected tensors, found none")
    refused(struct.pack("<Q", 2**40)[:6] + b"\0\0{", "expected a safetensors header of at most 8,388,608 bytes")
    eight = {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}
    refused(header({"a": eight}, bytes(8)), "'a': expected F64, F32, F16, BF16", "found F8_E4M3")
    refused(header({"a": good | {"shape": [2, *40 * [1]]}}, bytes(8)), "'a': expected at most 32 axes, found 41")
    empty = {"dtype": "F32", "shape": [0, 2**60], "data_offsets": [0, 0]}
    refused(header({"a": empty}), "'a': expected sizes that fit into memory")


# What else a file can be.


def test_the_content_counts_and_not_the_name(tmp_path):
    for file, content in {
        "a.safetensors": legacy(*PLAIN),
        "a.pth": SMALL["safetensors"],
        "a.txt": zipped(*PLAIN),
    }.items():
        (tmp_path / file).write_bytes(content)
        np.testing.assert_array_equal(read_state_dict(str(tmp_path / file))["weight"], WEIGHT)


def test_other_files(refused):
    expected = "expected safetensors or a file of torch.save, found "
    refused(b"", f"{expected}nothing in it")
    refused(b"<!DOCTYPE html>\n<html>", f"{expected}one that begins with b'<!DOCTYPE html>\\n'")
    refused(b"cos\nsystem\n(Vls\ntR.", f"{expected}one that begins with b'cos")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("sys_info"))
    refused(file.getvalue(), f"{expected}a tar file, as PyTorch wrote until 2017: torch.save(torch.load(path")


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*none\.pth"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(OSError, match=os.path.basename(tmp_path)):
        read_state_dict(tmp_path)


# PyTorch itself.


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="compares with what PyTorch writes and reads")


TORCH_FORMATS = pytest.mark.parametrize("zip_format", [True, False])


def tensors_of(torch):
    torch.manual_seed(0)
    cube = torch.randn(4, 5, 6)
    numbers = torch.tensor([[0, 1, 5], [100, 3, 2]])
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    tensors = network.state_dict()
    assert tensors._metadata
    tensors.update(
        {
            str(dtype): numbers.to(getattr(torch, dtype))
            for dtype in (
                "float64",
                "float32",
                "float16",
                "bfloat16",
                "int64",
                "int32",
                "int16",
                "int8",
                "uint8",
                "bool",
            )
        }
    )
    tensors.update(
        shared=cube,
        transposed=cube.permute(2, 0, 1),
        sliced=cube[1:3, ::2, 1:-1],
        channels_last=torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        scalar=torch.tensor(3.5),
        empty=torch.empty(0, 7),
        sliced_empty=cube[4:, 2],
        parameter=torch.nn.Parameter(torch.randn(3)),
        frozen=torch.nn.Parameter(numbers, requires_grad=False),
    )
    return tensors


@TORCH_FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pytorch_writes(tmp_path, torch, zip_format, protocol):
    tensors = tensors_of(torch)
    path = tmp_path / "weights.pth"
    torch.save(tensors, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zip_format)
    found = read_state_dict(path)
    expected = {
        key: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for key, tensor in tensors.items()
    }
    assert_same(found, expected)
    for key, array in found.items():
        assert_inside(array)
        if array.size:
            assert array.strides == expected[key].strides, key
    assert np.shares_memory(found["shared"], found["transposed"])


@TORCH_FORMATS
def test_what_pytorch_refers_to_by_more(tmp_path, torch, zip_format, refused):
    def content(value):
        file = io.BytesIO()
        torch.save(value, file, _use_new_zipfile_serialization=zip_format)
        return file.getvalue()

    refused(
        content(torch.nn.Linear(2, 2)), "save model.state_dict() instead: it names 'torch.nn.modules.linear.Linear'"
    )
    refused(content({"a": torch.ones(1).expand(5)}), "'a': expected to fit into its storage of 1 elements")
    refused(content({"a": torch.ones(2, dtype=torch.complex64)}), "names 'torch.ComplexFloatStorage'")
    refused(content({"a": torch.ones(2, dtype=torch.complex64).conj()}), "names 'torch.ComplexFloatStorage'")
    refused(content({"a": torch.ones(2, 2).to_sparse()}), "names 'torch._utils._rebuild_sparse_tensor'")
    refused(content({"a": np.ones(2)}), "names 'numpy")
    refused(content({"a": torch.ones(2), "b": torch.Size([2])}), "names 'torch.Size'")
    refused(content(torch.ones(2)), "expected a dict of tensors, found Tensor")


def test_pytorch_reads_the_files_of_this_test_alike(tmp_path, torch):
    """What is written here by hand is what PyTorch understands, also of the versions that cannot be had any more."""
    plain = PLAIN[0].replace(b"tQ", b"NtQ"), PLAIN[1]  # the older format says that a storage is no view
    for content in (zipped(*PLAIN), zipped(*PLAIN, wide=True), legacy(*plain), legacy(*pytorch_0_1_10())):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        expected = {key: tensor.detach().numpy() for key, tensor in torch.load(path, weights_only=True).items()}
        assert_same(read_state_dict(path), expected)
    path.write_bytes(legacy(*python_2()))
    with path.open("rb") as file:
        expected = torch.load(file, weights_only=False, encoding="latin1")  # of this test, and no stranger's
    assert_same(read_state_dict(path), {key: tensor.numpy() for key, tensor in expected.items()})
