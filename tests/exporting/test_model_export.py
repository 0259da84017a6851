"""The folder of an export: what it holds, that its README runs, and what is refused."""

import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from gpldan_jax import models
from gpldan_jax.exporting import check_folder, export_model, model_export, onnx_graphs
from gpldan_jax.exporting.folder_page import folder_page
from tests.models import trained_models

IMAGES, TEXTS = np.random.default_rng(0).normal(size=(6, 5)), np.random.default_rng(1).normal(size=(4, 4))


@pytest.fixture
def saved(tmp_path):
    model = trained_models.model(bank=True)
    model.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", model


def need_onnx():
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"an export to ONNX needs {package}: pip install 'gpldan_jax[onnx]'")


def code_of(folder):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return code


@pytest.mark.slow
def test_an_export_to_numpy_runs_without_this_package(saved, tmp_path):
    place, model = saved
    report = export_model(place, "numpy", tmp_path / "out")
    assert report.files == ("README.md", "encoder.py", "weights.npz") == tuple(sorted(os.listdir(tmp_path / "out")))
    assert report.recall == {} and report.no_recall.endswith("model.safetensors is not in the workdir of a run")
    assert max(report.differences["image"].values()) < 1e-5 and set(report.differences) == {
        "image",
        "text",
        "distances",
    }
    np.savez(tmp_path / "inputs.npz", image_features=IMAGES, text_features=TEXTS)
    hidden = "import sys\nsys.modules['jax'] = sys.modules['gpldan_jax'] = None\nimport numpy as np\n"
    code = f"{hidden}globals().update(np.load('../inputs.npz'))\n{code_of(tmp_path / 'out')}\nprint(nearest.tolist())"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=tmp_path / "out", env={"PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(model.distances(IMAGES, TEXTS).argsort(axis=1).tolist())


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("bank", [False, True])
def test_an_export_to_onnx_computes_what_the_model_computes(bank, parts, tmp_path, monkeypatch):
    need_onnx()
    model = trained_models.model(bank=bank, parts=parts)
    model.save(tmp_path / "model.safetensors")
    report = export_model(tmp_path, "onnx", tmp_path / "out")
    assert report.files == ("README.md", "distances.onnx", "image.onnx", "text.onnx")
    assert max(value for of in report.differences.values() for value in of.values()) < 1e-5
    monkeypatch.chdir(tmp_path / "out")
    features = {"image_features": IMAGES.astype(np.float32), "text_features": TEXTS.astype(np.float32)}
    exec(compile(code_of(tmp_path / "out"), "README.md", "exec"), names := dict(features))
    assert names["nearest"].tolist() == model.distances(IMAGES, TEXTS).argsort(axis=1).tolist()
    np.testing.assert_allclose(names["images"][2], models.pooled_vectors(model.encode_images(IMAGES)), atol=1e-5)


def test_a_graph_says_its_version_and_its_shapes():
    need_onnx()
    graph = onnx_graphs.encoder_graph(trained_models.model(), "text")
    assert [(of.domain, of.version) for of in graph.opset_import] == [("", onnx_graphs.OPSET)]
    shapes = {
        of.name: [axis.dim_param or axis.dim_value for axis in of.type.tensor_type.shape.dim]
        for of in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "features": ["batch", 4],
        "representations": ["batch", 2, 4],
        "attention": ["batch", 2],
        "vectors": ["batch", 4],
    }


def test_a_library_that_is_missing_is_named(saved, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"an export to ONNX: .*: pip install 'gpldan_jax\[onnx\]'"):
        export_model(saved[0], "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["attention", "vectors"])
def test_an_export_that_differs_is_not_kept(saved, tmp_path, monkeypatch, name):
    read = model_export._read_numpy

    def wrong(folder):
        encoders, measure = read(folder)
        encode = encoders["text"]
        encoders["text"] = lambda rows: encode(rows)._replace(**{name: getattr(encode(rows), name) + 0.01})
        return encoders, measure

    monkeypatch.setattr(model_export, "_read_numpy", wrong)
    with pytest.raises(
        ValueError, match=rf"{name} of texts differ by 1\.0e-02, more than 1\.0e-03; nothing was written"
    ):
        export_model(saved[0], "numpy", tmp_path / "out")
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_an_export_replaces_an_earlier_one_and_nothing_else(saved, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export_model(saved[0], "numpy", out)  # an empty folder
    before = (out / "weights.npz").read_bytes()
    (out / "README.md").write_text("old")
    export_model(saved[0], "numpy", out)
    assert (out / "weights.npz").read_bytes() == before and "# The encoders" in (out / "README.md").read_text()
    with pytest.raises(ValueError, match=r"holds no earlier export to onnx \(encoder.py\): choose another folder"):
        check_folder(out, "onnx")
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty and holds no earlier export to numpy \(mine.txt\)"):
        export_model(saved[0], "numpy", out)
    with pytest.raises(ValueError, match=r"mine.txt is a file, expected a folder to write"):
        check_folder(out / "mine.txt", "numpy")
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_readme_of_somebody_is_no_export(tmp_path):
    (tmp_path / "README.md").write_text("my project")
    with pytest.raises(ValueError, match=r"holds no earlier export to numpy \(README.md\)"):
        check_folder(tmp_path, "numpy")


def test_data_of_a_model_without_a_run_are_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="belongs to no run, so data_path has no meaning"):
        export_model(saved[0], "numpy", tmp_path / "out", data_path=tmp_path)
    with pytest.raises(ValueError, match="to must be one of numpy, onnx, got 'tflite'"):
        export_model(saved[0], "tflite", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no model.safetensors; a run writes it when it is finished"):
        export_model(tmp_path / "empty", "numpy", tmp_path / "out")


def test_pairs_of_a_bank_at_one_place_are_not_compared():
    side = trained_models.model(bank=True).bank.image
    inputs = np.repeat(np.asarray(side.inputs, np.float32)[:2], 2, axis=0)  # two pairs, each there twice
    side = side.replace(inputs=inputs)
    rows = inputs * 2 + side.center
    assert model_export._is_clear(rows, side, 2).all()  # the two nearest are the same in every order
    assert model_export._is_clear(rows, side, 4).all()  # all pairs are the nearest
    between = 2 * inputs[:1] + inputs[2:3] + side.center  # the third nearest may be either of two
    assert model_export._is_clear(np.concatenate([between, between]), side, 2).all()
    assert model_export._is_clear(between, side, 3).all()  # none is clear, so all are compared


def test_the_page_says_what_the_vectors_are_worth():
    page = folder_page(trained_models.model(bank=True), "onnx", {"image": 0.912, "text": 0.73}, "9 test images")
    assert "the bank of 12 training pairs" in page and "| image features | [n, 5] float32 |" in page
    assert "91.2% of the ten texts nearest to an image and 73.0% of the ten images nearest to a text" in page
    assert "approximates one minus the distance" in page and "(measured on 9 test images)" in page
    page = folder_page(trained_models.model(parts=1), "numpy", {}, "")
    assert "bank" not in page and "is one minus their" in page and "| vectors | [n, 8] |" in page


@pytest.mark.parametrize("to", ["numpy", "onnx"])
def test_an_export_scales_in_float64_where_the_model_does(to, tmp_path):
    if to == "onnx":
        need_onnx()
    model = trained_models.model()
    near = model.encode_images(IMAGES)
    scaling = dataclasses.replace(
        model.standardization,
        image_mean=model.standardization.image_mean.astype(float) + 1.7e9,
        image_std=model.standardization.image_std.astype(float),
    )
    dataclasses.replace(model, standardization=scaling).save(tmp_path / "model.safetensors")
    export_model(tmp_path / "model.safetensors", to, tmp_path / "out")  # which compares it with the model
    assert "| image features | [n, 5] float64 |" in (tmp_path / "out" / "README.md").read_text()
    assert "| text features | [n, 4] float32 |" in (tmp_path / "out" / "README.md").read_text()
    encoders, _ = getattr(model_export, f"_read_{to}")(tmp_path / "out")
    found = encoders["image"](1.7e9 + IMAGES)
    np.testing.assert_allclose(found[0], near.parts, atol=1e-5)
