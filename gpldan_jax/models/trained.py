"""A trained model as one plain file, without pickles and without this package's own formats."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from gpldan_jax import _files
from gpldan_jax.models.projector import Projector

_HEADER = "gpldan_jax"
_SETTINGS = ("hidden", "width", "parts")


@dataclasses.dataclass(frozen=True, eq=False)
class Standardization:
    """The training means and standard deviations, for use on further features.

    Attributes:
        image_mean, image_std: [d_i] float32; 0 and 1 where images are left as they are.
        text_mean, text_std: [d_t] float32; 0 and 1 where texts are left as they are.
    """

    image_mean: np.ndarray
    image_std: np.ndarray
    text_mean: np.ndarray
    text_std: np.ndarray

    def images(self, features: np.ndarray) -> np.ndarray:
        """Applies the image statistics to [n, d_i] float32 features."""
        return (features - self.image_mean) / self.image_std

    def texts(self, features: np.ndarray) -> np.ndarray:
        """Applies the text statistics to [n, d_t] float32 features."""
        return (features - self.text_mean) / self.text_std


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """What is needed to represent new images and texts.

    Attributes:
        projector: the network.
        parameters: its parameters.
        standardization: how inputs were scaled in training; apply it to new ones first.
        metadata: what else the file says, JSON values: the dataset, the selected epoch, the config, the version, and
            under "features" what made the inputs, see `gpldan_jax.features.extractor`.
    """

    projector: Projector
    parameters: dict
    standardization: Standardization
    metadata: Mapping[str, Any]


def save_model(path: str | os.PathLike, model: TrainedModel) -> None:
    """Writes a safetensors file: `projector/...` and `standardization/...` tensors, the rest as JSON in its header."""
    import safetensors.numpy

    tensors = flax.traverse_util.flatten_dict({"projector": model.parameters}, sep="/")
    for field in dataclasses.fields(Standardization):
        tensors[f"standardization/{field.name}"] = getattr(model.standardization, field.name)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    # One entry: safetensors writes several in random order, and the same run should give the same bytes.
    settings = {name: getattr(model.projector, name) for name in _SETTINGS}
    header = {_HEADER: json.dumps({**model.metadata, "projector": settings}, sort_keys=True)}
    with _files.replacing(path) as temporary:
        # Not `save_file`, whose files only their owner may read.
        temporary.write_bytes(safetensors.numpy.save(tensors, header))


def load_model(path: str | os.PathLike) -> TrainedModel:
    """Reads what `save_model` wrote.

    Raises:
        ValueError: not such a file; the message names it and what is missing or does not fit.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as a safetensors file: {error}") from error
    missing = {f"standardization/{field.name}" for field in dataclasses.fields(Standardization)} - tensors.keys()
    if missing or "projector" not in metadata:
        raise ValueError(f"{path} is no model of gpldan_jax: it lacks {min(missing, default='its projector settings')}")
    nested = flax.traverse_util.unflatten_dict(tensors, sep="/")
    try:
        settings = metadata.pop("projector")
        model = TrainedModel(
            projector=Projector(**{name: int(settings[name]) for name in _SETTINGS}),
            parameters=nested["projector"],
            standardization=Standardization(**nested["standardization"]),
            metadata=metadata,
        )
        _check_shapes(model)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole model of gpldan_jax: {type(error).__name__} {error}") from error
    return model


def _check_shapes(model):
    """`ValueError` naming the first tensor that is not of the shape that the projector and the inputs need."""
    widths = {}
    for modality in ("image", "text"):
        mean, std = (getattr(model.standardization, f"{modality}_{of}") for of in ("mean", "std"))
        if mean.ndim != 1 or mean.shape != std.shape:
            raise ValueError(f"standardization/{modality}_std is of shape {std.shape}, the mean of {mean.shape}")
        widths[modality] = len(mean)
    inputs = (jax.ShapeDtypeStruct((1, width), np.float32) for width in widths.values())
    expected = jax.eval_shape(model.projector.init, jax.random.key(0), *inputs)["params"]
    expected, found = (flax.traverse_util.flatten_dict(of, sep="/") for of in (expected, model.parameters))
    for name in sorted(expected.keys() | found.keys()):
        shapes = [getattr(of.get(name), "shape", None) for of in (expected, found)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"projector/{name} must be of shape {shapes[0]}, got {shapes[1]}")
