"""Extractions into a folder of `.npy` files, for features that may be larger than memory."""

import shlex
import tracemalloc
import warnings

import numpy as np
import pytest

from gpldan_jax import _checksums, data
from gpldan_jax.cli.main import run_command
from gpldan_jax.extraction.feature_blocks import write_folder
from gpldan_jax.studies.verification import DAMAGED, OK, verify
from tests.extraction.folders import PAIRS, flags

pytest.importorskip("PIL.Image", reason="images need Pillow")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_what_the_file_holds(folder, own, call):
    assert call(*flags(folder))[0] == 0
    status, out, err = call(*flags(folder, "features"))
    assert (status, err) == (0, "") and "300 pairs (100 train, 100 validation, 100 test)" in out
    options = "--config.mesh.resident=False --config.train.selection=map"
    assert f"next: gpldan run --dataset=npz --config.dataset.path={folder / 'features'} {options}\n" in out
    assert not list(folder.glob("*.parts"))
    whole = np.load(folder / "features.npz")
    assert {path.stem for path in (folder / "features").iterdir()} == {*whole.files, "checksums"}
    for name in whole.files:
        np.testing.assert_array_equal(np.load(folder / f"features/{name}.npy"), whole[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none of the files is called unused
        file, memory = (data.load_dataset("npz", path=folder / name) for name in ("features.npz", "features"))
        disk = data.load_dataset("npz", path=folder / "features", on_disk=True)
    assert file.fingerprint() == memory.fingerprint() == disk.fingerprint()
    assert isinstance(disk.train.images, data.FeaturesOnDisk) and disk.features == file.features is not None
    described = [data.describe(file, folder / name, ["test"]) for name in ("features.npz", "features")]
    assert described[0] == described[1] and described[0].pictures([0])[0].exists()


def test_pairs_that_share_an_image_share_its_row_on_disk(folder, own, call):
    lines = (folder / "texts.csv").read_text().splitlines()
    lines += [line.replace("banana", "cherry") for line in lines[1:]]
    (folder / "texts.csv").write_text("\n".join(lines))
    assert call(*flags(folder))[0] == call(*flags(folder, "features"))[0] == 0
    assert len(np.load(folder / "features/image.npy")) == PAIRS
    file = data.load_dataset("npz", path=folder / "features.npz")
    disk = data.load_dataset("npz", path=folder / "features", on_disk=True)
    assert len(disk.train) == 200 and isinstance(disk.train.images, data.FeaturesOnDisk)
    assert disk.fingerprint() == file.fingerprint()


def test_an_interrupted_folder_goes_on_and_is_never_half_there(folder, own, call, monkeypatch):
    assert call(*flags(folder, "whole"), "--batch=32")[0] == 0
    own.COUNT, own.STOP = 0, 6  # the second block of images
    assert call(*flags(folder, "features"), "--batch=32")[0] == 130 and not (folder / "features").exists()
    own.STOP = None

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_checksums, "write_folder", stop)  # when all arrays are written
        assert call(*flags(folder, "features"), "--batch=32")[0] == 130
    assert not (folder / "features").exists() and (folder / "features.parts/scratch/made/image.npy").exists()
    count = own.COUNT
    assert call(*flags(folder, "features"), "--batch=32")[0] == 0
    assert count == own.COUNT  # the blocks were there
    assert contents(folder / "features") == contents(folder / "whole")
    assert not (folder / "features.parts").exists()


def test_a_finished_folder_is_left_alone_and_fresh_replaces_it(folder, own, call):
    (folder / "features").mkdir()  # an empty one may be there
    assert call(*flags(folder, "features"))[0] == 0
    own.COUNT = 0
    status, out, _ = call(*flags(folder, "features"))
    assert status == 0 and "is finished; --fresh starts over" in out and own.COUNT == 0
    status, _, err = call(*flags(folder, "features", max_pixels=50))
    assert status == 2 and "was made otherwise; choose another out, or use fresh to replace it" in err
    assert call(*flags(folder, "features", max_pixels=50, max_skipped=1), "--fresh")[0] == 0
    assert len(np.load(folder / "features/image.npy")) < PAIRS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.txt", "holds files that no extraction writes (notes.txt); choose another out"),
        ("image.npy", "holds other features; choose another out"),
    ],
)
def test_fresh_deletes_no_files_of_others(folder, own, call, name, message):
    (folder / "features").mkdir()
    (folder / "features" / name).write_text("mine")
    for more in ([], ["--fresh"]):
        status, _, err = call(*flags(folder, "features"), *more)
        assert status == 2 and message in err and err.count("\n") == 1
    assert contents(folder / "features") == {name: b"mine"} and not list(folder.glob("*.parts"))


def test_a_damaged_folder_is_found(folder, own, call, capsys):
    assert call(*flags(folder, "features"))[0] == 0
    assert [checked.state for checked in verify(folder / "features")] == [OK]
    path = folder / "features/text.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (checked,) = verify(folder / "features")
    assert checked.state == DAMAGED and "text.npy is damaged: its SHA-256 differs" in checked.reason


def test_a_folder_is_written_part_by_part(tmp_path):
    rows, width, parts = 128, 2048, 40
    blocks = (np.full((rows, width), number, np.float32) for number in range(parts))
    tracemalloc.start()
    write_folder(tmp_path / "features", {"image": ((rows * parts, width), blocks)}, tmp_path / "scratch")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * rows * width * 4  # a block, its bytes and what hashing reads; not forty blocks
    found = np.load(tmp_path / "features/image.npy", mmap_mode="r")
    assert found.shape == (rows * parts, width) and found[::rows, 0].tolist() == list(range(parts))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_the_command_that_is_named_next_trains(folder, own, call, capsys):
    _, out, _ = call(*flags(folder, "features"))
    command = out.splitlines()[-1].removeprefix("next: gpldan run ")
    small = ["--config.train.epochs=1", "--config.train.batch_size=16", f"--workdir={folder / 'run'}"]
    small += ["--config.model.hidden=8", "--config.model.width=8"]
    assert run_command("run", [*shlex.split(command), *small], "gpldan run") == 0
    assert (folder / "run/model.safetensors").exists()


@pytest.mark.parametrize("out", ["features", "features.npz"])
def test_a_finished_extraction_that_is_damaged_is_not_called_finished(folder, own, call, out):
    assert call(*flags(folder, out))[0] == 0
    assert call(*flags(folder, out))[0] == 0  # finished
    path = folder / out / "text.npy" if out == "features" else folder / out
    whole = path.read_bytes()
    place = whole.index(b"text.npy") + 200 if path.suffix == ".npz" else len(whole) - 1  # a feature
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    status, _, err = call(*flags(folder, out))
    assert status == 2 and str(path) in err and "damaged" in err and "use fresh" in err and err.count("\n") == 1
    assert call(*flags(folder, out), "--fresh")[0] == 0 and path.read_bytes() == whole
