"""Files are written whole or not at all, and one process holds a folder."""

import json
import os
import subprocess
import sys

import pytest

from gpldan_jax import _files


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "results.json"
    _files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        _files.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(path.parent) == ["results.json"]


def test_a_failure_leaves_the_file_there_was(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), _files.replacing(path) as temporary:
        assert temporary.suffix == ".png" and temporary.name.startswith(_files.TEMPORARY)
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["figure.png"]


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    with pytest.raises(ValueError, match=r"must end in .png or .svg"):
        _files.check_writable(tmp_path / "figure.gif", (".png", ".svg"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write"):
        _files.check_writable(tmp_path / "file" / "figure.png", (".png",))
    _files.check_writable(tmp_path / "new" / "folder" / "figure.png", (".png",))
    assert not (tmp_path / "new").exists()


def test_a_folder_is_a_path_without_a_suffix(tmp_path):
    _files.check_writable(tmp_path / "new", (".npz",), or_folder=True)
    _files.check_writable(tmp_path, (".npz",), or_folder=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file: expected a folder, found a file"):
        _files.check_writable(tmp_path / "file", (".npz",), or_folder=True)
    with pytest.raises(ValueError, match=r"new.v2 must end in .npz; or name a folder, without a dot"):
        _files.check_writable(tmp_path / "new.v2", (".npz",), or_folder=True)


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    code = """
import os, signal, sys
from gpldan_jax import _files
with _files.replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    for name in ("results.json", "other-results.json"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)])
    assert len(list(tmp_path.glob(f"{_files.TEMPORARY}*"))) == 2
    _files.write_json(tmp_path / "results.json", {})
    left = sorted(os.listdir(tmp_path))
    assert len(left) == 2 and left[0].endswith("-other-results.json") and left[1] == "results.json"


def test_what_a_running_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "results.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        mine = _files.temporary_beside(path)
        theirs = mine.with_name(mine.name.replace(str(os.getpid()), str(other.pid)))
        theirs.write_text("half")
        _files.write_json(path, {})
        assert theirs.exists()
        other.communicate(b"\n")
    _files.write_json(path, {})
    assert not theirs.exists()
