"""The bank of training pairs against plain NumPy, scikit-learn's kernel ridge regression, and its file."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from gpldan_jax import models, training
from gpldan_jax.data import standardize
from tests.training import tiny

RNG = np.random.default_rng(0)
N, D_I, D_T, H = 30, 7, 5, 6
IMAGES, TEXTS = RNG.normal(size=(N, D_I)).astype(np.float32) + 2, RNG.normal(size=(N, D_T)).astype(np.float32)
CODES = RNG.normal(size=(2, N, H)).astype(np.float32)
OPTIONS = {"pairs": 16, "neighbours": 3, "weight": 0.5}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def bank(pairs=N, neighbours=4, weight=0.5):
    chosen = models.choose_pairs(IMAGES, TEXTS, pairs=pairs)
    return models.make_bank(chosen, *CODES[:, chosen.rows], neighbours=neighbours, weight=weight)


def moved_by_loops(inputs, features, known, joint, coefficients, bandwidth, *, neighbours, weight):
    """The formula of `models.move`, item by item, in float64."""
    center, moved = known.mean(0), []
    rows = unit(known.astype(np.float64) - center)
    for x, feature in zip(inputs.astype(np.float64), features.astype(np.float64), strict=True):
        cosines = rows @ unit(x - center)
        nearest = np.argsort(-cosines)[:neighbours]
        weights = np.maximum(cosines[nearest], 0)
        mean = (weights / weights.sum()) @ joint[nearest] if weights.sum() else 0
        predicted = sum(np.exp((c - 1) / bandwidth) * a for c, a in zip(cosines, coefficients, strict=True))
        direction = unit(feature) + weight * (mean + unit(predicted))
        moved.append(np.linalg.norm(feature) * unit(direction))
    return np.array(moved)


@pytest.mark.parametrize("modality, known", [("image", IMAGES), ("text", TEXTS)])
def test_a_move_is_that_of_plain_loops(modality, known):
    found = bank()
    side = getattr(found, modality)
    inputs = known[:9] + RNG.normal(size=(9, known.shape[1])).astype(np.float32)
    features = 3 * RNG.normal(size=(9, H)).astype(np.float32)
    expected = moved_by_loops(
        inputs, features, known, np.float64(found.joint), np.float64(side.coefficients), float(side.bandwidth),
        neighbours=4, weight=0.5,
    )  # fmt: skip
    # The inputs and joint representations of the bank are float16.
    np.testing.assert_allclose(models.move(found, inputs, features, modality), expected, atol=5e-3)


def test_the_regression_is_that_of_scikit_learn_with_the_least_leave_one_out_error():
    kernel_ridge = pytest.importorskip("sklearn.kernel_ridge", reason="needs scikit-learn")
    found = bank()
    joint = unit(unit(CODES[0]) + unit(CODES[1]))
    targets = joint - joint.mean(0)
    x = unit(TEXTS - TEXTS.mean(0)).astype(np.float64)
    nearest = np.sort(x @ x.T - 2 * np.eye(N), axis=1)[:, -10:].mean(axis=1)
    bandwidth = np.median(1 - nearest)
    assert float(found.text.bandwidth) == pytest.approx(bandwidth, rel=1e-5)
    kernel = np.exp((x @ x.T - 1) / bandwidth)
    errors = {}
    for ridge in 10.0 ** np.arange(-3, 1.25, 0.5):
        error = 0.0
        for i in range(N):  # leave one out, by leaving it out
            rest = np.arange(N) != i
            fit = kernel_ridge.KernelRidge(alpha=ridge, kernel="precomputed").fit(kernel[rest][:, rest], targets[rest])
            error += np.square(fit.predict(kernel[i, rest][None])[0] - targets[i]).sum()
        errors[ridge] = error
    fit = kernel_ridge.KernelRidge(alpha=min(errors, key=errors.get), kernel="precomputed").fit(kernel, targets)
    np.testing.assert_allclose(found.text.coefficients, fit.dual_coef_, rtol=1e-3, atol=1e-4)


def test_the_joint_representation_lies_between_partners_whatever_their_lengths():
    chosen = models.choose_pairs(IMAGES, TEXTS, pairs=N)
    one, other = (
        models.make_bank(chosen, scale * CODES[0], CODES[1], neighbours=4, weight=0.5).joint for scale in (1, 100)
    )
    np.testing.assert_allclose(one, other, atol=1e-3)
    np.testing.assert_allclose(one, unit(unit(CODES[0]) + unit(CODES[1])), atol=1e-3)


def test_a_larger_bank_than_pairs_has_each_of_them():
    whole = models.choose_pairs(IMAGES, TEXTS, pairs=10**6)
    assert whole.rows.tolist() == whole.members.tolist() == list(range(N))
    np.testing.assert_array_equal(whole.images, IMAGES)


def test_a_pair_of_a_smaller_bank_is_the_mean_of_the_pairs_around_it():
    chosen = models.choose_pairs(IMAGES, TEXTS, pairs=11)
    assert chosen.rows.tolist() == list(range(N)) and set(chosen.members.tolist()) == set(range(11))
    units = [unit(np.float64(of) - np.float64(of).mean(0)) for of in (IMAGES, TEXTS)]
    seeds = np.random.default_rng(0).permutation(N)[:11]
    nearest = [max(seeds, key=lambda j: sum(float(of[i] @ of[j]) for of in units)) for i in range(N)]
    for i in range(N):
        np.testing.assert_array_equal(chosen.members == chosen.members[i], np.array(nearest) == nearest[i])
    found = bank(pairs=11)
    joint = unit(unit(CODES[0]) + unit(CODES[1]))
    for of in range(11):
        mine = chosen.members == of
        np.testing.assert_allclose(found.joint[of], unit(joint[mine].mean(0)), atol=1e-3)
        for side, inputs in zip((found.image, found.text), units, strict=True):
            np.testing.assert_allclose(side.inputs[of], unit(inputs[mine].mean(0)), atol=1e-3)


def test_the_regression_of_a_smaller_bank_learns_from_all_pairs():
    """Least squares with the penalty as rows of its own: `|C A - y|^2 + r |L^T A|^2`, where `L L^T` is the kernel."""
    chosen, found = models.choose_pairs(IMAGES, TEXTS, pairs=11), bank(pairs=11)
    joint = unit(unit(CODES[0]) + unit(CODES[1]))
    targets = joint - joint.mean(0)
    inputs = unit(TEXTS - TEXTS.mean(0)).astype(np.float64)
    of_bank = unit(np.stack([inputs[chosen.members == of].mean(0) for of in range(11)]))
    kernels = [np.exp((of @ of_bank.T - 1) / float(found.text.bandwidth)) for of in (inputs, of_bank)]
    fits = []
    for ridge in 10.0 ** np.arange(-3, 1.25, 0.5):
        rows = np.vstack([kernels[0], np.sqrt(ridge) * np.linalg.cholesky(kernels[1]).T])
        fits.append(np.linalg.lstsq(rows, np.vstack([targets, np.zeros((11, H))]))[0])
    assert min(np.abs(found.text.coefficients - fit).max() for fit in fits) < 2e-3


def test_of_very_many_pairs_some_are_drawn():
    images, texts = RNG.normal(size=(2, 100, 3)).astype(np.float32)
    chosen = models.choose_pairs(images, texts, pairs=4)
    assert len(set(chosen.rows.tolist())) == 32 and len(chosen.members) == 32 and chosen.members.max() == 3
    np.testing.assert_array_equal(chosen.images, images[chosen.rows])
    np.testing.assert_array_equal(chosen.members, models.choose_pairs(images, texts, pairs=4).members)
    # The centre is that of all training pairs.
    np.testing.assert_allclose(chosen.regressions["image"].center, images.mean(0), atol=1e-6)


def test_equal_pairs_share_a_pair_of_the_bank():
    images, texts = np.repeat(IMAGES[:3], 10, axis=0), np.repeat(TEXTS[:3], 10, axis=0)
    chosen = models.choose_pairs(images, texts, pairs=11)
    assert set(chosen.members.tolist()) == set(range(3))
    found = models.make_bank(chosen, *CODES, neighbours=5, weight=1.0)
    assert found.joint.shape == (3, H) and found.neighbours == 3 and np.isfinite(found.image.coefficients).all()


@pytest.mark.parametrize("weight, neighbours", [(0.0, 4), (0.5, 100)])
def test_no_weight_moves_nothing_and_more_neighbours_than_pairs_are_all(weight, neighbours):
    found = bank(weight=weight, neighbours=neighbours)
    moved = models.move(found, TEXTS, CODES[1], "text")
    assert found.neighbours == min(neighbours, N) and np.isfinite(moved).all()
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), np.linalg.norm(CODES[1], axis=1), rtol=1e-5)
    if not weight:
        np.testing.assert_allclose(moved, CODES[1], rtol=1e-5, atol=1e-6)


def test_constant_inputs_and_zero_features_stay_finite():
    images = np.ones((N, D_I), np.float32)
    chosen = models.choose_pairs(images, TEXTS, pairs=N)
    found = models.make_bank(chosen, 0 * CODES[0], CODES[1], neighbours=4, weight=1.0)
    assert np.isfinite(models.move(found, images[:3], jnp.zeros((3, H)), "image")).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: models.choose_pairs(IMAGES[:1], TEXTS[:1], pairs=9), "at least 2, got 1 and 9"),
        (lambda: models.choose_pairs(IMAGES, TEXTS, pairs=1), "at least 2, got 30 and 1"),
        (lambda: bank(neighbours=0), "neighbours must be at least 1 and weight at least 0, got 0 and 0.5"),
        (lambda: bank(weight=-1.0), "got 4 and -1.0"),
    ],
)
def test_numbers_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def trained(**changes):
    dataset, standardization = standardize(tiny.dataset(), image=True, text=True)
    state = tiny.state(**changes)
    parameters = jax.device_get(state.projector_parameters)
    found = training.make_bank_maker(dataset.train, OPTIONS)(state.projector, parameters)
    return dataset, models.TrainedModel(state.projector, parameters, standardization, {"dataset": "tiny"}, found)


def test_attention_is_taken_after_the_move():
    dataset, model = trained()
    one = models.encode(model.projector, model.parameters, dataset.test.texts, "text", model.bank)
    plain = models.encode(model.projector, model.parameters, dataset.test.texts, "text")
    moved = models.move(model.bank, dataset.test.texts, plain.features, "text")
    np.testing.assert_allclose(one.features, moved, rtol=1e-5)
    again = model.projector.apply({"params": model.parameters}, moved, method="represent")
    np.testing.assert_allclose(one.attention, again.attention, rtol=1e-5)
    assert np.abs(np.asarray(one.attention) - np.asarray(plain.attention)).max() > 1e-4


def test_a_bank_comes_back_from_its_file_as_it_was(tmp_path):
    _, saved = trained()
    path = tmp_path / "model.safetensors"
    models.save_model(path, saved)
    loaded = models.load_model(path)
    assert (loaded.bank.neighbours, loaded.bank.weight) == (3, 0.5) and loaded.metadata == saved.metadata
    for one, other in zip(jax.tree.leaves(saved.bank), jax.tree.leaves(loaded.bank), strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t.pop("bank/joint"), "KeyError 'joint'"),
        (
            lambda t, m: t.update({"bank/joint": np.zeros((16, 3), np.float16)}),
            r"bank/joint must be finite floats \[16",
        ),
        (lambda t, m: t.update({"bank/text/inputs": np.zeros((9, 6), np.float16)}), "bank/text/inputs must be"),
        (lambda t, m: t.update({"bank/image/bandwidth": np.float32("nan")}), "bank/image/bandwidth must be finite"),
        (lambda t, m: t.update({"bank/image/more": np.zeros(3)}), "unexpected keyword argument 'more'"),
        (lambda t, m: m.pop("bank"), "it has a part of a bank"),
        (lambda t, m: m["bank"].update(neighbours=17), "neighbours must be from 1 to 16, got 17"),
    ],
)
def test_a_damaged_bank_is_refused(change, message, tmp_path):
    path = tmp_path / "model.safetensors"
    models.save_model(path, trained()[1])
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["gpldan_jax"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    change(tensors, header)
    path.write_bytes(
        safetensors.numpy.save(
            {k: np.asarray(v, order="C") for k, v in tensors.items()}, {"gpldan_jax": json.dumps(header)}
        )
    )
    with pytest.raises(ValueError, match=message):
        models.load_model(path, verify=False)  # as of a file that somebody has made anew
    with pytest.raises(ValueError, match="is damaged: the SHA-256 of its"):
        models.load_model(path)
