"""Trained weights from files: safetensors, and what PyTorch's `torch.save` writes.

A file of `torch.save` holds a pickle, which can run code when it is unpickled. Such files are read with
`torch.load(weights_only=True)` alone, which makes tensors and runs nothing else.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from typing import Any

import ml_dtypes  # safetensors takes its bfloat16 from here
import numpy as np
import safetensors

from gpldan_jax._extras import failing_as, needed_for, short_reason

_ZIP, _PICKLE = b"PK\3\4", b"\x80"  # torch.save since PyTorch 1.6, and before
_TAR = b"ustar"  # at byte 257: PyTorch 0.1
_OLDEST_TORCH = (2, 6)  # in older ones a file can run code in spite of `weights_only`: CVE-2025-32434
_EXPECTED = "expected safetensors or a file of torch.save"
_CONVERT = (
    'python -c "import torch, safetensors.torch as s; '
    "d = torch.load({old!r}, map_location='cpu', weights_only=True); "
    's.save_file({{n: t.contiguous().clone() for n, t in d.items()}}, {new!r})"'
)


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the tensors of a safetensors file, or of a file of `torch.save`, by name.

    The content of the file decides which of the two it is, not its name. A file of `torch.save` needs PyTorch
    (`pip install 'gpldan_jax[torch]'`); only tensors are read from it, and no code in it is run.

    The file holds a dict of tensors. In the dict of a training script, the tensors may be one level deeper, under
    "state_dict" or "model". The prefix "module." of `torch.nn.DataParallel` is removed where all names have it.

    Args:
        path: the file. It must not be changed while its arrays are in use: those of a file of `torch.save` since
            PyTorch 1.6 are read from the disk when they are used.

    Returns:
        The arrays in the order of the file, read-only, with their dtypes; bfloat16, which NumPy lacks, becomes float32.

    Raises:
        ValueError: another kind of file, a damaged one, one without tensors or with more than tensors. One line, with
            the path.
        ImportError: a file of `torch.save`, and PyTorch is missing or older than 2.6. The message has the command that
            converts the file to safetensors.
        OSError: the file cannot be opened.

    Example:
        >>> import safetensors.numpy, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     safetensors.numpy.save_file({"module.bias": np.ones(3, np.float32)}, f"{folder}/weights")
        ...     read_state_dict(f"{folder}/weights")
        {'bias': array([1., 1., 1.], dtype=float32)}
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        raise ValueError(f"{name}: {_EXPECTED}, found a folder")
    with open(name, "rb") as file:
        start = file.read(512)
    if not start:
        raise ValueError(f"{name}: {_EXPECTED}, found an empty file")
    if start.startswith((_ZIP, _PICKLE)):
        arrays = _read_torch(name, memory_mapped=start.startswith(_ZIP))
    elif start[6:9] == b"\0\0{":  # a JSON header after its length in eight bytes
        arrays = _read_safetensors(name)
    elif start[257:262] == _TAR:
        raise ValueError(
            f"{name}: {_EXPECTED}, found a tar file, as PyTorch wrote until 2017: if you trust it, "
            "torch.save(torch.load(path, weights_only=False), path) makes a new one"
        )
    else:
        raise ValueError(f"{name}: {_EXPECTED}, found one that begins with {start[:16]!r}")
    if not arrays:
        raise ValueError(f"{name}: expected tensors, found none")
    for array in arrays.values():
        array.flags.writeable = False
    if all(key.startswith("module.") for key in arrays):
        return {key.removeprefix("module."): array for key, array in arrays.items()}
    return arrays


def conversion(old: str | os.PathLike, new: str | os.PathLike) -> str:
    """Returns the command that converts a file of `torch.save` to safetensors, without running code in it."""
    return _CONVERT.format(old=os.fspath(old), new=os.fspath(new))


def _read_safetensors(name: str) -> dict[str, np.ndarray]:
    with (
        failing_as(f"{name}: expected a whole safetensors file with NumPy's types"),
        safetensors.safe_open(name, framework="numpy") as file,
    ):
        arrays = {key: file.get_tensor(key) for key in file.offset_keys()}
    return {
        key: array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array for key, array in arrays.items()
    }


def _read_torch(name: str, *, memory_mapped: bool) -> dict[str, np.ndarray]:
    convert = conversion(name, f"{os.path.splitext(name)[0]}.safetensors")
    with needed_for(f"{name} is a file of PyTorch", "torch", otherwise=f", or convert it where PyTorch is: {convert}"):
        import torch

        if tuple(map(int, torch.__version__.split(".")[:2])) < _OLDEST_TORCH:
            raise ImportError(f"expected torch 2.6 or later, found {torch.__version__}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they tell PyTorch's developers what users would like it to read
            loaded = torch.load(name, map_location="cpu", weights_only=True, mmap=memory_mapped)
    except (MemoryError, OSError):
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{name}: expected tensors alone, as torch.save(model.state_dict(), path) writes them, found "
            f"{_unpicklable(error)}; it is not loaded, because that could run code"
        ) from error
    except Exception as error:  # PyTorch raises nearly anything where a file is damaged
        raise ValueError(
            f"{name}: expected a whole file of torch.save, found a damaged one: {short_reason(error)}"
        ) from error
    tensors = _find_tensors(name, loaded)
    return {key: _to_numpy(name, key, tensor, torch) for key, tensor in tensors.items()}


def _unpicklable(error: pickle.UnpicklingError) -> str:
    """What the file holds beside tensors. PyTorch's whole message would advise to load it with another setting."""
    message = str(error.__context__ or error)
    name = re.search(r"GLOBAL (\S+)", message)
    return name[1] if name else message[:200]


def _find_tensors(name: str, loaded: Any) -> Mapping[Any, Any]:
    if not isinstance(loaded, dict):
        raise ValueError(f"{name}: expected a dict of tensors, found {type(loaded).__name__}")
    inner = [loaded[key] for key in ("state_dict", "model") if isinstance(loaded.get(key), dict)]
    return inner[0] if len(inner) == 1 else loaded


def _to_numpy(name: str, key: Any, tensor: Any, torch: Any) -> np.ndarray:
    if not isinstance(key, str):
        raise ValueError(f"{name}: expected names of tensors, found the key {str(key)[:200]!r}")
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{name}: {key[:200]!r}: expected a tensor, found {type(tensor).__name__}")
    with failing_as(f"{name}: {key[:200]!r}: expected a tensor that NumPy can hold"):
        tensor = tensor.detach()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
