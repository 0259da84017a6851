"""Keeps the programs that jax compiles, so that the same command starts in seconds the next time.

jax writes a program straight to its final name, so a process that is killed meanwhile would leave half of it there for
ever. So each command works in a folder of its own, with links to the programs that are known, and hands over what is
new when it ends. Programs lie by kind of processor, because different machines may share a home directory.
"""

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_SWITCH = "JAX_ENABLE_COMPILATION_CACHE"
_SETTINGS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # a query has many small ones
    "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",  # else a program depends on the folder it was made in
}
_OURS = ".tmp-"
_MOST_BYTES = 10**9
_ABANDONED = 86_400  # seconds after which the folder of a command that was killed is deleted


def keep_programs() -> Path | None:
    """Lets jax, which must not be imported yet, use and keep compiled programs.

    Returns:
        Where they are kept; `None` where jax is imported already, a user has chosen a folder or switched the cache off,
        or the folder cannot be written to.
    """
    if "jax" in sys.modules or _FOLDER in os.environ or os.environ.get(_SWITCH, "").lower() in ("false", "0"):
        return None
    own = None
    try:
        kept = _user_cache() / "gpldan_jax" / f"programs-{_processor()}"
        kept.mkdir(parents=True, exist_ok=True)
        own = kept / f"{_OURS}{os.getpid()}-{time.time_ns()}"
        own.mkdir()
        for program in _programs(kept):
            with contextlib.suppress(FileNotFoundError):  # another command has just deleted it
                os.link(program, own / program.name)
    except (OSError, RuntimeError):  # no home directory, or no links on this file system
        if own:
            shutil.rmtree(own, ignore_errors=True)
        return None
    os.environ[_FOLDER] = str(own)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    atexit.register(_hand_over, own, kept)
    return kept


def _hand_over(own: Path, kept: Path) -> None:
    with contextlib.suppress(OSError):
        new = {program.name for program in _programs(own)} - {program.name for program in _programs(kept)}
        for name in filter(lambda name: _is_whole(own / name), new):
            os.replace(own / name, kept / name)
        shutil.rmtree(own, ignore_errors=True)
        if not new:
            return
        newest_first = sorted(_programs(kept), key=lambda program: -program.stat().st_mtime)
        size = 0
        for program in newest_first:
            size += program.stat().st_size
            if size > _MOST_BYTES:
                program.unlink()
        for other in kept.glob(f"{_OURS}*"):
            if time.time() - other.stat().st_mtime > _ABANDONED:
                shutil.rmtree(other, ignore_errors=True)


def _is_whole(program: Path) -> bool:
    """Returns whether a program was written to its end, which a full disk prevents, as far as its format can tell."""
    content, stream = program.read_bytes(), zlib.decompressobj()
    if content[:1] != b"\x78":  # not by zlib
        return bool(content)
    try:
        stream.decompress(content)
    except zlib.error:
        return False
    return stream.eof


def _programs(folder: Path) -> Iterator[Path]:
    return folder.glob("*-cache")


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """A name for what the programs of this processor need."""
    described = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        described.append(next(line for line in lines if line.startswith(("flags", "Features"))))
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:12]
