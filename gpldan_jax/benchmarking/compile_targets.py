"""The accelerators that programs are compiled for without one: their names, what must be installed, their devices.

A command imports this module to check its flags, so it does not import jax.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any

from gpldan_jax._extras import install_command, short_reason
from gpldan_jax.benchmarking.peaks import PEAKS

PLATFORMS = ("cpu", "cuda", "tpu")
DEFAULT_TOPOLOGIES = {"cpu": "", "cuda": "h100:1", "tpu": "v5e:2x2"}
_CUDA_PLUGINS = ("xla_cuda12", "xla_cuda13")
_MOST_GPUS = 8  # of one machine
# What XLA must know of a GPU that is not there, in the text form of its `GpuTargetConfigProto`.
_GPUS = {
    "a100": {
        "name": "NVIDIA A100-SXM4-80GB",
        "major": 8,
        "core_count": 108,
        "fpus_per_core": 64,
        "shared_memory_per_core": 167936,
        "shared_memory_per_block_optin": 166912,
        "memory_bandwidth": 2039040000000,
        "l2_cache_size": 41943040,
        "clock_rate_ghz": 1.41,
        "device_memory_size": 85100068864,
    },
    "h100": {
        "name": "NVIDIA H100 80GB HBM3",
        "major": 9,
        "core_count": 132,
        "fpus_per_core": 128,
        "shared_memory_per_core": 233472,
        "shared_memory_per_block_optin": 232448,
        "memory_bandwidth": 3352320000000,
        "l2_cache_size": 52428800,
        "clock_rate_ghz": 1.98,
        "device_memory_size": 84978434048,
    },
}
_ALL_GPUS = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 49152,
    "threads_per_core_limit": 2048,
    "block_dim_limit_x": 2147483647,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
}
# Of the process that imports jax: libtpu would ask Google's cloud which TPU this machine has, and both report on stderr
# that they found none. libtpu lets one process at a time use a TPU; none is used here.
ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
"""Variables to set before jax is imported, where libtpu or a CUDA plugin is installed without such a device."""


def check_target(platform: str, topology: str | None) -> str:
    """Checks that a platform can be compiled for here, and the name of a topology.

    Args:
        platform: of `PLATFORMS`.
        topology: for `"tpu"` a generation and a shape, such as `"v5e:4x4"`; for `"cuda"` a GPU and how many, such as
            `"h100:8"`; for `"cpu"` there is none. `None` for the default.

    Returns:
        The topology.

    Raises:
        ValueError: an unknown name, or a library that is missing.

    Example:
        >>> check_target("cpu", None)
        ''
    """
    if platform not in PLATFORMS:
        raise ValueError(f"platform must be {', '.join(PLATFORMS)}, got {platform!r}")
    if topology is None:
        topology = DEFAULT_TOPOLOGIES[platform]
    if platform == "cpu":
        if topology:
            raise ValueError(f"topology is of accelerators, platform=cpu has none, got {topology!r}")
        return topology
    generation, _, shape = topology.partition(":")
    known = [name for name in PEAKS if (name in _GPUS) == (platform == "cuda")]
    pattern = r"\d+" if platform == "cuda" else r"\d+(x\d+)+"
    if generation not in known or not re.fullmatch(pattern, shape):
        shown = "h100:8, a GPU and how many" if platform == "cuda" else "v5e:2x2, a generation and a shape"
        raise ValueError(f"topology must be like {shown}, of {', '.join(known)}; got {topology!r}")
    if platform == "cuda" and not 1 <= int(shape) <= _MOST_GPUS:
        raise ValueError(f"topology must have 1 to {_MOST_GPUS} GPUs of one machine, got {topology!r}")
    if obstacle := missing_library(platform):
        raise ValueError(f"platform={platform} {obstacle}")
    return topology


def missing_library(platform: str) -> str | None:
    """Returns which library is missing to compile for a platform, and how to install it; `None` where none is."""
    if platform == "tpu" and importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
        return f"needs libtpu: {install_command('tpu')}"
    if platform == "cuda" and not any(_is_installed(f"jax_plugins.{name}") for name in _CUDA_PLUGINS):
        return "needs jax's CUDA plugin, of jax's version: pip install jax-cuda12-plugin jax-cuda12-pjrt"
    return None


def compiler_version(platform: str) -> str | None:
    """Returns the package that compiles for a platform and its version; `None` for a CPU, for which jaxlib does."""
    names = {"tpu": ("libtpu",), "cuda": ("jax-cuda13-pjrt", "jax-cuda12-pjrt")}.get(platform, ())
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name} {importlib.metadata.version(name)}"
    return None


def compile_devices(platform: str, topology: str) -> Sequence[Any]:
    """Returns devices to compile for; those of an accelerator cannot compute.

    Args:
        platform: of `PLATFORMS`.
        topology: as `check_target` returns it.

    Returns:
        The devices of the topology; of a CPU those that it is split into.

    Raises:
        ValueError: a shape that the accelerator does not have, or a plugin that cannot compile without a device.
    """
    import jax
    from jax.experimental import topologies

    if platform == "cpu":
        return jax.devices("cpu")
    for name, value in ENVIRONMENT.items():  # of libtpu, where jax was imported before
        os.environ.setdefault(name, value)
    try:
        if platform == "tpu":
            return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
        gpu, _, count = topology.partition(":")
        shape = f"1x1x{count}"  # slices, machines of each, GPUs of each
        return topologies.get_topology_desc(platform="cuda", target_config=_gpu_config(gpu), topology=shape).devices
    except (RuntimeError, NotImplementedError) as error:
        reason = short_reason(error)
        raise ValueError(f"topology {topology!r} of platform={platform} cannot be compiled for: {reason}") from error


def _is_installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # no package above it
        return False


def _gpu_config(gpu):
    figures = dict(_GPUS[gpu])
    name, major = figures.pop("name"), figures.pop("major")
    lines = [f"{key}: {value}" for key, value in (_ALL_GPUS | figures).items()]
    lines.append(f"cuda_compute_capability {{ major: {major} }}")
    versions = "runtime_version { major: 12 minor: 8 } dnn_version_info { major: 9 minor: 7 }"
    return f'gpu_device_info {{ {" ".join(lines)} }} platform_name: "CUDA" {versions} device_description_str: "{name}"'
