"""The training loop: resuming, selection, what is saved, and that it compiles once."""

import json
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax.data import DataError
from tests.damage import damage, files_below
from tests.training import tiny

# As in test_step_epochs.py.
DEVICES_TOLERANCE = 1e-4
OPTIONS = {"epochs": 4, "batch_size": 8, "criterion": "map"}


def train(directory, dataset=None, state=None, **options):
    records = []
    checkpoints = training.Checkpoints(directory)
    try:
        result = training.train(
            state or tiny.state(),
            dataset or tiny.dataset(),
            checkpoints,
            report=records.append,
            **OPTIONS | options,
        )
    finally:
        checkpoints.close()
    return *result, records


def assert_same_state(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def without_time(records):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


@pytest.mark.slow
def test_training_lowers_the_loss_and_beats_its_start(tmp_path):
    before = training.evaluate_split(tiny.state(), tiny.dataset().validation)
    state, progress, records = train(tmp_path, epochs=30, criterion="recall")
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]
    after = training.evaluate_split(state, tiny.dataset().validation)
    assert after["recall@5"]["average"] > before["recall@5"]["average"] + 0.2
    assert progress.epoch == 30
    json.dumps(records)  # plain numbers


@pytest.mark.slow
@pytest.mark.parametrize("remainder, resident", [("drop", True), ("drop", False), ("mask", False)])
def test_an_interrupted_run_ends_like_one_left_alone(tmp_path, remainder, resident):
    options = {"dataset": tiny.dataset(n=45), "remainder": remainder, "resident": resident, "criterion": "last"}
    whole, progress, records = train(tmp_path / "whole", **options)
    steps = training.steps_per_epoch(45, 8, remainder)
    resumed = []
    for stop_after in (2, 2 * steps, 2 * steps + 3):  # in the middle of an epoch, at the end of one, and again
        seen = []

        def should_stop(seen=seen, stop_after=stop_after):
            return seen[-1] >= stop_after

        with pytest.raises(training.Interrupted):
            checkpoints = training.Checkpoints(tmp_path / "parts")
            training.train(
                tiny.state(),
                checkpoints=checkpoints,
                report=resumed.append,
                on_step=seen.append,
                should_stop=should_stop,
                **OPTIONS | options,
            )
        checkpoints.close()
    state, resumed_progress, rest = train(tmp_path / "parts", **options)
    assert_same_state(whole, state)
    assert resumed_progress == progress
    assert without_time(resumed + rest) == without_time(records)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
def test_one_compilation_for_a_whole_run(tmp_path, resident):
    program = training.train_epoch if resident else training.train_step
    program.clear_cache()
    train(tmp_path, dataset=tiny.dataset(n=45), remainder="mask", epochs=3, resident=resident)
    assert program._cache_size() == 1


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices_and_without_resident_data(tmp_path):
    _, _, alone = train(tmp_path / "alone", epochs=4, criterion="last")
    _, _, records = train(tmp_path / "moved", state=tiny.state(mesh=training.data_mesh(4)), epochs=1, criterion="last")
    seen = []
    with pytest.raises(training.Interrupted):  # in the middle of the second epoch
        train(
            tmp_path / "moved",
            resident=False,
            criterion="last",
            on_step=seen.append,
            should_stop=lambda: seen[-1] >= 7,
        )
    assert seen == [6, 7]
    state = tiny.state(mesh=training.data_mesh(2))
    state, _, rest = train(tmp_path / "moved", state=state, epochs=4, criterion="last")
    assert [record["epoch"] for record in rest] == [2, 3, 4]
    for record, expected in zip(records + rest, alone, strict=True):
        assert record["loss"] == pytest.approx(expected["loss"], rel=DEVICES_TOLERANCE)
    assert len(state.projector_parameters["shared"]["kernel"].addressable_shards) == 2


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(tmp_path):
    state, progress, _ = train(tmp_path)
    again, same_progress, records = train(tmp_path)
    assert records == [] and same_progress == progress
    assert_same_state(state, again)


def test_the_selected_epoch_is_given_back_and_its_checkpoint_kept(tmp_path, monkeypatch):
    values = iter([0.1, 0.5, 0.3, 0.5])
    monkeypatch.setattr("gpldan_jax.training.loop.criterion_value", lambda *_: next(values))
    state, progress, records = train(tmp_path)
    assert progress.selection == training.Selection(epoch=2, value=0.5, stale=2)
    assert int(state.step) == 2 * 5
    assert [record["selected"] for record in records] == [True, True, False, False]
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [10, 15, 20]  # the selected one, and the latest two


