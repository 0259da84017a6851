"""What a finished run retrieves: its test distances, made again from its data and model, and the examples to show.

The queries of the examples follow from a rule, so that nobody picks them.
"""

import base64
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax import models, retrieval
from gpldan_jax._files import one_line
from gpldan_jax.data import Descriptions, PairedDataset, describe, is_labelled, label_titles
from gpldan_jax.features import read_image
from gpldan_jax.features.thumbnails import MEDIA_TYPE, make_thumbnail
from gpldan_jax.reports.blocks import Example, Hit, Item, Paragraph
from gpldan_jax.reports.folders import Comparison, Run
from gpldan_jax.retrieval.relevance import shared_labels
from gpldan_jax.runs import run_data
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies.tables import main_metric

DEPTH = 6
"""How many items an example shows."""

_MOST_CLASSES = 4
RULE = (
    "The queries follow from a rule: in each direction the classes are put in the order of their mean AP@50, up to "
    f"{_MOST_CLASSES} of them are taken at equal distances from the best to the worst, and of each the query with the "
    "median AP@50 (of an even number the lower one); last comes the query with the lowest AP@50 of all. Of equal ones "
    "the first in the test split is taken."
)
RULE_WITHOUT_LABELS = (
    "The queries follow from a rule: in each direction they are put in the order of the rank of their partner, and "
    f"{_MOST_CLASSES + 1} are taken at equal distances from the best to the worst. Of equal ones the first in the test "
    "split comes first. Nothing but the partner counts as relevant, since the pairs have no labels."
)

_AGREEMENT = 0.01  # of map@50 or recall@10; other devices round otherwise and swap near neighbours


def reload_data(found: Run | Comparison) -> tuple[run_data.RunData | None, str]:
    """Returns the data that a workdir was made with; or `None`, and the reason why they cannot be loaded."""
    try:
        find = run_data.find_ranked if isinstance(found, Run) else run_data.find
        return find(found.folder, found.data_path), ""
    except (OSError, TypeError, ValueError) as error:
        return None, (str(error).splitlines() or [type(error).__name__])[0]


def left_out(what: str, why: str) -> Paragraph:
    """Returns the note that a part of the page is left out; what a user can do about it does not stand on the page."""
    reason = why.removesuffix(run_data.TO_DO)
    return Paragraph(f"{what} are left out: {reason}.", is_note=True, to_do=why.removeprefix(reason))


def place_data(found: Sequence[Any], paths: Sequence[Path]) -> list[Any]:
    """Says of each path whose data lie there.

    Args:
        found: workdirs, as `folders.read` returns them.
        paths: files and folders.

    Returns:
        The same; runs and comparisons whose data lie at one of the paths have it as their `data_path`.

    Raises:
        OtherDataError: a path whose data are of none of the workdirs.
        DataError: a path where nothing can be read.
    """
    placed = list(found)
    for path in paths:
        problems: list[Exception] = []
        fitting = 0
        for place, of in enumerate(found):
            if not isinstance(of, Run | Comparison) or not of.config:
                continue
            try:
                run_data.find(of.folder, path)
            except (OSError, TypeError, ValueError) as error:
                problems.append(error)
            else:
                placed[place] = dataclasses.replace(of, data_path=path)
                fitting += 1
        if not fitting:
            if not problems:
                raise run_data.OtherDataError(f"none of these workdirs shows data, expected no path, got {path}")
            # The fingerprints say more than a file that is not of the dataset of another workdir.
            raise next((of for of in problems if isinstance(of, run_data.OtherDataError)), problems[0])
    return placed


def recompute_distances(run: Run, dataset: PairedDataset) -> tuple[np.ndarray | None, str]:
    """Returns the distances of the different test images and texts under the model of a run; or `None`, and why."""
    path = run.folder / workdirs.MODEL
    if not path.exists():
        return None, f"there is no {path.name}"
    try:
        model = models.load_model(path)
    except (KeyError, TypeError, ValueError) as error:
        return None, one_line(error)
    if model.metadata.get("epoch") != run.epoch or model.metadata.get("dataset") != run.dataset:
        return None, f"{path.name} is not the model of results.json"
    test, figures = dataset.test, run.test or {}
    metric = main_metric(figures)
    items = test.images[test.image_rows()], test.texts[test.text_rows()]
    distances = retrieval.retrieval_distances(model.projector, model.parameters, *items, bank=model.bank)
    found, expected = retrieval.evaluate_pairs(distances, test)[metric]["average"], figures[metric]["average"]
    if abs(found - expected) > _AGREEMENT:
        return None, f"{path.name} gives {metric} {found:.3f}, results.json {expected:.3f}"
    return distances, ""


class _Images(Sequence):
    """The different images of a test split; a picture is read when the image is shown."""

    def __init__(self, described: Descriptions, rows: Sequence[int], classes: Sequence[str]):
        self._described, self._rows, self._classes = described, rows, classes

    def __len__(self) -> int:
        return len(self._rows)

    @functools.cache  # noqa: B019, the page is made once
    def __getitem__(self, place):
        row = self._rows[place]
        return Item(str(self._described.ids[row]), self._classes[row], _thumbnail(self._described, row))


