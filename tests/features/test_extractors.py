"""What a model file says of its inputs, and what is made of it."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

from gpldan_jax import config as settings
from gpldan_jax import models, training
from gpldan_jax.data import load_dataset
from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.features import (
    BagOfWords,
    SourceNeededError,
    extractor,
    network_encoder,
    networks,
    read_picture,
    unknown_words,
)
from gpldan_jax.runs import session
from tests.features import networks as small

WORDS = {"extractor": "bag_of_words", "vocabulary": ["red", "rose"]}


def saved_and_loaded(path, **dataset_settings):
    config = settings.default_config()
    config["dataset"] |= dataset_settings
    config["model"] |= {"hidden": 8, "width": 4, "parts": 2}
    dataset, standardization = session.load(config["dataset"])
    rows = dataset.test.images[:1], dataset.test.texts[:1]
    parameters = training.projector_from_config(config).init(jax.random.key(0), *rows)["params"]
    models.save_model(path, session.trained_model(config, dataset, standardization, parameters, 1))
    return models.load_model(path)


@pytest.mark.slow
def test_a_saved_model_makes_the_features_that_it_was_trained_on(tmp_path):
    for library in ("PIL", "skimage", "sklearn"):
        pytest.importorskip(library, reason="the extractors need their libraries")
    metadata = saved_and_loaded(tmp_path / "model.safetensors").metadata
    assert metadata["features"] == load_dataset("emoji").features
    emoji, pictures = load_emoji_arrays(), load_emoji_pictures()
    row = emoji.names.index("woman farmer")
    np.testing.assert_array_equal(extractor(metadata, "image")(pictures[[row]]), emoji.image[[row]])
    np.testing.assert_array_equal(extractor(metadata, "text")(["woman farmer gardener rancher"]), emoji.text[[row]])


def test_an_uploaded_emoji_has_the_features_of_the_gallery(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="reading pictures needs Pillow")
    pytest.importorskip("skimage", reason="the features need scikit-image")
    image.fromarray(load_emoji_pictures()[77]).save(tmp_path / "emoji.png")
    features = extractor({"features": {"image": {"extractor": "hog_hsv"}}}, "image")
    np.testing.assert_array_equal(
        features([read_picture((tmp_path / "emoji.png").read_bytes())]), load_emoji_arrays().image[[77]]
    )


def test_models_of_generated_features_name_no_extractor(tmp_path):
    model = saved_and_loaded(tmp_path / "model.safetensors", name="cub", synthetic=True)
    assert "features" not in model.metadata
    with pytest.raises(ValueError, match="names no image extractor"):
        extractor(model.metadata, "image")


def test_an_emoji_dataset_that_says_it_is_generated_names_no_extractor():
    config = settings.default_config()
    dataset, standardization = session.load(config["dataset"])
    generated = dataclasses.replace(dataset, synthetic=True)
    assert "features" in session.trained_model(config, dataset, standardization, {}, 1).metadata
    assert "features" not in session.trained_model(config, generated, standardization, {}, 1).metadata


@pytest.mark.parametrize(
    ("metadata", "modality", "expected"),
    [
        ({}, "text", "names no text extractor: it was trained on features from elsewhere; give features"),
        ({"features": None}, "image", "names no image extractor"),
        ({"features": {"text": WORDS}}, "image", "names no image extractor"),
        (
            {"features": {"image": {"extractor": "vgg0"}}},
            "image",
            "expected hog_hsv or vgg19 or alexnet or .*, found 'vgg0'",
        ),
        ({"features": {"image": WORDS}}, "image", "expected hog_hsv or vgg19 or alexnet or .*, found 'bag_of_words'"),
        ({"features": {"text": {"extractor": ["bag_of_words"]}}}, "text", r"found \['bag_of_words'\]"),
        ({"features": {"text": "bag_of_words"}}, "text", "names an unknown text extractor"),
        (
            {"features": "bag_of_words"},
            "text",
            "expected bag_of_words or transformers or open_clip, found 'bag_of_words'",
        ),
        ({"features": {"image": {"extractor": "vgg19"}}}, "image", "lacks weights.sha256 of the extractor, found None"),
        ({"features": {"text": {"extractor": "transformers"}}}, "text", "no files of its text encoder, found None"),
        ({"features": {"text": {"extractor": "mine:encode"}}}, "text", "'mine:encode', a function that is not of this"),
        ({"features": []}, "text", r"found \[\]"),
        ({"features": {"text": {}}}, "text", "names an unknown text extractor"),
        ({"features": {"text": {"extractor": "x\n" * 10**6}}}, "text", r"found 'x\\n"),
        ({"features": {"text": {"extractor": "bag_of_words"}}}, "text", "vocabulary: .* found None"),
        ({"features": {"text": WORDS | {"vocabulary": "red"}}}, "text", "vocabulary: .* found 'red'"),
        ({"features": {"text": WORDS | {"vocabulary": {"red": 1}}}}, "text", "vocabulary: .* found {'red': 1}"),
        ({"features": {"text": WORDS | {"vocabulary": [["red"]]}}}, "text", r"vocabulary: .* found \['red'\]"),
        ({"features": {"text": WORDS | {"vocabulary": ["rose", "red"]}}}, "text", "vocabulary: expected sorted words"),
        ({"features": {"text": WORDS | {"analyzer": "bytes"}}}, "text", "analyzer must be word or char, got 'bytes'"),
        ({"features": {"text": WORDS | {"analyzer": "char"}}}, "text", "expected n-grams of 1 to 2 .* found 'red'"),
        ({"features": {"text": WORDS}}, "audio", "modality must be one of image, text, got 'audio'"),
    ],
)
def test_other_model_files_are_refused_in_one_line(metadata, modality, expected):
    with pytest.raises(ValueError, match=expected) as caught:
        extractor(metadata, modality)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_query_is_cut_into_words_as_the_texts_of_the_model_were():
    pytest.importorskip("sklearn", reason="the bag of words needs scikit-learn")

    def ask(query, **description):
        metadata = {"features": {"text": {"extractor": "bag_of_words", **description}}}
        return extractor(metadata, "text")([query]).tolist(), unknown_words(metadata, query)

    accented = "cafe\u0301 3"
    assert ask(accented, vocabulary=["cafe", "café"]) == ([[1, 0]], ())  # a model of version 0.1
    assert ask(accented, vocabulary=["cafe", "café"], analyzer="word") == ([[0, 1]], ())
    assert ask(accented, vocabulary=["3", "café"], analyzer="word", numbers=True) == ([[1, 1]], ())
    assert ask("红 🍎", vocabulary=["🍎"], analyzer="word", symbols=True) == ([[1]], ())
    assert ask("一只黑猫", vocabulary=["一", "黑", "黑猫"], analyzer="char", ngram_range=[1, 2]) == (
        [[1, 1, 1]],
        ("只",),
    )


@pytest.mark.slow
def test_weights_that_are_not_here_are_asked_for_and_compared(tmp_path, monkeypatch):
    layers = (networks.Convolution(4, kernel=11, stride=8, padding=2, pool=3), networks.Convolution(2, pool=3))
    monkeypatch.setitem(networks.ARCHITECTURES, "alexnet", networks.Architecture(layers, linear=small.LINEAR))
    for seed in (0, 1):
        weights = small.state_dict(networks.ImageNetwork(layers), networks.SIDE, seed)
        safetensors.numpy.save_file(weights, tmp_path / f"{seed}.safetensors")
    encode = network_encoder("alexnet", tmp_path / "0.safetensors", rectified=False, scaling="caffe")
    metadata = {"features": {"image": dict(encode.description), "text": WORDS}}
    with pytest.raises(SourceNeededError, match=r"images went through alexnet: give the file of its weights \(SHA-256"):
        extractor(metadata, "image")
    with pytest.raises(ValueError, match=r"1\.safetensors: other weights than those the model was trained with"):
        extractor(metadata, "image", tmp_path / "1.safetensors")
    with pytest.raises(ValueError, match="the extractor bag_of_words needs no file, got here"):
        extractor(metadata, "text", "here")
    pictures = [np.random.default_rng(row).integers(0, 256, (90, 70, 3), np.uint8) for row in range(2)]
    expected = encode([encode.prepare(picture) for picture in pictures])
    found = extractor(metadata, "image", tmp_path / "0.safetensors")(pictures)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert (expected < 0).any()


def test_an_encoder_of_texts_that_is_not_here_is_asked_for():
    metadata = {
        "features": {"text": {"extractor": "transformers", "model_type": "bert", "files": {"config.json": "0"}}}
    }
    with pytest.raises(ValueError, match="the model's texts went through an encoder of transformers, 'bert': give its"):
        extractor(metadata, "text")
    assert unknown_words(metadata, "whatever") == ()
    with pytest.raises(ValueError, match="pooling must be mean or cls, got 'None'"):
        extractor(metadata, "text", "somewhere")


@pytest.mark.slow
def test_the_libraries_are_imported_only_where_they_are_used():
    script = (
        "import sys, gpldan_jax.features; print(*sorted({'PIL', 'skimage', 'sklearn', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("library", "call", "purpose"),
    [
        ("PIL", lambda: read_picture(b""), "reading a picture"),
        (
            "skimage.color",
            lambda: extractor({"features": {"image": {"extractor": "hog_hsv"}}}, "image")([]),
            "features of pictures",
        ),
        ("sklearn.feature_extraction.text", lambda: BagOfWords.fit(["red red"]), "a bag of words"),
    ],
)
def test_a_missing_library_is_named(library, call, purpose, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"^{purpose}: .*{library}.*: pip install 'gpldan_jax\[features\]'$"):
        call()
