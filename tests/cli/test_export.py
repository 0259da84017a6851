"""`gpldan export`: what it prints and writes, and its messages for wrong input."""

import importlib.util
import json

import pytest

from gpldan_jax import config, models
from gpldan_jax.cli.main import main
from gpldan_jax.runs import session
from tests.models import trained_models
from tests.models.numpy_reference import drawn_variables


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "error: which model? try gpldan export runs/emoji --to=numpy --out=emoji-encoders"),
        (["model.safetensors"], "error: --to is missing: expected numpy or onnx"),
        (["model.safetensors", "--to=tflite"], "error: --to=tflite: expected numpy or onnx"),
        (["model.safetensors", "--to=numpy"], "error: --out is missing: the folder to write"),
        (["modle.safetensors", "--to=numpy", "--out=o"], "error: there is no modle.safetensors: expected a model.saf"),
        (["model.safetensors", "--to=numpy", "--output=o"], "error: unknown flag --output; did you mean --out?"),
        (["empty", "--to=numpy", "--out=o"], "error: the folder empty has no model.safetensors; a run writes it when"),
        (["other.safetensors", "--to=numpy", "--out=o"], "error: other.safetensors cannot be read as a safetensors"),
        (["model.safetensors", "--to=numpy", "--out=full"], "error: full is not empty and holds no earlier export to "
         "numpy (a): choose another --out"),
        (["model.safetensors", "--to=numpy", "--out=o", "--data=."], "belongs to no run, so --data has no meaning"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trained_models.model().save("model.safetensors")
    (tmp_path / "other.safetensors").write_text("no model")
    for folder in ("empty", "full"):
        (tmp_path / folder).mkdir()
    (tmp_path / "full/a").touch()
    before = sorted(tmp_path.rglob("*"))
    assert main(["export", *argv]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_packages_are_said_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["export", str(tmp_path), "--to=onnx", f"--out={tmp_path / 'out'}"]) == 2
    assert capsys.readouterr().err == "error: --to=onnx needs onnx: pip install 'gpldan_jax[onnx]'\n"


def test_a_model_alone_is_exported(tmp_path, capsys):
    trained_models.model().save(tmp_path / "model.safetensors")
    assert main(["export", str(tmp_path / "model.safetensors"), "--to=numpy", f"--out={tmp_path / 'out'}"]) == 0
    shown = capsys.readouterr().out
    assert "  image: representations " in shown and "\n  distances " in shown
    assert "the recall of the vectors was not measured" in shown
    assert shown.endswith(f"README.md, encoder.py, weights.npz; next: read {tmp_path / 'out' / 'README.md'}\n")
    assert "was not measured here" in (tmp_path / "out/README.md").read_text()


@pytest.fixture
def workdir(tmp_path, features):
    """The workdir of a run without the training: its data and a model of their shapes."""
    settings = config.with_values(config.dataset_config("npz"), {"dataset.path": str(features)})
    dataset, standardization = session.load(settings["dataset"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(json.dumps(session.describe(settings, dataset)))
    projector = models.Projector(hidden=8, width=8, parts=2)
    parameters = drawn_variables(projector, dataset.test.images[:1], dataset.test.texts[:1], scale=0.3)["params"]
    models.TrainedModel(projector, parameters, standardization, {}).save(tmp_path / "run/model.safetensors")
    return tmp_path / "run"


def test_a_run_is_exported_with_the_recall_of_its_vectors(tmp_path, workdir, features, capsys):
    run = workdir
    assert main(["export", str(run), "--to=numpy", f"--out={tmp_path / 'out'}"]) == 0
    shown = capsys.readouterr().out
    recall = [float(line.rpartition(" ")[2]) for line in shown.splitlines() if line.startswith("recall@10 ")]
    assert len(recall) == 2 and min(recall) > 0.3
    page = (tmp_path / "out/README.md").read_text()
    assert f"{recall[0]:.1%} of the ten texts nearest to an image" in page and "(measured on " in page
    moved = features.rename(tmp_path / "moved.npz")
    assert main(["export", str(run), "--to=numpy", f"--out={tmp_path / 'out'}"]) == 0
    shown = capsys.readouterr().out
    assert "was not measured: the data of" in shown and "--data=PATH" in shown
    assert main(["export", str(run), "--to=numpy", f"--out={tmp_path / 'out'}", f"--data={moved}"]) == 0
    assert "recall@10" in capsys.readouterr().out
