"""Features of pictures by the models of `timm`, from a folder as `timm` saves one.

Letters: `n` pictures, `d` features.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._extras import failing_as, needed_for
from gpldan_jax.features.image_encoders import ImageEncoder
from gpldan_jax.features.model_folders import hash_files, load_tensors, read_tensors, weight_files
from gpldan_jax.features.torch_encoders import check_torchvision, find_device, run, run_in_batches, stack

_WEIGHTS = "model.safetensors"


def timm_image_encoder(path: str | os.PathLike, *, batch: int = 32) -> ImageEncoder:
    """Returns the image encoder of a folder with `config.json` and `model.safetensors`, as `timm` saves them.

    The features are what the model gives its classifier, `num_classes=0` of `timm.create_model`. Pictures go through
    the transform that `timm.data.resolve_data_config` finds in the config. Nothing else is read, no code of the folder
    is run, and the model computes in float32, without dropout, on a GPU where PyTorch finds one. The features are not
    scaled to unit length.

    Args:
        path: the folder.
        batch: how many pictures the model takes at once.

    Returns:
        An encoder with features float32 `[n, d]`.

    Raises:
        ValueError: no such folder, one that lacks a file, a damaged file, an architecture that `timm` does not know, or
            weights that lack a layer or do not fit. The message names the folder.
        ImportError: `timm`, or `torchvision`, which it needs, is missing.

    Example:
        >>> timm_image_encoder("no/such/directory")
        Traceback (most recent call last):
        ValueError: no/such/directory: expected the directory of an encoder, found none

    References:
        R. Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models.
    """
    path = Path(path)
    weights = weight_files(path, [(_WEIGHTS,)])
    with needed_for("an encoder of timm", "timm"):
        import PIL.Image
        import torch

    check_torchvision("an encoder of timm")
    with needed_for("an encoder of timm", "timm"):
        import timm
        import torchvision
    with failing_as(f"{path}: its model cannot be made"):
        architecture = str(json.loads((path / "config.json").read_bytes())["architecture"])
        model = timm.create_model(f"local-dir:{path}", pretrained=False, num_classes=0)
        settings = timm.data.resolve_data_config({}, model=model)
        transform = timm.data.create_transform(**settings, is_training=False)
    load_tensors(path, model, _without_classifier(read_tensors(weights), model.pretrained_cfg))
    device, device_name = find_device()
    model = model.eval().to(device)

    def prepare(picture: np.ndarray) -> dict[str, np.ndarray]:
        return {"x": transform(PIL.Image.fromarray(picture)).numpy()}

    def encode(prepared: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        return run_in_batches(model, prepared, batch=batch, device=device, dim=dim)

    with failing_as(f"{path}: its model, {architecture}, does not give features"):
        _, dim = run(model, stack([prepare(np.zeros((64, 48, 3), np.uint8))]), device).shape
    described = {
        "extractor": "timm",
        "model_type": architecture,
        "feature": "before_classifier",
        "files": hash_files(path, ["config.json", _WEIGHTS]),
        "processor": json.loads(json.dumps(settings, default=str)),
        "dim": dim,
        "device": device_name,
        "versions": {
            "timm": timm.__version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
        },
    }
    return ImageEncoder(encode, prepare, described)


def _without_classifier(tensors: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    classifiers = config.get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ([classifiers] if isinstance(classifiers, str) else classifiers))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}
