"""How the PyTorch peers compute: on which device, at which precision, eagerly or compiled. The import brings torch.

They compute on the device of jax: on the CPU, or on an NVIDIA or AMD GPU, which PyTorch calls "cuda".
"""

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import torch

from gpldan_jax.benchmarking.results import Row

torch.set_num_threads(os.cpu_count())
torch._dynamo.config.cache_size_limit = 64  # sizes and modes of a run; after 8, PyTorch would go on without compiling
torch._inductor.config.force_disable_caches = True  # the time to compile is a figure here
torch.backends.cudnn.allow_tf32 = False  # convolutions are float32, as ours
_MATMUL = {"highest": "highest", "default": "high"}  # PyTorch's names; "high" is TF32, jax's default on a GPU


def device() -> torch.device:
    """Returns the device that the peers compute on."""
    return torch.device("cuda" if on_gpu() else "cpu")


def on_gpu() -> bool:
    """Says whether the peers compute on a GPU: where jax does, and this PyTorch can."""
    return jax.default_backend() == "gpu" and torch.cuda.is_available()


def tensor(array: np.ndarray) -> torch.Tensor:
    """Returns a NumPy array as a tensor of the device; on the CPU both share the memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
        return torch.from_numpy(array).to(device())


def wait() -> None:
    """Waits until the device has computed what it was given."""
    if on_gpu():
        torch.cuda.synchronize()


def use_precision(precision: str) -> None:
    """Makes float32 products round as a precision of `problem.PRECISIONS` says; on a CPU they never round to less."""
    if on_gpu():
        torch.set_float32_matmul_precision(_MATMUL[precision])


def gpu_obstacle(predicted: int) -> str | None:
    """Returns why a computation of a predicted size in bytes is not run on a GPU."""
    torch.cuda.empty_cache()  # what earlier sizes took
    free, _ = torch.cuda.mem_get_info()
    return None if predicted <= free else f"does not fit (predicted {predicted / 1e9:.1f} GB)"


def product(precision: str, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """Returns a call that multiplies two float32 matrices at a precision and waits."""
    a, b = tensor(x), tensor(y)
    if precision == "bfloat16":
        a, b = a.bfloat16(), b.bfloat16()

    def call():
        use_precision("default" if precision == "bfloat16" else precision)
        a @ b
        wait()

    return call


def compiled(function: Callable) -> Callable:
    """Returns a function that PyTorch compiles for each shape when it first meets it."""
    return torch.compile(function, dynamic=False)


def with_first_call(row: Row, call: Callable[[], Any], *, compiles: bool) -> tuple[Row, Any]:
    """Calls once, before anything is timed.

    Args:
        row: of the call.
        call: what the row describes.
        compiles: whether the call is one of `compiled`, whose seconds the row then has as `compile_s`.

    Returns:
        The row, on a GPU with the memory that the call took, and the result. Where it failed, the row says why and the
        result is `None`.
    """
    if on_gpu():
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            if compiles:
                warnings.simplefilter("ignore")  # those of the compiler speak of its own code
            result = call()
    except RuntimeError as error:  # no compiler for C++, or out of memory
        return replace(row, not_run=_reason(error, compiles)), None
    if compiles:
        row = replace(row, compile_s=time.perf_counter() - started)
    if on_gpu():
        row = replace(row, memory_bytes=torch.cuda.max_memory_allocated())
    return row, result


def _reason(error, compiles):
    # PyTorch wraps the reason of its compiler in an error of its own, whose first line names only itself.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[: 2 if compiles else 1]) or type(error).__name__
    return f"torch.compile: {text}"[:200] if compiles else text[:200]
