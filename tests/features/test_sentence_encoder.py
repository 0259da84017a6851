"""Features of texts by encoders: against `transformers` called directly, and every way a directory can be wrong."""

import hashlib
import itertools
import json
import logging
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from gpldan_jax.features.sentence_encoder import batches_by_length, pad_windows, sentence_encoder, split_windows

FLOAT32 = 1e-6  # relative to the largest feature: padding changes the order of sums
POSITIONS = 24
WORDS = [f"w{index}" for index in range(40)] + ["a", "red", "heart"]
TEXTS = ["a red heart", "heart", "", "w1 w2 w3 w4 w5 w6 w7", "RED w39", "an unknown word"]
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}


def words(count, seed=0):
    return random.Random(seed).choices(WORDS, k=count)


@pytest.fixture(scope="module")
def libraries():
    pytest.importorskip("torch", reason="sentence encoders need torch")
    return pytest.importorskip("transformers", reason="sentence encoders need transformers")


@pytest.fixture(scope="module")
def encoders(libraries, tmp_path_factory):
    """Tiny models with random weights, by type."""
    import torch

    torch.manual_seed(0)
    found = {}
    for kind, settings in {
        "bert": LAYERS,
        "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 37},
        "electra": {**LAYERS, "embedding_size": 16},
        "roberta": LAYERS,
        "mpnet": LAYERS,
    }.items():
        path = found[kind] = tmp_path_factory.mktemp(kind)
        special = write_tokenizer(path, roberta=kind in ("roberta", "mpnet"))
        config = libraries.AutoConfig.for_model(
            kind,
            vocab_size=len(special) + len(WORDS),
            max_position_embeddings=POSITIONS,
            pad_token_id=special.index("<pad>" if "<pad>" in special else "[PAD]"),
            **settings,
        )
        model = libraries.AutoModel.from_config(config)
        with torch.no_grad():  # as drawn, the positions hardly matter
            for name, parameter in model.named_parameters():
                if "embeddings" in name and parameter.ndim == 2:
                    parameter.normal_()
        model.save_pretrained(path)
    return found


def write_tokenizer(path, roberta):
    """BERT's as the vocabulary alone, RoBERTa's as a tokenizer.json that asks for truncation and padding."""
    special = ["<s>", "<pad>", "</s>", "<unk>"] if roberta else ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if not roberta:
        (path / "vocab.txt").write_text("\n".join(special + WORDS))
        return special
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: index for index, word in enumerate(special + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=8, pad_id=1, pad_token="<pad>")
    tokenizer.save(str(path / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(json.dumps(names))
    return special


def directly(transformers, path, text, pooling):
    import torch

    model = transformers.AutoModel.from_pretrained(path, dtype=torch.float32)
    tokens = transformers.AutoTokenizer.from_pretrained(path)(text, return_tensors="pt")
    with torch.no_grad():
        (hidden,) = model(**tokens).last_hidden_state
    return (hidden[0] if pooling == "cls" else hidden.mean(0)).numpy()


def assert_close(found, expected):
    expected = np.array(expected)
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())


def changed(path, target, **settings):
    """A copy of an encoder's directory with other settings in its config.json."""
    target.mkdir(exist_ok=True)
    for file in path.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = json.loads((path / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | settings))
    return target


def tensors(path):
    import safetensors.numpy

    return safetensors.numpy.load((path / "model.safetensors").read_bytes())


def save_tensors(path, values):
    import safetensors.numpy

    path.write_bytes(safetensors.numpy.save(values, {"format": "pt"}))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "roberta", "mpnet"])
def test_features_are_those_of_transformers(kind, pooling, encoders, libraries):
    path = encoders[kind]
    expected = [directly(libraries, path, text, pooling) for text in TEXTS]
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    encode = sentence_encoder(path, pooling)
    assert_close(encode(TEXTS), expected)
    assert_close(encode(np.array(TEXTS[::-1])), expected[::-1])
    assert_close(encode(iter(TEXTS)), expected)
    for size in (1, 4):
        assert_close(sentence_encoder(str(path), pooling, batch=size)(TEXTS), expected)
    none = encode([])
    assert none.dtype == np.float32 and none.shape == (0, 32)


