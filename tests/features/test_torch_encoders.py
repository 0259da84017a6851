"""What encoders of PyTorch share: batches, texts in several threads, and a torchvision of another PyTorch."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gpldan_jax.features import timm_image_encoder, transformers_image_encoder
from gpldan_jax.features.torch_encoders import TextTower, run, run_in_batches, stack


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="encoders of PyTorch need torch")


def test_pictures_of_one_size_go_in_batches_and_others_alone(torch):
    seen = []

    def apply(x):
        seen.append(tuple(x.shape))
        return x.sum((1, 2))[:, None]

    def encode(shapes, batch):
        seen.clear()
        prepared = [{"x": np.full(shape, row, np.float32)} for row, shape in enumerate(shapes)]
        return run_in_batches(apply, prepared, batch=batch, device="cpu", dim=1).ravel().tolist()

    assert encode([(2, 2)] * 5, 2) == [0, 4, 8, 12, 16] and seen == [(2, 2, 2), (2, 2, 2), (1, 2, 2)]
    assert encode([(2, 2), (2, 3), (1, 1)], 2) == [0, 6, 2] and seen == [(1, 2, 2), (1, 2, 3), (1, 1, 1)]
    assert run_in_batches(apply, [], batch=2, device="cpu", dim=7).shape == (0, 7)
    assert stack([{"a": np.ones(3)}, {"a": np.zeros(3)}])["a"].shape == (2, 3)


def test_what_is_no_table_of_features_is_refused(torch):
    with pytest.raises(ValueError, match=r"expected features \[n, d\], found a tensor \[2, 3, 4\]"):
        run(lambda x: x, {"x": np.ones((2, 3, 4))}, "cpu")
    with pytest.raises(ValueError, match=r"expected features \[n, d\], found NoneType"):
        run(lambda x: None, {"x": np.ones((2, 3, 4))}, "cpu")
    assert run(lambda x: x, {"x": np.ones((2, 3), np.float16)}, "cpu").dtype == np.float32


def test_a_tokenizer_is_used_by_one_thread_at_a_time(torch):
    users = 0

    def tokenize(texts):
        nonlocal users
        users += 1
        assert users == 1
        lengths = torch.tensor([[float(len(text))] for text in texts])
        users -= 1
        return {"lengths": lengths}

    tower = TextTower(
        tokenize, lambda texts: [len(text) > 3 for text in texts], lambda lengths: lengths, "cpu", 2, 1, {}
    )
    texts = ["a", "four", "abc"] * 20
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(tower, [texts] * 40):
            assert found.ravel().tolist() == [1, 4, 3] * 20
    assert tower.too_long(texts[:3]).tolist() == [False, True, False]


@pytest.mark.parametrize("build", [timm_image_encoder, transformers_image_encoder])
def test_a_torchvision_of_another_torch_is_named(torch, tmp_path, monkeypatch, build):
    pytest.importorskip("transformers", reason="it is imported first")
    pytest.importorskip("PIL.Image", reason="images need Pillow")
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    message = (
        r"torchvision does not work with torch 2.* \(operator torchvision::nms does not exist\); install the torch"
    )
    with pytest.raises(ImportError, match=message):
        build(tmp_path)
