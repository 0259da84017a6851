"""Two finished runs on the same test pairs: their figures query by query, and their rankings as TREC files."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpldan_jax import _files, models, retrieval
from gpldan_jax.data import PairedSplit, is_labelled
from gpldan_jax.runs import run_data
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies.significance import PerQuery, average_precisions_of, paired_bootstrap, recalls_of
from gpldan_jax.studies.tables import TITLES, markdown_table

TREC_DEPTH = 1000
"""Items of a ranking in a TREC run file, at most; usual at TREC."""


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The test items of a run, ranked.

    Attributes:
        folder: the workdir of the run.
        data: the fingerprint of its data, unscaled.
        test: its test pairs.
        distances: `[images, texts]`, of the different images and texts.
    """

    folder: Path
    data: str
    test: PairedSplit
    distances: np.ndarray


def rank_test_items(folder: Path, data_path: Path | None = None) -> Ranking:
    """Ranks the test items of a finished run by its model.

    Args:
        folder: its workdir.
        data_path: where its data lie now; `None` looks where they were.

    Returns:
        The ranking.

    Raises:
        ValueError: the run is not finished, has no test pairs, or its data cannot be found.
    """
    if not (folder / workdirs.RESULTS).exists():
        raise ValueError(f"{folder} holds no results.json: it is no run, or not finished")
    found = run_data.find_ranked(folder, data_path)
    test = found.scaled.test
    if not len(test):
        raise ValueError(f"{folder} has no test pairs to compare on")
    model = models.load_model(folder / workdirs.MODEL)
    images, texts = test.images[test.image_rows()], test.texts[test.text_rows()]
    distances = retrieval.retrieval_distances(model.projector, model.parameters, images, texts, bank=model.bank)
    return Ranking(folder, found.unscaled.fingerprint(), test, distances)


def compare_rankings(first: Ranking, second: Ranking) -> list[str]:
    """Compares two runs on the same queries, by the average precision at 50 or, without labels, by recall at 10.

    Args:
        first: a ranking.
        second: another one, of the same pairs.

    Returns:
        Lines of Markdown: the means, the difference with its 95 % interval by the paired bootstrap, and in how many
        queries each run is better.

    Raises:
        ValueError: the two have other data.
    """
    if first.data != second.data:
        raise ValueError(
            f"{first.folder} and {second.folder} have other data: {workdirs.short(first.data)} and "
            f"{workdirs.short(second.data)}; compare two runs on the same data"
        )
    labelled = first.test.labels is not None
    queries = [_queries(ranking) for ranking in (first, second)]
    rows = []
    for ranking, found in zip((first, second), queries, strict=True):
        means = [float(np.mean(found[direction])) for direction in ("image_to_text", "text_to_image")]
        rows.append([str(ranking.folder), *(f"{mean:.3f}" for mean in (*means, sum(means) / 2))])
    metric = "map@50" if labelled else "recall@10"
    differences = np.concatenate([np.subtract(queries[0][of], queries[1][of]) for of in queries[0]])
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return [
        *markdown_table([f"{metric}, test", *TITLES.values()], rows, "lrrr"),
        "",
        f"{first.folder} less {second.folder}: {paired_bootstrap(queries[:1], queries[1:])}, the average and its 95 % "
        f"interval by the paired bootstrap over queries. {first.folder} is better in {better} queries, worse in "
        f"{worse}, and the same in {len(differences) - better - worse}.",
    ]


def write_trec(ranking: Ranking, folder: Path, name: str) -> list[Path]:
    """Writes rankings and relevance in the formats of `trec_eval`, for both directions.

    `NAME.DIRECTION.run` has a line "query Q0 item rank score name" for each of the nearest items; the score is the
    distance, negative. `DIRECTION.qrels` has a line "query 0 item 1" for each relevant item: those that share a label
    with the query, or its partners where there are no labels. Items are `image0`, `text0` and so on, in their order in
    the test split. Items without a label among labelled ones are left out, as in all metrics.

    Args:
        ranking: of the test items of a run.
        folder: for the files; it is made.
        name: of the run, without spaces.

    Returns:
        The files.

    Example:
        >>> import tempfile
        >>> test = PairedSplit(np.eye(2, 3), np.eye(2), np.array([0, 1]))
        >>> ranking = Ranking(Path("runs/mine"), "", test, np.array([[0.25, 0.5], [0.125, 0.75]], np.float32))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = write_trec(ranking, Path(folder), "mine")
        ...     print(*(file.read_text() for file in files[:2]), sep="")
        image0 Q0 text0 1 -0.25 mine
        image0 Q0 text1 2 -0.5 mine
        image1 Q0 text0 1 -0.125 mine
        image1 Q0 text1 2 -0.75 mine
        image0 0 text0 1
        image1 0 text1 1
        <BLANKLINE>
    """
    folder.mkdir(parents=True, exist_ok=True)
    test, relevant = ranking.test, _relevant(ranking.test)
    images, texts = np.arange(len(relevant)), np.arange(relevant.shape[1])
    if test.labels is not None:
        images = images[is_labelled(test.labels[test.image_rows()])]
        texts = texts[is_labelled(test.labels[test.text_rows()])]
    distances, relevant = (of[np.ix_(images, texts)] for of in (ranking.distances, relevant))
    named = [f"image{place}" for place in images], [f"text{place}" for place in texts]
    files: list[Path] = []
    for direction, matrix, gains, (queries, items) in (
        ("image_to_text", distances, relevant, named),
        ("text_to_image", distances.T, relevant.T, named[::-1]),
    ):
        paths = folder / f"{name}.{direction}.run", folder / f"{direction}.qrels"
        _files.write_text(paths[0], "".join(_run_lines(matrix, queries, items, name)))
        lines = (f"{queries[row]} 0 {items[column]} 1\n" for row, column in zip(*np.nonzero(gains), strict=True))
        _files.write_text(paths[1], "".join(lines))
        files += paths
    return files


def _run_lines(distances, queries, items, name) -> Iterator[str]:
    for query, of in zip(queries, distances, strict=True):
        for rank, column in enumerate(np.argsort(of, kind="stable")[:TREC_DEPTH], start=1):
            yield f"{query} Q0 {items[column]} {rank} {-of[column]:.9g} {name}\n"


def _relevant(test: PairedSplit) -> np.ndarray:
    """`[images, texts]`: whether they share a label, or belong together where there are no labels."""
    images, texts = test.image_rows(), test.text_rows()
    if test.labels is None:
        groups = np.arange(len(test)) if test.groups is None else test.groups
        return groups[images][:, None] == groups[texts]
    if test.labels.ndim == 2:
        return test.labels[images] @ test.labels[texts].T > 0
    return test.labels[images][:, None] == test.labels[texts]


def _queries(ranking: Ranking) -> PerQuery:
    test = ranking.test
    images, texts = test.image_rows(), test.text_rows()
    if test.labels is not None:
        return average_precisions_of(ranking.distances, (test.labels[images], test.labels[texts]))
    groups = np.arange(len(test)) if test.groups is None else test.groups
    return recalls_of(ranking.distances, (groups[images], groups[texts]))
