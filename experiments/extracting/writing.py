"""A `.npz` file written some rows at a time: the same content gives the same bytes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

_TEMPORARY = ".tmp"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a date that every archive has to carry, and that says nothing


def write_npz(path: Path, arrays: Mapping[str, np.ndarray | tuple[tuple[int, int], Iterable[np.ndarray]]]) -> None:
    """Writes arrays under their names, whole or not at all.

    Args:
        path: of the file; one that exists is replaced.
        arrays: each an array, or a shape and the parts that make a float32 array of this shape.
    """
    temporary = path.with_name(path.name + _TEMPORARY)
    with open(temporary, "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, value in arrays.items():
                shape, parts = value if isinstance(value, tuple) else (value.shape, [value])
                dtype = np.dtype(np.float32) if isinstance(value, tuple) else value.dtype
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    for part in parts:
                        member.write(np.ascontiguousarray(part, dtype).tobytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
