"""Model folders as Hugging Face's `transformers` saves them: files, configs and weights, without network or code.

Nothing here runs code of the folder. Weights are read with `read_state_dict`, never by `transformers` itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax._extras import failing_as, needed_for
from gpldan_jax._files import sha256_of
from gpldan_jax.features.weights import conversion, read_state_dict

VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
TOKENIZER = (*VOCABULARIES, "added_tokens.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLE = "pytorch_model.bin"
_PICKLES = (PICKLE, "open_clip_pytorch_model.bin")
TRUSTED = {"local_files_only": True, "trust_remote_code": False}
"""What every `from_pretrained` of this package is called with."""


def weight_files(path: Path, needed: Sequence[Sequence[str]], *, config: str = "config.json") -> list[Path]:
    """Returns the files of the weights, an index first.

    Args:
        path: the folder.
        needed: groups of file names; the folder must have a file of each group. The last group is that of the weights.
        config: a file that the folder must have too.

    Returns:
        The files.

    Raises:
        ValueError: no such folder, or any file that is needed is missing.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: expected the directory of an encoder, found none")
    for names in ((config,), *needed):
        if any((path / name).is_file() for name in names):
            continue
        pickles = [path / name for name in _PICKLES if (path / name).is_file()]
        if names is needed[-1] and pickles:
            raise ValueError(
                f"{path} lacks {' or '.join(names)}; {pickles[0].name} is a pickle, which could run code, and is not "
                f"read; this makes a file that is: {conversion(pickles[0], path / names[0])}"
            )
        raise ValueError(f"{path} lacks {' or '.join(names)}")
    weights = next(path / name for name in needed[-1] if (path / name).is_file())
    if weights.suffix != ".json":
        return [weights]
    with failing_as(f"{weights} cannot be read"):
        shards = sorted({os.fspath(name) for name in json.loads(weights.read_bytes())["weight_map"].values()})
    for name in shards:
        if Path(name).name != name or not (path / name).is_file():
            raise ValueError(f"{path} lacks {name!r}, which {weights.name} names")
    return [weights, *(path / name for name in shards)]


def hash_files(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Returns the SHA-256 of each of these files that the folder has, by name, in the order of the names."""
    return {name: sha256_of(path / name) for name in sorted(set(names)) if (path / name).is_file()}


def read_config(path: Path) -> Any:
    """Returns the config of a folder, of `transformers`; `ValueError` where it cannot be read."""
    import transformers

    with failing_as(f"{path}/config.json cannot be read"):
        return transformers.AutoConfig.from_pretrained(path, **TRUSTED)


def read_model(path: Path, config: Any, weights: Sequence[Path]) -> tuple[Any, bool]:
    """Reads a model of `transformers` with its weights.

    Args:
        path: the folder, for messages.
        config: of the folder.
        weights: of `weight_files`.

    Returns:
        The model in float32, without dropout, and whether its pooler has weights. `transformers` draws missing weights
        at random, so a pooler without weights must not be used.

    Raises:
        ValueError: a weight is missing, except those of a pooler, or has another shape.
    """
    import torch
    import transformers

    tensors = read_tensors(weights)
    with failing_as(f"{path}: its model cannot be made"):
        with torch.device("meta"):
            model_class = type(transformers.AutoModel.from_config(config, trust_remote_code=False))
        model, found = model_class.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    order = list(model.state_dict())
    missing = [name for name in found["missing_keys"] if name.split(".")[0] != "pooler"]
    if missing:
        raise ValueError(f"{path}: its weights lack {min(missing, key=order.index)}")
    if found["mismatched_keys"]:
        name, shape, expected = min(found["mismatched_keys"], key=lambda key: order.index(key[0]))
        raise ValueError(f"{path}: expected {name} of shape {tuple(expected)}, found {tuple(shape)}")
    return model.eval(), not found["missing_keys"]


@contextlib.contextmanager
def quiet(purpose: str, extra: str) -> Iterator[None]:
    """Keeps progress bars, advice and warnings of `transformers` from the terminal.

    Args:
        purpose: what needs `transformers`, for the message where it is too old.
        extra: the extra of this package that installs it.

    Yields:
        Nothing; the library is called inside.
    """
    with needed_for(purpose, extra):  # transformers before 5.4 has none
        from transformers.utils.logging import set_tqdm_hook

    logger = logging.getLogger("transformers")
    level, hook = logger.level, set_tqdm_hook(lambda bar, args, settings: bar(*args, **{**settings, "disable": True}))
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        set_tqdm_hook(hook)


def read_tensors(weights: Sequence[Path]) -> dict[str, Any]:
    """Returns the tensors of files of weights, by name; an index among them is passed over."""
    import torch

    tensors: dict[str, Any] = {}
    for file in weights:
        if file.suffix == ".json":
            continue
        try:
            arrays = read_state_dict(file)
        except OSError as error:
            raise ValueError(f"{file} cannot be read: {error.strerror}") from None
        # Copies: a model on top of a mapped file would change with the file.
        tensors |= {name: torch.from_numpy(arrays.pop(name).copy()) for name in list(arrays)}
    return tensors


def load_tensors(path: Path, model: Any, tensors: Mapping[str, Any]) -> None:
    """Puts tensors into a model of PyTorch; `ValueError` where one is missing, left over or of another shape."""
    expected = model.state_dict()
    for name, value in expected.items():
        if name not in tensors:
            raise ValueError(f"{path}: its weights lack {name}")
        if tensors[name].shape != value.shape:
            raise ValueError(
                f"{path}: expected {name} of shape {tuple(value.shape)}, found {tuple(tensors[name].shape)}"
            )
    if others := sorted(set(tensors) - set(expected)):
        raise ValueError(f"{path}: its weights have {others[0]}, which its model does not have")
    model.load_state_dict(tensors)
