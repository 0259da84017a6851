"""The machine that a benchmark runs on: what it is, which peers run there, and the memory that computations take."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gpldan_jax.benchmarking.problem import library_of

_PACKAGES = ("jax", "jaxlib", "torch", "numpy")


def describe() -> dict[str, Any]:
    """Returns the device as jax sees it, the processor, and the versions of the libraries that compute."""
    import jax

    device = jax.devices()[0]
    return {
        "device_kind": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES if importlib.util.find_spec(name)},
    }


def title(machine: Mapping[str, Any]) -> str:
    """Returns the name of a machine that `describe` returned: its accelerator, or its processor and cores.

    Example:
        >>> title({"platform": "cpu", "device_kind": "cpu", "cpu": "AMD EPYC", "cores": 2, "devices": 1})
        'AMD EPYC, 2 cores'
    """
    if machine["platform"] == "cpu":
        return f"{machine['cpu']}, {machine['cores']} cores"
    return machine["device_kind"] + (f" x {machine['devices']}" if machine["devices"] > 1 else "")


def peer_obstacles(names: Iterable[str], other: str | None = None) -> dict[str, str]:
    """Returns why the PyTorch peers cannot run here."""
    import jax

    reason = other
    if importlib.util.find_spec("torch") is None:
        reason = "needs torch: pip install 'gpldan_jax[peers]'"
    elif jax.default_backend() != "cpu":
        reason = f"runs on the CPU, jax here on {jax.devices()[0].device_kind}: set JAX_PLATFORMS=cpu"
    return {name: reason for name in names if library_of(name) == "torch"} if reason else {}


def process_memory(field: str) -> int:
    """Returns the bytes of this process: `"VmRSS"` those of now, `"VmHWM"` the peak.

    Not `ru_maxrss`: on Linux that of a child starts at the peak of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
    except OSError:
        try:
            import resource
        except ImportError:
            return 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_obstacle(size: int, *, on_device: bool = False) -> str | None:
    """Returns why a computation of a predicted size in bytes is not run.

    `on_device` is for one that takes memory of jax's first device, which may be an accelerator.
    """
    import jax

    from gpldan_jax.training import mesh

    available = mesh.available_memory(jax.devices()[0] if on_device else None)
    return None if size <= available else f"does not fit (predicted {size / 1e9:.1f} GB)"


def measure_memory(predicted: int, module: str, *arguments: object) -> tuple[int | None, str | None]:
    """Measures the bytes that `python -m module *arguments` takes and prints, and the reason why it cannot run.

    In this process, memory that the allocator keeps for later would hide the peak. Where there are not as many bytes
    as predicted, the computation is not tried and the prediction returned; where it failed the bytes are `None`.
    """
    if obstacle := memory_obstacle(predicted):
        return predicted, obstacle
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    if done.returncode:  # killed for its memory after all, or a mistake
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return None, f"a trial ended with exit status {done.returncode}: {reason[:200]}"
    return int(done.stdout), None


def _cpu_model():
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
