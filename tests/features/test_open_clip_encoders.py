"""Encoders of open_clip: against the library called directly, and folders that do not fit."""

import json
import logging
import sys

import numpy as np
import pytest

from gpldan_jax.features import extractor, open_clip_image_encoder, open_clip_text_encoder
from tests.features.tiny_models import pictures

FLOAT32 = 1e-6  # relative to the largest feature: the size of a batch changes the order of sums
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
TEXTS = ["a red heart", "", "a !!!", "one two three four five six seven eight nine ten"]
LONG = "one two three four five six seven eight nine ten eleven"


@pytest.fixture(scope="module")
def open_clip():
    pytest.importorskip("PIL.Image", reason="images need Pillow")
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        pytest.skip(f"encoders of open_clip need open_clip and torchvision: {error}")
    return open_clip


@pytest.fixture(scope="module")
def folder(open_clip, tmp_path_factory):
    import safetensors.torch
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("open clip")
    config = {"model_cfg": MODEL, "preprocess_cfg": {"mean": [0.5, 0.4, 0.5], "std": [0.5, 0.5, 0.5]}}
    (path / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.CLIP(**json.loads(json.dumps(MODEL)))
    safetensors.torch.save_file(model.state_dict(), path / "open_clip_model.safetensors")
    return path


def check_close(found, expected):
    expected = expected.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
    assert found.dtype == np.float32 and np.ptp(expected, axis=0).max() > 1e-3


@pytest.mark.slow
def test_features_are_those_of_the_library(open_clip, folder, capfd):
    import PIL.Image
    import torch

    handlers = list(logging.getLogger().handlers)
    image, text = open_clip_image_encoder(folder, batch=2), open_clip_text_encoder(folder, batch=2)
    assert logging.getLogger().handlers == handlers and logging.root.manager.disable == logging.NOTSET
    assert capfd.readouterr() == ("", "")
    logging.disable(logging.CRITICAL)  # what the library says
    try:
        model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    finally:
        logging.disable(logging.NOTSET)
    model.eval()
    with torch.no_grad():
        seen = torch.stack([transform(PIL.Image.fromarray(picture)) for picture in pictures()])
        check_close(image([image.prepare(picture) for picture in pictures()]), model.encode_image(seen))
        check_close(text([*TEXTS, LONG]), model.encode_text(tokenizer([*TEXTS, LONG])))
    assert text.too_long([*TEXTS, LONG]).tolist() == [False] * len(TEXTS) + [True]
    for encode, feature in ((image, "image_features"), (text, "text_features")):
        described = encode.description
        assert (described["extractor"], described["feature"], described["dim"]) == ("open_clip", feature, 16)
        assert described["files"].keys() == {"open_clip_config.json", "open_clip_model.safetensors"}
        json.dumps(described)
    metadata = {"features": {"image": image.description, "text": text.description}}
    np.testing.assert_allclose(extractor(metadata, "text", folder)(TEXTS), text(TEXTS), atol=1e-6)
    assert extractor(metadata, "image", folder)(pictures()).shape == (5, 16)


def test_folders_that_do_not_fit_are_refused(open_clip, tmp_path):
    config = tmp_path / "open_clip_config.json"
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"damaged")
    elsewhere = MODEL | {"text_cfg": {"hf_model_name": "someone/roberta"}}
    for content, expected in (
        ({}, "open_clip_config.json cannot be read: "),
        ({"model_cfg": MODEL}, "its model cannot be made: "),
        ({"model_cfg": elsewhere}, "its texts go through 'someone/roberta', a model that lies elsewhere"),
    ):
        config.write_text(json.dumps(content))
        for build in (open_clip_image_encoder, open_clip_text_encoder):
            with pytest.raises(ValueError, match=expected):
                build(tmp_path)


@pytest.mark.parametrize("build", [open_clip_image_encoder, open_clip_text_encoder])
def test_folders_that_lack_a_file_are_refused_before_anything_is_imported(tmp_path, monkeypatch, build):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ValueError, match=r" lacks open_clip_config\.json$"):
        build(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r" lacks open_clip_model\.safetensors or .*; open_clip_pytorch_model\.bin is"):
        build(tmp_path)
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    with pytest.raises(
        ImportError, match=r"^an encoder of open_clip: .*: pip install 'gpldan_jax\[open_clip\]' \(without a"
    ):
        build(tmp_path)
