"""Files of weights: safetensors with and without PyTorch, files of `torch.save` with it."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from gpldan_jax.features import read_state_dict

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
BIAS = np.array([0.5, -1.5], np.float32)
EXPECTED = "expected safetensors or a file of torch.save, found "
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture
def read(tmp_path):
    def read(content):
        (tmp_path / "weights.bin").write_bytes(content)
        return read_state_dict(tmp_path / "weights.bin")

    return read


@pytest.fixture
def refused(tmp_path, read):
    """Asserts that a content is refused, with one line that has the path and the given words."""

    def refused(content, *words):
        with pytest.raises(ValueError, match=r"weights\.bin: ") as raised:
            read(content)
        message = str(raised.value)
        assert message.startswith(str(tmp_path)) and len(message.splitlines()) == 1 and len(message) < 600
        for word in words:
            assert word in message
        return message

    return refused


def assert_same(found, expected):
    assert list(found) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, strict=True)
        assert not found[key].flags.writeable


def header(entries, data=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors(read):
    kinds = [np.dtype(code) for code in "dfeqihbQIHB?"]
    arrays = {str(kind): np.array([[0, 1, 3], [7, 50, 100]]).astype(kind) for kind in kinds}
    arrays |= {"scalar": np.array(3.5), "empty": np.empty((0, 3), np.float32)}
    found = read(safetensors.numpy.save(arrays, {"format": "pt"}))
    assert found.keys() == arrays.keys()
    assert_same({key: found[key] for key in arrays}, arrays)
    assert_same(read(safetensors.numpy.save({"a": WEIGHT.astype(ml_dtypes.bfloat16)})), {"a": WEIGHT})


def test_arrays_come_in_the_order_of_the_file(read):
    entries = {"z": [0, 8], "a": [8, 16]}
    entries = {key: {"dtype": "F32", "shape": [2], "data_offsets": place} for key, place in entries.items()}
    assert_same(read(header(entries, BIAS.tobytes() * 2)), {"z": BIAS, "a": BIAS})


def test_the_prefix_of_data_parallel_is_removed_where_all_names_have_it(read):
    assert list(read(safetensors.numpy.save({"module.a": BIAS, "module.b.module.c": BIAS}))) == ["a", "b.module.c"]
    assert list(read(safetensors.numpy.save({"a": BIAS, "module.b": BIAS}))) == ["a", "module.b"]


def test_the_content_counts_and_not_the_name(tmp_path):
    (tmp_path / "weights.pth").write_bytes(safetensors.numpy.save({"a": BIAS}))
    assert_same(read_state_dict(str(tmp_path / "weights.pth")), {"a": BIAS})


def test_damaged_safetensors_are_refused(refused):
    whole = safetensors.numpy.save({"a": WEIGHT, "b": BIAS})
    for length in range(9, len(whole), 7):
        refused(whole[:length], "expected a whole safetensors file")
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for changed in ({"dtype": "F8_E4M3", "shape": [8]}, {"dtype": "F4", "shape": [16]}, {"shape": [3]}, {"shape": []}):
        refused(header({"a": entry | changed}, bytes(8)), "expected a whole safetensors file with NumPy's types: ")
    refused(header({}), "expected tensors, found none")


def test_other_files_are_refused_with_the_reason(tmp_path, refused):
    refused(b"", f"{EXPECTED}an empty file")
    refused(b"epoch,loss\n1,0.5\n", f"{EXPECTED}one that begins with b'epoch,loss\\n1,0.5'")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        file.addfile(tarfile.TarInfo("storages"))
    refused(archive.getvalue(), f"{EXPECTED}a tar file, as PyTorch wrote until 2017", "torch.save(torch.load(path")
    with pytest.raises(ValueError, match=rf"^{tmp_path}: {EXPECTED}a folder$"):
        read_state_dict(tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        read_state_dict(tmp_path / "none")


@pytest.mark.parametrize("content", [b"PK\3\4...", b"\x80\2\x8a\n"])
def test_without_pytorch_its_files_get_a_hint(read, tmp_path, monkeypatch, content):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError) as raised:
        read(content)
    message, path = str(raised.value), tmp_path / "weights.bin"
    assert message.startswith(f"{path} is a file of PyTorch: ") and "\n" not in message
    assert "pip install 'gpldan_jax[torch]' (without a GPU, first: pip install torch " in message
    assert '/whl/cpu), or convert it where PyTorch is: python -c "import torch, ' in message
    assert f"'{path}'" in message and f"'{tmp_path / 'weights.safetensors'}'" in message


def test_an_old_pytorch_whose_files_can_run_code_is_refused(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(__version__="2.5.1+cpu"))
    with pytest.raises(ImportError, match=r"of PyTorch: expected torch 2\.6 or later, found 2\.5\.1\+cpu: pip install"):
        read(b"PK\3\4...")


# With PyTorch.


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="files of torch.save need PyTorch")


def saved(torch, value, zipped=True, protocol=2):
    file = io.BytesIO()
    torch.save(value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@FORMATS
def test_a_file_of_pytorch(torch, read, zipped):
    numbers, cube = torch.tensor([[0, 1, 5], [100, 3, 2]]), torch.randn(4, 5, 6)
    kinds = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    tensors = {kind: numbers.to(getattr(torch, kind)) for kind in kinds}
    tensors |= {"transposed": cube.transpose(0, 2), "part": cube[1:, ::2, 1:3], "expanded": torch.ones(1).expand(5)}
    tensors |= {"scalar": torch.tensor(3.5), "empty": torch.empty(0, 7), "parameter": torch.nn.Parameter(cube)}
    tensors |= {"channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)}
    expected = {key: tensor.detach().numpy() for key, tensor in tensors.items()}
    found = read(saved(torch, tensors | {"bfloat16": numbers.bfloat16()}, zipped))
    assert_same(found, expected | {"bfloat16": numbers.float().numpy()})
    assert np.shares_memory(found["transposed"], found["part"])
    assert all(found[key].strides == array.strides for key, array in expected.items())


@FORMATS
def test_other_protocols_are_refused(torch, refused, zipped):
    refused(saved(torch, {"a": torch.ones(2)}, zipped, protocol=4), "writes them, found Unsupported operand 149; it is")


@FORMATS
def test_a_state_dict_and_what_is_around_it(torch, read, refused, zipped):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    assert_same(read(saved(torch, network.state_dict(), zipped)), state)
    optimizer = torch.optim.Adam(network.parameters())
    rest = {"epoch": 3, "loss": 0.5, "name": "VGG", "other": None, "optimizer": optimizer.state_dict()}
    for key in ("state_dict", "model"):
        parallel = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
        assert_same(read(saved(torch, {**rest, key: parallel}, zipped)), state)
    refused(saved(torch, rest, zipped), "'epoch': expected a tensor, found int")
    both = {"state_dict": network.state_dict(), "model": network.state_dict()}
    refused(saved(torch, both, zipped), "'state_dict': expected a tensor, found OrderedDict")


@FORMATS
def test_what_is_no_state_dict(torch, refused, zipped):
    for value, *words in (
        (torch.ones(2), "expected a dict of tensors, found Tensor"),
        ([torch.ones(2)], "expected a dict of tensors, found list"),
        ({}, "expected tensors, found none"),
        ({1: torch.ones(2)}, "expected names of tensors, found the key '1'"),
        ({"a": torch.Size([2])}, "'a': expected a tensor, found Size"),
        ({"a": torch.ones(2, 2).to_sparse()}, "'a': expected a tensor that NumPy can hold: can't convert Sparse"),
        ({"a": torch.ones(2, dtype=torch.complex64).conj()}, "'a': expected a tensor that NumPy can hold: Can't call"),
    ):
        refused(saved(torch, value, zipped), *words)
    message = refused(
        saved(torch, torch.nn.Linear(2, 2), zipped),
        "as torch.save(model.state_dict(), path) writes them, found torch.nn.modules.linear.Linear; it is not loaded",
    )
    assert "weights_only" not in message  # PyTorch would advise to load it all the same


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@FORMATS
@pytest.mark.parametrize("place", ["value", "inside", "beside"])
def test_a_pickle_that_would_run_code_is_not_run(torch, tmp_path, refused, zipped, place):
    evil = Evil(tmp_path / "ran")
    value = {"value": evil, "inside": {"a": evil}, "beside": {"state_dict": {"a": torch.ones(2)}, "b": evil}}[place]
    refused(saved(torch, value, zipped), "found posix.mkdir; it is not loaded, because that could run code")
    refused(pickle.dumps(value, protocol=2))
    assert not (tmp_path / "ran").exists()


@FORMATS
def test_a_cut_or_changed_file_is_refused_in_one_line(torch, tmp_path, refused, zipped):
    whole = saved(torch, {"a": torch.ones(20), "b": torch.arange(6).reshape(2, 3)}, zipped)
    for length in range(4, len(whole), 29):
        refused(whole[:length])
    random = np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        (tmp_path / "weights.bin").write_bytes(changed)
        try:
            read_state_dict(tmp_path / "weights.bin")
        except ValueError as error:
            assert len(str(error).splitlines()) == 1


def test_other_zip_files_and_pickles_are_refused(torch, refused):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("word/document.xml", "<xml>")
    refused(archive.getvalue(), "expected a whole file of torch.save, found a damaged one: ")
    refused(pickle.dumps({"a": 1}))


def test_files_are_mapped_where_the_format_allows_it_and_nothing_else_is_unpickled(torch, read, monkeypatch):
    load, calls = torch.load, []

    def spy(*args, **settings):
        calls.append((settings["weights_only"], settings["mmap"], settings["map_location"]))
        return load(*args, **settings)

    monkeypatch.setattr(torch, "load", spy)
    for zipped in (True, False):
        read(saved(torch, {"a": torch.ones(2)}, zipped))
    assert calls == [(True, True, "cpu"), (True, False, "cpu")]


def test_the_command_of_the_hint_converts_a_file(torch, tmp_path, monkeypatch):
    pytest.importorskip("safetensors.torch")
    path, weight = tmp_path / "weights.pth", torch.randn(3, 2)
    torch.save({"a": weight.T, "b": weight, "c": weight[:1]}, path)
    expected = {key: array.copy() for key, array in read_state_dict(path).items()}
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "torch", None)
        with pytest.raises(ImportError) as raised:
            read_state_dict(path)
    command = str(raised.value).partition("where PyTorch is: ")[2].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True)
    found = read_state_dict(tmp_path / "weights.safetensors")
    assert_same({key: found[key] for key in expected}, expected)
