"""`gpldan benchmark all`: every benchmark on the device that jax has, in one call that a time limit bounds.

Each part is a command of its own in a process of its own, which is ended when its time is over: a part that fails, or
takes the memory of the device with it, does not take the others along. The result file is written anew after each part.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax import _checksums
from gpldan_jax.cli.benchmark_parts import Part, Speeds, plan

BUDGET = 540  # seconds: with a machine that must start, it fits ten minutes
_LEAST = 10  # seconds; in less a process would not begin to compute
_END = 10  # seconds to end after SIGTERM


def measure(chosen: Sequence[Part], out: Path, made: Mapping[str, Any], *, budget: float = BUDGET) -> dict[str, Any]:
    """Runs parts one after another, and writes the result file after each.

    Args:
        chosen: the parts, in order.
        out: the result file, JSON.
        made: how the record is made, such as its `"command"` and `"date"`.
        budget: seconds for all parts together.

    Returns:
        The record, as it stands in the file: `made` and `"parts"`, a list of dicts with the `"name"`, `"command"` and
        `"seconds"` of each, the `"record"` of its command, or `None` and why in `"failed"`, and what was `"left_out"`.
    """
    started, speeds = time.monotonic(), None
    record: dict[str, Any] = {"benchmark": "all", **made, "budget_s": budget, "machine": None, "parts": []}
    for part in chosen:
        left = budget - (time.monotonic() - started)
        limit = min(part.seconds, left)
        done: dict[str, Any] = {"name": part.name, "command": None, "seconds": 0.0, "left_out": None, "failed": None}
        flags, done["left_out"] = plan(part, speeds, limit)
        found = None
        if limit < _LEAST:
            done["failed"] = f"not begun: the {budget:.0f} s for all parts were over"
        elif flags is None:
            done["failed"] = f"not begun: {done['left_out']}"
        else:
            done["command"] = f"gpldan benchmark {' '.join(flags)}"
            print(f"{part.name}: at most {limit:.0f} s, of {left:.0f} s that are left", file=sys.stderr, flush=True)
            begun = time.monotonic()
            found, done["failed"] = run_part(flags, limit)
            done["seconds"] = time.monotonic() - begun
        if done["failed"]:
            print(f"{part.name}: {done['failed']}", file=sys.stderr, flush=True)
        if found:
            record["machine"] = record["machine"] or found["machine"]
            speeds = _speeds(found) if part.name == "products" else speeds
        record["parts"].append({**done, "record": found})
        _checksums.write_record(out, record)
    return record


def run_part(flags: Sequence[str], limit: float) -> tuple[dict[str, Any] | None, str | None]:
    """Runs one command of `gpldan benchmark` in a process of its own.

    Returns:
        The record of its result file, and why there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder, "found.json"), Path(folder, "log")
        command = [sys.executable, "-m", "gpldan_jax", "benchmark", *flags, f"--out={out}"]
        with log.open("w") as stream:
            process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env={"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ},  # PyTorch needs memory beside jax
                start_new_session=True,
            )
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                return None, f"stopped after {limit:.0f} s; it last said: {_last(_lines(log))}"
            finally:
                _end(process)
        if out.exists():
            return _checksums.read_record(out), None
        lines = _lines(log)
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return None, f"exit status {status}: {_last(errors or lines)}"


def _lines(log):
    return [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]


def _last(lines):
    return lines[-1][:200] if lines else "nothing"


def _end(process):
    """Ends a process and those that it started; they were given a session of their own."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number) if hasattr(os, "killpg") else process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END)


def _speeds(record) -> Speeds:
    ceilings = record["ceilings"]
    rates = {precision: found["flops_per_s"] for precision, found in ceilings["jax"].items()}
    return Speeds(record["machine"]["platform"], rates, has_torch="torch" in ceilings)
