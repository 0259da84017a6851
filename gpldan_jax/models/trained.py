"""A trained model and its file: plain safetensors, no pickles.

The tensors of a model file are `projector/...`, the parameters; `standardization/...`, the means and standard
deviations of the inputs; and, where the model has a bank, `bank/...`. Its header holds one JSON text: the sizes of the
projector, the two numbers of the bank, the metadata, and the SHA-256 of each tensor and of all that the text says.
"""

import dataclasses
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax import _checksums, _files
from gpldan_jax.models.bank import MODALITIES, Bank, BankSide
from gpldan_jax.models.encoding import encode_rows, retrieval_distances
from gpldan_jax.models.projector import Projector, Representation

MODEL_FILE, CARD_FILE = "model.safetensors", "README.md"
"""The file names of a model and of its card in a folder."""

_HEADER = "gpldan_jax"
_CHECKSUMS = "checksums"
_BLOCK_VALUES = 1 << 20  # that are scaled in float64 at a time
_SETTINGS = ("hidden", "width", "parts")
_BANK_SIDE = tuple(field.name for field in dataclasses.fields(BankSide))


@dataclasses.dataclass(frozen=True, eq=False)
class Standardization:
    """How inputs are scaled: the means and standard deviations of the training split.

    Attributes:
        image_mean: `[d_i]` float32; 0 where images are not scaled. float64 where float32 has too few digits for the
            features: these are scaled before they become float32.
        image_std: `[d_i]`, of the same dtype; 1 where images are not scaled.
        text_mean: `[d_t]`, as `image_mean`.
        text_std: `[d_t]`, as `image_std`.
    """

    image_mean: np.ndarray
    image_std: np.ndarray
    text_mean: np.ndarray
    text_std: np.ndarray

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """The dtype in which features are scaled, under `"image"` and `"text"`."""
        return {"image": self.image_mean.dtype, "text": self.text_mean.dtype}

    def images(self, features: np.ndarray) -> np.ndarray:
        """Returns image features `[n, d_i]`, scaled, float32."""
        return _scaled(features, self.image_mean, self.image_std)

    def texts(self, features: np.ndarray) -> np.ndarray:
        """Returns text features `[n, d_t]`, scaled, float32."""
        return _scaled(features, self.text_mean, self.text_std)


