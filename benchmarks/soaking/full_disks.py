"""Disks that are full at a random byte: a limit on the size of files, or a small file system; then room again."""

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soaking import processes
from soaking.leaving import leavings

SAID, ENOUGH = "said in one line, same bytes with room", "there was room enough"
LINES, WRONG_STATUS, AGAIN = "MORE LINES", "WRONG STATUS", "CANNOT GO ON"
WRONG_BYTES, LEFTOVERS = "OTHER BYTES AFTERWARDS", "TEMPORARY FILES LEFT"
BAD = (LINES, WRONG_STATUS, AGAIN, WRONG_BYTES, LEFTOVERS, "TRACEBACK", "HANG")
_LEAST = 16  # bytes


def fill(root: Path, seed: int, count: int, until: float) -> Iterator[dict[str, Any]]:
    """Yields a record for each full disk; `count` for each command that writes.

    Args:
        root: the workspace.
        seed: decides how much room there is.
        count: how many for each command.
        until: when to begin no other one, as `time.time()`.
    """
    known = {name: processes.reference(root, name)[1] for name in processes.commands() if name != "search serve"}
    has_tmpfs = _can_mount(root)
    for number in range(count):
        for name, expected in known.items():
            if time.time() > until:
                return
            rng = random.Random(f"{seed}/disk/{name}/{number}")
            is_tmpfs = has_tmpfs and number % 2 == 1
            largest = 400_000 if is_tmpfs else 60_000
            room = int(_LEAST * (largest / _LEAST) ** rng.random())
            room = max(room, 8192) if is_tmpfs else room
            outcome, said = _try(root, name, expected, room, is_tmpfs)
            done = f"{room} bytes of {'a file system' if is_tmpfs else 'each file'}"
            record = {"kind": "full disk", "case": name, "file": "", "done": done, "command": name}
            yield {**record, "outcome": outcome, "said": said, "seed": f"{seed}/{number}"}


def _try(root, name, expected, room, is_tmpfs):
    out = processes.new_folder(root, name)
    argv = processes.commands()[name](root, out)
    if is_tmpfs:
        with _mounted(out, room):
            ended = processes.finish(root, argv)
            subprocess.run(["mount", "-o", "remount,size=100m", str(out)], check=True)
            return _judge(root, name, out, argv, ended, expected)
    ended = processes.finish(root, argv, preexec_fn=lambda: _limit(room))
    return _judge(root, name, out, argv, ended, expected)


def _limit(room):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


def _judge(root, name, out, argv, ended, expected):
    if ended.status is None:
        return "HANG", ended.err[-300:]
    if "Traceback" in ended.err + ended.out:
        return "TRACEBACK", ended.err[-400:]
    if ended.status not in (0, 1, 2):
        return WRONG_STATUS, f"status {ended.status}: {ended.err[-300:]}"
    lines = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    if ended.status and (len(lines) != 1 or not lines[0].startswith("error: ")):
        return LINES, ended.err[-400:]
    again = processes.finish(root, argv)
    left = leavings(root, [out], processes.LEFT)
    if again.status != 0:
        return AGAIN, f"status {again.status}: {again.err[-300:]}"
    if left != expected:
        differ = [path for path in left.keys() | expected.keys() if left.get(path) != expected.get(path)]
        return WRONG_BYTES, f"{sorted(differ)}; first {ended.status}: {ended.err[-200:]}"
    if leftovers := [str(path) for path in out.rglob(".tmp-*")]:
        return LEFTOVERS, f"{leftovers}"
    return (SAID if ended.status else ENOUGH), "".join(lines)


def _can_mount(root):
    if os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("mount"):
        return False
    probe = root / "probe"
    probe.mkdir(exist_ok=True)
    try:
        with _mounted(probe, 1 << 20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def _mounted(folder, room):
    options = ["-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
