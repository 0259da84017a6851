"""The devices of a run: rows of the data are spread over them, parameters are on each of them."""

import contextlib
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

AXIS = "data"
_UNKNOWN_MEMORY = 4 * 2**30  # bytes to count with where the system does not say


class MeshError(ValueError):
    """The devices that were asked for do not exist."""


def data_mesh(devices: int = 0) -> Mesh | None:
    """Returns the mesh whose devices, of all processes, share the rows of each mini-batch.

    Args:
        devices: how many; 0 for all there are.

    Returns:
        A mesh with one axis, `"data"`; `None` for a single device.

    Raises:
        MeshError: more than there are, or with several processes not all of them.

    Example:
        >>> data_mesh(1) is None
        True
    """
    found = jax.devices()
    devices = devices or len(found)
    if devices > len(found) or (jax.process_count() > 1 and devices < len(found)):
        have = f"at most {len(found)}" if jax.process_count() == 1 else f"{len(found)} or 0, with several processes"
        raise MeshError(f"mesh.data must be {have} ({found[0].platform} devices), got {devices}")
    if devices == 1:
        return None
    return Mesh(np.array(found[:devices]), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh | None) -> jax.sharding.Sharding:
    """Returns the sharding with a copy on each device of a mesh; without a mesh, on the first device."""
    return NamedSharding(mesh, PartitionSpec()) if mesh else SingleDeviceSharding(jax.local_devices()[0])


def row_sharding(mesh: Mesh | None) -> jax.sharding.Sharding:
    """Returns the sharding with an equal share of the rows on each device of a mesh; without one, all on the first."""
    return NamedSharding(mesh, PartitionSpec(AXIS)) if mesh else replicated(None)


def shares(mesh: Mesh | None) -> int:
    """Returns the number of parts that rows are spread into.

    Args:
        mesh: the devices that share the rows; `None` for one.

    Returns:
        The number of devices.

    Example:
        >>> shares(None)
        1
    """
    return mesh.size if mesh else 1


def device_memory(device: jax.Device) -> int | None:
    """Returns the bytes that jax may take of an accelerator's memory; `None` for a CPU."""
    return (device.memory_stats() or {}).get("bytes_limit")


def available_memory(device: jax.Device | None = None) -> int:
    """Returns the bytes that a computation on a device may take; `None` stands for the CPU."""
    if device is not None and (statistics := device.memory_stats()):
        return statistics["bytes_limit"]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        has_sysconf = hasattr(os, "sysconf")  # Windows has not
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if has_sysconf else _UNKNOWN_MEMORY
    with contextlib.suppress(OSError, ValueError):  # no limit
        available = min(available, int(Path("/sys/fs/cgroup/memory.max").read_text()))  # of a container
    return available * 9 // 10  # a computer without any memory left stops more than this process


def on_one_device(tree: Any) -> Any:
    """Returns replicated arrays as arrays of this process's first device, to compute on one device alone."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def from_first_process(figures: Any) -> Any:
    """Returns a tree of floats as the first process has it, so that all processes decide the same by it.

    Args:
        figures: a tree of floats, of the same structure in every process.

    Returns:
        The tree of the first process.

    Example:
        >>> from_first_process({"loss": 0.5})
        {'loss': 0.5}
    """
    if jax.process_count() == 1:
        return figures
    from jax.experimental import multihost_utils

    leaves, tree = jax.tree.flatten(figures)
    bits = np.asarray(leaves, np.float64).view(np.uint32)  # without x64 a float64 would lose half of them
    return jax.tree.unflatten(tree, np.asarray(multihost_utils.broadcast_one_to_all(bits)).view(np.float64).tolist())
