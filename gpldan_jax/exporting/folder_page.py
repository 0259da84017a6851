"""The README.md of an export: what lies in the folder, shapes, how to use it, and what the vectors are worth."""

from collections.abc import Mapping

import gpldan_jax
from gpldan_jax.models import TrainedModel
from gpldan_jax.models.model_card import feature_extractors

_NUMPY = """\
`encoder.py` needs Python 3.10 or newer and NumPy, and reads `weights.npz`, which holds arrays and no pickles. Start
Python in this folder:

```python
from encoder import distances, encode, load

weights = load()
images = encode(weights, image_features, "image")  # representations, attention, vectors
texts = encode(weights, text_features, "text")
nearest = distances(images, texts).argsort(axis=1)  # for each image the texts, nearest first
```
"""

_ONNX = """\
`image.onnx` and `text.onnx` encode features, `distances.onnx` computes the exact distances of encoded images and texts.
The number of rows is free; give some thousand at a time. They use opset 17, for onnxruntime 1.12 and newer and most
other runtimes:

```python
from onnxruntime import InferenceSession

image_encoder, text_encoder, measure = (InferenceSession(f"{name}.onnx") for name in ("image", "text", "distances"))
images = image_encoder.run(None, {"features": image_features})  # representations, attention, vectors
texts = text_encoder.run(None, {"features": text_features})
inputs = {"image_representations": images[0], "image_attention": images[1]}
inputs |= {"text_representations": texts[0], "text_attention": texts[1]}
nearest = measure.run(None, inputs)[0].argsort(axis=1)  # for each image the texts, nearest first
```
"""

_USE = {"numpy": _NUMPY, "onnx": _ONNX}
_NEAREST = {"image": "of the ten texts nearest to an image", "text": "of the ten images nearest to a text"}
_TITLES = {"numpy": "NumPy", "onnx": "ONNX"}


def folder_page(model: TrainedModel, to: str, recall: Mapping[str, float], pairs: str) -> str:
    """Writes the README.md of an export.

    Args:
        model: that was exported.
        to: `"numpy"` or `"onnx"`.
        recall: of the vectors, by the modality of the queries; empty where it was not measured.
        pairs: which pairs it was measured on.

    Returns:
        The text, Markdown.

    Example:
        See `export_model`.
    """
    k, h = model.projector.parts, model.projector.width // model.projector.parts
    made = feature_extractors(model.metadata)
    means = {name: getattr(model.standardization, f"{name}_mean") for name in ("image", "text")}
    trained = f", trained on {model.metadata['dataset']}" if model.metadata.get("dataset") else ""
    lines = [
        f"# The encoders of a GPLDAN model, for {_TITLES[to]}",
        "",
        f"Image-text retrieval{trained}; written by `gpldan export` of gpldan_jax {gpldan_jax.__version__}.",
        "The encoders take features that are not scaled, because the scaling of the training is part of them.",
    ]
    if model.bank is not None:
        lines += [
            f"They also hold the bank of {len(model.bank.joint)} training pairs, by which items are moved. Where pairs",
            "of the bank have the same features, rounding decides which of them count: a distance may then differ from",
            "that of gpldan_jax in its third digit.",
        ]
    lines += ["", "| input | shape and dtype | |", "|---|---|---|"]
    for name, mean in means.items():
        extractor = f", made by {made[name]}" if made.get(name) else ""
        lines.append(f"| {name} features | [n, {len(mean)}] {mean.dtype} | finite, not scaled{extractor} |")
    lines += [
        "",
        "| output | shape, float32 | |",
        "|---|---|---|",
        f"| representations | [n, {k}, {h}] | {k} of each item |",
        f"| attention | [n, {k}] | the weights of the representations, their sum is 1 |",
        f"| vectors | [n, {h}] | one for each item, of length 1 |",
        "",
        _USE[to],
        "## The vectors",
        "",
    ]
    if k == 1:
        lines += [
            "The model has one representation of each item, so the dot product of two vectors is one minus their",
            "distance: a search by vectors finds the nearest items.",
        ]
    else:
        lines += [
            "The model weighs the representations of two items by the sum of their attention, so a distance belongs to",
            "a pair. The dot product of two vectors approximates one minus the distance: it takes the attention of the",
            "partner as uniform. Put the vectors into a vector store, and rank what it finds by the exact distances.",
        ]
    lines.append("")
    if recall:
        found = " and ".join(f"{recall[name]:.1%} {_NEAREST[name]}" for name in recall)
        lines.append(f"A search by vectors finds {found}\n(measured on {pairs}).")
    else:
        lines.append(
            "How many of the nearest items a search by vectors finds was not measured here; "
            "`gpldan_jax.models.vector_recall` measures it."
        )
    return "\n".join(lines) + "\n"
