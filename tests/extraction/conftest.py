"""Tables of pairs, folders of images, and the command as a user calls it."""

import importlib.util
import json
import sys
import warnings

import pytest

from gpldan_jax.cli.main import run_command
from gpldan_jax.extraction import read_table
from tests.extraction.folders import PAIRS, make_folder

OWN = """
import os, signal
import numpy as np

COUNT, STOP = 0, None

def images(pictures):
    global COUNT
    COUNT += 1
    if COUNT == STOP:
        raise KeyboardInterrupt
    if os.environ.get("DIE_AT") == str(COUNT):
        os.kill(os.getpid(), signal.SIGKILL)
    return [[*picture.mean((0, 1)), len(picture)] for picture in pictures]

def texts(texts):
    return np.array([[len(text), text.count("a"), 1] for text in texts], np.float16)

texts.description = {"reads": "letters"}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's in the folder where the command is called; `own.STOP` interrupts it."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("own", tmp_path / "own.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "own", module)
    return module


@pytest.fixture
def call(capsys):
    """Calls `gpldan extract`; returns the exit status, and what it printed to both streams."""

    def run(*argv):
        capsys.readouterr()
        path, formatwarning = [*sys.path], warnings.formatwarning
        status = run_command("extract", [str(argument) for argument in argv], "gpldan extract")
        assert sys.path == path
        warnings.formatwarning = formatwarning
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path):
    """300 pairs: `images/` and `texts.csv` with labels and a split."""
    return make_folder(tmp_path, PAIRS)


@pytest.fixture
def images(tmp_path):
    """A folder of images 0.jpg to 299.jpg, and 0.jpg in a folder in it; nobody decodes them."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name in ("more/0.jpg", *(f"{number}.jpg" for number in range(300))):
        (folder / name).touch()
    return folder


@pytest.fixture
def read(tmp_path, images):
    """Reads a table of this content; by its bytes, or a list of objects for `.jsonl`."""

    def reading(content, suffix=".csv"):
        if isinstance(content, list):
            content, suffix = "\n".join(map(json.dumps, content)).encode(), ".jsonl"
        path = tmp_path / f"table{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, images)

    return reading
