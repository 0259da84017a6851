"""A run whose number of epochs changes ends with the bits of a run that always had it, or is refused."""

import pytest

from gpldan_jax import training
from tests.training import tiny
from tests.training.test_loop import assert_same_state, train, without_time


def without_last_evaluation(records):
    """The records as `keep_records` leaves them for a run that does not make the last evaluation."""
    return [*records[:-1], {key: value for key, value in records[-1].items() if key not in ("validation", "selected")}]


@pytest.fixture
def values(monkeypatch):
    """Sets what validation says after each epoch."""

    def set_values(*of_epochs):
        monkeypatch.setattr("gpldan_jax.training.loop.criterion_value", lambda _, __, epoch: of_epochs[epoch - 1])

    return set_values


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["map", "last"])
def test_more_epochs_end_like_one_run(tmp_path, criterion):
    whole, progress, records = train(tmp_path / "whole", epochs=5, criterion=criterion)
    _, _, first = train(tmp_path / "parts", epochs=2, criterion=criterion)
    _, _, second = train(tmp_path / "parts", epochs=4, criterion=criterion)
    state, same_progress, third = train(tmp_path / "parts", epochs=5, criterion=criterion)
    assert without_time(first + second + third) == without_time(records)
    assert same_progress == progress
    assert_same_state(state, whole)


@pytest.mark.parametrize("best", [2, 4, 6])
def test_the_last_evaluation_of_a_shorter_run_does_not_count(tmp_path, values, best):
    # Every second epoch is evaluated; the short run also evaluates its last one, 3, and finds it best so far.
    found = [0.1, 0.2, 0.5, 0.1, 0.1, 0.1]
    found[best - 1] += 0.2
    values(*found)
    _, expected, records = train(tmp_path / "whole", epochs=6, evaluate_every=2)
    _, short, first = train(tmp_path / "parts", epochs=3, evaluate_every=2)
    assert short.selection.epoch == 3 and short.scheduled == training.Selection(2, found[1], 0)
    assert first[-1]["selected"] and sorted(int(path.name) for path in (tmp_path / "parts").iterdir()) == [10, 15]
    state, progress, second = train(tmp_path / "parts", epochs=6, evaluate_every=2)
    assert without_time(without_last_evaluation(first) + second) == without_time(records)
    assert progress == expected and progress.selection.epoch == best and int(state.step) == 5 * best


def test_patience_counts_scheduled_evaluations_only(tmp_path, values):
    values(0.1, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    _, expected, _ = train(tmp_path / "whole", epochs=8, evaluate_every=2, patience=2)
    _, short, _ = train(tmp_path / "parts", epochs=5, evaluate_every=2, patience=2)
    assert short.selection.stale == 2
    _, progress, _ = train(tmp_path / "parts", epochs=8, evaluate_every=2, patience=2)
    assert progress == expected and progress.epoch == 6


def test_a_run_that_patience_ended_is_not_trained_on(tmp_path, values):
    values(0.4, 0.5, 0.3, 0.2, 0.9)
    _, progress, _ = train(tmp_path, epochs=9, patience=2)
    for epochs in (99, 4):
        _, again, records = train(tmp_path, epochs=epochs, patience=2)
        assert again == progress and records == []


@pytest.mark.parametrize(
    "progress, options, message",
    [
        ({"epoch": 4}, {"epochs": 3}, "epochs must be at least 4, since 4 epochs are trained already, got 3"),
        (
            {"epoch": 4, "window": [{"loss": 1.0}]},
            {"epochs": 4},
            "at least 5, since 4 epochs and a part of the next are trained already, got 4",
        ),
        ({"epoch": 4}, {"epochs": 4, "evaluate_every": 3}, "must be above 4: epoch 4 is no multiple of evaluate_every"),
        (
            {"epoch": 4},  # a finished run of version 0.1.0
            {"epochs": 9, "previous": 4, "evaluate_every": 3},
            "must be 4: epoch 4 is no multiple of evaluate_every, 3, but .* did not keep what comes without",
        ),
        ({"epoch": 4}, {"epochs": 4}, None),
        ({"epoch": 4}, {"epochs": 5}, None),
        ({"epoch": 4, "window": [{"loss": 1.0}]}, {"epochs": 5, "evaluate_every": 3}, None),
        ({"epoch": 4}, {"epochs": 9, "previous": 12, "evaluate_every": 3}, None),  # interrupted, by version 0.1.0
        ({"epoch": 4, "scheduled": None}, {"epochs": 9, "previous": 4, "evaluate_every": 3}, None),
    ],
)
def test_a_number_of_epochs_that_gives_other_bits_is_refused(progress, options, message):
    progress = {"window": [], "selection": {"epoch": 2, "value": 0.5, "stale": 1}} | progress
    options = {"previous": 20, "evaluate_every": 1} | options
    if message is None:
        training.check_epochs(progress, **options)
        return
    with pytest.raises(ValueError, match=message):
        training.check_epochs(progress, **options)


def test_the_progress_of_a_checkpoint_is_read_without_its_state(tmp_path):
    train(tmp_path, epochs=2, criterion="last")
    checkpoints = training.Checkpoints(tmp_path)
    on_disk = checkpoints.progress(checkpoints.latest())
    checkpoints.close()
    memory = training.CheckpointsInMemory()
    training.train(tiny.state(), tiny.dataset(), memory, epochs=2, batch_size=8, criterion="last")
    in_memory = training.Progress.from_record(memory.progress(10))
    assert training.Progress.from_record(on_disk) == in_memory
    assert in_memory.epoch == 2 and in_memory.selection.epoch == 2
