"""The epoch driver: when it evaluates, what it selects, when it ends, and what a loss that is not finite does."""

import numpy as np
import pytest

from gpldan_jax.training.epochs import (
    Member,
    Selection,
    criterion_value,
    describe_not_finite,
    epoch_line,
    train_epochs,
)


def driven(values, *, losses=None, members=1, **options):
    """The results of epochs whose evaluations give `values[member]` in turn, and which members were evaluated when."""
    evaluated = []
    values = [iter(of) for of in values]

    def train_epoch(epoch):
        return {"loss": np.ones((members, 3)) if losses is None else losses[epoch]}

    def evaluate(member, epoch):
        evaluated.append((member, epoch))
        return next(values[member]), f"figures of {member} at {epoch}"

    return list(train_epochs(train_epoch, evaluate, members=(Member(),) * members, **options)), evaluated


def test_the_best_epoch_is_selected_and_a_tie_keeps_the_earlier_one():
    results, _ = driven([[0.1, 0.5, 0.3, 0.5]], epochs=4)
    assert results[-1].members == (Member(Selection(epoch=2, value=0.5, stale=2)),)
    assert [bool(result.improved()[0]) for result in results] == [True, True, False, False]
    assert [result.epoch for result in results] == [1, 2, 3, 4]


def test_evaluations_come_as_often_as_asked_and_at_the_end():
    results, evaluated = driven([[0.1, 0.2, 0.3]], epochs=5, evaluate_every=2)
    assert evaluated == [(0, 2), (0, 4), (0, 5)]
    assert [result.figures[0] for result in results] == [
        None,
        "figures of 0 at 2",
        None,
        *results[3].figures,
        "figures of 0 at 5",
    ]


def test_patience_ends_each_member_on_its_own():
    results, evaluated = driven([[0.5, 0.4, 0.3], [0.1, 0.2, 0.3, 0.2, 0.1]], members=2, epochs=9, patience=2)
    assert len(results) == 5  # member 1 improves until epoch 3
    assert [epoch for member, epoch in evaluated if member == 0] == [1, 2, 3]
    assert [member.selection.epoch for member in results[-1].members] == [1, 3]


def test_a_member_that_fails_is_named_and_stops_no_other():
    losses = [np.ones((2, 3)) for _ in range(3)]
    losses[1][0, 2] = np.inf
    results, evaluated = driven([[0.1], [0.1, 0.2, 0.3]], losses=losses, members=2, epochs=3)
    assert results[-1].members[0].failed == "the loss is inf at step 6" and not results[-1].members[1].failed
    assert [epoch for member, epoch in evaluated if member == 0] == [1]
    assert results[-1].members[1].selection.epoch == 3


def test_it_continues_after_the_epochs_that_are_done():
    results, evaluated = driven([[0.9]], epochs=3, first_epoch=2)
    assert [result.epoch for result in results] == [3] and evaluated == [(0, 3)]
    assert driven([[]], epochs=3, first_epoch=3)[0] == []


def test_the_first_term_that_is_not_finite_is_named():
    metrics = {
        "pairwise": np.array([1.0, np.nan]),
        "unpaired": np.array([1.0, np.inf]),
        "loss": np.array([1.0, np.nan]),
    }
    assert describe_not_finite(metrics, first_step=10) == "the pairwise loss is nan at step 12"
    assert describe_not_finite({"loss": np.ones(2)}, first_step=0) == ""


@pytest.mark.parametrize("criterion, expected", [("map", 0.25), ("recall", 0.2), ("last", 7.0)])
def test_what_a_criterion_says(criterion, expected):
    figures = {"map@50": {"average": 0.25}, "recall@1": {"average": 0.1}, "recall@10": {"average": 0.3}}
    assert criterion_value(criterion, figures, 7) == pytest.approx(expected)


@pytest.mark.parametrize(
    "criterion, shown",
    [
        ("map", "validation map@50 0.500"),
        ("recall", "validation recall@1,5,10 0.200"),
        ("agreement", "validation agreement@50 0.750"),
        ("last", "validation map@50 0.500"),
    ],
)
def test_the_line_of_an_epoch_shows_what_it_is_chosen_by(criterion, shown):
    names = {"map@50": 0.5, "recall@1": 0.1, "recall@5": 0.2, "recall@10": 0.3, "agreement@50": 0.75}
    figures = {name: {"average": value} for name, value in names.items()}
    record = {"epoch": 3, "loss": 1.0, "seconds": 2.0, "validation": figures, "selected": True}
    line = epoch_line(record, epochs=5, criterion=criterion)
    assert line == f"epoch 3/5  loss 1.0000  {shown}  2.0 s  *"


def test_the_line_of_an_epoch_without_an_evaluation_has_no_figure():
    assert epoch_line({"epoch": 3, "loss": 1.0, "seconds": 2.0}, epochs=5, criterion="map") == (
        "epoch 3/5  loss 1.0000  2.0 s"
    )
