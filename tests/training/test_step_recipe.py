"""What is ours in a training step: targets from neighbourhoods and the two contrastive terms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import losses, training
from gpldan_jax.data import PairedSplit
from gpldan_jax.training.batches import split_neighbourhoods
from tests.training import tiny

OURS = {"neighbours": 5, "contrastive": 0.3, "temperature": 0.5, "soft_contrastive": 0.2, "soft_temperature": 0.25}
OURS |= {"soft_within": 0.5}
UNSPOILT = {"image_denoising": 0.0, "text_denoising": 0.0}


def first_batch(dataset, state, **options):
    near = split_neighbourhoods(dataset.train, state.neighbours)
    return next(
        training.epoch_batches(
            dataset.train, state.key, 0, batch_size=12, remainder="drop", neighbourhoods=near, **options
        )
    )


@pytest.mark.slow
def test_a_step_takes_its_targets_from_neighbourhoods_and_adds_the_contrastive_terms():
    dataset, state = tiny.dataset(), tiny.state(**OURS, **UNSPOILT)
    batch = first_batch(dataset, state)
    image, text = state.projector.apply({"params": state.projector_parameters}, batch.images, batch.texts)
    # The rows of the batch among all training pairs, found by their images.
    places = [int(np.flatnonzero((dataset.train.images == row).all(axis=1))[0]) for row in np.asarray(batch.images)]
    columns, weights = losses.nearest_neighbours(dataset.train.images, dataset.train.texts, neighbours=5)
    rows = losses.neighbourhood_rows(columns, weights, 40)[jnp.array(places)]
    loss, terms = losses.graph_pattern_loss(
        image.parts, text.parts, image.attention, text.attention, rows, rows, alpha=1.0, beta=0.1
    )
    cosines = 1 - losses.co_attention_distances(image.parts, text.parts, image.attention, text.attention)
    contrastive = losses.infonce(cosines, 2.0)
    soft = losses.soft_contrastive(
        image.parts, text.parts, image.attention, text.attention, similarity=rows @ rows.T, scale=4.0, within=0.5
    )
    _, found = training.train_step(state, batch)
    for name in terms._fields:
        np.testing.assert_allclose(found[name], getattr(terms, name), rtol=1e-5)
    np.testing.assert_allclose(found["contrastive"], contrastive, rtol=1e-5)
    np.testing.assert_allclose(found["soft_contrastive"], soft, rtol=1e-5)
    expected = loss + 0.01 * found["adversarial"] + 0.3 * contrastive + 0.2 * soft
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "without",
    [
        {"neighbours": None, "soft_contrastive": None, "soft_temperature": None},
        {"contrastive": None, "temperature": None},
        {"soft_contrastive": None, "soft_temperature": None},
    ],
)
def test_each_changes_what_is_learned(without):
    after = []
    for changes in (OURS, OURS | without):
        dataset, state = tiny.dataset(), tiny.state(**changes)
        state, metrics = training.train_step(state, first_batch(dataset, state))
        for name in ("contrastive", "soft_contrastive"):
            assert (name in metrics) == (changes[name] is not None)
        after.append(np.asarray(state.projector_parameters["shared"]["kernel"]))
    assert np.abs(after[0] - after[1]).max() > 1e-4


@pytest.mark.slow
def test_padding_takes_no_part_in_it():
    dataset, state = tiny.dataset(), tiny.state(**OURS, **UNSPOILT)
    whole = first_batch(dataset, state)
    kept = jnp.arange(12) < 9
    padded = whole.replace(images=whole.images.at[9:].set(7.0), where=kept)
    part = jax.tree.map(lambda of: of[:9], whole)
    _, found = training.train_step(state, padded)
    _, expected = training.train_step(tiny.state(**OURS, **UNSPOILT), part)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_loss_curve_is_the_same_sent_resident_and_on_devices():
    dataset, curves = tiny.dataset(n=45), []
    batches = {"batch_size": 10, "remainder": "mask"}
    for mesh in (None, training.data_mesh(4)):
        state = tiny.state(**OURS, mesh=mesh)
        pairs = training.resident_pairs(dataset.train, mesh, neighbours=5)
        _, metrics = training.train_epoch(state, pairs, **batches)
        curves.append(metrics["loss"])
    state, near, sent = tiny.state(**OURS), split_neighbourhoods(dataset.train, 5), []
    for batch in training.epoch_batches(dataset.train, state.key, 0, **batches, neighbourhoods=near):
        state, metrics = training.train_step(state, batch)
        sent.append(metrics["loss"])
    np.testing.assert_allclose(curves[0], sent, rtol=1e-5)
    np.testing.assert_allclose(curves[1], sent, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
def test_a_run_with_it_lowers_its_loss_and_goes_on_within_an_epoch(tmp_path, resident):
    steps = []

    def run(folder, resident, stop_after=None):
        checkpoints = training.Checkpoints(tmp_path / folder)
        records, steps[:] = [], []
        try:
            state, _ = training.train(
                tiny.state(**OURS),
                tiny.dataset(),
                checkpoints,
                epochs=4,
                batch_size=8,
                resident=resident,
                report=records.append,
                on_step=steps.append,
                should_stop=lambda: steps[-1] == stop_after,
            )
        finally:
            checkpoints.close()
        return state, records

    with pytest.raises(training.Interrupted):
        run("stopped", False, stop_after=7)
    continued, _ = run("stopped", resident)
    whole, records = run("whole", resident)
    assert records[-1]["loss"] < records[0]["loss"] and records[-1]["contrastive"] < records[0]["contrastive"]
    for a, b in zip(*(jax.tree.leaves(of.projector_parameters) for of in (continued, whole)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_batch_without_the_neighbourhoods_that_the_state_wants_is_refused():
    dataset, state = tiny.dataset(), tiny.state(**OURS)
    batch = training.Batch(dataset.train.images[:8], dataset.train.texts[:8])
    with pytest.raises(ValueError, match=r"state\.neighbours is 5, so the batch must be made with the same neighbours"):
        training.train_step(state, batch)
    with pytest.raises(ValueError, match="contrastive and temperature belong together"):
        tiny.state(contrastive=0.3)
    with pytest.raises(ValueError, match="soft_contrastive and soft_temperature belong together"):
        tiny.state(soft_contrastive=0.3, neighbours=5)
    with pytest.raises(ValueError, match="soft_contrastive takes its targets from neighbourhoods, so it needs"):
        tiny.state(soft_contrastive=0.3, soft_temperature=0.2)
    with pytest.raises(ValueError, match="soft_contrastive takes its targets from neighbourhoods, so the state"):
        training.train_step(tiny.state(**OURS).replace(neighbours=None), batch)


def test_labels_make_no_neighbours():
    train = tiny.dataset().train
    labelled, unlabelled = (split_neighbourhoods(of, 5) for of in (train, PairedSplit(train.images, train.texts)))
    np.testing.assert_array_equal(labelled.columns, unlabelled.columns)


def test_captions_of_one_image_are_no_negatives_in_training():
    split = tiny.dataset(n=16).train
    groups = np.arange(16) // 2
    images = split.images[groups * 2]  # two captions of each of eight images
    without = {"neighbours": None, "soft_contrastive": None, "soft_temperature": None}
    state = tiny.state(**OURS | UNSPOILT | without)
    represented = state.projector.apply({"params": state.projector_parameters}, images, split.texts)
    cosines = 1 - losses.co_attention_distances(
        *(of.parts for of in represented), *(of.attention for of in represented)
    )
    expected, with_false_negatives = losses.infonce(cosines, 2.0, groups=groups), losses.infonce(cosines, 2.0)
    _, metrics = training.train_step(state, training.Batch(images, split.texts, groups=groups))
    np.testing.assert_allclose(metrics["contrastive"], expected, rtol=1e-5)
    assert with_false_negatives - expected > 0.01