def test_patience_ends_training(tmp_path, monkeypatch):
    values = iter([0.4, 0.5, 0.3, 0.2, 0.9])
    monkeypatch.setattr("gpldan_jax.training.loop.criterion_value", lambda *_: next(values))
    _, progress, records = train(tmp_path, epochs=9, patience=2)
    assert progress.epoch == 4 and progress.selection.epoch == 2
    assert len(records) == 4


def test_evaluation_happens_as_often_as_asked_and_at_the_end(tmp_path):
    _, _, records = train(tmp_path, epochs=5, evaluate_every=2)
    assert ["validation" in record for record in records] == [False, True, False, True, True]


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["map", "last"])
def test_with_a_damaged_checkpoint_a_run_ends_like_one_left_alone(tmp_path, criterion):
    expected, progress, records = train(tmp_path / "whole", criterion=criterion)
    train(tmp_path / "run", criterion=criterion, epochs=3)
    damage(files_below(tmp_path / "run" / "15")[-1], random.Random(0))
    with pytest.warns(UserWarning, match=r"/15/.* is damaged: .*; going on after step 10"):
        found, same, again = train(tmp_path / "run", criterion=criterion)
    assert same == progress and without_time(again) == without_time(records[2:])
    assert_same_state(found, expected)


def test_a_loss_that_is_not_finite_names_step_and_term_and_keeps_the_last_checkpoint(tmp_path):
    dataset = tiny.dataset()
    train(tmp_path, dataset=dataset, epochs=2, criterion="last")
    dataset.train.images[:] = np.nan
    with pytest.raises(training.NotFinite, match=r"the pairwise loss is nan at step 11"):
        train(tmp_path, dataset=dataset, epochs=4, criterion="last")
    checkpoints = training.Checkpoints(tmp_path)
    assert checkpoints.latest() == 10
    checkpoints.close()


@pytest.mark.parametrize(
    "dataset, options, message",
    [
        (tiny.dataset(), {"batch_size": 41}, "batch_size must not exceed the training pairs of tiny, 40, got 41"),
        (
            tiny.dataset(labels=False),
            {},
            "selection by map needs labels, tiny has none; use 'agreement', 'recall' or 'last'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, dataset, options, message):
    with pytest.raises(DataError, match=message):
        train(tmp_path / "run", dataset=dataset, **options)
    assert not list(tmp_path.glob("run/*"))


def test_data_that_leave_a_device_no_memory_are_refused_naming_the_way_out(monkeypatch):
    dataset = tiny.dataset()  # 40 pairs of 10 and 6 float32
    monkeypatch.setattr("gpldan_jax.training.loop.device_memory", lambda device: 3199)
    with pytest.raises(DataError, match=r"0.0 GB.*mesh.resident=False sends them batch by batch"):
        training.check_resident(dataset, None)
    training.check_resident(dataset, training.data_mesh(2))  # each holds half of them
    monkeypatch.setattr("gpldan_jax.training.loop.device_memory", lambda device: 3200)
    training.check_resident(dataset, None)


def test_a_checkpoint_of_another_state_is_refused_naming_it(tmp_path):
    checkpoints = training.Checkpoints(tmp_path)
    checkpoints.save(7, {"weights": np.ones(3)}, {"epoch": 1})
    checkpoints.close()
    with pytest.raises(ValueError, match=r"/7 holds no checkpoint that fits this run.*; use fresh to start over$"):
        train(tmp_path)


def test_training_without_labels(tmp_path):
    state, _, records = train(tmp_path, dataset=tiny.dataset(labels=False), criterion="recall")
    assert set(records[-1]["validation"]) == {"recall@1", "recall@5", "recall@10"}
    assert int(state.step) > 0


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
def test_strict_promotion_gives_the_same_run(tmp_path, resident):
    options = {"resident": resident, "remainder": "mask", "epochs": 2}
    changes = {"contrastive": 0.3, "temperature": 0.5, "neighbours": 3}
    expected, _, records = train(tmp_path / "usual", state=tiny.state(**changes), **options)
    with jax.numpy_dtype_promotion("strict"):
        found, _, same = train(tmp_path / "strict", state=tiny.state(**changes), **options)
    assert without_time(same) == without_time(records)
    assert_same_state(found, expected)
