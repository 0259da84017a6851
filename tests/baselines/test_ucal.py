"""UCAL: its objective against a float64 loop, the reversal of the modality classifier's gradient, and training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import retrieval
from gpldan_jax.baselines import ucal
from gpldan_jax.baselines.network_method import LabelledBatch
from gpldan_jax.data import PairedSplit
from gpldan_jax.data.splits import synthetic_splits
from gpldan_jax.losses import modality_classifier_loss
from gpldan_jax.models import ModalityClassifier

FLOAT32 = 1e-5  # relative; sums of a few dozen terms
NUMBERS = {"adversarial": 0.7}
LOSS = jax.jit(ucal.ucal_loss)


def batch(progress, labels=None):
    rng = np.random.default_rng(0)
    images, texts = (jnp.asarray(rng.normal(size=(6, d)), jnp.float32) for d in (5, 4))
    return LabelledBatch(images, texts, labels, jax.random.key(0), jnp.float32(progress))


def parameters():
    return ucal.adversarial_parameters(jax.random.key(1), {"image": (5, 7, 3), "text": (4, 3)})


def splits():
    drawn = synthetic_splits((192, 64, 128), image_dim=24, text_dim=16, classes=4)
    return [PairedSplit(*split) for split in drawn]


@pytest.mark.slow
def test_the_objective_is_that_of_a_loop():
    of = jax.tree.map(lambda x: np.asarray(x, np.float64) + 0.1, parameters())  # biases that count
    inputs = batch(0.5)
    total = 0.0
    for image, text in zip(np.asarray(inputs.images, np.float64), np.asarray(inputs.texts, np.float64), strict=True):
        codes = []
        for name, code, layers in (("image", image, 2), ("text", text, 1)):
            for i in range(layers):
                code = np.tanh(code @ of[name][f"layer_{i}"]["kernel"] + of[name][f"layer_{i}"]["bias"])
            codes.append(code)
        total += sum((v - t) ** 2 for v, t in zip(*codes, strict=True))
        for code, truth in zip(codes, (1, 0), strict=True):  # 1 is "image"
            layers = of["modality"]["hidden_layer"], of["modality"]["output"]
            logits = np.maximum(code @ layers[0]["kernel"] + layers[0]["bias"], 0) @ layers[1]["kernel"]
            logits += layers[1]["bias"]
            total += np.log(np.exp(logits).sum()) - logits[truth]
    found = LOSS(jax.tree.map(jnp.float32, of), inputs, NUMBERS)
    np.testing.assert_allclose(found, total / 6, rtol=FLOAT32)


@pytest.mark.parametrize("progress", [0.0, 0.03, 0.5, 1.0])
def test_the_schedule_is_that_of_the_paper(progress):
    expected = 2 / (1 + np.exp(-10 * progress)) - 1
    np.testing.assert_allclose(ucal.adversarial_schedule(progress), expected, atol=1e-7)


def test_codes_climb_where_the_modality_classifier_descends():
    of, weight = parameters()["modality"], 0.3
    codes = jax.random.normal(jax.random.key(2), (2, 6, 3))

    def plain(of, image, text):
        apply = ModalityClassifier(ucal.CLASSIFIER_HIDDEN).apply
        return modality_classifier_loss(apply({"params": of}, image), apply({"params": of}, text))

    descent = jax.jit(jax.grad(plain, (0, 1, 2)))(of, *codes)
    found = jax.jit(jax.grad(ucal.reversed_modality_loss, (0, 1, 2)))(of, *codes, weight)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-7), found[0], descent[0])
    for of_codes, downhill in zip(found[1:], descent[1:], strict=True):
        assert np.abs(downhill).max() > 1e-3
        np.testing.assert_allclose(of_codes, -weight * downhill, rtol=1e-4, atol=1e-7)


def test_the_classifier_counts_for_the_codes_as_the_schedule_says():
    gradient = jax.jit(jax.grad(ucal.ucal_loss))
    none = gradient(parameters(), batch(0.5), {"adversarial": 0.0})["image"]
    at = [gradient(parameters(), batch(p), NUMBERS)["image"]["layer_0"]["kernel"] for p in (0.0, 0.1, 0.5)]
    none = none["layer_0"]["kernel"]
    np.testing.assert_allclose(at[0], none, atol=1e-6)
    ratio = ucal.adversarial_schedule(0.1) / ucal.adversarial_schedule(0.5)
    assert np.abs(at[2] - none).max() > 1e-3
    np.testing.assert_allclose(at[1] - none, ratio * (at[2] - none), atol=1e-6)


def test_labels_are_not_looked_at():
    of = parameters()
    np.testing.assert_array_equal(LOSS(of, batch(0.5), NUMBERS), LOSS(of, batch(0.5, jnp.arange(6)), NUMBERS))


def test_distances_are_euclidean():
    of, inputs = parameters(), batch(0.0)
    found = ucal.code_distances(of)(np.asarray(inputs.images), np.asarray(inputs.texts[:4]))
    v, t = (np.asarray(ucal.encode(of[name], getattr(inputs, f"{name}s"))) for name in ("image", "text"))
    expected = [[np.linalg.norm(x - y) for y in t[:4]] for x in v]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_partners_come_closer():
    train, validation, _ = splits()
    before, after = (
        ucal.UCAL.fit(train, validation, lambda _: 0.0, seed=0, epochs=epochs, learning_rate=1e-3)
        for epochs in (0, 1)  # of equal scores the first is kept
    )
    distance = [np.diagonal(fitted(train.images, train.texts)).mean() for fitted in (before, after)]
    assert distance[1] < 0.98 * distance[0]


@pytest.mark.slow
def test_it_beats_chance():
    train, validation, test = splits()
    unlabelled = [PairedSplit(of.images, of.texts) for of in (train, validation)]

    def score(distances):
        return retrieval.evaluate(distances, validation.labels)["map@50"]["average"]

    fitted = ucal.UCAL.fit(*unlabelled, score, seed=0, epochs=20, learning_rate=1e-3)
    reached = retrieval.evaluate(fitted(test.images, test.texts), test.labels)["map@50"]["average"]
    assert reached > 1.5 * retrieval.chance(len(test), test.labels)["map@50"]
