"""`gpldan verify`: no damage of any file of ours is silent or a traceback, and what is whole is ok."""

import contextlib
import json
import random
import shutil
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import _checksums, training
from gpldan_jax.cli.main import main
from gpldan_jax.index import Index
from gpldan_jax.models import load_model, model_tensors
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies.verification import DAMAGED, OK, UNKNOWN, verify
from tests.damage import damage, files_below
from tests.models import trained_models

ROUNDS = 2  # damages of each file in the quick test


def write_everything(folder: Path) -> Path:
    """Writes a file of each kind, of a run, a collection, a comparison, a sweep and features."""
    rng, record = np.random.default_rng(0), _checksums.write_record
    run, model = folder / "run", trained_models.model(bank=True)
    record(run / "config.json", {"config": {"train": {"epochs": 2}}, "data": "ab"})
    for epoch in (1, 2):
        workdirs.append_record(run / "metrics.jsonl", {"epoch": epoch, "loss": 1 / epoch, "seconds": 0.5})
    record(run / "results.json", {"epochs": 2, "test": {"map@50": {"average": 0.517}}})
    model.save(run / "model.safetensors")
    with contextlib.closing(training.Checkpoints(run / "checkpoints")) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, {"weights": jnp.arange(9.0) + step}, {"epoch": step}, keep={1})
    record(run / "collection" / "collection.json", {"splits": ["test"]})
    features = rng.normal(size=(6, 5)).astype(np.float32)
    Index.build(model, features, list("abcdef"), "image").save(run / "collection" / "image")
    texts = rng.normal(size=(6, len(model.standardization.text_mean)))
    Index.build(model, texts, list("abcdef"), "text").save(run / "collection" / "text")
    record(folder / "compare" / "table2.json", {"methods": [{"figures": 0.5}]})
    record(folder / "compare" / "gpldan" / "settings.json", {"chosen": {"alpha": 2.0}})
    record(folder / "compare" / "gpldan" / "seed-0.json", {"test": 0.5})
    record(folder / "sweep" / "sweep.json", {"points": [0.5, 0.25]})
    record(folder / "sweep" / "slices" / "0000.json", {"results": [0.5]})
    _checksums.write_source(folder / "sweep" / "best.py", "def get_config():\n    return {}\n")
    np.savez(folder / "features.npz", image=features, manifest=np.array("{}"))
    return folder


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return write_everything(tmp_path_factory.mktemp("everything"))


def content(path):
    """What a reader makes of a file."""
    if path.suffix == ".safetensors":
        model = load_model(path)
        return {name: array.tobytes() for name, array in model_tensors(model).items()}, model.metadata
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: (arrays[name].dtype, arrays[name].tobytes()) for name in arrays.files}
    if path.suffix == ".jsonl":
        return workdirs.read_records(path)
    if path.suffix == ".py":
        _checksums.check_source(path)
    if path.suffix == ".json":
        return _checksums.read_record(path)
    return path.read_bytes()


def of_one(path):
    """What `verify` is asked to find a damage of this file."""
    steps = [parent for parent in path.parents if parent.name.isdecimal()]
    return steps[0] if steps else path.parent if path.parent.name in ("image", "text") else path


def count_damages(folder, rounds, seed):
    """Damages each file several times; returns how many were found, how many changed nothing, and what was silent."""
    rng, found, harmless, silent = random.Random(seed), 0, 0, []
    for path in files_below(folder):
        whole, before = path.read_bytes(), content(path)
        for _ in range(rounds):
            done = damage(path, rng)
            states = {checked.state for checked in verify(of_one(path))}
            if states & {DAMAGED, UNKNOWN}:
                found += 1
            elif content(path) == before:
                harmless += 1
            else:
                silent.append(f"{path}: {done}")
            path.write_bytes(whole)
    return found, harmless, silent


def test_what_is_whole_is_ok(everything, capsys):
    assert {checked.state for checked in verify(everything)} == {OK}
    names = {checked.path.relative_to(everything).as_posix() for checked in verify(everything)}
    assert {"run/model.safetensors", "run/checkpoints/2", "sweep/slices/0000.json", "features.npz"} <= names
    assert "run/collection/image/index.json" in names and "compare/gpldan/seed-0.json" in names
    assert main(["verify", str(everything), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{len(names)} ok, 0 damaged, 0 no checksum\n"


def test_no_damage_of_any_file_is_silent(everything):
    found, harmless, silent = count_damages(everything, ROUNDS, seed=20)
    assert not silent and found > 50 and harmless < 5


@pytest.mark.slow
def test_none_of_a_thousand_damages_is_silent(everything):
    rounds = -(-1000 // len(files_below(everything)))
    found, harmless, silent = count_damages(everything, rounds, seed=21)
    print(f"{found} found, {harmless} without effect, {len(silent)} silent")
    assert not silent and found + harmless >= 1000


def test_a_damaged_file_is_named_with_status_1(everything, tmp_path, capsys):
    folder = shutil.copytree(everything / "run", tmp_path / "run")
    results = folder / "results.json"
    results.write_text(results.read_text().replace("0.517", "0.410"))
    (folder / "model.safetensors").unlink()
    shutil.rmtree(folder / "checkpoints" / "1")
    assert main(["verify", str(folder), "--quiet"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"damaged     {folder}/checkpoints/2: it needs the checkpoint 1, which is missing",
        f"damaged     {results}: its content is not what its SHA-256 says; if you have changed it by hand, remove its "
        'key "sha256"',
        f"damaged     {folder}/model.safetensors: it is missing, and the run is finished",
        "5 ok, 3 damaged, 0 no checksum".replace("5", str(len(verify(folder)) - 3)),
    ]


def test_files_of_older_versions_have_no_checksum(tmp_path):
    with zipfile.ZipFile(Path(__file__).parents[1] / "compatibility" / "made_by_0.1.0.zip") as archive:
        archive.extractall(tmp_path)
    states = {checked.path.relative_to(tmp_path).as_posix(): checked.state for checked in verify(tmp_path)}
    assert states["run/model.safetensors"] == states["run/results.json"] == states["run/metrics.jsonl"] == UNKNOWN
    assert states["mine.npz"] == OK and DAMAGED not in states.values()


@pytest.mark.parametrize(
    "argv, message", [([], "expected a path"), (["gone"], "gone does not exist"), (["."], "nothing")]
)
def test_what_is_not_ours_is_refused(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))  # of another program
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["verify", *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