def _scaled(features, mean, std):
    """The one place where features are scaled: in the dtype of the mean, and float32 then."""
    if mean.dtype != np.float64:
        return (np.asarray(features, mean.dtype) - mean) / std
    scaled = np.empty(np.shape(features), np.float32)
    step = max(1, _BLOCK_VALUES // len(mean))
    for start in range(0, len(scaled), step):
        rows = slice(start, start + step)
        scaled[rows] = (features[rows] - mean) / std
    return scaled


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A projector with its parameters, and how its inputs are scaled.

    Attributes:
        projector: the network.
        parameters: its parameters.
        standardization: how inputs were scaled in training; scale new inputs the same way.
        metadata: JSON values: the dataset, the selected epoch, the config, the version, and under "features" which
            extractors made the inputs, see `gpldan_jax.features.extractor`.
        bank: the training pairs by which items are moved, see `gpldan_jax.models.encode`; `None` for none.
    """

    projector: Projector
    parameters: dict
    standardization: Standardization
    metadata: Mapping[str, Any]
    bank: Bank | None = None

    def __repr__(self) -> str:
        """Returns what the model is, in one line, and no arrays."""
        scaling, about = self.standardization, self.metadata
        parts = [
            *([f"trained on {about['dataset']}"] if about.get("dataset") else []),
            *([f"epoch {about['epoch']}"] if about.get("epoch") else []),
            f"{len(scaling.image_mean)} image and {len(scaling.text_mean)} text features",
            f"H = {self.projector.width}, k = {self.projector.parts}",
            *([f"a bank of {len(self.bank.joint)}"] if self.bank is not None else []),
        ]
        return f"<TrainedModel: {', '.join(parts)}>"

    def encode_images(self, images: np.ndarray) -> Representation:
        """Encodes images: scales them, passes them through the network and, where the model has a bank, moves them.

        Args:
            images: `[n, d_i]` array_like of finite real numbers, not scaled, n at least 1. Many go through the network
                in blocks.

        Returns:
            NumPy arrays, float32: `features` `[n, H]`, the same as `parts` `[n, k, h]`, and `attention` `[n, k]`. An
            item has no single vector; `gpldan_jax.models.pooled_vectors` makes one that approximates the distance.

        Raises:
            ValueError: no rows, another number of features than in training, NaN or Inf.

        Example:
            >>> projector = Projector(hidden=8, width=8, parts=2)
            >>> parameters = projector.init(jax.random.key(0), np.ones((1, 3)), np.ones((1, 2)))["params"]
            >>> unscaled = Standardization(np.zeros(3), np.ones(3), np.zeros(2), np.ones(2))
            >>> model = TrainedModel(projector, parameters, unscaled, {})
            >>> model.encode_images(np.ones((5, 3))).parts.shape
            (5, 2, 4)
            >>> model.distances(np.ones((5, 3)), np.ones((4, 2))).shape
            (5, 4)
        """
        return self._encode(images, "image")

    def encode_texts(self, texts: np.ndarray) -> Representation:
        """Encodes texts, as `encode_images` encodes images.

        Args:
            texts: `[n, d_t]` array_like of finite real numbers, not scaled.

        Returns:
            As `encode_images`.

        Raises:
            ValueError: as in `encode_images`.
        """
        return self._encode(texts, "text")

    def distances(self, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Returns the distances of n images to m texts, a smaller one is a better match; the exact ones, pair by pair.

        Args:
            images: `[n, d_i]` array_like, not scaled.
            texts: `[m, d_t]`.

        Returns:
            `[n, m]` float32, in [0, 2]. Transpose it to rank images for texts.

        Raises:
            ValueError: as in `encode_images`.
        """
        parameters, bank = self.on_device
        inputs = self._scale(images, "image"), self._scale(texts, "text")
        return retrieval_distances(self.projector, parameters, *inputs, bank=bank)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the model to a file, as `save_model` does; `load_model` reads it.

        Args:
            path: of the file, by convention `*.safetensors`.
        """
        save_model(path, self)

    def _encode(self, features, modality):
        parameters, bank = self.on_device
        return encode_rows(self.projector, parameters, self._scale(features, modality), modality, bank)

    def _scale(self, features, modality):
        """The features as the network gets them; `ValueError` where they are none of this model."""
        width = len(getattr(self.standardization, f"{modality}_mean"))
        values = np.asarray(features)
        if values.dtype.kind not in "biuf" or values.ndim != 2 or values.shape[1] != width or not len(values):
            shape, dtype = list(values.shape), values.dtype
            raise ValueError(f"{modality}s must be real numbers [n, {width}] with n of at least 1, got {dtype} {shape}")
        with np.errstate(over="ignore"):  # an overflow is reported below
            scaled = getattr(self.standardization, f"{modality}s")(values)
        finite = np.isfinite(scaled).all(axis=1)
        if not finite.all():
            raise ValueError(f"{modality}s: row {int(finite.argmin())} has NaN, Inf or a number too large for float32")
        return scaled

    @functools.cached_property
    def on_device(self) -> tuple[dict, Bank | None]:
        """The parameters and the bank as float32 arrays of the first device, sent once and not for each query."""
        return jax.tree.map(lambda of: jnp.asarray(of, jnp.float32), (self.parameters, self.bank))


def save_model(path: str | os.PathLike, model: TrainedModel) -> None:
    """Writes a model file, whole or not at all; the same model gives the same bytes.

    Args:
        path: of the file, by convention `*.safetensors`.
        model: the model.

    Example:
        >>> import tempfile
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> parameters = projector.init(jax.random.key(0), np.ones((1, 3)), np.ones((1, 2)))["params"]
        >>> unscaled = Standardization(np.zeros(3), np.ones(3), np.zeros(2), np.ones(2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(f"{folder}/model.safetensors", TrainedModel(projector, parameters, unscaled, {"epoch": 3}))
        ...     load_model(f"{folder}/model.safetensors").metadata
        {'epoch': 3}
    """
    import safetensors.numpy

    # One entry: safetensors writes several in random order, and the same run should give the same bytes.
    settings = {name: getattr(model.projector, name) for name in _SETTINGS}
    about = {**model.metadata, "projector": settings}
    if model.bank is not None:
        about["bank"] = {"neighbours": model.bank.neighbours, "weight": model.bank.weight}
    tensors = model_tensors(model)
    header = {_HEADER: json.dumps(about | {_CHECKSUMS: _checksums_of(tensors, about)}, sort_keys=True)}
    with _files.replacing(path) as temporary:
        # Not `save_file`, whose files only their owner may read.
        temporary.write_bytes(safetensors.numpy.save(tensors, header))


def model_tensors(model: TrainedModel) -> dict[str, np.ndarray]:
    """Returns the arrays of a model by the names that they have in its file.

    Args:
        model: the model.

    Returns:
        `projector/...`, `standardization/...` and, with a bank, `bank/...`.

    Example:
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> parameters = projector.init(jax.random.key(0), np.ones((1, 3)), np.ones((1, 2)))["params"]
        >>> unscaled = Standardization(np.zeros(3), np.ones(3), np.zeros(2), np.ones(2))
        >>> model_tensors(TrainedModel(projector, parameters, unscaled, {}))["projector/shared/kernel"].shape
        (8, 8)
    """
    tensors = flax.traverse_util.flatten_dict({"projector": model.parameters}, sep="/")
    for field in dataclasses.fields(Standardization):
        tensors[f"standardization/{field.name}"] = getattr(model.standardization, field.name)
    if model.bank is not None:
        for name in MODALITIES:
            side = getattr(model.bank, name)
            tensors |= {f"bank/{name}/{of}": getattr(side, of) for of in _BANK_SIDE}
        tensors["bank/joint"] = model.bank.joint
    # Not `ascontiguousarray`, which makes a row of a scalar.
    return {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}


def load_model(path: str | os.PathLike, *, verify: bool = True) -> TrainedModel:
    """Reads a model file and compares what it holds with its checksums.

    A file of a version that wrote none is a warning.

    Args:
        path: of a file that `save_model`, a run or an estimator wrote; or of a folder with a `model.safetensors`, such
            as the workdir of a run.
        verify: whether to compare; False where the whole file has been compared already.

    Returns:
        The model.

    Raises:
        ValueError: not a model file, or a damaged one; the message names the file and what is missing or does not fit.

    Example:
        See `save_model`.
    """
    import safetensors

    if os.path.isdir(path):
        folder, path = path, os.path.join(path, MODEL_FILE)
        if not os.path.exists(path):
            inner = sorted(
                name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name, MODEL_FILE))
            )
            hint = f"; did you mean {os.path.join(folder, inner[0])}?" if inner else ""
            hint = hint or "; a run writes it when it is finished"
            raise ValueError(f"the folder {folder} has no {MODEL_FILE}{hint}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (OSError, ValueError, RecursionError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as a safetensors file: {error}") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{path} is no model of gpldan_jax: its metadata are no JSON object")
    checksums = metadata.pop(_CHECKSUMS, None)
    if verify and checksums is not None:
        _check(path, checksums, tensors, metadata)
    missing = {f"standardization/{field.name}" for field in dataclasses.fields(Standardization)} - tensors.keys()
    if missing or "projector" not in metadata:
        raise ValueError(f"{path} is no model of gpldan_jax: it lacks {min(missing, default='its projector settings')}")
    if verify and checksums is None:
        old = "as files of older versions: whether it is damaged is not known"
        warnings.warn(f"{path} has no checksums, {old}", stacklevel=2)
    nested = flax.traverse_util.unflatten_dict(tensors, sep="/")
    try:
        settings = metadata.pop("projector")
        sizes: dict[str, Any] = {name: int(settings[name]) for name in _SETTINGS}
        model = TrainedModel(
            projector=Projector(**sizes),
            parameters=nested["projector"],
            standardization=Standardization(**nested["standardization"]),
            bank=_bank(nested.get("bank"), metadata.pop("bank", None)),
            metadata=metadata,
        )
        _check_shapes(model)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole model of gpldan_jax: {type(error).__name__} {error}") from error
    return model


def _checksums_of(tensors, about):
    """The SHA-256 of each tensor, and of these and all else that the header says."""
    hashes = {name: _hash(tensor) for name, tensor in sorted(tensors.items())}
    return {"tensors": hashes, "metadata": _checksums.record_digest({"about": about, "tensors": hashes})}


def _hash(tensor):
    digest = hashlib.sha256(f"{tensor.dtype.str} {list(tensor.shape)} ".encode())
    digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def _check(path, checksums, tensors, about):
    """`DamagedError` naming the first thing of a file that is not what was written."""
    found = _checksums_of(tensors, about)
    try:
        names = checksums["tensors"].keys() | tensors.keys()
        wrong = sorted(name for name in names if checksums["tensors"].get(name) != found["tensors"].get(name))
    except (AttributeError, KeyError, TypeError) as error:
        raise _checksums.DamagedError(f"{path} is damaged: its checksums are no table of tensors") from error
    if wrong or checksums.get("metadata") != found["metadata"]:
        what = f"the SHA-256 of its tensor {wrong[0]} differs" if wrong else "the SHA-256 of its metadata differs"
        raise _checksums.DamagedError(f"{path} is damaged: {what}")


def _bank(tensors, numbers):
    """The bank of a file; `None` for none."""
    if tensors is None and numbers is None:
        return None
    if tensors is None or numbers is None:
        raise ValueError("it has a part of a bank of training pairs only")
    sides = {name: BankSide(**tensors[name]) for name in MODALITIES}
    return Bank(**sides, joint=tensors["joint"], neighbours=int(numbers["neighbours"]), weight=float(numbers["weight"]))


def _check_bank(bank, widths, width):
    """`ValueError` naming the first tensor of a bank that does not fit the model, or is not of finite floats."""
    b = len(bank.joint)
    expected = {"joint": (b, width)}
    found = {"joint": bank.joint}
    for name, d in widths.items():
        shapes = {"inputs": (b, d), "center": (d,), "bandwidth": (), "coefficients": (b, width)}
        expected |= {f"{name}/{field}": shape for field, shape in shapes.items()}
        found |= {f"{name}/{field}": getattr(getattr(bank, name), field) for field in shapes}
    for name, shape in expected.items():
        if found[name].shape != shape or found[name].dtype.kind != "f" or not np.isfinite(found[name]).all():
            raise ValueError(f"bank/{name} must be finite floats {list(shape)}, got {list(found[name].shape)}")
    if not 1 <= bank.neighbours <= b:
        raise ValueError(f"the bank's neighbours must be from 1 to {b}, got {bank.neighbours}")


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
    if model.bank is not None:
        _check_bank(model.bank, widths, model.projector.width)
