"""Writes the encoders of a trained model into a folder, and checks what they compute before anybody sees the folder."""

import contextlib
import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpldan_jax import _files, data, models
from gpldan_jax._extras import needed_for
from gpldan_jax.exporting import numpy_encoder, onnx_graphs
from gpldan_jax.exporting.folder_page import folder_page
from gpldan_jax.losses import co_attention_distances
from gpldan_jax.models.bank import MODALITIES
from gpldan_jax.models.trained import CARD_FILE, MODEL_FILE
from gpldan_jax.runs import run_data, workdir

TOLERANCE = 1e-3  # rounding reaches a tenth of it where a bank has a narrow kernel
"""How far the outputs of an export may be from those of the model, relative to magnitudes above 1."""

FORMATS: Mapping[str, tuple[str, ...]] = {
    "numpy": ("encoder.py", "weights.npz"),
    "onnx": ("distances.onnx", "image.onnx", "text.onnx"),
}
"""The files of each form of export, beside its README.md."""

_OUTPUTS = ("representations", "attention", "vectors")
_DRAWN = 128  # rows that an export is checked with, and as many near pairs of the bank
_CLEAR = 1e-5  # cosines that are nearer to each other may be ordered either way
_QUERIES = 500  # of each modality, to measure the recall of the vectors
_NEAREST = 10


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and what was measured.

    Attributes:
        files: the names of the files in the folder.
        differences: the largest absolute difference between the export and the model, by part (`"image"`, `"text"`,
            `"distances"`) and output.
        recall: which share of the ten nearest items a search by `vectors` finds, by the modality of the queries; empty
            where it was not measured.
        pairs: which pairs the recall was measured on.
        no_recall: why it was not measured; empty where it was.
    """

    files: tuple[str, ...]
    differences: Mapping[str, Mapping[str, float]]
    recall: Mapping[str, float]
    pairs: str
    no_recall: str


def export_model(
    place: str | os.PathLike, to: str, out: str | os.PathLike, *, data_path: str | Path | None = None
) -> ExportReport:
    """Writes the encoders of both modalities, with the scaling of their inputs and the bank where the model has one.

    The export is first written beside `out` and compared with the model on drawn inputs. Where the model belongs to a
    run whose data are at hand, the recall of the pooled vectors is measured too.

    Args:
        place: a model file, or a folder with a `model.safetensors`, such as the workdir of a run.
        to: `"onnx"`, or `"numpy"`: arrays and a module that needs NumPy alone.
        out: folder to write; it is new, empty, or holds an earlier export of this form, which is replaced.
        data_path: where the data of the run lie now; `None` looks where they were.

    Returns:
        What was written and measured.

    Raises:
        ImportError: `onnx` or `onnxruntime` is missing.
        ValueError: no model, a folder with other files, data of another run, or an export that computes something else
            than the model; nothing is written then.

    Example:
        >>> import tempfile
        >>> projector = models.Projector(hidden=8, width=8, parts=2)
        >>> parameters = projector.init(jax.random.key(0), np.ones((1, 3)), np.ones((1, 2)))["params"]
        >>> unscaled = models.Standardization(np.zeros(3), np.ones(3), np.zeros(2), np.ones(2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     models.save_model(f"{folder}/m.safetensors", models.TrainedModel(projector, parameters, unscaled, {}))
        ...     export_model(f"{folder}/m.safetensors", "numpy", f"{folder}/out").files
        ('README.md', 'encoder.py', 'weights.npz')
    """
    place, out = Path(place), Path(out)
    write, read = _form(to)
    check_folder(out, to)
    model = models.load_model(place)
    recall, pairs, no_recall = _measure_recall(model, place, data_path)
    with _whole_folder(out) as folder:
        write(model, folder)
        differences = _compare(model, read(folder))
        _files.write_text(folder / CARD_FILE, folder_page(model, to, recall, pairs))
        files = tuple(sorted(path.name for path in folder.iterdir()))
    return ExportReport(files, differences, recall, pairs, no_recall)


def check_folder(out: Path, to: str) -> None:
    """Checks that an export can be written to a folder.

    Args:
        out: the folder; it need not exist.
        to: as in `export_model`.

    Raises:
        ValueError: it is a file, or holds other files than an earlier export of this form.

    Example:
        >>> check_folder(Path("does-not-exist"), "numpy")
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, expected a folder to write: choose another one")
    known = {CARD_FILE, *FORMATS[to]}
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if names and not (set(names) <= known and set(FORMATS[to]) <= set(names)):
        other = next((name for name in names if name not in known), names[0])
        raise ValueError(f"{out} is not empty and holds no earlier export to {to} ({other}): choose another folder")


def _form(to):
    """The function that writes an export, and the one that reads it and returns what computes."""
    forms = {"numpy": (_write_numpy, _read_numpy), "onnx": (_write_onnx, _read_onnx)}
    if to not in forms:
        raise ValueError(f"to must be one of {', '.join(forms)}, got {to!r}")
    if to == "onnx":  # before anything slow
        onnx_graphs.import_onnx()
        _import_runtime()
    return forms[to]


@contextlib.contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Yields a folder beside `out` to write to; its files are in `out` when the block ends, or nowhere if it fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = _files.temporary_beside(out.absolute())
    temporary.mkdir()
    try:
        with _files.naming(out):
            yield temporary
        for path in temporary.iterdir():
            _files.sync(path)
        if out.exists():
            for path in temporary.iterdir():
                os.replace(path, out / path.name)
        else:
            os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_numpy(model, folder):
    arrays = models.model_tensors(model) | {"k": np.array(model.projector.parts)}
    if model.bank is not None:
        arrays |= {"bank/neighbours": np.array(model.bank.neighbours), "bank/weight": np.array(model.bank.weight)}
    np.savez(folder / "weights.npz", **arrays)
    source = Path(numpy_encoder.__file__).read_text(encoding="utf-8")
    _files.write_text(folder / "encoder.py", source)


def _read_numpy(folder):
    # The file that was written is run, not the module of this package.
    spec: Any = importlib.util.spec_from_file_location("encoder", folder / "encoder.py")
    encoder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(encoder)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    weights = encoder.load()

    def measure(items):
        return encoder.distances(*(encoder.Encoded(*items[modality]) for modality in MODALITIES))

    return {modality: lambda rows, of=modality: encoder.encode(weights, rows, of) for modality in MODALITIES}, measure


def _write_onnx(model, folder):
    graphs = {modality: onnx_graphs.encoder_graph(model, modality) for modality in MODALITIES}
    for name, graph in (graphs | {"distances": onnx_graphs.distance_graph(model)}).items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


def _read_onnx(folder):
    runtime = _import_runtime()

    def run(name: str) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
        session = runtime.InferenceSession(str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(None, dict(inputs))

    encoders, of_pairs = {modality: run(modality) for modality in MODALITIES}, run("distances")

    def measure(items):
        inputs = {}
        for modality in MODALITIES:
            inputs |= {f"{modality}_{name}": of for name, of in zip(_OUTPUTS[:2], items[modality], strict=False)}
        return of_pairs(inputs)[0]

    return {modality: lambda rows, of=modality: encoders[of]({"features": rows}) for modality in MODALITIES}, measure


def _import_runtime():
    with needed_for("an export to ONNX, which is checked before it is kept,", "onnx"):
        import onnxruntime
    return onnxruntime


def _compare(model, export):
    """The largest differences between an export and the model; `ValueError` where one is too large."""
    encoders, measure = export
    expected, differences = {}, {}
    for modality in MODALITIES:
        rows = _check_rows(model, modality)
        # A GPU would compute with fewer bits.
        with jax.default_matmul_precision("highest"):
            items = getattr(model, f"encode_{modality}s")(rows)
            expected[modality] = (items.parts, items.attention, models.pooled_vectors(items))
        found = dict(zip(_OUTPUTS, encoders[modality](rows), strict=True))
        differences[modality] = {
            name: _difference(found[name], of, f"{name} of {modality}s")
            for name, of in zip(_OUTPUTS, expected[modality], strict=True)
        }
    (x, a, _), (y, b, _) = (expected[modality] for modality in MODALITIES)
    exact = np.asarray(co_attention_distances(x, y, a, b))
    return differences | {"distances": {"distances": _difference(measure(expected), exact, "distances")}}


def _difference(found, expected, name):
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= limit:
        raise ValueError(
            f"the export does not compute what the model computes: {name} differ by {difference:.1e}, more than "
            f"{limit:.1e}; nothing was written"
        )
    return difference


def _check_rows(model, modality):
    """Inputs to compare with: drawn around the mean of the training data and, with a bank, near its pairs."""
    mean, std = (getattr(model.standardization, f"{modality}_{of}") for of in ("mean", "std"))
    rng = np.random.default_rng(0)
    scaled = rng.normal(size=(_DRAWN, len(mean))).astype(np.float32)
    if model.bank is not None:
        side = getattr(model.bank, modality)
        known = np.asarray(side.inputs, np.float32)[:_DRAWN] * np.sqrt(len(mean))
        near = np.asarray(side.center) + known + 0.1 * rng.normal(size=known.shape)
        scaled = np.concatenate([scaled, near]).astype(np.float32)
        scaled = scaled[_is_clear(scaled, side, model.bank.neighbours)]
    return (scaled * std + mean).astype(mean.dtype)


def _is_clear(scaled, side, neighbours):
    """Whether it is clear which pairs of the bank are nearest: of two at the same place, rounding chooses one."""
    centered = scaled - np.asarray(side.center, np.float64)
    cosines = centered @ np.asarray(side.inputs, np.float64).T / np.linalg.norm(centered, axis=1, keepdims=True)
    ordered = -np.sort(-cosines, axis=1)
    if neighbours == ordered.shape[1]:
        return np.ones(len(scaled), bool)
    clear = ordered[:, neighbours - 1] - ordered[:, neighbours] > _CLEAR
    return clear if clear.any() else ~clear


def _measure_recall(model, place, path):
    """The recall of the pooled vectors on held-out pairs of the run, which pairs they are, or why there is none."""
    folder = place if place.is_dir() else place.parent
    if not (folder / workdir.CONFIG).exists() or not (place.is_dir() or place.name == MODEL_FILE):
        if path is not None:
            raise ValueError(f"{place} belongs to no run, so data_path has no meaning: leave it out, or give a workdir")
        return {}, "", f"{place} is not in the workdir of a run"
    try:
        found = run_data.find(folder, path).unscaled
    except data.DataError as error:
        if path is not None:
            raise
        return {}, "", " ".join(str(error).split())
    name = "test" if len(found.test) else "validation"
    split = getattr(found, name)
    if not len(split):
        return {}, "", "the run has no held-out pairs"
    items = {
        "image": model.encode_images(split.images[split.image_rows()]),
        "text": model.encode_texts(split.texts[split.text_rows()]),
    }
    recall = {}
    for modality, other in (MODALITIES, MODALITIES[::-1]):
        n = len(items[modality].attention)
        rows = np.unique(np.linspace(0, n - 1, min(n, _QUERIES)).astype(int))
        queries = jax.tree.map(lambda of, rows=rows: of[rows], items[modality])
        recall[modality] = models.vector_recall(queries, items[other], k=_NEAREST)
    counts = [len(items[modality].attention) for modality in MODALITIES]
    return recall, f"{counts[0]} {name} images and {counts[1]} texts of {found.title}", ""
