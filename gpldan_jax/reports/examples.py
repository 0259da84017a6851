"""The pairs of a test split as a page can show them: emoji by picture and name, others by number and class.

Which queries a report shows, and what was found for them. They follow from a rule, so that nobody picks them.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np

from gpldan_jax.data import PairedDataset
from gpldan_jax.reports.blocks import Example, Item, Result
from gpldan_jax.retrieval import mean_average_precision

_TEST = 2  # in the emoji's `split`


def images_and_texts(dataset: PairedDataset) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """What image i and text i of the test split are called and look like, for every pair i."""
    labels, titles = dataset.test.labels, class_titles(dataset)
    groups = [""] * len(dataset.test) if labels is None else [titles[label] for label in labels]
    if dataset.name != "emoji" or dataset.synthetic:
        items = tuple(Item(f"pair {i}", group) for i, group in enumerate(groups))
        return items, items
    from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures

    emoji = load_emoji_arrays()
    rows = np.flatnonzero(emoji.split == _TEST)
    pictures = (data_uri(_png(picture)) for picture in load_emoji_pictures()[rows])
    named = list(zip((emoji.names[row] for row in rows), groups, pictures, strict=True))
    return tuple(Item(*of) for of in named), tuple(Item(name, group) for name, group, _ in named)


def class_titles(dataset: PairedDataset) -> tuple[str, ...]:
    """The name of each class; one that is a bare number is called "class 3"."""
    return tuple(f"class {name}" if name.lstrip("-").isdecimal() else name for name in dataset.class_names or ())


def data_uri(png: bytes) -> str:
    """A PNG as an address that a page carries in itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _png(picture):
    from PIL import Image  # comes with matplotlib

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


MOST_CLASSES = 4
DEPTH = 6
RULE = (
    "The queries follow from a rule: in each direction the classes are put in the order of their mean AP@50, up to "
    f"{MOST_CLASSES} of them are taken at equal distances from the best to the worst, and of each the query with the "
    "median AP@50 (of an even number the lower one); last comes the query with the lowest AP@50 of all. Of equal ones "
    "the first in the test split is taken."
)
RULE_WITHOUT_LABELS = (
    "The queries follow from a rule: in each direction they are put in the order of the rank of their partner, and "
    f"{MOST_CLASSES + 1} are taken at equal distances from the best to the worst. Of equal ones the first in the test "
    "split comes first. Nothing but the partner counts as relevant, since the pairs have no labels."
)


def chosen(scores: Sequence[float], labels: np.ndarray | None) -> list[tuple[int, str]]:
    """The queries to show by `RULE`, or `RULE_WITHOUT_LABELS`, and what each stands for.

    Args:
        scores: of each query, a higher one is better.
        labels: `[n]`, or `None`.

    Example:
        >>> chosen([0.9, 0.8, 0.7, 0.1, 0.3, 0.2], np.array([0, 0, 0, 1, 1, 1]))
        [(1, 'median of its class'), (5, 'median of its class'), (3, 'lowest of all')]
        >>> chosen([0.5, 0.1, 1.0], None)
        [(2, 'query 1 of 3'), (0, 'query 2 of 3'), (1, 'query 3 of 3')]
    """
    scores = np.asarray(scores, float)
    if labels is None:
        best_first = np.argsort(-scores, kind="stable")
        places = _spaced(len(scores), MOST_CLASSES + 1)
        return [(int(best_first[place]), f"query {place + 1} of {len(scores)}") for place in places]
    classes = sorted(np.unique(labels), key=lambda value: -scores[labels == value].mean())
    queries = []
    for value in (classes[place] for place in _spaced(len(classes), MOST_CLASSES)):
        own = np.flatnonzero(labels == value)
        queries.append((int(own[np.argsort(scores[own], kind="stable")][(len(own) - 1) // 2]), "median of its class"))
    return [*queries, (int(np.argmin(scores)), "lowest of all")]


def examples(
    distances: np.ndarray, labels: np.ndarray | None, queries: Sequence[Item], gallery: Sequence[Item]
) -> tuple[Example, ...]:
    """The chosen queries of one direction, each with the `DEPTH` nearest items.

    Args:
        distances: `[n, n]`, queries to gallery items; pair i is row i and column i.
        labels: `[n]`, or `None`.
        queries: what each row is.
        gallery: what each column is.
    """
    n = len(distances)
    if labels is None:
        ranks = [1 + int(np.flatnonzero(_ranking(distances[i]) == i)[0]) for i in range(n)]
        scores = [1 / rank for rank in ranks]
    else:
        scores = [mean_average_precision(distances[i : i + 1], labels[i : i + 1], labels) for i in range(n)]
    found = []
    for query, why in chosen(scores, labels):
        score = f"its partner at rank {ranks[query]}" if labels is None else f"AP@50 {scores[query]:.3f}"
        results = []
        for j in _ranking(distances[query])[:DEPTH].tolist():
            is_relevant = j == query if labels is None else bool(labels[j] == labels[query])
            mark = (
                "its partner"
                if j == query
                else "same class"
                if is_relevant
                else "not its partner"
                if labels is None
                else "other class"
            )
            results.append(Result(gallery[j], float(distances[query, j]), is_relevant, mark))
        found.append(Example(queries[query], f"{why}, {score}", tuple(results)))
    return tuple(found)


def _spaced(n: int, most: int) -> list[int]:
    """Up to `most` of the places 0..n-1 at equal distances, the first and the last among them."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(int).tolist()


def _ranking(row: np.ndarray) -> np.ndarray:
    return np.argsort(row, kind="stable")  # ties in the order of the gallery, as the metrics rank
