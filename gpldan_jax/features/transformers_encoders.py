"""Features of pictures and texts by the models that Hugging Face's `transformers` reads from a folder.

CLIP, SigLIP and others of two towers give the embedding in which pictures and texts can be compared; ViT, DINOv2 and
DINOv3 give features of pictures; encoders of BERT's type features of texts, see `sentence_encoder`.

Letters: `n` items, `d` features, `h` x `w` pixels.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._extras import failing_as, needed_for
from gpldan_jax.features.image_encoders import ImageEncoder
from gpldan_jax.features.model_folders import (
    SAFETENSORS,
    TOKENIZER,
    TRUSTED,
    VOCABULARIES,
    hash_files,
    quiet,
    read_config,
    read_model,
    weight_files,
)
from gpldan_jax.features.sentence_encoder import SentenceEncoder, sentence_encoder
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

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_PURPOSE, _EXTRA = "an encoder of transformers", "transformers"


def transformers_image_encoder(path: str | os.PathLike, *, batch: int = 32) -> ImageEncoder:
    """Returns the image encoder of a folder.

        encode = transformers_image_encoder("clip-vit-base-patch32")
        features = encode([encode.prepare(picture) for picture in pictures])  # float32 [n, 512]

    Only files of the folder are read, and none of them can run code: `config.json`, the settings of the image processor
    and weights in safetensors. Pictures go through that processor, as it works with Pillow and NumPy: with torchvision
    it rounds otherwise, and features should be the same on every machine. Only where the library has no such processor
    (DINOv3), that of torchvision is used. The model computes in float32, without dropout, on a GPU where PyTorch finds
    one.

    The features are the first of these that the model has, and `description["feature"]` names it:

    - "image_features": the projected embedding, `get_image_features` (CLIP, SigLIP, SigLIP 2);
    - "cls_token": the last hidden state of the token that stands for the whole picture (ViT, DINOv2, DINOv3). The
      pooler that ViT may have after it was trained for classification, and is not used;
    - "pooler_output": what the library calls so, if it has trained weights (towers of pictures alone).

    They are not scaled to unit length.

    Args:
        path: the folder.
        batch: how many pictures the model takes at once.

    Returns:
        An encoder with features float32 `[n, d]`.

    Raises:
        ValueError: no such folder, one that lacks a file, a damaged file, weights that lack a layer or do not fit,
            weights in a pickle alone, or a model that does not take pictures. The message names the folder.
        ImportError: `transformers`, `torch` or Pillow is missing or too old.

    Example:
        >>> transformers_image_encoder("no/such/directory")
        Traceback (most recent call last):
        ValueError: no/such/directory: expected the directory of an encoder, found none

    References:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
        X. Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023.
        M. Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023.
    """
    path = Path(path)
    weights = weight_files(path, [_PROCESSORS, SAFETENSORS])
    _import_libraries()
    with quiet(_PURPOSE, _EXTRA):
        config = read_config(path)
        processor = _read_processor(path)
        model, pooled = read_model(path, config, weights)
        feature = _image_feature(path, model, pooled)
        device, device_name = find_device()
        model = model.to(device)

        def prepare(picture: np.ndarray) -> dict[str, np.ndarray]:
            from PIL import Image

            made = processor(images=[Image.fromarray(picture)], return_tensors="pt")  # all processors can make these
            return {name: value[0].numpy() for name, value in made.items()}

        def apply(**inputs: Any) -> Any:
            if feature == IMAGE_FEATURES:
                return _pooled(model.get_image_features(**inputs))
            outputs = model(**inputs, return_dict=True)
            return outputs.last_hidden_state[:, 0] if feature == "cls_token" else outputs.pooler_output

        def encode(prepared: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
            return run_in_batches(apply, prepared, batch=batch, device=device, dim=dim)

        with failing_as(f"{path}: its model, of type {config.model_type}, does not take pictures"):
            _, dim = run(apply, stack([prepare(np.zeros((64, 48, 3), np.uint8))]), device).shape
    files = hash_files(path, ["config.json", *_PROCESSORS, *(file.name for file in weights)])
    processed = {"backend": processor.backend, **json.loads(processor.to_json_string())}
    described = _describe(config, feature, files, dim, device_name)
    if processor.backend == "torchvision":
        described["versions"]["torchvision"] = importlib.metadata.version("torchvision")
    return ImageEncoder(encode, prepare, {**described, "processor": processed})


def transformers_text_encoder(
    path: str | os.PathLike, *, pooling: str = "mean", long_texts: str = "windows", batch: int = 32
) -> TextTower | SentenceEncoder:
    """Returns the text encoder of a folder.

    The features of a model of two towers, such as CLIP or SigLIP, are its projected embedding, `get_text_features`, and
    `description["feature"]` is "text_features". The tokenizer is that of the folder. A text of more tokens than the
    model takes is cut; for SigLIP, a shorter one is filled up, as it was trained. Everything else is as
    `transformers_image_encoder` says. All other models go to `sentence_encoder`, with weights in safetensors only.

    Args:
        path: the folder.
        pooling: for `sentence_encoder`.
        long_texts: for `sentence_encoder`.
        batch: how many texts the model takes at once.

    Returns:
        An encoder with features float32 `[n, d]`, not scaled to unit length.

    Raises:
        ValueError: as `transformers_image_encoder`, or `pooling` or `long_texts` for a model of two towers.
        ImportError: `transformers` or `torch` is missing or too old.

    Example:
        >>> transformers_text_encoder("no/such/directory")
        Traceback (most recent call last):
        ValueError: no/such/directory: expected the directory of an encoder, found none
    """
    path = Path(path)
    weights = weight_files(path, [VOCABULARIES, SAFETENSORS])
    _import_libraries()
    with quiet(_PURPOSE, _EXTRA):
        config = read_config(path)
        if not _has_two_towers(path, config):
            return sentence_encoder(path, pooling, long_texts, batch)
        if (pooling, long_texts) != ("mean", "windows"):
            raise ValueError(
                f"pooling and long_texts are for encoders of BERT's type; {path} has a model of type "
                f"{config.model_type}, which has a pooling of its own and cuts long texts"
            )
        tokenizer = _read_tokenizer(path, config)
        model, _ = read_model(path, config, weights)
        device, device_name = find_device()
        model = model.to(device)
        limits = [getattr(config.text_config, "max_position_embeddings", None), tokenizer.model_max_length]
        max_tokens = min(limit for limit in limits if limit is not None)
        # SigLIP was trained with texts that are filled up; it has no mask for what fills them.
        padding = "max_length" if config.model_type.startswith("siglip") else "longest"

        def tokenize(texts: list[str]) -> Mapping[str, Any]:
            return tokenizer(texts, padding=padding, truncation=True, max_length=max_tokens, return_tensors="pt")

        def are_long(texts: list[str]) -> list[bool]:
            tokens = tokenizer(texts, padding=False, truncation=False, verbose=False)["input_ids"]
            return [len(of_text) > max_tokens for of_text in tokens]

        def apply(**tokens: Any) -> Any:
            return _pooled(model.get_text_features(**tokens))

        with failing_as(f"{path}: its model, of type {config.model_type}, does not take texts"):
            _, dim = run(apply, tokenize(["a"]), device).shape
    files = hash_files(path, ["config.json", *TOKENIZER, *(file.name for file in weights)])
    described = _describe(config, TEXT_FEATURES, files, dim, device_name) | {"max_tokens": max_tokens}
    return TextTower(tokenize, are_long, apply, device, batch, dim, described)


def _import_libraries():
    with needed_for(_PURPOSE, _EXTRA):
        import PIL.Image  # noqa: F401
        import torch  # noqa: F401, before transformers, which would complain
        import transformers  # noqa: F401
    check_torchvision(_PURPOSE)  # transformers imports it where it is installed


def _read_processor(path: Path) -> Any:
    import transformers

    try:
        with failing_as(f"{path}: its image processor cannot be read"):
            return transformers.AutoImageProcessor.from_pretrained(path, backend="pil", **TRUSTED)
    except ValueError as error:
        if transformers.utils.is_torchvision_available() or "torchvision" not in str(error.__cause__).lower():
            raise
        raise ImportError(
            f"{path}: in transformers {transformers.__version__}, its image processor needs torchvision: "
            "pip install torchvision",
            name="torchvision",
        ) from None


def _read_tokenizer(path: Path, config: Any) -> Any:
    import transformers

    with failing_as(f"{path}: its tokenizer cannot be read"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, config=config, **TRUSTED)
        found, expected = max(tokenizer.get_vocab().values()) + 1, config.text_config.vocab_size
    if found > expected:
        raise ValueError(f"{path}: expected a tokenizer of the model's {expected} tokens, found one of {found}")
    return tokenizer


def _has_two_towers(path: Path, config: Any) -> bool:
    import transformers

    with failing_as(f"{path}: a model of type {config.model_type} cannot be made"):
        model = transformers.AutoModel._model_mapping[type(config)]
    return "text_config" in config.sub_configs and hasattr(model, "get_text_features")


def _image_feature(path: Path, model: Any, pooled: bool) -> str:
    if hasattr(model, "get_image_features"):
        return IMAGE_FEATURES
    if any(name.endswith("cls_token") for name, _ in model.named_parameters()):
        return "cls_token"
    if not pooled:
        raise ValueError(
            f"{path}: its weights lack those of the pooler, and a model of type {model.config.model_type} has no token "
            "that stands for the whole picture; for that, write a function of a list of pictures"
        )
    return "pooler_output"


def _describe(config, feature, files, dim, device) -> dict[str, Any]:
    import torch
    import transformers

    return {
        "extractor": "transformers",
        "model_type": config.model_type,
        "feature": feature,
        "files": files,
        "dim": dim,
        "device": device,
        "versions": {"transformers": transformers.__version__, "torch": str(torch.__version__)},
    }


def _pooled(output: Any) -> Any:
    """The embedding `[n, d]`, which `transformers` 5 returns among other things."""
    return output if hasattr(output, "shape") else output.pooler_output
