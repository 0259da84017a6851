"""Encoders of timm: against the library called directly, and folders that do not fit."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy

from gpldan_jax.features import extractor, timm_image_encoder
from tests.features.tiny_models import pictures

FLOAT32 = 1e-6  # relative to the largest feature: the size of a batch changes the order of sums


@pytest.fixture(scope="module")
def timm():
    pytest.importorskip("PIL.Image", reason="images need Pillow")
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        pytest.skip(f"encoders of timm need timm and torchvision: {error}")
    return timm


@pytest.fixture
def folder(timm, tmp_path):
    """A network with random weights, as timm saves it; its name has a space and a #."""
    import safetensors.torch
    import torch

    torch.manual_seed(0)
    path = tmp_path / "a model #1"
    path.mkdir()
    model = timm.create_model("resnet10t", num_classes=7)
    safetensors.torch.save_file(model.state_dict(), path / "model.safetensors")
    settings = {key: value for key, value in model.pretrained_cfg.items() if key not in ("url", "hf_hub_id")}
    settings |= {"num_classes": 7, "input_size": [3, 64, 64]}
    config = {"architecture": "resnet10t", "num_classes": 7, "pretrained_cfg": settings}
    (path / "config.json").write_text(json.dumps(config))
    return path


def encoded(encode):
    return encode([encode.prepare(picture) for picture in pictures()])


@pytest.mark.slow
def test_features_are_those_of_the_library(timm, folder):
    import PIL.Image
    import torch

    encode = timm_image_encoder(folder, batch=2)
    model = timm.create_model("resnet10t", num_classes=0).eval()
    found = safetensors.numpy.load_file(folder / "model.safetensors")
    model.load_state_dict({name: torch.from_numpy(found[name]) for name in model.state_dict()})
    transform = timm.data.create_transform((3, 64, 64), interpolation="bicubic", crop_pct=0.875)
    with torch.no_grad():
        expected = model(torch.stack([transform(PIL.Image.fromarray(picture)) for picture in pictures()])).numpy()
    np.testing.assert_allclose(encoded(encode), expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 1e-3 and encode([]).shape == (0, 512)
    described = encode.description
    assert (described["extractor"], described["model_type"], described["dim"]) == ("timm", "resnet10t", 512)
    assert described["processor"]["input_size"] == [3, 64, 64] and described["files"].keys() == {
        "config.json",
        "model.safetensors",
    }
    json.dumps(described)
    metadata = {"features": {"image": described}}
    np.testing.assert_allclose(extractor(metadata, "image", folder)(pictures()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused(timm, folder):
    def refused():
        with pytest.raises(ValueError) as caught:
            timm_image_encoder(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(str(folder))

    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    safetensors.numpy.save_file(weights | {"more.weight": np.ones(3, np.float32)}, folder / "model.safetensors")
    assert refused() == ": its weights have more.weight, which its model does not have"
    lacking = {name: value for name, value in weights.items() if name != "layer4.0.bn2.bias"}
    safetensors.numpy.save_file(lacking, folder / "model.safetensors")
    assert refused() == ": its weights lack layer4.0.bn2.bias"
    safetensors.numpy.save_file(weights | {"layer4.0.bn2.bias": np.ones(3, np.float32)}, folder / "model.safetensors")
    assert refused() == ": expected layer4.0.bn2.bias of shape (512,), found (3,)"
    (folder / "config.json").write_text('{"architecture": "no_such_net"}')
    assert refused().startswith(": its model cannot be made: ")


def test_folders_that_lack_a_file_are_refused_before_anything_is_imported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    for expected in (r" lacks config\.json$", r" lacks model\.safetensors; pytorch_model\.bin is a pickle, "):
        with pytest.raises(ValueError, match=expected):
            timm_image_encoder(tmp_path)
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    (tmp_path / "model.safetensors").write_bytes(b"")
    pytest.importorskip("PIL.Image", reason="it is imported first")
    with pytest.raises(
        ImportError, match=r"^an encoder of timm: .*(timm|torch).*: pip install 'gpldan_jax\[timm\]' \("
    ):
        timm_image_encoder(tmp_path)
