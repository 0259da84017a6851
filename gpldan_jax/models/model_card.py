"""The model card: a README.md beside `model.safetensors` that says what the model is, how good, and how it was made.

It starts with the front matter that model hubs read. Its text depends on the model, its figures and its data alone, so
the same run writes the same bytes wherever it lies.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from gpldan_jax import config as settings
from gpldan_jax.models.trained import MODEL_FILE, TrainedModel

_FRONT = """\
---
library_name: gpldan_jax
pipeline_tag: feature-extraction
tags:
- cross-modal-retrieval
- image-text-retrieval
- jax
---
"""
_PAPER = "[arXiv 2106.13552](https://arxiv.org/abs/2106.13552)"
_DIRECTIONS = {"image_to_text": "image to text", "text_to_image": "text to image", "average": "average"}
_SPLITS = ("train", "validation", "test")
_NOT_SAID = ("dataset.name", "dataset.variant", "dataset.path")  # said elsewhere on the card


def model_card(
    model: TrainedModel,
    results: Mapping[str, Any] | None = None,
    *,
    fingerprint: str | None = None,
    sizes: Sequence[int] | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """Writes the card of a model.

    Args:
        model: the model; its metadata name the data and hold the settings.
        results: what a run leaves in `results.json`; `None` for a card without figures.
        fingerprint: the SHA-256 of the data.
        sizes: how many pairs there are to train, validate and test.
        versions: of the packages that trained the model.

    Returns:
        The text, Markdown, with front matter in YAML.

    Example:
        >>> import jax, numpy as np
        >>> from gpldan_jax.models import Projector, Standardization
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> parameters = projector.init(jax.random.key(0), np.ones((1, 3)), np.ones((1, 2)))["params"]
        >>> unscaled = Standardization(np.zeros(3), np.ones(3), np.zeros(2), np.ones(2))
        >>> card = model_card(TrainedModel(projector, parameters, unscaled, {"dataset": "mine"}))
        >>> card.splitlines()[1], "# GPLDAN on mine" in card
        ('library_name: gpldan_jax', True)
    """
    about = model.metadata
    name = about.get("dataset")
    lines = [
        _FRONT + f"# GPLDAN on {name}" if name else _FRONT + "# A GPLDAN model",
        "",
        f"Image-text retrieval by GPLDAN ({_PAPER}), in JAX with the package `gpldan_jax`. The model encodes features",
        "of images and of texts in one space and ranks the ones for the others. Its loss uses no labels.",
        "",
        *_data(model, fingerprint, sizes, (results or {}).get("synthetic")),
        *_figures(results),
        *_settings(about),
        *_origin(model, results, versions),
        *_use(model),
    ]
    return "\n".join(lines) + "\n"


def feature_extractors(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Returns what made the features that a model takes.

    Args:
        metadata: of a model.

    Returns:
        The name of the extractor of each modality; empty where the model does not say it.

    Example:
        >>> feature_extractors({"features": {"image": {"extractor": "vgg19"}}})
        {'image': 'vgg19'}
    """
    features = metadata.get("features") or {}
    return {
        name: str(of["extractor"]) for name, of in features.items() if isinstance(of, Mapping) and of.get("extractor")
    }


