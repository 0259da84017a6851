"""Trained weights that PyTorch or others wrote, read without PyTorch and without unpickling."""

import json
import math
import mmap
import os

import ml_dtypes
import numpy as np

from gpldan_jax.features import _torch_files
from gpldan_jax.features._opcodes import MOST_AXES, MOST_ELEMENTS, Tensor, shown

_MAGIC_ZIP = b"PK\3\4"
_MAGIC_TAR = b"ustar"  # at byte 257
_LARGEST_HEADER = 1 << 23
_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    **{f"{kind}{bits}": np.dtype(f"<{kind.lower()}{bits // 8}") for kind in "IU" for bits in (8, 16, 32, 64)},
    "BOOL": np.dtype("?"),
}


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a file of `torch.save`, in its format before or since PyTorch 1.6, or of safetensors.

    The content says which of them it is, not the name. A file of `torch.save` holds a pickle, which can run code when
    it is unpickled. It is only read here, and what is not needed for tensors is refused: a file from a stranger can
    cost a few seconds and some 300 MB, and nothing else.

    A dict of tensors is expected. Of a larger dict, as training scripts save it, the dict under "state_dict" or "model"
    is taken, if there is one under one of them. The prefix "module." of `torch.nn.DataParallel` is removed where all
    names have it.

    Args:
        path: the file, which must not be changed or cut while its arrays are in use.

    Returns:
        The arrays by name, in the file's order, with its dtypes and strides; bfloat16, which NumPy lacks, becomes
        float32. They are read-only views of the file, which the system reads as they are used. Only those that were
        bfloat16 are copies.

    Raises:
        ValueError: another or a damaged file, one that needs more than tensors, of a big-endian machine or empty; a
            tensor that reaches beyond its storage, or has more elements than it (`expand`). One line, with the path.
        OSError: the file cannot be read.

    Example:
        >>> import safetensors.numpy, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     safetensors.numpy.save_file({"module.bias": np.ones(3, np.float32)}, f"{folder}/weights")
        ...     weights = read_state_dict(f"{folder}/weights")
        >>> weights
        {'bias': array([1., 1., 1.], dtype=float32)}
    """
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise ValueError("expected safetensors or a file of torch.save, found nothing in it")
            content = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        arrays = _read(path, content)
        if not arrays:
            raise ValueError("expected tensors, found none")
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    if all(name.startswith("module.") for name in arrays):
        return {name.removeprefix("module."): array for name, array in arrays.items()}
    return arrays


def _read(path, content):
    start = content[:512].tobytes()
    if start.startswith(_MAGIC_ZIP):
        return _torch_arrays(*_torch_files.read_zip(content))
    if start[6:9] == b"\0\0{":  # behind the header's length, in 8 bytes
        return _safetensors_arrays(path, content)
    if start[:1] == b"\x80":
        return _torch_arrays(*_torch_files.read_legacy(content))
    if start[257:262] == _MAGIC_TAR:
        raise ValueError(
            "expected safetensors or a file of torch.save, found a tar file, as PyTorch wrote until 2017: "
            "torch.save(torch.load(path, weights_only=False), path) makes a new one, if you trust it"
        )
    raise ValueError(f"expected safetensors or a file of torch.save, found one that begins with {start[:16]!r}")


def _torch_arrays(pickled, data):
    tensors = pickled.value
    if not isinstance(tensors, dict):
        raise ValueError(f"expected a dict of tensors, found {type(tensors).__name__}")
    inner = [tensors[name] for name in ("state_dict", "model") if isinstance(tensors.get(name), dict)]
    if len(inner) == 1:
        (tensors,) = inner
    storages, arrays = {}, {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise ValueError(f"expected names of tensors, found the key {name}")
        if not isinstance(tensor, Tensor) or tensor.storage is None:
            raise ValueError(f"{shown(name)}: expected a tensor, found {type(tensor).__name__}")
        key = tensor.storage.key
        if key not in data:
            raise ValueError(f"storage {shown(key)}: expected its elements, found none")
        if key not in storages:  # tensors that share memory go on sharing it
            storages[key] = _elements(data[key], tensor.storage.dtype)
        arrays[name] = _array(name, storages[key], tensor.offset, tensor.shape, tensor.strides)
    return arrays


def _safetensors_arrays(path, content):
    import safetensors

    length = int.from_bytes(content[:8].tobytes(), "little")
    if length > _LARGEST_HEADER:
        raise ValueError(f"expected a safetensors header of at most {_LARGEST_HEADER:,} bytes, found {length:,}")
    try:
        with safetensors.safe_open(path, framework="numpy"):  # checks that the header is right and fits the file
            header = json.loads(content[8 : 8 + length].tobytes())
    except safetensors.SafetensorError as error:
        raise ValueError(f"expected a whole safetensors file, found a damaged one: {shown(str(error))}") from error
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{shown(name)}: expected {', '.join(_DTYPES)}, found {entry['dtype']}")
        if len(entry["shape"]) > MOST_AXES:
            raise ValueError(f"{shown(name)}: expected at most {MOST_AXES} axes, found {len(entry['shape'])}")
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        shape = tuple(entry["shape"])
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        arrays[name] = _array(name, _elements(content[start:end], _DTYPES[entry["dtype"]]), 0, shape, strides)
    return arrays


def _elements(data, dtype):
    """All elements of a storage, `[elements]`."""
    elements = data.view(dtype)
    return elements.astype(np.float32) if dtype == ml_dtypes.bfloat16 else elements


def _array(name, elements, offset, shape, strides):
    """A view of elements; offset and strides count elements, and all numbers are whole and not negative."""
    if 0 in shape:  # it touches no element, wherever it begins
        if math.prod(max(length, 1) for length in shape) > MOST_ELEMENTS:
            raise ValueError(f"{shown(name)}: expected sizes that fit into memory, found shape {shape}")
        array = np.empty(shape, elements.dtype)
    else:
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if last >= elements.size or math.prod(shape) > elements.size:
            raise ValueError(
                f"{shown(name)}: expected to fit into its storage of {elements.size:,} elements, "
                f"found shape {shape}, strides {strides}, offset {offset}"
            )
        size = elements.itemsize
        array = np.ndarray(shape, elements.dtype, elements, offset * size, [stride * size for stride in strides])
    array.flags.writeable = False
    return array