def test_the_mean_is_the_default(encoders, libraries):
    encode = sentence_encoder(encoders["bert"])
    assert_close(encode(TEXTS[:1]), [directly(libraries, encoders["bert"], TEXTS[0], "mean")])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize(("kind", "positions"), [("bert", POSITIONS), ("roberta", POSITIONS - 2), ("mpnet", 22)])
def test_long_texts(kind, positions, pooling, encoders, libraries):
    path, room, long = encoders[kind], positions - 2, words(50)
    texts = ["red", " ".join(long), " ".join(long[:room]), " ".join(long[: room + 1])]
    bounds = [0, 16, 33, 50]
    windows = [" ".join(long[start:stop]) for start, stop in itertools.pairwise(bounds)]
    halves = [" ".join(long[: room // 2]), " ".join(long[room // 2 : room + 1])]

    def mean(of):
        return np.mean([directly(libraries, path, text, pooling) for text in of], axis=0)

    encode = sentence_encoder(path, pooling)
    assert encode.max_tokens == positions
    assert_close(encode(texts), [mean(texts[:1]), mean(windows), mean(texts[2:3]), mean(halves)])
    too_long = encode.too_long(texts)
    assert too_long.dtype == bool and too_long.tolist() == [False, True, False, True]
    assert encode.too_long([]).shape == (0,)
    first = sentence_encoder(path, pooling, long_texts="truncate")
    assert_close(first(texts), [mean(texts[:1]), mean(texts[2:3]), mean(texts[2:3]), mean(texts[2:3])])
    assert first.too_long(texts).tolist() == [False, True, False, True]


def test_a_tokenizer_may_allow_fewer_tokens_than_the_model(encoders, tmp_path):
    path = changed(encoders["bert"], tmp_path / "encoder")
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 10}))
    encode = sentence_encoder(path)
    assert encode.max_tokens == 10 and encode.too_long(["w1 " * 8, "w1 " * 9]).tolist() == [False, True]
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 2}))
    with pytest.raises(ValueError, match="more than special tokens, found 2 tokens"):
        sentence_encoder(path)


def test_the_description_names_files_settings_and_versions(encoders, libraries):
    import torch

    path = encoders["roberta"]
    description = sentence_encoder(path, "cls", "truncate").description
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    assert json.loads(json.dumps(description)) == {
        "extractor": "transformers",
        "model_type": "roberta",
        "files": {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names},
        "pooling": "cls",
        "long_texts": "truncate",
        "max_tokens": POSITIONS - 2,
        "dim": 32,
        "versions": {"transformers": libraries.__version__, "torch": torch.__version__},
    }


def test_half_precision_heads_and_a_missing_pooler(encoders, libraries, tmp_path):
    path = changed(encoders["bert"], tmp_path / "encoder", dtype="float16")
    values = {f"bert.{name}": value.astype(np.float16) for name, value in tensors(path).items() if "pooler" not in name}
    save_tensors(path / "model.safetensors", values | {"cls.predictions.bias": np.zeros(48, np.float16)})
    expected = [directly(libraries, path, text, "mean") for text in TEXTS]
    found = sentence_encoder(path)(TEXTS)
    assert_close(found, expected)
    exact = sentence_encoder(encoders["bert"])(TEXTS)
    assert 0 < np.abs(found - exact).max() < 0.01


