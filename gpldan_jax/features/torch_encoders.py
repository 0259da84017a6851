"""What the encoders that run in PyTorch share: the device, batches, and the text encoder of a model of two towers.

Letters: `n` items, `d` features.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpldan_jax._extras import short_reason
from gpldan_jax.features.sentence_encoder import check_unicode

IMAGE_FEATURES, TEXT_FEATURES = "image_features", "text_features"
"""What manifests call the embedding in which pictures and texts can be compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextTower:
    """The text encoder of a model of two towers; calling it encodes texts, in any number of threads.

    Attributes:
        tokenize: takes `n` strings, returns tensors by name; longer texts are cut.
        are_long: takes `n` strings, returns for each whether `tokenize` cuts it.
        apply: takes these tensors, returns a tensor `[n, d]`.
        device: where the model is.
        batch: how many texts the model takes at once.
        dim: `d`.
        description: how the features are made, JSON values.
    """

    tokenize: Callable[[list[str]], Mapping[str, Any]] = dataclasses.field(repr=False)
    are_long: Callable[[list[str]], Sequence[bool]] = dataclasses.field(repr=False)
    apply: Callable[..., Any] = dataclasses.field(repr=False)
    device: str
    batch: int
    dim: int
    description: Mapping[str, Any] = dataclasses.field(repr=False)
    _lock: Any = dataclasses.field(repr=False, default_factory=threading.Lock)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the features of texts; of a text that is too long, only the beginning counts.

        Args:
            texts: `n` strings.

        Returns:
            float32 `[n, d]`.

        Raises:
            TypeError: a text that is not a string.
            ValueError: a text that is not valid Unicode.
        """
        texts, found = check_unicode(texts), [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(texts), self.batch):
            with self._lock:  # a tokenizer keeps the settings of the last call
                tokens = self.tokenize(list(texts[start : start + self.batch]))
            found.append(run(self.apply, tokens, self.device))
        return np.concatenate(found)

    def too_long(self, texts: Sequence[str]) -> np.ndarray:
        """Returns which texts have more tokens than the model takes, so that their end does not count.

        Args:
            texts: `n` strings.

        Returns:
            bool `[n]`.

        Raises:
            TypeError: a text that is not a string.
            ValueError: a text that is not valid Unicode.
        """
        texts = list(check_unicode(texts))
        with self._lock:
            return np.array(self.are_long(texts) if texts else [], bool)


def check_torchvision(purpose: str) -> None:
    """Checks that torchvision, if it is installed, can be imported.

    A torchvision that was built for another PyTorch fails with an error that does not name the cause, and everything
    that imports it fails too.

    Args:
        purpose: what may need torchvision, for the message.

    Raises:
        ImportError: torchvision was built for another PyTorch.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        import torch

        raise ImportError(
            f"{purpose}: torchvision does not work with torch {torch.__version__} ({short_reason(error)}); install the "
            "torchvision that belongs to this torch, or none where it is not needed",
            name="torchvision",
        ) from None


def find_device() -> tuple[str, str]:
    """Returns the device that PyTorch computes on, a GPU where it finds one, and the name of that device."""
    import torch

    return ("cuda", torch.cuda.get_device_name()) if torch.cuda.is_available() else ("cpu", "cpu")


def run(apply: Callable[..., Any], inputs: Mapping[str, Any], device: str) -> np.ndarray:
    """Returns what a model makes of tensors, float32 `[n, d]`, without gradients.

    Args:
        apply: takes the tensors on the device, returns a tensor `[n, d]`.
        inputs: tensors, or arrays, by name.
        device: of the model.

    Returns:
        The features.

    Raises:
        ValueError: `apply` returned something else than a tensor `[n, d]`.
    """
    import torch

    with torch.inference_mode():
        features = apply(**{name: torch.as_tensor(value).to(device) for name, value in inputs.items()})
        if getattr(features, "ndim", None) != 2:
            shape = f"a tensor {list(features.shape)}" if hasattr(features, "shape") else type(features).__name__
            raise ValueError(f"expected features [n, d], found {shape}")
        return features.float().cpu().numpy()


def run_in_batches(
    apply: Callable[..., Any], prepared: Sequence[Mapping[str, np.ndarray]], *, batch: int, device: str, dim: int
) -> np.ndarray:
    """Returns what a model makes of prepared pictures, float32 `[n, d]`.

    Args:
        apply: as for `run`.
        prepared: the arrays of each of `n` pictures by name.
        batch: how many pictures the model takes at once.
        device: of the model.
        dim: `d`.

    Returns:
        The features.
    """
    parts = (stack(part) for part in _batches(prepared, batch))
    return np.concatenate([np.zeros((0, dim), np.float32), *(run(apply, part, device) for part in parts)])


def stack(prepared: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the arrays of several pictures in one array for each name; their first axis is that of the pictures."""
    return {name: np.stack([picture[name] for picture in prepared]) for name in prepared[0]}


def _batches(prepared: Sequence[Mapping[str, np.ndarray]], batch: int) -> Iterator[Sequence[Mapping[str, np.ndarray]]]:
    """At most `batch` pictures at a time, and each alone where they do not have one size."""
    for start in range(0, len(prepared), batch):
        part = prepared[start : start + batch]
        shapes = {tuple((name, value.shape) for name, value in picture.items()) for picture in part}
        yield from [part] if len(shapes) == 1 else [[picture] for picture in part]