def run_command(config: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Returns the command that trains with a config, the shortest one, with the file names of data but no folders.

    Args:
        config: of a run.

    Returns:
        The command line; `None` for a dataset that this version does not know.

    Example:
        >>> config = settings.with_values(settings.dataset_config("cub", recipe="ours"), {"train.seed": 3})
        >>> run_command(config)
        'gpldan run --dataset=cub --recipe=ours --config.train.seed=3'
    """
    values = settings.flat(settings.with_newer_settings(config))
    name, variant = values["dataset.name"], values["dataset.variant"]
    commands: list[list[str]] = []
    for recipe in settings.RECIPES:
        try:
            usual = settings.flat(settings.dataset_config(name, variant, recipe))
            is_first = usual["dataset.variant"] == settings.dataset_config(name)["dataset"]["variant"]
        except settings.ConfigError:
            return None
        flags = [f"--dataset={name}" if is_first else f"--dataset={name}:{variant}"]
        flags += [f"--recipe={recipe}"] if recipe != "paper" else []
        flags += [f"--data={_file_name(values['dataset.path'])}"] if values["dataset.path"] else []
        flags += [f"--config.{key}={value}" for key, value in _changes(values, usual)]
        commands.append(flags)
    shortest = min(commands, key=len)
    return f"gpldan run {shlex.join(shortest)}"


def _changes(values, usual):
    """The settings that differ, `(key, value)`: not which data they are, nor where the run was computed."""
    elsewhere = (*_NOT_SAID, f"{settings.COMPUTING_GROUP}.")
    return [(key, value) for key, value in values.items() if not key.startswith(elsewhere) and value != usual.get(key)]


def _file_name(path):
    """The last part of a path of any system: folders are those of somebody's machine."""
    return PureWindowsPath(path).name


def _data(model, fingerprint, sizes, synthetic):
    about, made = model.metadata, feature_extractors(model.metadata)
    rows = [("dataset", about["dataset"])] if about.get("dataset") else []
    if fingerprint:
        rows.append(("SHA-256 of the data", f"`{fingerprint}`"))
    if sizes:
        rows.append(("pairs", ", ".join(f"{count} {split}" for split, count in zip(_SPLITS, sizes, strict=True))))
    for name in ("image", "text"):
        width = len(getattr(model.standardization, f"{name}_mean"))
        rows.append((f"{name} features", f"{width}, made by {made[name]}" if name in made else str(width)))
    lines = ["## Data", "", "| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows), ""]
    if synthetic:
        lines += ["The features are generated, to measure speed: the figures say nothing about retrieval.", ""]
    return lines


def _figures(results):
    if not results:
        return []
    test, validation, chance = (results.get(of) or {} for of in ("test", "validation", "chance"))
    name, figures = ("test", test) if test else ("validation", validation)
    if not figures:
        return []
    drawn = results.get("test_pairs") if test else None
    which = "{ranked:,} of the {of:,}".format(**drawn) if drawn else "the"
    ending = ", drawn at random." if drawn else "." if test else ", by which the epoch was chosen."
    lines = ["## Figures", "", f"On {which} {name} pairs{ending}", ""]
    columns = ["metric", *_DIRECTIONS.values()]
    columns += ["chance"] if chance and test else []
    columns += ["validation, average"] if test and validation else []
    lines += [f"| {' | '.join(columns)} |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    for metric, of in figures.items():
        cells = [of.get(direction) for direction in _DIRECTIONS]
        cells += [chance.get(metric)] if chance and test else []
        cells += [validation.get(metric, {}).get("average")] if test and validation else []
        lines.append(f"| {metric} | {' | '.join('-' if cell is None else f'{cell:.3f}' for cell in cells)} |")
    lines.append("")
    if "map@50" in figures:
        lines += [
            "`map@50` divides the sum of precisions by the relevant items inside the top 50, `map@50_trec` by all.",
            "",
        ]
    return lines


def _settings(about):
    if "config" in about:
        values = settings.flat(settings.with_newer_settings(about["config"]))
        usual = {key: setting.default for key, setting in settings.SETTINGS.items()}
        rows = [(f"`{key}`", value, usual.get(key)) for key, value in _changes(values, usual)]
        what = "The settings that differ from the paper's, which are the defaults:"
    elif "estimator" in about:
        rows = [(f"`{key}`", value, "") for key, value in about["estimator"].get("parameters", {}).items()]
        what = "The parameters of `gpldan_jax.GPLDAN`:"
    else:
        return []
    if not rows:
        return ["## Settings", "", "All settings are the paper's, which are the defaults.", ""]
    with_default = any(default != "" for _, _, default in rows)
    lines = ["## Settings", "", what, ""]
    lines += ["| setting | here | default |", "|---|---|---|"] if with_default else ["| parameter | |", "|---|---|"]
    lines += [
        f"| {key} | {_cell(value)} |" + (f" {_cell(default)} |" if with_default else "") for key, value, default in rows
    ]
    return [*lines, ""]


def _origin(model, results, versions):
    about = model.metadata
    lines = ["## How it was made", ""]
    if command := run_command(about["config"]) if "config" in about else None:
        lines += ["```sh", command, "```", ""]
    elif "estimator" in about:
        lines += ["`gpldan_jax.GPLDAN(...).fit(images, texts)`, with the parameters above.", ""]
    selection = (results or {}).get("selection") or {}
    if epoch := about.get("epoch"):
        by = selection.get("criterion", "last")
        chosen = "" if by == "last" else f", chosen by `{by}` on the validation pairs"
        lines += [f"These are the parameters of epoch {epoch}{chosen}.", ""]
    packages = dict(versions or {}) or ({"gpldan_jax": about["version"]} if about.get("version") else {})
    if packages:
        lines += [f"Versions: {', '.join(f'{name} {version}' for name, version in packages.items())}.", ""]
    return lines


def _use(model):
    widths = [len(getattr(model.standardization, f"{name}_mean")) for name in ("image", "text")]
    return [
        "## How to use it",
        "",
        "```python",
        "from gpldan_jax import load_model",
        "from gpldan_jax.models import pooled_vectors",
        "",
        f'model = load_model("{MODEL_FILE}")',
        f"# image_features [n, {widths[0]}], text_features [m, {widths[1]}]: not scaled",
        "distances = model.distances(image_features, text_features)  # [n, m]",
        "vectors = pooled_vectors(model.encode_images(image_features))  # for a vector store",
        "```",
        "",
        'From a model hub, `gpldan_jax.from_pretrained("OWNER/NAME")` returns the same model.',
    ]


def _cell(value):
    """A value as a cell of a Markdown table."""
    if isinstance(value, str):
        return value.replace("|", "\\|") or "''"
    return json.dumps(value)
