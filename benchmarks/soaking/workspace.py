"""The files that the soak damages, written by the commands themselves: small, so that each command takes a moment."""

import contextlib
import csv
import io
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PAIRS = 130
SIZES = ("--config.model.hidden=8", "--config.model.width=8", "--config.train.batch_size=20")
ONE_PROGRAM = 40
"""Pairs up to which a run finds neighbours without a file; the soak makes it small, so that there is such a file."""
# Encoders of a user: one in which an extraction can be stopped, and that need no library.
_ENCODERS = """
import os
import zlib

import numpy as np

calls = 0


def images(pictures):
    global calls
    calls += 1
    if calls == int(os.environ.get("SOAK_STOP", "0")):
        raise KeyboardInterrupt
    return np.stack([np.resize(picture.astype(np.float32).reshape(-1), 12) for picture in pictures])


def texts(documents):
    seeds = (zlib.crc32(document.encode()) for document in documents)
    return np.stack([np.random.default_rng(seed).normal(size=10).astype(np.float32) for seed in seeds])
"""


class TooLong(BaseException):
    """A command takes too long; no handler of a command catches it."""


@dataclass(frozen=True)
class Called:
    """What came of a command in this process.

    Attributes:
        status: the exit status; -1 where it ended in an exception.
        out: what it printed.
        err: its errors and warnings.
        failure: the exception, "" for none.
    """

    status: int
    out: str
    err: str
    failure: str = ""


def call(argv: Sequence[str]) -> Called:
    """Calls `gpldan` in this process, where its programs stay compiled."""
    from gpldan_jax.cli.main import main

    out, err, status, failure = io.StringIO(), io.StringIO(), -1, ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            status = main(list(argv))
        except TooLong:
            raise
        except BaseException as error:  # what a user would see as a traceback
            failure = f"{type(error).__name__}: {error}"
    return Called(status, out.getvalue(), err.getvalue(), failure)


def run_flags(data: Path, workdir: Path, *more: str) -> list[str]:
    """Returns the arguments of a run."""
    return ["run", "--dataset=npz", "--recipe=ours", f"--data={data}", f"--workdir={workdir}", *SIZES, *more]


def sweep_flags(data: Path, workdir: Path) -> list[str]:
    """Returns the arguments of a sweep of two points, one slice each."""
    flags = ["sweep", "--dataset=npz", f"--data={data}", f"--workdir={workdir}", *SIZES, "--config.train.epochs=2"]
    return [*flags, "--config.train.selection=map", "--alpha=0.5,1", "--slice=1", "--nofigure"]


def compare_flags(data: Path, workdir: Path) -> list[str]:
    """Returns the arguments of a comparison."""
    flags = ["compare", "--dataset=npz", f"--data={data}", f"--workdir={workdir}", *SIZES]
    return [*flags, "--methods=chance,cca-ridge", "--config.train.selection=map"]


def extract_flags(root: Path, out: Path, table: Path | None = None) -> list[str]:
    """Returns the arguments of an extraction of pictures and captions."""
    pairs = [f"--images={root / 'pictures'}", f"--texts={table or root / 'captions.csv'}", f"--out={out}"]
    return ["extract", *pairs, "--image_model=encoders:images", "--text_model=encoders:texts", "--batch=16"]


def prepare() -> None:
    """Makes a run keep its neighbours in a file, as those of very many pairs do."""
    from gpldan_jax.runs import kept_neighbours

    kept_neighbours.IN_ONE_PROGRAM = ONE_PROGRAM


def build(root: Path, say: Callable[[str], object] = print) -> None:
    """Writes everything into a new folder, and makes it the working directory.

    Args:
        root: the folder.
        say: takes a line for each step.
    """
    root.mkdir(parents=True)
    os.chdir(root)
    prepare()
    _write_inputs(root)
    npz, run = root / "made" / "features.npz", root / "finished"
    steps: list[tuple[str, list[str], Mapping[str, str]]] = [
        ("extract to a file", extract_flags(root, npz), {}),
        ("extract to a folder", extract_flags(root, root / "made" / "features"), {}),
        ("extract, stopped", extract_flags(root, root / "extracting" / "features.npz"), {"SOAK_STOP": "1"}),
        ("run", run_flags(npz, run, "--config.train.epochs=2"), {}),
        ("run, stopped", run_flags(npz, root / "stopped", "--config.train.epochs=4"), {"STOP": "2"}),
        ("collection", ["search", "build", f"--workdir={run}", f"--out={root / 'collection'}", "--candidates"], {}),
        ("sweep", sweep_flags(npz, root / "sweep"), {}),
        ("sweep, stopped", sweep_flags(npz, root / "sweeping"), {"STOP": "3"}),
        ("comparison", compare_flags(npz, root / "comparison"), {}),
    ]
    for name, argv, environment in steps:
        say(f"building: {name}")
        stop = int(environment.get("STOP", 0))
        if "SOAK_STOP" in environment:
            # The second block of pictures stops it.
            environment = {"SOAK_STOP": str(_encoder_calls() + 128 // 16 + 1)}
        with _environment(environment), _stopping(stop):
            done = call(argv)
        expected = 143 if stop else 130 if environment else 0
        if done.status != expected:
            raise RuntimeError(f"{name}: status {done.status}, expected {expected}: {done.err}{done.failure}")
    shutil.copytree(run, root / "again")
    _write_own(root)


def _encoder_calls():
    return getattr(sys.modules.get("encoders"), "calls", 0)


@contextlib.contextmanager
def _environment(values):
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


@contextlib.contextmanager
def _stopping(after):
    """Sends SIGTERM to this process when so many checkpoints are written; 0 for never."""
    from gpldan_jax.training.checkpoints import Checkpoints

    save, count = Checkpoints.save, 0

    def counted(*args, **kwargs):
        nonlocal count
        save(*args, **kwargs)
        count += 1
        if count == after:
            os.kill(os.getpid(), signal.SIGTERM)

    Checkpoints.save = counted
    try:
        yield
    finally:
        Checkpoints.save = save


def _write_inputs(root):
    from PIL import Image

    rng = np.random.default_rng(0)
    (root / "encoders.py").write_text(_ENCODERS)
    (root / "pictures").mkdir()
    with open(root / "captions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text", "label"])
        for item in range(PAIRS):
            shade = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
            shade[..., item % 3] //= 4
            Image.fromarray(shade).save(root / "pictures" / f"{item}.png")
            writer.writerow([f"{item}.png", f"a picture of kind {item % 3}, number {item}", f"kind {item % 3}"])


def _write_own(root):
    """Features as users write them, without a checksum of ours."""
    own = root / "own"
    own.mkdir()
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(PAIRS, 6))
    arrays = {
        "image": (latent @ rng.normal(size=(6, 12))).astype(np.float32),
        "text": (latent @ rng.normal(size=(6, 10))).astype(np.float32),
        "label": latent[:, :3].argmax(1),
        "split": np.repeat([0, 1, 2], [100, 15, 15]),
    }
    np.savez(own / "own.npz", **arrays)
    (own / "folder").mkdir()
    for name, values in arrays.items():
        np.save(own / "folder" / f"{name}.npy", values)
    with contextlib.suppress(ImportError):
        import h5py

        with h5py.File(own / "own.h5", "w") as file:
            for name, values in arrays.items():
                file[name] = values
    with contextlib.suppress(ImportError):
        import scipy.io

        scipy.io.savemat(own / "own.mat", arrays)
    np.save(own / "queries.npy", arrays["text"][:3])
