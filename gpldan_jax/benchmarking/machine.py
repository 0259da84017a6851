"""The machine that a benchmark runs on: what it is, the memory it has, and the files written on it."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import resource
import subprocess
from pathlib import Path

_PACKAGES = ("jax", "jaxlib", "torch", "numpy")


def description() -> dict:
    """The device as jax sees it, the processor, and the versions of what computes."""
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


def title(machine: dict) -> str:
    """What to call it: the accelerator, or the processor and its cores.

    Example:
        >>> title({"platform": "cpu", "device_kind": "cpu", "cpu": "AMD EPYC", "cores": 2, "devices": 1})
        'AMD EPYC, 2 cores'
    """
    if machine["platform"] == "cpu":
        return f"{machine['cpu']}, {machine['cores']} cores"
    return machine["device_kind"] + (f" x {machine['devices']}" if machine["devices"] > 1 else "")


def torch_problem() -> str | None:
    """Why the PyTorch peers cannot be run beside jax here; `None` where they can."""
    if importlib.util.find_spec("torch") is None:
        return "needs torch: pip install 'gpldan_jax[peers]'"
    import jax

    if jax.default_backend() != "cpu":
        return f"runs on the CPU, jax here on {jax.devices()[0].device_kind}: set JAX_PLATFORMS=cpu"
    return None


def commit() -> str | None:
    """The git commit of this checkout, `-dirty` where files differ from it; `None` outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def own_memory(field: str) -> int:
    """Bytes of this process: `"VmRSS"` now, `"VmHWM"` at its peak.

    Not `ru_maxrss`: on Linux that of a child starts at the peak of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
    except OSError:  # not Linux: all there is, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def does_not_fit(size: int) -> str:
    """Why something of this many bytes is not run."""
    return f"does not fit (predicted {size / 1e9:.1f} GB)"


def _cpu_model():
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
