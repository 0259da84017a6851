"""The commands as processes of their own: what each is called, and what came of it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soaking import workspace
from soaking.leaving import leavings

LEFT = ("results.json", "metrics.jsonl", "model.safetensors", "best.py", "sweep.json", "table2.json", "index.json",
        "pictures.sqlite", ".npz", ".npy")  # fmt: skip
_LONGEST = 180  # seconds of a command


@dataclass(frozen=True)
class Ended:
    """A process that ended: its status, what it printed, and after how many seconds; `None` where it hung."""

    status: int | None
    out: str
    err: str
    seconds: float


def commands() -> dict[str, Callable[[Path, Path], list[str]]]:
    """Returns the commands by name: each takes the root of the workspace and the folder to write to."""

    def features(root):
        return root / "made" / "features.npz"

    return {
        "run": lambda root, out: workspace.run_flags(features(root), out / "run", "--config.train.epochs=6"),
        "sweep": lambda root, out: workspace.sweep_flags(features(root), out / "sweep"),
        "compare": lambda root, out: workspace.compare_flags(features(root), out / "comparison"),
        "extract": lambda root, out: workspace.extract_flags(root, out / "features.npz"),
        "extract to a folder": lambda root, out: workspace.extract_flags(root, out / "features"),
        "search build": lambda root, out: [
            *("search", "build", f"--workdir={root / 'finished'}", f"--out={out / 'collection'}", "--candidates"),
        ],
        "search serve": lambda root, out: ["search", "serve", str(out / "collection"), "--port=0"],
    }


def new_folder(root: Path, name: str) -> Path:
    """Returns the empty folder that a command writes to; that of the server has a collection."""
    out = root / "trial-out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    if name == "search serve":
        shutil.copytree(root / "collection", out / "collection")
    return out


def start(root: Path, argv: Sequence[str], **options: Any) -> subprocess.Popen:
    """Starts `gpldan` in the workspace."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_SOURCE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "gpldan_jax", *argv]
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def end(process: subprocess.Popen, started: float) -> Ended:
    """Waits for a process; kills one that hangs."""
    try:
        out, err = process.communicate(timeout=_LONGEST)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        status = None
    return Ended(status, out, err, time.monotonic() - started)


def finish(root: Path, argv: Sequence[str], **options: Any) -> Ended:
    """Runs a command to its end; the server is asked to stop once it serves."""
    started = time.monotonic()
    process = start(root, argv, **options)
    if argv[:2] == ["search", "serve"]:
        for line in process.stdout or ():
            if line.startswith("http"):
                process.terminate()
                break
    return end(process, started)


def reference(root: Path, name: str) -> tuple[Ended, dict[str, str]]:
    """Runs a command twice, and returns what came of the second process and what it left."""
    for _ in range(2):
        out = new_folder(root, name)
        ended = finish(root, commands()[name](root, out))
    if ended.status not in (0, 143):
        raise RuntimeError(f"{name}: status {ended.status}: {ended.err}")
    return ended, leavings(root, [out], LEFT)


_SOURCE = Path(__file__).parents[2]
