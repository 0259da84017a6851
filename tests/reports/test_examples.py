"""The examples of a page follow a rule, and come from the data and the model of the run."""

import statistics

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="a report needs jinja2: pip install 'gpldan_jax[report]'")
pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install 'gpldan_jax[report]'")

from gpldan_jax.reports import examples, folders
from gpldan_jax.reports.blocks import Item
from tests.reports.workdirs import N_TEST, page_of
from tests.retrieval import loop_reference


@pytest.mark.slow
def test_the_examples_follow_their_rule_and_are_the_nearest(made):
    found = folders.read(made)
    dataset = examples.reload_data(found)[0].scaled
    distances, _ = examples.recompute_distances(found, dataset)
    labels = dataset.test.labels
    items, printed, rows = [Item(str(i), "") for i in range(N_TEST)], [], (np.arange(N_TEST), np.arange(N_TEST))
    for matrix in (distances, distances.T):
        scores = [
            loop_reference.average_precision(row, own, labels, 50, "hits")
            for row, own in zip(matrix, labels, strict=True)
        ]
        shown = examples.choose_examples(matrix, (labels, labels), rows, items, items)
        assert len(shown) == 3 + 1 and shown[-1].query.name == str(int(np.argmin(scores)))
        medians = {}
        for example in shown[:-1]:
            query = int(example.query.name)
            own = [score for score, label in zip(scores, labels, strict=True) if label == labels[query]]
            assert scores[query] == pytest.approx(statistics.median_low(own))
            medians[int(labels[query])] = statistics.mean(own)
        assert list(medians.values()) == sorted(medians.values(), reverse=True) and len(medians) == 3
        for example in shown:
            query = int(example.query.name)
            nearest = loop_reference.ranking(matrix[query])[:6]
            assert [int(result.item.name) for result in example.results] == nearest
            assert [result.is_relevant for result in example.results] == [labels[j] == labels[query] for j in nearest]
            for result in example.results:
                j = int(result.item.name)
                expected = "its partner" if j == query else "same class" if result.is_relevant else "other class"
                assert result.mark == expected and result.distance == matrix[query, j]
                printed.append(result.distance)
    assert page_of(made)[1].numbers[-len(printed) :] == printed


def test_of_many_classes_those_at_equal_distances_are_shown():
    labels = np.repeat(np.arange(10), 2)
    scores = np.repeat(np.linspace(1, 0.1, 10), 2)
    assert [labels[query] for query, _ in examples._choose_queries(scores, labels)] == [0, 3, 6, 9, 9]
    assert examples._choose_queries(scores, labels)[0] == (0, "median of its class")  # of equal ones the first
