"""The test distances of a finished run, made again from its model; or why they cannot be.

The section of a run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gpldan_jax import config as settings
from gpldan_jax import models, retrieval
from gpldan_jax.data import PairedDataset
from gpldan_jax.reports import charts as plots
from gpldan_jax.reports.blocks import Cell, Examples, Figure, Heading, Paragraph, Table
from gpldan_jax.reports.examples import DEPTH, RULE, RULE_WITHOUT_LABELS, class_titles, examples, images_and_texts
from gpldan_jax.reports.folders import DIRECTIONS, Run, main_metric
from gpldan_jax.reports.sections import CRITERIA, TITLES, class_title, convention, curves_figure, joined, number
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs

_AGREEMENT = 0.01  # of map@50 or recall@10; other devices round otherwise and swap near neighbours


def dataset_of(config: Mapping[str, Mapping[str, Any]], fingerprint: str) -> tuple[PairedDataset | None, str]:
    """The dataset that a workdir was made with and an empty string, or `None` and why it is not to be had."""
    try:
        dataset, _ = session.load(config["dataset"])
    except KeyError as error:
        return None, f"config.json has no dataset setting {error}"
    except (OSError, TypeError, ValueError) as error:
        return None, str(error).splitlines()[0]
    if dataset.fingerprint() != fingerprint:
        return None, "the dataset's files are not those of config.json (another fingerprint)"
    return dataset, ""


def distances_of(run: Run, dataset: PairedDataset) -> tuple[np.ndarray | None, str]:
    """The distances `[n, n]` of the test pairs and an empty string, or `None` and why they are not to be had."""
    path = run.folder / workdirs.MODEL
    if not path.exists():
        return None, f"there is no {path.name}"
    try:
        model = models.load_model(path)
    except (KeyError, TypeError, ValueError) as error:
        return None, str(error).splitlines()[0]
    if model.metadata.get("epoch") != run.epoch or model.metadata.get("dataset") != run.dataset:
        return None, f"{path.name} is not the model of results.json"
    distances = retrieval.retrieval_distances(
        model.projector, model.parameters, dataset.test.images, dataset.test.texts
    )
    metric = main_metric(run.test)
    found = retrieval.evaluate(distances, dataset.test.labels)[metric]["average"]
    if abs(found - run.test[metric]["average"]) > _AGREEMENT:
        return None, f"{path.name} gives {metric} {found:.3f}, results.json {run.test[metric]['average']:.3f}"
    return distances, ""


_MOST_BARS = 40


def run_blocks(run: Run, key: str) -> Iterator:
    """What was trained, its figures and curves, and what it retrieves; `key` distinguishes the ids of its plots."""
    chosen = f"Epoch {run.epoch} of {len(run.epochs)} was selected"
    if run.criterion in CRITERIA:
        chosen += f" by {CRITERIA[run.criterion]} on validation, {run.value:.3f}"
    yield Paragraph(
        f"GPLDAN, trained on {run.dataset} with seed {run.seed}. {chosen}. Made with {joined(run.versions)}."
    )
    yield from _settings(run.config)
    yield Heading("Figures")
    yield _figures(run)
    yield Paragraph(convention(run.test or run.validation or {}))
    yield Heading("Training")
    yield from _training(run, key)
    if not run.test:
        yield Paragraph("The dataset has no test pairs, so there are no curves and examples.", is_note=True)
        return
    dataset, why = dataset_of(run.config, run.fingerprint)
    distances = None
    if dataset:
        distances, why = distances_of(run, dataset)
    if distances is None:
        left_out = "Precision against recall, figures of classes and examples of retrieval"
        yield Paragraph(f"{left_out} are left out: {why}.", is_note=True)
        return
    labels = dataset.test.labels
    if labels is not None:
        yield Heading("Precision, recall and classes on test")
        curves = retrieval.precision_recall(distances, labels)
        share = float(np.mean([np.mean(labels == label) for label in labels]))
        yield curves_figure({TITLES[d]: curves[d] for d in DIRECTIONS[:2]}, share, "", f"{key}-pr")
        yield _classes(retrieval.map_per_class(distances, labels), class_titles(dataset), f"{key}-classes")
    yield Heading("Examples of retrieval on test")
    yield Paragraph(RULE if labels is not None else RULE_WITHOUT_LABELS)
    images, texts = images_and_texts(dataset)
    for direction, matrix, queries, gallery in (
        ("image_to_text", distances, images, texts),
        ("text_to_image", np.ascontiguousarray(distances.T), texts, images),
    ):
        caption = f"{TITLES[direction].capitalize()}: the {min(DEPTH, len(matrix))} nearest with their distance"
        yield Examples(caption, examples(matrix, labels, queries, gallery))


def _settings(config):
    usual = settings.default_config()
    rows = []
    for group, keys in config.items():
        for name, value in keys.items():
            expected = usual.get(group, {}).get(name, "absent")
            if value != expected:
                rows.append((Cell(f"{group}.{name}"), Cell(_setting(value)), Cell(_setting(expected))))
    if rows:
        yield Table("Settings that differ from configs/default.py", ("setting", "here", "default"), tuple(rows))
    else:
        yield Paragraph("All settings are those of configs/default.py.")


def _figures(run):
    test, validation, metrics = run.test or {}, run.validation or {}, run.test or run.validation or {}
    rows = []
    for metric in metrics:
        values = [test.get(metric, {}).get(direction) for direction in DIRECTIONS]
        values += [run.chance.get(metric), validation.get(metric, {}).get("average")]
        rows.append((Cell(metric), *(number(value) for value in values)))
    columns = ("metric", *(f"test, {TITLES[d]}" for d in DIRECTIONS), "test, chance", "validation, average")
    return Table(f"{run.dataset}, the selected model", columns, tuple(rows))


def _training(run, key):
    terms = {}
    for epoch in run.epochs:
        for name, value in epoch.terms.items():
            terms.setdefault(name, {})[epoch.number] = value
    if terms:
        alt = f"Loss terms over {len(run.epochs)} epochs: " + ", ".join(
            f"{name} from {_end(values, 0):.3g} to {_end(values, -1):.3g}" for name, values in terms.items()
        )
        svg = plots.training_curve(terms, run.epoch, "mean over the epoch", key=f"{key}-loss", alt=alt)
        yield Figure("Loss terms. The dotted line marks the selected epoch.", alt, svg)
    evaluated = [epoch for epoch in run.epochs if epoch.validation]
    if evaluated:
        metric = main_metric(evaluated[0].validation)
        lines = {
            TITLES[d]: {epoch.number: epoch.validation[metric][d] for epoch in evaluated if metric in epoch.validation}
            for d in DIRECTIONS
        }
        average = lines["average"]
        alt = f"Validation {metric}: its average goes from {_end(average, 0):.3f} to {_end(average, -1):.3f}"
        svg = plots.training_curve(lines, run.epoch, f"validation {metric}", key=f"{key}-validation", alt=alt)
        yield Figure(f"{metric} on validation. The dotted line marks the selected epoch.", alt, svg)


def _classes(found, titles, key):
    names = sorted(found["average"], key=lambda name: -found["average"][name])
    caption = "map@50 of the queries of each class, the best class on top"
    if len(names) > _MOST_BARS:
        caption += f"; the best and the worst {_MOST_BARS // 2} of {len(names)} classes"
        names = names[: _MOST_BARS // 2] + names[-(_MOST_BARS // 2) :]
    values = {class_title(name, titles): {TITLES[d]: found[d][name] for d in DIRECTIONS[:2]} for name in names}
    alt = f"{caption}: " + ", ".join(f"{class_title(name, titles)} {found['average'][name]:.3f}" for name in names)
    return Figure(f"{caption}.", alt, plots.bars(values, "map@50", key=key, alt=alt))


def _setting(value):
    return repr(value) if isinstance(value, str) else str(value)


def _end(values, place):
    return list(values.values())[place]
