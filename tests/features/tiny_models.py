"""Tiny models with random weights in folders, as the libraries save them, for tests of encoders."""

import json

import numpy as np

WORDS = ["a", "red", "heart", "black", "cat", *(f"w{index}" for index in range(40))]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
POSITIONS = 12
TEXTS = ["a red heart", "RED cat", "", "w1 w2 w3 w4 w5 w6 w7", "an unknown word"]
LONG = "w1 " * 30
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
SHAPES = ((40, 50), (3, 3), (1, 1), (64, 20), (33, 200))
SIDE = 32


def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*shape, 3), np.uint8) for shape in SHAPES]


def write_tokenizer(path):
    """Words between <s> and </s>."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.save(str(path / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(json.dumps(names))


def write_transformers(path, kind):
    """A model of `transformers` of this type, with its processor and, for one of two towers, a tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    seen = {**LAYERS, "image_size": SIDE, "patch_size": 8}
    read = {**LAYERS, "vocab_size": 60, "max_position_embeddings": POSITIONS}
    read |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    square, shorter = {"height": SIDE, "width": SIDE}, {"shortest_edge": SIDE}
    cropped = {"size": shorter, "crop_size": square}
    config, processor = {
        "clip": ({"text_config": read, "vision_config": seen, "projection_dim": 16}, cropped),
        "siglip": ({"text_config": {**read, "projection_size": 32}, "vision_config": seen}, {"size": square}),
        "siglip2": (
            {
                "text_config": {**read, "projection_size": 32},
                "vision_config": {**LAYERS, "patch_size": 8, "num_patches": 16},
            },
            {"patch_size": 8, "max_num_patches": 16},
        ),
        "dinov2": (seen, cropped),
        "dinov3_vit": ({**seen, "num_register_tokens": 2}, {"size": square}),
        "vit": (seen, {"size": square}),
    }[kind]
    names = {"dinov2": "BitImageProcessor", "dinov3_vit": "DINOv3ViTImageProcessorFast", "vit": "ViTImageProcessor"}
    names |= {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor", "siglip2": "Siglip2ImageProcessor"}
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **config))
    with torch.no_grad():  # as drawn, the layers hardly matter
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=0.3)
    model.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": names[kind], **processor}))
    if "text_config" in config:
        write_tokenizer(path)
    return path
