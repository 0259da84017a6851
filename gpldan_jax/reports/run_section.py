"""The section of a run: its settings, figures and curves, and what it retrieves."""

from collections.abc import Iterator

import numpy as np

from gpldan_jax import retrieval
from gpldan_jax.config import default_config, flat
from gpldan_jax.data import class_titles, is_labelled
from gpldan_jax.reports import blocks, charts, examples
from gpldan_jax.reports.blocks import Cell, Examples, Heading, Paragraph, Table, figure_cell
from gpldan_jax.reports.folders import Run
from gpldan_jax.retrieval.relevance import shared_labels
from gpldan_jax.studies.tables import DIRECTIONS, TITLES, main_metric

_MOST_BARS = 40


def run_blocks(run: Run, key: str) -> Iterator:
    """Yields the blocks of the section of a run, in the order of the page."""
    chosen = f"Epoch {run.epoch} of {len(run.epochs)} was selected"
    if run.criterion in blocks.CRITERIA:
        chosen += f" by {blocks.CRITERIA[run.criterion]} on validation, {run.value:.3f}"
    yield Paragraph(f"GPLDAN, trained on {run.dataset} with seed {run.seed}. {chosen}. Made with {run.versions}.")
    yield _settings(run.config)
    yield Heading("Figures")
    yield _figures(run)
    yield Paragraph(blocks.convention(run.test or run.validation or {}))
    yield Heading("Training")
    yield from _training(run, key)
    if run.test:
        yield from _retrieval(run, key)
    else:
        yield Paragraph("The dataset has no test pairs, so there are no curves and examples.", is_note=True)


def _settings(config):
    usual = flat(default_config())
    rows = tuple(
        (Cell(key), Cell(_setting(value)), Cell(_setting(usual.get(key, "absent"))))
        for key, value in flat(config).items()
        if value != usual.get(key, "absent")
    )
    if not rows:
        return Paragraph("All settings are the defaults.")
    return Table("Settings that differ from the defaults", ("setting", "here", "default"), rows)


def _figures(run):
    test, validation = run.test or {}, run.validation or {}
    rows = []
    for metric in test or validation:
        values = [test.get(metric, {}).get(direction) for direction in DIRECTIONS]
        values += [run.chance.get(metric), validation.get(metric, {}).get("average")]
        rows.append((Cell(metric), *(figure_cell(value) for value in values)))
    columns = ("metric", *(f"test, {title}" for title in TITLES.values()), "test, chance", "validation, average")
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
        caption = "Loss terms. The dotted line marks the selected epoch."
        yield charts.training_curve(
            terms, run.epoch, "mean over the epoch", caption=caption, alt=alt, key=f"{key}-loss"
        )
    evaluated = [epoch for epoch in run.epochs if epoch.validation]
    if evaluated:
        metric = main_metric(evaluated[0].validation)
        lines = {
            TITLES[d]: {epoch.number: epoch.validation[metric][d] for epoch in evaluated if metric in epoch.validation}
            for d in DIRECTIONS
        }
        average = lines["average"]
        alt = f"Validation {metric}: its average goes from {_end(average, 0):.3f} to {_end(average, -1):.3f}"
        caption = f"{metric} on validation. The dotted line marks the selected epoch."
        yield charts.training_curve(
            lines, run.epoch, f"validation {metric}", caption=caption, alt=alt, key=f"{key}-validation"
        )


def _retrieval(run, key):
    """Yields curves, figures of classes and examples; they need the data and the model of the run."""
    found, why = examples.reload_data(run)
    distances = None
    if found:
        distances, why = examples.recompute_distances(run, found.scaled)
    if found is None or distances is None:
        yield examples.left_out("Precision against recall, figures of classes and examples of retrieval", why)
        return
    dataset = found.scaled
    test = dataset.test
    _, labels = retrieval.different_items(distances, test)
    if labels is not None:
        yield Heading("Precision, recall and classes on test")
        curves = retrieval.precision_recall(distances, labels)
        share = (_share(*labels) + _share(*labels[::-1])) / 2
        yield charts.precision_recall({TITLES[d]: curves[d] for d in DIRECTIONS[:2]}, share=share, key=f"{key}-pr")
        yield _classes(retrieval.map_per_class(distances, labels), class_titles(dataset), f"{key}-classes")
    yield Heading("Examples of retrieval on test")
    yield Paragraph(examples.RULE if labels is not None else examples.RULE_WITHOUT_LABELS)
    items = examples.images_and_texts(found)
    rows = test.image_rows(), test.text_rows()
    groups = rows if test.groups is None else tuple(test.groups[of] for of in rows)
    for direction, matrix, step in (
        ("image_to_text", distances, 1),
        ("text_to_image", np.ascontiguousarray(distances.T), -1),
    ):
        depth = min(examples.DEPTH, matrix.shape[1])
        caption = f"{TITLES[direction].capitalize()}: the {depth} nearest with their distance"
        of_sides = None if labels is None else labels[::step]
        yield Examples(caption, examples.choose_examples(matrix, of_sides, groups[::step], *items[::step]))


def _share(query_labels, gallery_labels):
    """The share of the gallery that is relevant to a query, the mean over the queries with a label."""
    queries, gallery = query_labels[is_labelled(query_labels)], gallery_labels[is_labelled(gallery_labels)]
    shared = shared_labels(queries, gallery)
    return float(np.mean([np.mean(shared(slice(i, i + 1)) > 0) for i in range(len(queries))]))


def _classes(found, titles, key):
    names = sorted(found["average"], key=lambda name: -found["average"][name])
    caption = "map@50 of the queries of each class, the best class on top"
    if len(names) > _MOST_BARS:
        caption += f"; the best and the worst {_MOST_BARS // 2} of {len(names)} classes"
        names = names[: _MOST_BARS // 2] + names[-(_MOST_BARS // 2) :]
    values = {blocks.class_title(name, titles): {TITLES[d]: found[d][name] for d in DIRECTIONS[:2]} for name in names}
    alt = f"{caption}: " + ", ".join(
        f"{blocks.class_title(name, titles)} {found['average'][name]:.3f}" for name in names
    )
    return charts.bars(values, "map@50", caption=f"{caption}.", alt=alt, key=key)


def _setting(value):
    return repr(value) if isinstance(value, str) else str(value)


def _end(values, place):
    return list(values.values())[place]
