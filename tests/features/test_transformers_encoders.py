"""Encoders of transformers: against the library called directly, and every way a folder can be wrong."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gpldan_jax.features import (
    SourceNeededError,
    extractor,
    sentence_encoder,
    transformers_image_encoder,
    transformers_text_encoder,
)
from tests.extraction.folders import manifest_of
from tests.features.tiny_models import LONG, POSITIONS, TEXTS, pictures, write_tokenizer, write_transformers

FLOAT32 = 2e-6  # relative to the largest feature: the size of a batch changes the order of sums
KINDS = {"clip": 16, "siglip": 32, "siglip2": 32, "dinov2": 32, "vit": 32}


@pytest.fixture(scope="module")
def libraries():
    pytest.importorskip("PIL.Image", reason="images need Pillow")
    pytest.importorskip("torch", reason="encoders of transformers need torch")
    return pytest.importorskip("transformers", reason="encoders of transformers need transformers")


@pytest.fixture(scope="module")
def folders(libraries, tmp_path_factory):
    return {kind: write_transformers(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def encoded(encode, of=None):
    return encode([encode.prepare(picture) for picture in (pictures() if of is None else of)])


def check_close(found, expected):
    expected = expected.numpy()
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 1e-3  # the items differ


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_pictures_are_those_of_the_library(folders, libraries, kind):
    import PIL.Image
    import torch

    encode = transformers_image_encoder(folders[kind], batch=2)
    model = libraries.AutoModel.from_pretrained(folders[kind]).eval()
    processor = libraries.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    inputs = processor(images=[PIL.Image.fromarray(picture) for picture in pictures()], return_tensors="pt")
    with torch.no_grad():
        if kind in ("clip", "siglip", "siglip2"):
            expected, feature = model.get_image_features(**inputs).pooler_output, "image_features"
        else:
            expected, feature = model(**inputs).last_hidden_state[:, 0], "cls_token"
    check_close(encoded(encode), expected)
    assert encode([]).shape == (0, KINDS[kind])
    described = encode.description
    assert (described["extractor"], described["model_type"]) == ("transformers", kind)
    assert (described["feature"], described["dim"]) == (feature, KINDS[kind])
    assert (described["processor"]["backend"], described["device"]) == ("pil", "cpu")
    assert described["versions"]["transformers"] == libraries.__version__
    weights = (folders[kind] / "model.safetensors").read_bytes()
    assert described["files"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert described["files"].keys() == {"config.json", "model.safetensors", "preprocessor_config.json"}
    json.dumps(described)


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_features_of_texts_are_those_of_the_library(folders, libraries, kind):
    import torch

    encode = transformers_text_encoder(folders[kind], batch=2)
    model = libraries.AutoModel.from_pretrained(folders[kind]).eval()
    tokenizer = libraries.AutoTokenizer.from_pretrained(folders[kind])
    texts = [*TEXTS, LONG]
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=POSITIONS, return_tensors="pt")
    with torch.no_grad():
        check_close(encode(texts), model.get_text_features(**tokens).pooler_output)
    assert encode([]).shape == (0, KINDS[kind]) and encode.too_long([]).shape == (0,)
    if kind != "siglip2":  # its tokenizer is always that of Gemma, which knows no word of ours and fuses unknown ones
        assert encode.too_long(texts).tolist() == [False] * len(TEXTS) + [True]
        assert encode.too_long([" ".join(["red"] * count) for count in (10, 11)]).tolist() == [False, True]
    described = encode.description
    assert (described["feature"], described["max_tokens"]) == ("text_features", POSITIONS)
    assert "tokenizer.json" in described["files"] and "preprocessor_config.json" not in described["files"]
    json.dumps(described)
    with pytest.raises(TypeError, match="expected a list of strings, found the string 'red'"):
        encode("red")
    with pytest.raises(ValueError, match="half a surrogate pair"):
        encode(["\ud800"])
    with pytest.raises(ValueError, match=rf"encoders of BERT's type; .* has a model of type {kind}, which has a pool"):
        transformers_text_encoder(folders[kind], pooling="cls")


def test_a_classifier_without_a_pooler_gives_the_token_of_the_picture(folders, libraries, tmp_path):
    """The weights of a pooler would be drawn at random; those of the classifier are left out."""
    import torch

    path = tmp_path / "classifier"
    shutil.copytree(folders["vit"], path)
    torch.manual_seed(1)
    libraries.ViTForImageClassification(libraries.AutoConfig.from_pretrained(path)).save_pretrained(path)
    encode = transformers_image_encoder(path)
    model = libraries.ViTForImageClassification.from_pretrained(path).eval()
    with torch.no_grad():
        inputs = torch.from_numpy(np.stack([encode.prepare(picture)["pixel_values"] for picture in pictures()]))
        check_close(encoded(encode), model.vit(inputs).last_hidden_state[:, 0])
    np.testing.assert_array_equal(encoded(encode), encoded(transformers_image_encoder(path)))


def test_the_processor_of_dinov3_is_that_of_torchvision(libraries, tmp_path):
    path = write_transformers(tmp_path, "dinov3_vit")
    try:
        import torchvision
    except (ImportError, RuntimeError):
        with pytest.raises(ImportError, match=r"5.*, its image processor needs torchvision: pip install torchvision$"):
            transformers_image_encoder(path)
        return
    import PIL.Image
    import torch

    encode = transformers_image_encoder(path, batch=2)
    processor = libraries.AutoImageProcessor.from_pretrained(path)
    inputs = processor(images=[PIL.Image.fromarray(picture) for picture in pictures()], return_tensors="pt")
    with torch.no_grad():
        check_close(encoded(encode), libraries.AutoModel.from_pretrained(path).eval()(**inputs).pooler_output)
    assert encode.description["processor"]["backend"] == "torchvision"
    assert encode.description["versions"]["torchvision"] == torchvision.__version__.split("+")[0]


def test_encoders_of_berts_type_are_those_of_sentence_encoder(libraries, tmp_path):
    import torch

    torch.manual_seed(0)
    write_tokenizer(tmp_path)
    config = libraries.BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    libraries.BertModel(config).save_pretrained(tmp_path)
    found, expected = transformers_text_encoder(tmp_path, pooling="cls"), sentence_encoder(tmp_path, "cls")
    assert found.description == expected.description
    np.testing.assert_array_equal(found(TEXTS), expected(TEXTS))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ViTImageProcessor"}))
    with pytest.raises(ValueError, match="its model, of type bert, does not take pictures: "):
        transformers_image_encoder(tmp_path)


def refused(path, build=transformers_image_encoder):
    with pytest.raises(ValueError) as caught:
        build(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize("build", [transformers_image_encoder, transformers_text_encoder])
def test_folders_that_lack_a_file_are_refused_before_anything_is_imported(tmp_path, monkeypatch, build):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refused(tmp_path / "none", build) == ": expected the directory of an encoder, found none"
    path = tmp_path / "model"
    path.mkdir()
    assert refused(path, build) == " lacks config.json"
    for name in ("config.json", "vocab.txt", "preprocessor_config.json"):
        (path / name).write_text("{}")
    assert refused(path, build) == " lacks model.safetensors or model.safetensors.index.json"
    (path / "pytorch_model.bin").write_bytes(b"PK")
    message = refused(path, build)
    assert "; pytorch_model.bin is a pickle, which could run code, and is not read; this makes a file that is: p" in (
        message
    )
    assert "weights_only=True" in message and f"'{path / 'model.safetensors'}'" in message
    (path / "preprocessor_config.json").unlink()
    if build is transformers_image_encoder:
        assert refused(path, build) == " lacks preprocessor_config.json or processor_config.json"


@pytest.mark.parametrize("library", ["torch", "transformers", "PIL.Image"])
def test_a_missing_library_is_named(tmp_path, monkeypatch, library):
    if library == "transformers":
        pytest.importorskip("torch", reason="it is imported first")
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ImportError, match=rf"^an encoder of transformers: .*{library}.*'gpldan_jax\[transformers\]' \("
    ):
        transformers_image_encoder(tmp_path)


def test_damaged_folders_are_refused(folders, tmp_path):
    def copy(kind="clip"):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        return shutil.copytree(folders[kind], tmp_path / "model")

    path = copy()
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-10])
    assert refused(path).startswith("/model.safetensors: expected ")
    path = copy()
    (path / "preprocessor_config.json").write_text("{")
    assert refused(path).startswith(": its image processor cannot be read: ")
    (path / "config.json").write_text('{"model_type": "none"}')
    assert refused(path).startswith("/config.json cannot be read: ")
    path = copy()
    (path / "tokenizer.json").write_text("{}")
    assert refused(path, transformers_text_encoder).startswith(": its tokenizer cannot be read: ")
    path = copy("vit")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert refused(path).startswith(": its weights lack ")
    (path / "config.json").write_text(json.dumps(config | {"image_size": 64}))
    assert refused(path).startswith(": expected embeddings.position_embeddings of shape ")


def test_no_code_of_the_folder_is_run(folders, tmp_path):
    path = shutil.copytree(folders["clip"], tmp_path / "model")
    code = {
        "AutoConfig": "evil.C",
        "AutoModel": "evil.M",
        "AutoImageProcessor": "evil.P",
        "AutoTokenizer": ["evil.T"] * 2,
    }
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        (path / name).write_text(json.dumps(json.loads((path / name).read_text()) | {"auto_map": code}))
    (path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: ...\nclass M: ...\n")
    np.testing.assert_array_equal(
        encoded(transformers_image_encoder(path)), encoded(transformers_image_encoder(folders["clip"]))
    )
    np.testing.assert_array_equal(
        transformers_text_encoder(path)(TEXTS), transformers_text_encoder(folders["clip"])(TEXTS)
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_nothing_is_asked_of_the_network_and_nothing_is_printed(folders):
    script = """if True:
        import os, socket, sys
        import numpy as np

        def refuse(*args, **settings):
            os.write(2, b"the network")
            raise OSError

        socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
        from gpldan_jax.features import transformers_image_encoder, transformers_text_encoder

        encode = transformers_image_encoder(sys.argv[1])
        print(encode([encode.prepare(np.zeros((9, 9, 3), np.uint8))]).shape)
        print(transformers_text_encoder(sys.argv[1])(["w1 " * 100, "red"]).shape)
    """
    done = subprocess.run([sys.executable, "-c", script, folders["clip"]], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(1, 16)\n(2, 16)\n", "")


def test_a_model_of_these_features_asks_for_the_folder_and_compares_it(folders, tmp_path):
    path, random = folders["clip"], pictures()[:2]
    image, text = transformers_image_encoder(path), transformers_text_encoder(path)
    metadata = {"features": {"image": dict(image.description), "text": dict(text.description)}}
    np.testing.assert_allclose(extractor(metadata, "image", path)(random), encoded(image, random), atol=1e-5)
    np.testing.assert_allclose(extractor(metadata, "text", path)(TEXTS), text(TEXTS), atol=1e-5)
    for modality in ("image", "text"):
        message = f"the model's {modality}s went through an encoder of transformers, 'clip': give its directory"
        with pytest.raises(SourceNeededError, match=message):
            extractor(metadata, modality)
        with pytest.raises(ValueError, match=r"'config\.json' is not the one that the model was trained with"):
            extractor(metadata, modality, folders["siglip"])
    metadata["features"]["image"]["feature"] = "pooler_output"
    with pytest.raises(ValueError, match="was trained with the features 'pooler_output' of this encoder"):
        extractor(metadata, "image", path)


def test_the_command_takes_a_folder_for_images_and_texts(folders, tmp_path, capsys):
    import PIL.Image

    from gpldan_jax.cli.main import run_command

    (tmp_path / "images").mkdir()
    rows = ["image,text"]
    for row, picture in enumerate(pictures()):
        PIL.Image.fromarray(picture).save(tmp_path / f"images/{row}.png")
        rows.append(f"{row}.png,{LONG if row == 4 else 'a red heart'}")
    (tmp_path / "texts.csv").write_text("\n".join(rows) + "\n")
    flags = [f"--images={tmp_path / 'images'}", f"--texts={tmp_path / 'texts.csv'}", f"--out={tmp_path / 'made.npz'}"]
    flags += ["--split", "1", "0", "0", "--image_model=transformers", "--text_model=transformers"]
    given = [f"--image_path={folders['clip']}", f"--text_path={folders['clip']}"]
    assert run_command("extract", flags, "gpldan extract") == 2
    assert "--image_path is missing: the directory with the image encoder" in capsys.readouterr().err
    assert run_command("extract", [*flags, *given, "--pooling=cls"], "gpldan extract") == 2
    assert "pooling and long_texts are for encoders of BERT's type; " in capsys.readouterr().err
    assert run_command("extract", [*flags, *given], "gpldan extract") == 0
    out = capsys.readouterr().out
    assert "1 of 5 texts are longer than the encoder takes at once, and only their beginning counts" in out
    assert "image 16 (transformers), text 16 (transformers), 0 skipped" in out
    np.testing.assert_allclose(
        np.load(tmp_path / "made.npz")["image"], encoded(transformers_image_encoder(folders["clip"])), atol=1e-5
    )
    manifest = manifest_of(tmp_path / "made.npz")
    assert manifest["image"]["feature"] == "image_features" and manifest["too_long"] == {"texts": 1, "of": 5}
    assert manifest["image"]["processor"]["backend"] == "pil"
