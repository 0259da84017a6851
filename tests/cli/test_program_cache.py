"""Compiled programs are kept for the next command; one that is killed leaves nothing of its own behind."""

import os
import subprocess
import sys

import pytest

WORK = """
import os, sys
from gpldan_jax.cli import program_cache
print(program_cache.keep_programs())
import jax
jax.jit(lambda x: jax.numpy.sin(x) @ x + {number})(jax.numpy.ones((3, 3)))
{end}
"""


def compile_something(home, number=1, end="", **environment):
    """Compiles in a process of its own; returns where it says the programs are kept."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    known |= {"XDG_CACHE_HOME": str(home), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", **environment}
    command = [sys.executable, "-W", "error", "-c", WORK.format(number=number, end=end)]
    done = subprocess.run(command, env=known, capture_output=True, text=True)
    assert done.returncode in (0, 9), done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another folder of caches")
def test_programs_are_kept_and_only_whole_ones(tmp_path):
    kept, _ = compile_something(tmp_path)
    (folder,) = (tmp_path / "gpldan_jax").iterdir()
    assert kept == str(folder)
    first = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert first and all(name.endswith("-cache") for name in first)

    compile_something(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == first  # nothing was compiled again

    compile_something(tmp_path, number=2, end="os._exit(9)")
    left = {path.name for path in folder.iterdir()} - first.keys()
    assert len(left) == 1 and next(iter(left)).startswith(".tmp-")  # its own folder, deleted a day later
    os.utime(folder / next(iter(left)), (0, 0))
    compile_something(tmp_path, number=2)
    names = {path.name for path in folder.iterdir()}
    assert len(names) == len(first) + 1 and not left & names


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another folder of caches")
@pytest.mark.parametrize("left", ["len(content) // 2", "0"])
def test_programs_that_a_full_disk_cut_are_not_kept(tmp_path, left):
    cut = f"""
import pathlib
for path in pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob("jit__lambda*-cache"):
    content = path.read_bytes()
    path.write_bytes(content[: {left}])
"""
    kept, _ = compile_something(tmp_path, end=cut)
    assert not any("lambda" in name for name in os.listdir(kept))
    kept, _ = compile_something(tmp_path)
    assert any("lambda" in name for name in os.listdir(kept))


@pytest.mark.slow
def test_the_choice_of_a_user_comes_first(tmp_path):
    assert compile_something(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))[0] == "None"
    assert compile_something(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false")[0] == "None"
    (tmp_path / "file").write_text("")
    assert compile_something(tmp_path / "file")[0] == "None"  # not writable
    assert not (tmp_path / "gpldan_jax").exists()
