"""Lets XLA compile for NVIDIA GPUs in seconds.

For each matrix product XLA compiles dozens of kernels of its own, times them beside those of cuBLAS, and takes the
fastest. On an H100 the default loss of 4,096 pairs took 27 s to compile that way and 3 s with cuBLAS alone, and was not
slower (`all-h100-2026-11-26.json` and `loss-h100-2026-11-26.json` in `benchmarks/results`).
"""

import importlib.metadata
import os
import sys

from gpldan_jax.benchmarking import compile_targets

_FLAGS = "XLA_FLAGS"
_OPTION = "--xla_gpu_enable_triton_gemm"
_KNOWN_UNTIL = (0, 13)  # XLA ends a process at an option that it does not know, so later versions are left alone


def use_cublas() -> None:
    """Lets jax, which must not be imported yet, take the matrix products of cuBLAS; what a user has chosen stays."""
    if "jax" not in sys.modules and compile_targets.missing_library("cuda") is None:
        os.environ[_FLAGS] = with_option(os.environ.get(_FLAGS, ""), importlib.metadata.version("jaxlib"))


def with_option(flags: str, version: str) -> str:
    """Returns the flags of XLA with the option, unless they have it already or this jaxlib may not know it.

    Example:
        >>> with_option("--xla_dump_to=found", "0.12.0")
        '--xla_dump_to=found --xla_gpu_enable_triton_gemm=false'
        >>> with_option("--xla_gpu_enable_triton_gemm=true", "0.12.0")
        '--xla_gpu_enable_triton_gemm=true'
        >>> with_option("", "1.0.0")
        ''
    """
    major, minor = (int(number) for number in version.split(".")[:2])
    if _OPTION in flags or (major, minor) >= _KNOWN_UNTIL:
        return flags
    return f"{flags} {_OPTION}=false".strip()
