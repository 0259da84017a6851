"""Features of pictures and texts by the models of `open_clip`, from a folder as `open_clip` saves one.

Letters: `n` items, `d` features.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._extras import failing_as, needed_for
from gpldan_jax.features.image_encoders import ImageEncoder
from gpldan_jax.features.model_folders import TOKENIZER, TRUSTED, hash_files, weight_files
from gpldan_jax.features.torch_encoders import (
    IMAGE_FEATURES,
    TEXT_FEATURES,
    TextTower,
    check_torchvision,
    find_device,
    run,
    run_in_batches,
    stack,
)

_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "model.safetensors")


def open_clip_image_encoder(path: str | os.PathLike, *, batch: int = 32) -> ImageEncoder:
    """Returns the image encoder of a folder with `open_clip_config.json` and `open_clip_model.safetensors`.

    The features are the embedding in which pictures and texts can be compared, `encode_image`, not scaled to unit
    length. Pictures go through the transform of the config. Nothing else is read, no code of the folder is run, and the
    model computes in float32, without dropout, on a GPU where PyTorch finds one.

    Args:
        path: the folder.
        batch: how many pictures the model takes at once.

    Returns:
        An encoder with features float32 `[n, d]`.

    Raises:
        ValueError: no such folder, one that lacks a file, a damaged file, weights that do not fit, or a model whose
            parts lie in other repositories. The message names the folder.
        ImportError: `open_clip`, or `torchvision`, which it needs, is missing.

    Example:
        >>> open_clip_image_encoder("no/such/directory")
        Traceback (most recent call last):
        ValueError: no/such/directory: expected the directory of an encoder, found none

    References:
        M. Cherti et al., "Reproducible Scaling Laws for Contrastive Language-Image Learning", 2023,
        https://github.com/mlfoundations/open_clip.
    """
    path = Path(path)
    model, device, described = _read_model(path)
    import PIL.Image
    from open_clip.transform import PreprocessCfg, image_transform_v2

    settings = model.visual.preprocess_cfg
    with failing_as(f"{path}: the transform of its pictures cannot be made"):
        transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)

    def prepare(picture: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": transform(PIL.Image.fromarray(picture)).numpy()}

    def encode(prepared: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        return run_in_batches(model.encode_image, prepared, batch=batch, device=device, dim=dim)

    with failing_as(f"{path}: its model does not take pictures"):
        _, dim = run(model.encode_image, stack([prepare(np.zeros((64, 48, 3), np.uint8))]), device).shape
    processor = json.loads(json.dumps(dict(settings), default=str))
    return ImageEncoder(
        encode, prepare, {**described, "feature": IMAGE_FEATURES, "dim": int(dim), "processor": processor}
    )


def open_clip_text_encoder(path: str | os.PathLike, *, batch: int = 32) -> TextTower:
    """Returns the text encoder of a folder, as `open_clip_image_encoder` reads one.

    The features are `encode_text`. The tokenizer is that of CLIP, which `open_clip` brings along, or that of the
    folder if the config names one. A text that is too long is cut.

    Args:
        path: the folder.
        batch: how many texts the model takes at once.

    Returns:
        An encoder with features float32 `[n, d]`, not scaled to unit length.

    Raises:
        ValueError: as `open_clip_image_encoder`.
        ImportError: as `open_clip_image_encoder`.

    Example:
        >>> open_clip_text_encoder("no/such/directory")
        Traceback (most recent call last):
        ValueError: no/such/directory: expected the directory of an encoder, found none
    """
    path = Path(path)
    model, device, described = _read_model(path)
    import open_clip

    of_folder = bool(_read_config(path)["text_cfg"].get("hf_tokenizer_name"))
    with _quiet(), failing_as(f"{path}: its tokenizer cannot be read"):
        tokenizer = open_clip.get_tokenizer(f"local-dir:{path}", **(TRUSTED if of_folder else {}))
    inner = getattr(tokenizer, "tokenizer", None)  # of transformers
    padding, last = (inner.pad_token_id, -1 if inner.padding_side == "right" else 0) if inner else (0, -1)

    def are_long(texts: list[str]) -> list[bool]:
        tokens = tokenizer(texts, context_length=tokenizer.context_length + 1)
        return [of_text[last] != padding for of_text in tokens.tolist()]  # no room was left to fill up

    def tokenize(texts: list[str]) -> Mapping[str, Any]:
        return {"text": tokenizer(texts)}

    with failing_as(f"{path}: its model does not take texts"):
        _, dim = run(model.encode_text, tokenize(["a"]), device).shape
    described |= {"feature": TEXT_FEATURES, "dim": int(dim), "max_tokens": int(tokenizer.context_length)}
    return TextTower(tokenize, are_long, model.encode_text, device, batch, int(dim), described)


def _read_model(path: Path) -> tuple[Any, str, dict[str, Any]]:
    """The model with its weights, its device, and what both encoders say of it."""
    (weights,) = weight_files(path, [_WEIGHTS], config=_CONFIG)
    with needed_for("an encoder of open_clip", "open_clip"):
        import torch
    check_torchvision("an encoder of open_clip")
    with needed_for("an encoder of open_clip", "open_clip"):
        import open_clip
        import torchvision
    config = _read_config(path)
    with _quiet(), failing_as(f"{path}: its model cannot be made"):
        model = open_clip.create_model(f"local-dir:{path}", load_weights=False, pretrained_text=False)
        open_clip.load_checkpoint(model, str(weights), strict=True)
    device, device_name = find_device()
    described = {
        "extractor": "open_clip",
        "model_type": "CoCa" if "multimodal_cfg" in config else "CLIP",
        "files": hash_files(path, [_CONFIG, weights.name, *TOKENIZER]),
        "device": device_name,
        "versions": {
            "open_clip": open_clip.__version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
        },
    }
    return model.eval().to(device), device, described


def _read_config(path: Path) -> dict[str, Any]:
    with failing_as(f"{path}/{_CONFIG} cannot be read"):
        config = json.loads((path / _CONFIG).read_bytes())["model_cfg"]
        elsewhere = config["text_cfg"].get("hf_model_name")
    if elsewhere:
        raise ValueError(
            f"{path}: its texts go through {elsewhere!r}, a model that lies elsewhere and would be downloaded; for "
            "that, write a function of a list of strings"
        )
    return config


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the log of `open_clip` from the terminal; it would also set up logging for the whole program."""
    root, handler, disabled = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.removeHandler(handler)
