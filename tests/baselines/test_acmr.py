"""ACMR: its terms against float64 loops, the adversarial term's way to the codes, and training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import retrieval
from gpldan_jax.baselines import acmr, ucal
from gpldan_jax.baselines.network_method import LabelledBatch
from gpldan_jax.data import PairedSplit
from gpldan_jax.data.splits import synthetic_splits
from tests.baselines.shared_latent import parameters_of

FLOAT32 = 1e-5  # relative; sums of a few dozen terms
LABELS = np.array([0, 2, 0, 1, 2, 0])
NUMBERS = {"invariance": 0.6, "margin": 1.5, "negative": 0.4, "adversarial": 0.7}


def batch(progress=0.5):
    rng = np.random.default_rng(0)
    images, texts = (jnp.asarray(rng.normal(size=(6, d)), jnp.float32) for d in (5, 4))
    return LabelledBatch(images, texts, jnp.asarray(LABELS), jax.random.key(0), jnp.float32(progress))


def parameters():
    widths = {"image": (5, 7, 3), "text": (4, 3), "label": (3, 4)}
    return ucal.adversarial_parameters(jax.random.key(1), widths)


def codes():
    return np.random.default_rng(1).uniform(-1, 1, size=(2, 6, 3))


def splits():
    drawn = synthetic_splits((192, 64, 128), image_dim=24, text_dim=16, classes=4)
    return [PairedSplit(*split) for split in drawn]


def test_the_triplet_term_is_that_of_a_loop():
    image, text = codes()
    total = 0.0
    for anchors, others in ((image, text), (text, image)):
        for anchor, label in zip(anchors, LABELS, strict=True):
            distances = [np.sqrt(sum((a - o) ** 2 for a, o in zip(anchor, other, strict=True))) for other in others]
            near = [d for d, of in zip(distances, LABELS, strict=True) if of == label]
            far = [max(0.0, 1.5 - d) for d, of in zip(distances, LABELS, strict=True) if of != label]
            total += (np.mean(near) + 0.4 * np.mean(far)) / 6
    found = acmr.triplet_loss(jnp.float32(image), jnp.float32(text), jnp.asarray(LABELS), margin=1.5, negative=0.4)
    np.testing.assert_allclose(found, total, rtol=FLOAT32)


@pytest.mark.slow
def test_the_label_term_is_that_of_a_loop():
    image, text = codes()
    of = jax.tree.map(lambda x: np.asarray(x, np.float64) + 0.1, parameters()["label"])
    total = 0.0
    for items in (image, text):
        for item, label in zip(items, LABELS, strict=True):
            logits = item @ of["layer_0"]["kernel"] + of["layer_0"]["bias"]
            total += (np.log(np.exp(logits).sum()) - logits[label]) / 6
    codes_and_labels = jnp.float32(image), jnp.float32(text), jnp.asarray(LABELS)
    found = jax.jit(acmr.label_loss)(jax.tree.map(jnp.float32, of), *codes_and_labels)
    np.testing.assert_allclose(found, total, rtol=FLOAT32)


@pytest.mark.slow
def test_the_objective_weighs_its_terms():
    of, inputs = parameters(), batch()
    image, text = ucal.encode(of["image"], inputs.images), ucal.encode(of["text"], inputs.texts)
    terms = [
        acmr.label_loss(of["label"], image, text, inputs.labels),
        0.6 * acmr.triplet_loss(image, text, inputs.labels, margin=1.5, negative=0.4),
        ucal.reversed_modality_loss(of["modality"], image, text, 0.0),
    ]
    np.testing.assert_allclose(jax.jit(acmr.acmr_loss)(of, inputs, NUMBERS), sum(terms), rtol=FLOAT32)


def test_the_adversarial_term_reaches_the_codes_reversed():
    of, inputs = parameters(), batch()
    gradient = jax.jit(jax.grad(acmr.acmr_loss))
    with_it = gradient(of, inputs, NUMBERS)
    without = gradient(of, inputs, NUMBERS | {"adversarial": 0.0})

    def modality_loss(encoders):  # what the modality classifier minimises; at weight -1 the reversal is none
        image, text = ucal.encode(encoders["image"], inputs.images), ucal.encode(encoders["text"], inputs.texts)
        return ucal.reversed_modality_loss(of["modality"], image, text, -1.0)

    encoders = {name: of[name] for name in ("image", "text")}
    downhill = jax.jit(jax.grad(modality_loss))(encoders)
    weight = 0.7 * ucal.adversarial_schedule(0.5)
    for name in encoders:
        kernels = [tree[name]["layer_0"]["kernel"] for tree in (with_it, without, downhill)]
        assert np.abs(kernels[2]).max() > 1e-3
        np.testing.assert_allclose(kernels[0] - kernels[1], -weight * kernels[2], atol=1e-6)
    for name in ("modality", "label"):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), with_it[name], without[name])


def test_equal_codes_and_a_single_class_have_finite_gradients():
    same = jnp.ones((4, 3))
    gradient = jax.jit(jax.grad(acmr.triplet_loss, (0, 1)))
    for labels in (jnp.zeros(4, int), jnp.arange(4)):
        assert np.isfinite(gradient(same, same, labels, margin=1.0, negative=1.0)).all()


def test_training_without_labels_is_refused():
    train, validation, _ = splits()
    with pytest.raises(ValueError, match=r"^the method needs the labels of the training pairs$"):
        acmr.ACMR.fit(PairedSplit(train.images, train.texts), validation, lambda _: 0.0, seed=0)


@pytest.mark.slow
def test_a_few_steps_lower_what_the_codes_minimise():
    train, validation, _ = splits()
    inputs = LabelledBatch(train.images, train.texts, train.labels, jax.random.key(0), jnp.float32(0))
    losses = []
    for epochs in (0, 1):
        of = parameters_of(acmr.ACMR.fit, train, validation, epochs=epochs, learning_rate=1e-3)
        image, text = ucal.encode(of["image"], inputs.images), ucal.encode(of["text"], inputs.texts)
        triplets = acmr.triplet_loss(image, text, inputs.labels, margin=4.0, negative=1.0)
        losses.append((acmr.label_loss(of["label"], image, text, inputs.labels), triplets))
    assert losses[1][0] < 0.98 * losses[0][0] and losses[1][1] < 0.98 * losses[0][1]


@pytest.mark.slow
def test_it_beats_chance():
    train, validation, test = splits()

    def score(distances):
        return retrieval.evaluate(distances, validation.labels)["map@50"]["average"]

    unlabelled = PairedSplit(validation.images, validation.texts)
    fitted = acmr.ACMR.fit(train, unlabelled, score, seed=0, epochs=20, learning_rate=1e-3)
    reached = retrieval.evaluate(fitted(test.images, test.texts), test.labels)["map@50"]["average"]
    assert reached > 2 * retrieval.chance(len(test), test.labels)["map@50"]