def test_weights_in_several_files(encoders, libraries, tmp_path):
    path = changed(encoders["bert"], tmp_path / "encoder")
    libraries.AutoModel.from_pretrained(path).save_pretrained(path, max_shard_size="10KB")
    (path / "model.safetensors").unlink(missing_ok=True)
    shards = {file.name for file in path.glob("model-*.safetensors")}
    assert len(shards) > 1
    encode = sentence_encoder(path)
    np.testing.assert_array_equal(encode(TEXTS), sentence_encoder(encoders["bert"])(TEXTS))
    assert shards | {"model.safetensors.index.json"} < set(encode.files)
    lost = max(shards)
    (path / lost).unlink()
    with pytest.raises(ValueError, match=f"{path} lacks '{lost}', which model.safetensors.index.json names"):
        sentence_encoder(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_in_a_file_of_pytorch(zipped, encoders, libraries, tmp_path):
    import torch

    path = changed(encoders["bert"], tmp_path / "encoder")
    state = libraries.AutoModel.from_pretrained(path).state_dict() | {"embeddings.position_ids": torch.arange(24)[None]}
    (path / "model.safetensors").unlink()
    expected = sentence_encoder(encoders["bert"])(TEXTS)
    torch.save(state, path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    encode = sentence_encoder(path)
    np.testing.assert_array_equal(encode(TEXTS), expected)
    assert "pytorch_model.bin" in encode.files
    (path / "pytorch_model.bin").write_bytes(bytes(100_000))  # the encoder keeps its weights
    np.testing.assert_array_equal(encode(TEXTS), expected)
    assert "expected safetensors or a file of torch.save" in refused(path)
    state = {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save(state, path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    rounded = sentence_encoder(path)(TEXTS)
    assert rounded.dtype == np.float32 and 0 < np.abs(rounded - expected).max() < 0.1
    torch.save(state | {"code": print}, path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert "expected tensors alone, as torch.save(model.state_dict(), path) writes them, found print" in refused(path)


def test_an_encoder_keeps_its_weights_whatever_becomes_of_the_file(encoders, tmp_path):
    path = changed(encoders["bert"], tmp_path / "encoder")
    encode = sentence_encoder(path)
    before = encode(TEXTS)
    with (path / "model.safetensors").open("r+b") as file:
        file.seek(10_000)
        file.write(bytes(20_000))
    np.testing.assert_array_equal(encode(TEXTS), before)


def test_threads_may_share_an_encoder(encoders):
    encode = sentence_encoder(encoders["roberta"])
    texts = [" ".join(words(count % 30, count)) for count in range(60)]
    expected = encode(texts)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(encode, [texts] * 16):
            np.testing.assert_array_equal(found, expected)


def test_nothing_is_printed_and_nothing_is_asked_of_the_network(encoders, tmp_path):
    path = changed(encoders["bert"], tmp_path / "encoder")
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": POSITIONS}))
    values = {name: value for name, value in tensors(path).items() if "pooler" not in name}
    save_tensors(path / "model.safetensors", values | {"cls.predictions.bias": np.zeros(48, np.float32)})
    script = """if True:
        import os, socket, sys

        def refuse(*args, **settings):
            os.write(2, b"the network")
            raise OSError

        socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
        from gpldan_jax.features.sentence_encoder import sentence_encoder

        print(sentence_encoder(sys.argv[1])(["w1 " * 100, "red"]).shape)
    """
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(2, 32)\n", "")


def test_warnings_are_silenced(encoders, libraries, monkeypatch):
    read = libraries.AutoConfig.from_pretrained

    def warn(*args, **settings):
        warnings.warn("advice", stacklevel=1)  # an error in these tests
        return read(*args, **settings)

    monkeypatch.setattr(libraries.AutoConfig, "from_pretrained", warn)
    assert sentence_encoder(encoders["bert"]).dim == 32


def test_what_is_silenced_speaks_again(encoders, tmp_path, libraries):
    from transformers.utils.logging import set_tqdm_hook

    def hook(bar, args, settings):
        return bar(*args, **settings)

    logger = logging.getLogger("transformers")
    level, before = logger.level, set_tqdm_hook(hook)
    logger.setLevel(logging.INFO)
    try:
        sentence_encoder(encoders["bert"])
        with pytest.raises(ValueError):
            sentence_encoder(changed(encoders["bert"], tmp_path / "encoder", hidden_size=16))
        assert logger.level == logging.INFO and set_tqdm_hook(hook) is hook
    finally:
        logger.setLevel(level)
        set_tqdm_hook(before)


def refused(path, **settings):
    """The message, which is one short line that names the directory."""
    with pytest.raises(ValueError) as caught:
        sentence_encoder(path, **settings)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 400
    return message.removeprefix(str(path))


def test_directories_that_lack_a_file_are_refused_before_anything_is_imported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for path in (tmp_path / "none", tmp_path / "encoder"):
        assert refused(path) == ": expected the directory of an encoder, found none"
        (tmp_path / "encoder").write_text("a file")
    path = tmp_path / "model"
    path.mkdir()
    assert refused(path) == " lacks config.json"
    (path / "config.json").write_text("{}")
    assert refused(path).startswith(" lacks tokenizer.json or vocab.txt or ")
    (path / "vocab.txt").write_text("a")
    weights = " lacks model.safetensors or model.safetensors.index.json or pytorch_model.bin"
    assert refused(path) == weights
    index = path / "model.safetensors.index.json"
    for content in ("", "[]", "{}", '{"weight_map": 5}', '{"weight_map": {"a": 5}}'):
        index.write_text(content)
        assert refused(path).startswith("/model.safetensors.index.json cannot be read: ")
    (tmp_path / "model.safetensors").write_bytes(b"")
    for name in ("../model.safetensors", "model-1.safetensors"):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        assert refused(path) == f" lacks '{name}', which model.safetensors.index.json names"


@pytest.mark.parametrize("library", ["torch", "transformers", "transformers.utils.logging"])
def test_a_missing_library_is_named(library, tmp_path, monkeypatch):
    if library != "torch":
        pytest.importorskip("torch", reason="sentence encoders need torch")
    if library == "transformers.utils.logging":
        pytest.importorskip("transformers", reason="sentence encoders need transformers")
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"^a sentence encoder: .*{library}.*: pip install 'gpldan_jax\[bert\]' \("):
        sentence_encoder(tmp_path)


@pytest.mark.slow
def test_the_libraries_are_imported_only_where_they_are_used():
    script = "import sys, gpldan_jax.features.sentence_encoder; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_weights_that_lack_a_layer_or_do_not_fit_are_refused(encoders, tmp_path, monkeypatch):
    path = changed(encoders["bert"], tmp_path / "encoder")
    values = tensors(path)
    lacking = ("encoder.layer.1.output.dense.weight", "encoder.layer.0.output.LayerNorm.bias")
    save_tensors(path / "model.safetensors", {name: value for name, value in values.items() if name not in lacking})
    assert refused(path) == ": its weights lack encoder.layer.0.output.LayerNorm.bias"
    path = changed(encoders["bert"], tmp_path / "encoder", num_hidden_layers=3)
    assert refused(path) == ": its weights lack encoder.layer.2.attention.self.query.weight"
    path = changed(encoders["bert"], tmp_path / "encoder", vocab_size=50)
    assert refused(path) == ": expected embeddings.word_embeddings.weight of shape (50, 32), found (48, 32)"
    for content in (b"", b"PK", (encoders["bert"] / "model.safetensors").read_bytes()[:-10]):
        (path / "model.safetensors").write_bytes(content)
        assert refused(path).startswith("/model.safetensors: expected ")

    def denied(file):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(sys.modules["gpldan_jax.features.model_folders"], "read_state_dict", denied)
    assert refused(path) == "/model.safetensors cannot be read: Permission denied"


def test_broken_configs_and_tokenizers_are_refused(encoders, tmp_path):
    path = changed(encoders["roberta"], tmp_path / "encoder")
    for content in ("", "[]", "{}", '{"model_type": "none"}', '{"model_type": 5}'):
        (path / "config.json").write_text(content)
        assert refused(path).startswith("/config.json cannot be read: ")
    path = changed(encoders["roberta"], tmp_path / "encoder", hidden_size="x")
    assert "cannot be read: " in refused(path)
    path = changed(encoders["roberta"], tmp_path / "encoder")
    for content in ("", "{}", "[]"):
        (path / "tokenizer.json").write_text(content)
        assert refused(path).startswith(": its tokenizer cannot be read: ")


def test_a_tokenizer_of_another_model_is_refused(encoders, tmp_path):
    path = changed(encoders["bert"], tmp_path / "encoder")
    with (path / "vocab.txt").open("a") as file:
        file.write("\nmore")
    assert refused(path) == ": expected a tokenizer of the model's 48 tokens, found one of 49"


def test_models_of_another_kind_are_refused(encoders, libraries, tmp_path):
    path = changed(encoders["roberta"], tmp_path / "encoder")
    for config in (libraries.T5Config(), libraries.BartConfig(), libraries.CLIPConfig()):
        (path / "config.json").write_text(json.dumps(config.to_dict()))
        assert refused(path) == (
            f": expected an encoder of BERT's type, found a model of type {config.model_type}; "
            f"for that, write a function of a list of strings"
        )
    pictures = libraries.ViTConfig(**LAYERS, image_size=32, patch_size=16)
    libraries.ViTModel(pictures).save_pretrained(path)
    assert refused(path).startswith(": its model, of type vit, does not take texts: ")


def test_a_tokenizer_without_special_tokens_is_refused(encoders, tmp_path):
    path = changed(encoders["roberta"], tmp_path / "encoder")
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    assert refused(path) == ": expected a tokenizer that puts a token before each text, as BERT's [CLS]"


def test_a_model_that_does_not_say_how_many_tokens_it_takes_is_refused(encoders, libraries, tmp_path):
    path = changed(encoders["roberta"], tmp_path / "encoder")
    config = libraries.FunnelConfig(
        vocab_size=47, block_sizes=[1, 1], num_decoder_layers=1, d_model=32, n_head=2, d_head=16, d_inner=37
    )
    libraries.FunnelModel(config).save_pretrained(path)
    assert refused(path).startswith(" does not say how many tokens the model takes: expected max_position_embeddings")
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 30}))
    assert sentence_encoder(path).max_tokens == 30


def test_no_code_of_the_directory_is_run(encoders, tmp_path):
    code = {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": ["evil.T", None]}}
    path = changed(encoders["roberta"], tmp_path / "encoder", **code)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(settings | code))
    (path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    expected = sentence_encoder(encoders["roberta"])(TEXTS)
    np.testing.assert_array_equal(sentence_encoder(path)(TEXTS), expected)
    path = changed(encoders["roberta"], tmp_path / "encoder", **code, model_type="evil")
    assert refused(path).startswith("/config.json cannot be read: ")
    assert not (tmp_path / "ran").exists()


def test_other_texts_are_refused(encoders):
    encode = sentence_encoder(encoders["bert"])
    for call in (encode, encode.too_long):
        with pytest.raises(TypeError, match="expected a list of strings, found the string 'red'"):
            call("red")
        with pytest.raises(TypeError, match="found None"):
            call(["red", None])
        with pytest.raises(ValueError, match=r"found half a surrogate pair in 'a \\ud83d heart'$"):
            call(["red", "a \ud83d heart"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pooling": "max"}, "pooling must be mean or cls, got 'max'"),
        ({"long_texts": None}, "long_texts must be windows or truncate, got None"),
        ({"batch": 0}, "batch must be a whole number, 1 or more, got 0"),
        ({"batch": 2.0}, r"batch must be .* got 2\.0"),
    ],
)
def test_other_settings_are_refused(settings, expected, tmp_path):
    with pytest.raises(ValueError, match=expected):
        sentence_encoder(tmp_path, **settings)


# Windows of tokens.

generated = hypothesis.settings(deadline=None, derandomize=True)
token_lists = st.lists(st.integers(1, 9), max_size=60)


@generated
@hypothesis.given(token_lists, st.integers(1, 12))
def test_windows_are_few_and_of_like_length_and_lose_nothing(tokens, room):
    windows = split_windows(tokens, room)
    lengths = [len(window) for window in windows]
    assert [token for window in windows for token in window] == tokens
    assert len(windows) == max(1, -(-len(tokens) // room))
    assert max(lengths) <= room and max(lengths) - min(lengths) <= 1
    assert min(lengths) > 0 or windows == [[]] == [tokens]


def test_no_window_has_only_what_was_left_over():
    assert [len(window) for window in split_windows(range(511), 510)] == [255, 256]
    assert split_windows([1, 2, 3], 3) == [[1, 2, 3]]


@generated
@hypothesis.given(st.lists(token_lists, max_size=20), st.integers(1, 6))
def test_batches_have_each_window_once_the_longest_first(windows, size):
    found = batches_by_length(windows, size)
    order = [row for rows in found for row in rows.tolist()]
    assert sorted(order) == list(range(len(windows)))
    lengths = [len(windows[row]) for row in order]
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(rows) == size for rows in found[:-1]) and all(0 < len(rows) <= size for rows in found)


@generated
@hypothesis.given(st.lists(token_lists, min_size=1, max_size=6), st.integers(0, 9))
def test_padding_is_masked_and_nothing_else_is(windows, padding):
    tokens, mask = pad_windows(windows, padding)
    assert tokens.dtype == mask.dtype == np.int64
    assert tokens.shape == mask.shape == (len(windows), max(len(window) for window in windows))
    for row, masked, window in zip(tokens, mask, windows, strict=True):
        assert row.tolist() == window + [padding] * (len(row) - len(window))
        assert masked.tolist() == [1] * len(window) + [0] * (len(row) - len(window))