def _thumbnail(described: Descriptions, row: int) -> str:
    """The picture of a pair as an address that holds it; "" where it cannot be read now."""
    try:
        pictures = [of if isinstance(of, np.ndarray) else read_image(of) for of in described.pictures([row])]
        return data_uri(make_thumbnail(pictures[0]), MEDIA_TYPE) if pictures else ""
    except (OSError, ValueError, ImportError):
        return ""


def images_and_texts(found: run_data.RunData) -> tuple[Sequence[Item], Sequence[Item]]:
    """Returns the different images and texts of the test split as a page can show them."""
    dataset = found.scaled
    test = dataset.test
    classes = [""] * len(test) if test.labels is None else label_titles(dataset, test.labels)
    described = describe(dataset, found.path, ["test"])
    names = described.captions or [str(id) for id in described.ids]
    texts = tuple(Item(names[row], classes[row]) for row in test.text_rows().tolist())
    return _Images(described, test.image_rows().tolist(), classes), texts


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    """Returns a picture as an address that holds the picture itself."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _choose_queries(scores: Sequence[float], labels: np.ndarray | None) -> list[tuple[int, str]]:
    """Chooses the queries to show by `RULE`, or by `RULE_WITHOUT_LABELS`.

    Example:
        >>> _choose_queries([0.9, 0.8, 0.7, 0.1, 0.3, 0.2], np.array([0, 0, 0, 1, 1, 1]))
        [(1, 'median of its class'), (5, 'median of its class'), (3, 'lowest of all')]
        >>> _choose_queries([0.5, 0.1, 1.0], None)
        [(2, 'query 1 of 3'), (0, 'query 2 of 3'), (1, 'query 3 of 3')]
    """
    values = np.asarray(scores, float)
    if labels is None:
        best_first = np.argsort(-values, kind="stable")
        places = _spaced(len(scores), _MOST_CLASSES + 1)
        return [(int(best_first[place]), f"query {place + 1} of {len(scores)}") for place in places]
    labelled = is_labelled(labels)
    members = labels.T if labels.ndim == 2 else [labels == label for label in np.unique(labels[labelled])]
    of_classes = sorted((own for own in members if own.any()), key=lambda own: -values[own].mean())
    queries = []
    for rows in (np.flatnonzero(of_classes[place]) for place in _spaced(len(of_classes), _MOST_CLASSES)):
        median = rows[np.argsort(values[rows], kind="stable")][(len(rows) - 1) // 2]
        queries.append((int(median), "median of its class"))
    return [*queries, (int(np.argmin(np.where(labelled, values, np.inf))), "lowest of all")]


def choose_examples(
    distances: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray] | None,
    groups: tuple[np.ndarray, np.ndarray],
    queries: Sequence[Item],
    gallery: Sequence[Item],
) -> tuple[Example, ...]:
    """Returns the examples of one direction: the chosen queries, each with its `DEPTH` nearest items.

    Args:
        distances: `[q, g]`, a row for each query and a column for each gallery item.
        labels: of the queries and of the gallery items, as in `PairedSplit`; `None` where there are none.
        groups: `[q]` and `[g]`, the same for partners.
        queries: the q queries.
        gallery: the g gallery items.

    Returns:
        The examples.
    """
    q = len(distances)
    partners = (groups[1] == group for group in groups[0])
    if labels is None:
        ranks = [1 + int(np.flatnonzero(own[_ranking(row)])[0]) for own, row in zip(partners, distances, strict=True)]
        scores, notes = [1 / rank for rank in ranks], [f"its partner at rank {rank}" for rank in ranks]
        marks = "its partner", "its partner", "not its partner"
        of_queries = None
    else:
        of_queries, of_gallery = labels
        scores = [0.0] * q
        for i in np.flatnonzero(is_labelled(of_queries)):
            of_query = distances[i : i + 1], of_queries[i : i + 1]
            scores[i] = retrieval.mean_average_precision(*of_query, of_gallery)
        notes = [f"AP@50 {score:.3f}" for score in scores]
        marks = ("its partner", "same class", "other class")
        if of_queries.ndim == 2:
            marks = ("its partner", "a class in common", "no class in common")
        shared = shared_labels(of_queries, of_gallery)
    found = []
    for query, why in _choose_queries(scores, of_queries):
        own = groups[1] == groups[0][query]
        relevant = own if labels is None else shared(slice(query, query + 1))[0] > 0
        results = []
        for j in _ranking(distances[query])[:DEPTH].tolist():
            mark = marks[0 if own[j] else 1 if relevant[j] else 2]
            results.append(Hit(gallery[j], float(distances[query, j]), bool(relevant[j]), mark))
        found.append(Example(queries[query], f"{why}, {notes[query]}", tuple(results)))
    return tuple(found)


def _spaced(n: int, most: int) -> list[int]:
    """Returns up to `most` of the places 0..n-1 at equal distances, the first and the last among them."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(int).tolist()


def _ranking(row: np.ndarray) -> np.ndarray:
    return np.argsort(row, kind="stable")  # ties in the order of the gallery, as the metrics rank
