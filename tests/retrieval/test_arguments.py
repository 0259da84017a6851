"""Every figure is the same for every container of its arguments, or the argument is refused by name."""

import numpy as np
import pytest

from gpldan_jax import retrieval
from tests import containers
from tests.containers import NA, Column

rng = np.random.default_rng(0)
DISTANCES = rng.random((12, 12)).astype(np.float32)
NUMBERS = np.array([4, 7, 2] * 4)
TEXT = np.array(["cat", "dog", "bird"])[NUMBERS % 3]
FIGURES = {
    "map": lambda d, y: retrieval.mean_average_precision(d, y, y),
    "ndcg": lambda d, y: retrieval.ndcg(d, y, y),
    "recall_at": lambda d, y: retrieval.recall_at(d, 2, query_groups=y, gallery_groups=y),
    "precision_recall": lambda d, y: retrieval.precision_recall(d, y),
    "map_per_class": lambda d, y: retrieval.map_per_class(d, y),
    "evaluate": lambda d, y: retrieval.evaluate(d, y),
    "evaluate in folds": lambda d, y: retrieval.evaluate(d, y, folds=2),
    "evaluate groups": lambda d, y: retrieval.evaluate(d, (y, y), image_groups=y, text_groups=y),
    "chance": lambda d, y: retrieval.chance(12, y),
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("labels", [NUMBERS, TEXT], ids=["numbers", "text"])
@pytest.mark.parametrize("kind", containers.VECTORS)
def test_labels_in_any_container(figure, labels, kind):
    assert FIGURES[figure](DISTANCES, containers.VECTORS[kind](labels)) == FIGURES[figure](DISTANCES, labels)


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("kind", containers.NUMBERS)
def test_distances_and_labels_of_other_libraries(figure, kind):
    made = containers.NUMBERS[kind]
    expected = FIGURES[figure](DISTANCES, NUMBERS)
    assert FIGURES[figure](made(DISTANCES), made(NUMBERS)) == expected
    assert FIGURES[figure](DISTANCES.tolist(), NUMBERS) == expected


def test_a_frame_of_distances():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(DISTANCES, index=range(12, 0, -1))
    assert retrieval.evaluate(frame, pandas.Series(TEXT)) == retrieval.evaluate(DISTANCES, TEXT)


def test_missing_labels_are_left_out():
    for labels, none in ((NUMBERS, -1), (TEXT, "")):
        gaps = Column([NA if row % 5 == 0 else label for row, label in enumerate(labels)])
        without = np.where(np.arange(12) % 5 == 0, none, labels)
        for name in ("map", "ndcg", "precision_recall", "map_per_class", "evaluate", "chance"):
            assert FIGURES[name](DISTANCES, gaps) == FIGURES[name](DISTANCES, without)


def test_text_against_numbers_is_an_error():
    for one, other in ((NUMBERS, TEXT), (Column(NUMBERS), TEXT.tolist()), (TEXT, NUMBERS.astype(object))):
        with pytest.raises(ValueError, match="no two could be equal"):
            retrieval.mean_average_precision(DISTANCES, one, other)
        with pytest.raises(ValueError, match="no two could be equal"):
            retrieval.ndcg(DISTANCES, one, other)
        with pytest.raises(ValueError, match="no two could be equal"):
            retrieval.recall_at(DISTANCES, 1, query_groups=one, gallery_groups=other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval.chance(12, NUMBERS[:5]), r"labels must be \[12\]"),
        (lambda: retrieval.chance(12, Column(["a", 1] * 6)), "labels must be all text or all numbers, got both"),
        (lambda: retrieval.evaluate(DISTANCES, [{}] * 12), "labels must be numbers or text, got values of type dict"),
        (
            lambda: retrieval.recall_at(DISTANCES, 1, query_groups=Column([NA] * 12), gallery_groups=TEXT),
            "query_groups must have no missing values, row 0",
        ),
        (lambda: retrieval.evaluate(Column(["a"] * 12), None), r"distances must be \[q, g\]"),
        (lambda: retrieval.recall_at([[1, 2], [3]], 1), "distances must be an array of numbers or text, got list"),
        (lambda: retrieval.recall_at([[1, None], [3, 4]], 1), "distances must be finite, row 0 is not"),
    ],
)
def test_what_is_refused_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
