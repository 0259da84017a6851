"""The devices of a run and what lies where: rows of the data are spread, parameters are on every device."""

import contextlib
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

AXIS = "data"


class MeshError(ValueError):
    """There are not the devices that were asked for."""


def data_mesh(devices: int = 0) -> Mesh | None:
    """The mesh that shares the rows of each mini-batch among devices, of all processes if there are several.

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
    """A copy on each device of a mesh; without a mesh, on the first device."""
    return NamedSharding(mesh, PartitionSpec()) if mesh else SingleDeviceSharding(jax.local_devices()[0])


def row_sharding(mesh: Mesh | None) -> jax.sharding.Sharding:
    """An equal share of the rows on each device of a mesh; without a mesh, all on the first device."""
    return NamedSharding(mesh, PartitionSpec(AXIS)) if mesh else replicated(None)


def shares(mesh: Mesh | None) -> int:
    """Into how many parts rows are spread."""
    return mesh.size if mesh else 1


def memory_limit(device: jax.Device) -> int | None:
    """Bytes that jax may take of an accelerator's memory; `None` for a CPU."""
    return (device.memory_stats() or {}).get("bytes_limit")


def available_memory(device: jax.Device | None = None) -> int:
    """Bytes that a computation on this jax device may take; of the machine where it is `None` or the CPU."""
    if device is not None and (statistics := device.memory_stats()):
        return statistics["bytes_limit"]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no limit
        available = min(available, int(Path("/sys/fs/cgroup/memory.max").read_text()))  # of a container
    return available * 9 // 10  # a computer without any memory left stops more than the benchmark


def on_one_device(tree: Any) -> Any:
    """Replicated arrays as arrays of this process's first device, for what one device does alone."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def agreed(figures: Any) -> Any:
    """A tree of floats as the first process has it: processes that computed it apart decide alike by it."""
    if jax.process_count() == 1:
        return figures
    from jax.experimental import multihost_utils

    leaves, tree = jax.tree.flatten(figures)
    bits = np.asarray(leaves, np.float64).view(np.uint32)  # without x64 a float64 would lose half of them
    return jax.tree.unflatten(tree, np.asarray(multihost_utils.broadcast_one_to_all(bits)).view(np.float64).tolist())
