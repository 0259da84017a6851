"""What a benchmark measures and on which machine: implementations, arrays, the least work, devices and memory.

A command imports this module to print its help, so it imports neither jax nor torch.

Letters: `n` pairs; `k` representations of one instance, each `h` wide; `d_i`, `d_t` widths of the inputs.
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._extras import install_command

ALPHA, BETA = 1.0, 0.1  # weights of the terms of the graph pattern loss; times do not depend on them
SCALE = 20.0  # of the logits of the soft contrastive loss
MODES = ("forward", "forward_and_grad")
PRECISIONS = ("highest", "default", "bfloat16")

COMPILED = "torch-compiled"
"""The computation of `"torch-matmul"`, or of the network `"torch"`, compiled by `torch.compile`; only where named."""
TORCH_IMPLEMENTATIONS = ("torch-broadcast", "torch-matmul", COMPILED)
JAX_IMPLEMENTATIONS = ("default", "vmap", "dense", "blocked", "sharded")
IMPLEMENTATIONS = (*JAX_IMPLEMENTATIONS, *TORCH_IMPLEMENTATIONS)
"""Of the graph pattern loss."""
LOSSES = {
    "graph_pattern": IMPLEMENTATIONS,
    "soft_contrastive": ("default", "dense", "blocked", "sharded", "torch-matmul", COMPILED),
}
"""The losses that can be timed, and the implementations of each."""

GRIDS = {"grid": None, "grid-in-turn": 1}
"""How many runs of a grid `vmap` computes side by side; `None` for all."""
JAX_TRAINERS = ("step", "epoch", *GRIDS)
TRAINERS = (*JAX_TRAINERS, *TORCH_IMPLEMENTATIONS)
"""Of training steps."""
QUALITY_TRAINERS = ("step", "epoch", "torch-broadcast", "torch-matmul")
"""Of the time to quality. Without grids: these train several runs, and so take longer until one reaches a value; and
without `COMPILED`: it compiles in its first epoch."""

SEARCHES = ("jax", "jax-candidates", "torch-matmul", "torch-broadcast", "numpy-broadcast")
ENCODERS = ("jax", "jax-one-by-one", "jax-batch", "torch", "torch-channels-last", COMPILED)
_PACKAGES = ("jax", "jaxlib", "torch", "numpy")


@dataclass(frozen=True)
class Problem:
    """The sizes of one evaluation of the loss."""

    n: int
    k: int
    h: int
    image_inputs: int  # d_i
    text_inputs: int  # d_t
    loss: str = "graph_pattern"  # a key of `LOSSES`


def arrays(problem: Problem) -> tuple[np.ndarray, ...]:
    """Returns random arguments of the loss, all float32; the same sizes give the same arrays.

    Returns:
        Image and text features `[n, k, h]`, their attention `[n, k]`, rows of which sum to 1, image inputs `[n, d_i]`
        and text inputs `[n, d_t]`. For the soft contrastive loss the inputs are one array, the similarity rows
        `[n, d_i + d_t]`: both side by side, each row of length 1.
    """
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.standard_normal(shape, dtype=np.float32)

    def attention():
        weights = np.exp(normal(problem.n, problem.k))
        return weights / weights.sum(1, keepdims=True)

    features = [normal(problem.n, problem.k, problem.h) for _ in range(2)]
    inputs = [normal(problem.n, width) for width in (problem.image_inputs, problem.text_inputs)]
    arguments = (*features, attention(), attention())
    if problem.loss == "graph_pattern":
        return (*arguments, *inputs)
    rows = np.concatenate(inputs, axis=1)
    return (*arguments, rows / np.linalg.norm(rows, axis=1, keepdims=True))


def minimum_flops(problem: Problem, mode: str) -> int:
    """Returns the floating point operations that every implementation by matrix products needs in a mode.

    Two of the three distance matrices are symmetric, so all three cost as much as two full ones, at `2 h k^2`
    operations for each entry. The gradient costs twice as much again. The target distances, or the similarity of the
    soft contrastive loss, cost `2 (d_i + d_t)`.

    Example:
        >>> minimum_flops(Problem(n=1, k=4, h=256, image_inputs=0, text_inputs=0), "forward_and_grad")
        49152
    """
    products = {"forward": 2, "forward_and_grad": 6}[mode]
    an_entry = products * 2 * problem.h * problem.k**2 + 2 * (problem.image_inputs + problem.text_inputs)
    return an_entry * problem.n**2


def part_width(width: int, representations: int) -> int:
    """Returns h, the width of each of k representations."""
    if width % representations:
        raise ValueError(f"representations must divide width, got {representations} and {width}")
    return width // representations


def library_of(implementation: str) -> str:
    """Returns the library that an implementation computes with.

    Example:
        >>> library_of("dense"), library_of("torch-matmul")
        ('jax', 'torch')
    """
    first = implementation.partition("-")[0]
    return first if first in ("torch", "numpy") else "jax"


def choose(wanted: Sequence[str] | None, names: Sequence[str], obstacles: Mapping[str, str]) -> list[str]:
    """Returns the implementations to run: those that are wanted, or all without an obstacle except `COMPILED`.

    Example:
        >>> choose(None, ["dense", "sharded"], {"sharded": "needs more devices"})
        ['dense']
    """
    for name in wanted or ():
        if name in obstacles:
            raise ValueError(f"{name} {obstacles[name]}")
    return list(dict.fromkeys(wanted or [name for name in names if name not in obstacles and name != COMPILED]))


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


def machine_title(machine: Mapping[str, Any]) -> str:
    """Returns the name of a machine that `describe` returned: its accelerator, or its processor and cores.

    Example:
        >>> machine_title({"platform": "cpu", "device_kind": "cpu", "cpu": "AMD EPYC", "cores": 2, "devices": 1})
        'AMD EPYC, 2 cores'
    """
    if machine["platform"] == "cpu":
        return f"{machine['cpu']}, {machine['cores']} cores"
    return machine["device_kind"] + (f" x {machine['devices']}" if machine["devices"] > 1 else "")


def peer_obstacles(names: Iterable[str], other: str | None = None) -> dict[str, str]:
    """Returns why the PyTorch peers cannot run here, on the device of jax."""
    import jax

    reason = other
    if importlib.util.find_spec("torch") is None:
        reason = f"needs torch: {install_command('peers')}"
    elif jax.default_backend() != "cpu" and not _torch_has_gpu():
        kind = jax.devices()[0].device_kind
        reason = f"runs on the CPU, jax here on {kind}: install PyTorch for it, or set JAX_PLATFORMS=cpu"
    return {name: reason for name in names if library_of(name) == "torch"} if reason else {}


def _torch_has_gpu():
    import jax

    try:
        import torch
    except ImportError:  # installed, and broken
        return False
    return jax.default_backend() == "gpu" and torch.cuda.is_available()


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
