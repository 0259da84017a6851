"""Encoders by name: vocabularies, weights of networks, functions of the user's, and how each is described."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from gpldan_jax import data
from gpldan_jax.extraction import choose_words, image_encoder, text_encoder
from gpldan_jax.features import extractor, network_encoder, networks, read_image
from tests.extraction.folders import flags, manifest_of, picture
from tests.features import networks as small

pytest.importorskip("PIL.Image", reason="images need Pillow")


def test_the_vocabulary_is_that_of_the_training_pairs(folder, call):
    (folder / "texts.csv").write_text(
        "image,text,split\n0.png,red rose,train\n1.png,red red heart,train\n2.png,blue rose,train\n"
        "3.png,blue violet,test\n4.png,violet,validation\n"
    )
    chosen = {"image_model": "hog_hsv", "text_model": "bag_of_words"}

    def vocabulary(**more):
        assert call("--fresh", *flags(folder, **chosen, **more))[0] == 0
        return manifest_of(folder / "features.npz")["text"]["vocabulary"]

    assert vocabulary() == ["red", "rose"]
    assert vocabulary(max_words=1) == ["red"]  # three times, rose twice
    assert vocabulary(min_documents=1) == ["blue", "heart", "red", "rose"]
    assert vocabulary(vocabulary="all") == ["blue", "red", "rose", "violet"]
    (folder / "words.txt").write_text("violet\nblue\n")
    assert vocabulary(vocabulary=folder / "words.txt") == ["blue", "violet"]
    np.testing.assert_array_equal(np.load(folder / "features.npz")["text"], [[0, 0], [0, 0], [1, 0], [1, 1], [0, 1]])


def write_texts(folder, texts):
    lines = [f"{row}.png,{text},{'train' if row < len(texts) - 1 else 'test'}" for row, text in enumerate(texts)]
    (folder / "texts.csv").write_text("\n".join(["image,text,split", *lines]) + "\n", encoding="utf-8")


CHINESE = ["一只黑猫", "一只白猫", "黑狗", "白狗", "红花。很漂亮", "一只黑狗"]


def test_texts_without_spaces_become_n_grams_and_the_command_says_so(folder, call):
    chosen = {"image_model": "hog_hsv", "text_model": "bag_of_words"}
    write_texts(folder, CHINESE)
    status, out, _ = call(*flags(folder, **chosen))
    assert status == 0 and "5 of 5 texts have no spaces between words, so the features are groups of 1 to 2 ch" in out
    assert "0 skipped, 1 texts without a known word, " in out
    manifest, found = manifest_of(folder / "features.npz"), np.load(folder / "features.npz")
    text = manifest["text"]
    assert (text["analyzer"], text["ngram_range"]) == ("char", [1, 2])
    assert text["chosen_by"] == {"texts_without_spaces": 5, "of": 5}
    assert text["vocabulary"] == ["一", "一只", "只", "狗", "猫", "白", "黑"]
    assert manifest["without_known_word"] == {"texts": 1, "of": 6}
    described = data.load_dataset("npz", path=folder / "features.npz").features
    np.testing.assert_array_equal(extractor({"features": described}, "text")(CHINESE), found["text"])

    status, out, _ = call("--fresh", *flags(folder, **chosen, analyzer="word"), "--min_documents=1")
    assert status == 0 and "no spaces" not in out
    text = manifest_of(folder / "features.npz")["text"]
    assert text["analyzer"] == "word" and "chosen_by" not in text and "一只黑猫" in text["vocabulary"]
    assert "1 of 6 texts have no word of the vocabulary. Their features are all 0, so no search can tell" in out
    assert "or a larger --max_words; for texts without spaces between words, --analyzer=char" in out

    assert call("--fresh", *flags(folder, **chosen, analyzer="char"), "--ngrams", "2", "2")[0] == 0
    text = manifest_of(folder / "features.npz")["text"]
    assert (text["vocabulary"], text["ngram_range"]) == (["一只"], [2, 2]) and "chosen_by" not in text


def test_half_of_the_texts_is_not_most_of_them(folder, call):
    write_texts(folder, [*CHINESE[:2], "a black cat", "a white cat", "a black dog"])
    assert call(*flags(folder, image_model="hog_hsv", text_model="bag_of_words"))[0] == 0
    text = manifest_of(folder / "features.npz")["text"]
    assert (text["analyzer"], text["chosen_by"]) == ("word", {"texts_without_spaces": 2, "of": 4})
    assert text["vocabulary"] == ["cat"]


def test_numbers_and_symbols_are_words_if_asked_for(folder, call):
    write_texts(folder, ["3 red ❤", "3 ❤ red", "4 red"])
    chosen = {"image_model": "hog_hsv", "text_model": "bag_of_words"}
    assert call(*flags(folder, **chosen), "--numbers", "--symbols")[0] == 0
    text = manifest_of(folder / "features.npz")["text"]
    assert text["vocabulary"] == ["3", "red", "❤"] and text["numbers"] and text["symbols"]
    assert call("--fresh", *flags(folder, **chosen))[0] == 0
    assert manifest_of(folder / "features.npz")["text"]["vocabulary"] == ["red"]


def test_texts_of_which_no_word_is_in_the_given_vocabulary(folder, call):
    (folder / "words.txt").write_text("cafe\u0301 the\n", encoding="utf-8")
    write_texts(folder, ["le café", "rien", "a heart"])
    chosen = {"image_model": "hog_hsv", "text_model": "bag_of_words", "vocabulary": folder / "words.txt"}
    status, out, _ = call(*flags(folder, **chosen))
    assert status == 0 and "What helps: a file with their words; for texts" in out and "2 texts without a known" in out
    np.testing.assert_array_equal(np.load(folder / "features.npz")["text"], [[1, 0], [0, 0], [0, 0]])


@pytest.mark.slow
def test_a_network_of_given_weights(folder, call, monkeypatch):
    layers = (networks.Convolution(4, kernel=11, stride=8, padding=2, pool=3), networks.Convolution(2, pool=3))
    monkeypatch.setitem(networks.ARCHITECTURES, "alexnet", networks.Architecture(layers, linear=small.LINEAR))
    weights = folder / "alexnet.safetensors"
    safetensors.numpy.save_file(small.state_dict(networks.ImageNetwork(layers), networks.SIDE), weights)
    (folder / "texts.csv").write_text("image,text,split\n0.png,red red,train\n1.png,red,train\n2.png,a,test\n")
    chosen = {"image_model": "alexnet", "image_weights": weights, "text_model": "bag_of_words"}
    assert call(*flags(folder, **chosen), "--before_relu", "--scaling=caffe", "--batch=2")[0] == 0
    encode = network_encoder("alexnet", weights, rectified=False, scaling="caffe", batch=2)
    pictures = [encode.prepare(read_image(folder / f"images/{row}.png")) for row in range(3)]
    np.testing.assert_array_equal(np.load(folder / "features.npz")["image"], encode(pictures))
    described = data.load_dataset("npz", path=folder / "features.npz").features
    assert described["image"].items() >= encode.description.items()
    again = extractor({"features": described}, "image", weights)
    np.testing.assert_allclose(again([picture(0)]), encode(pictures[:1]), rtol=1e-4, atol=1e-4)


def test_a_function_of_the_user_is_described_by_its_name_and_file(own):
    encode = text_encoder("own:texts")
    source = hashlib.sha256(Path(own.__file__).read_bytes()).hexdigest()
    assert encode.description == {"reads": "letters", "extractor": "own:texts", "source_sha256": source}
    assert encode(["a cat"]).tolist() == own.texts(["a cat"]).tolist() == [[5, 2, 1]]
    own.images.prepare = len
    assert image_encoder("own:images").prepare is len and not hasattr(encode, "prepare")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: image_encoder("vgg16"),
            "unknown image encoder 'vgg16': expected vgg19, alexnet, hog_hsv, transformers, timm, open_clip or M",
        ),
        (lambda: image_encoder(":encode"), "unknown image encoder ':encode'"),
        (lambda: image_encoder("vgg19"), "weights is missing: the file with torchvision's weights of vgg19"),
        (
            lambda: image_encoder("no.such:one"),
            "image encoder no.such:one: no.such cannot be imported: No mod",
        ),
        (lambda: text_encoder("bag_of_words"), "unknown text encoder 'bag_of_words'"),
        (lambda: text_encoder("bert"), "path is missing: the directory with the encoder and its tokenizer"),
        (
            lambda: text_encoder("open_clip"),
            "path is missing: the directory with the text encoder and its tokenizer, for",
        ),
        (lambda: image_encoder("timm"), "path is missing: the directory with the image encoder, for timm"),
        (lambda: image_encoder("timm", path="no/such"), "no/such: expected the directory of an encoder, found none"),
        (lambda: text_encoder("json:nothing"), "text encoder json:nothing: json has no function 'nothing'"),
        (lambda: choose_words(analyzer="words"), "analyzer must be auto, word or char, got 'words'"),
        (lambda: choose_words(ngram_range=(1, 3)), "ngram_range goes with analyzer='char', got analyzer='word'"),
        (lambda: choose_words(analyzer="char", numbers=True), "numbers and symbols go with analyzer='word'"),
        (lambda: choose_words("no/such/file"), "vocabulary: expected train, all or a file of words: "),
    ],
)
def test_other_names_are_refused(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(message)


def test_a_vocabulary_must_be_words_in_utf_8(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"red caf\xe9")
    with pytest.raises(ValueError, match=r"words\.txt must be UTF-8: .* at byte 7"):
        choose_words(path)
    path.write_text("red Rose")
    with pytest.raises(ValueError, match=r"vocabulary: .* in lower case, found 'Rose'"):
        choose_words(path)
    path.write_text("rose red\nrose")
    assert choose_words(path).given == ("red", "rose")
