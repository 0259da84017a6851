"""`experiments/search.py` as a user calls it: build, query, recall, and what it says where something is wrong."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import emoji as config_file
from gpldan_jax import models
from gpldan_jax.cli import search
from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.index import Index
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from tests.commands import ROOT
from tests.index import galleries

ROUNDING = 1e-6  # of the network, which rounds one input alone in another way than among others


@pytest.fixture(autouse=True)
def quick(quick_compilation):
    pass


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """What a finished run on the emoji leaves, of a small model that has not been trained."""
    folder = tmp_path_factory.mktemp("runs") / "emoji"
    folder.mkdir()
    config = config_file.get_config().to_dict()
    config["model"] |= {"hidden": 32, "width": 16, "parts": 2}
    dataset, standardization = session.load(config["dataset"])
    projector = session.projector(config)
    parameters = projector.init(jax.random.key(0), dataset.test.images[:1], dataset.test.texts[:1])["params"]
    models.save_model(
        folder / workdirs.MODEL, session.trained_model(config, dataset, standardization, parameters, epoch=1)
    )
    workdirs.write_json(folder / workdirs.CONFIG, {"config": config, "data": dataset.fingerprint()})
    return folder


@pytest.fixture(scope="module")
def collection(workdir):
    assert search.main(["build", f"--workdir={workdir}"]) == 0
    return workdir / "collection"


@pytest.fixture
def call(capsys):
    def run(*argv):
        capsys.readouterr()
        status = search.main([str(argument) for argument in argv])
        return status, *capsys.readouterr()

    return run


def test_a_collection_holds_the_pairs_of_the_run(collection):
    emoji = load_emoji_arrays()
    for modality in ("image", "text"):
        index = Index.load(collection / modality)
        assert index.modality == modality and sorted(index.ids.tolist()) == sorted(emoji.names)
        row = emoji.names.index("woman farmer")
        assert index.entry("woman farmer").fields == {"group": "People & Body", "split": "test", "sprite": str(row)}
        own = getattr(emoji, modality)[row : row + 1]
        assert index.search(own, 1, modality=modality).distances[0, 0] < ROUNDING
        np.testing.assert_array_equal(index.search(index.entry("woman farmer").items, 1).distances, 0)


def test_splits_can_be_chosen(workdir, tmp_path, call):
    status, out, _ = call("build", f"--workdir={workdir}", f"--out={tmp_path / 'c'}", "--splits", "test", "validation")
    assert status == 0 and "470 images" in out and "470 texts" in out
    assert len(Index.load(tmp_path / "c/image")) == 470


def test_words_find_pictures(collection, call):
    status, out, error = call("query", collection, "--text", "Red heart xyzzy", "-k", 3, "--json")
    assert status == 0 and error == "not in the vocabulary: xyzzy\n"
    answer = json.loads(out)
    emoji, index = load_emoji_arrays(), Index.load(collection / "image")
    bag = np.array([[word in ("red", "heart") for word in emoji.vocabulary]], np.float32)
    distances, ids = index.search(bag, 3)
    assert answer["query"] == "Red heart xyzzy" and answer["gallery"] == "image"
    assert [result["id"] for result in answer["results"]] == ids[0].tolist()
    assert [result["distance"] for result in answer["results"]] == distances[0].tolist()
    assert answer["results"][0].keys() == {"id", "distance", "group", "split", "sprite"}


def test_a_picture_finds_itself_and_words(collection, tmp_path, call):
    image = pytest.importorskip("PIL.Image", reason="pictures need Pillow")
    image.fromarray(load_emoji_pictures()[42]).save(tmp_path / "mine.png")
    name = load_emoji_arrays().names[42]
    status, out, _ = call("query", collection, "--picture", tmp_path / "mine.png", "--gallery=image", "--json")
    best = json.loads(out)["results"][0]
    assert (status, best["id"]) == (0, name) and best["distance"] < ROUNDING
    status, out, _ = call("query", collection, "--picture", tmp_path / "mine.png", "--json", "-k", 2)
    assert status == 0 and json.loads(out)["gallery"] == "text" and len(json.loads(out)["results"]) == 2


def test_the_table_has_a_row_for_each_result(collection, call):
    status, out, error = call("query", collection, "--item", "woman farmer", "-k", 4)
    assert status == 0 and error == "" and "woman farmer: nearest of 1,870 images" in out
    expected = Index.load(collection / "image").search(Index.load(collection / "text").entry("woman farmer").items, 4)
    rows = [line for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert len(rows) == 4 and "group" in out and "sprite" not in out
    for rank, (row, id, distance) in enumerate(zip(rows, expected.ids[0], expected.distances[0], strict=True), start=1):
        assert row.split()[0] == str(rank) and id in row and f"{distance:.4f}" in row


def test_own_features_make_a_collection(tmp_path, call):
    models.save_model(tmp_path / "model.safetensors", galleries.model())
    np.save(tmp_path / "images.npy", galleries.features(20))
    np.save(tmp_path / "texts.npy", galleries.features(2, galleries.TEXT_DIM, seed=1))
    (tmp_path / "ids.txt").write_text("\n".join(f"picture {i}" for i in range(20)) + "\n")
    build = ("build", f"--model={tmp_path / 'model.safetensors'}", f"--features={tmp_path / 'images.npy'}")
    build += ("--modality=image", f"--out={tmp_path / 'mine'}")
    (tmp_path / "texts.txt").write_text("\n".join(f"a text ä {i}" for i in range(20)), encoding="utf-8")
    described = (f"--ids={tmp_path / 'ids.txt'}", f"--texts={tmp_path / 'texts.txt'}")
    assert call(*build, *described)[0] == 0
    assert Index.load(tmp_path / "mine/image").entry("picture 7").fields == {"text": "a text ä 7"}
    (tmp_path / "texts.txt").write_bytes(b"caf\xe9\n")
    status, _, error = call(*build, *described)
    assert status == 2 and "texts.txt must be UTF-8: " in error and len(error.splitlines()) == 1
    (tmp_path / "texts.txt").write_text("one")
    status, _, error = call(*build, *described)
    assert status == 2 and error == "error: field 'text' must be 20 strings, got 1 values\n"
    status, out, _ = call("query", tmp_path / "mine", f"--features={tmp_path / 'texts.npy'}", "--json", "-k=5")
    answers = [json.loads(line) for line in out.splitlines()]
    index = Index.load(tmp_path / "mine/image")
    expected = index.search(np.load(tmp_path / "texts.npy"), 5)
    assert status == 0
    assert [[of["id"] for of in answer["results"]] for answer in answers] == expected.ids.tolist()
    # One index is a collection too, and numbers are the ids where none are given.
    assert call(*build)[0] == 0
    status, out, _ = call("query", tmp_path / "mine/image", "--item=7", "--gallery=image", "--json", "-k=1")
    assert status == 0 and json.loads(out)["results"] == [{"id": 7, "distance": 0.0}]


def test_recall_is_measured_and_kept(workdir, tmp_path, call):
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    out = tmp_path / "c"
    assert call("build", f"--workdir={workdir}", f"--out={out}", "--splits=test", "--candidates")[0] == 0
    status, printed, _ = call("recall", out, "--candidates", 10, 370, "--queries=50", "--json")
    figures = [json.loads(line) for line in printed.splitlines()]
    assert status == 0 and [of["candidates"] for of in figures] == [10, 370]
    assert 0 < figures[0]["recall"] < figures[1]["recall"] == 1 and figures[0]["queries"] == 50
    assert [vars(of) for of in Index.load(out / "image").candidates.recalls] == [
        {key: value for key, value in of.items() if key != "gallery"} for of in figures
    ]
    assert (
        "370 candidates of 370 images: recall@10 1.0000 (50 queries, texts of the collection)"
        in call("recall", out, "--candidates", 370, "--queries=50")[1]
    )
    exact, quick = (
        json.loads(call("query", out, "--text=cat", "--json", *flags)[1]) for flags in ((), ("--candidates=370",))
    )
    assert exact == quick


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["query", "{c}"], "ask by one of --text, --picture, --item, --features, got none"),
        (["query", "{c}", "--text=a", "--item=b"], "got text, item"),
        (["query", "{c}", "--text=xyzzy"], "the vocabulary has no word of 'xyzzy'"),
        (["query", "{c}", "--item=nothing"], "no item 'nothing'; the first is 'grinning face'"),
        (["query", "{c}", "--picture=nowhere.png"], "nowhere.png cannot be read: No such file"),
        (["query", "{c}", "--features=nowhere.npy"], "nowhere.npy cannot be read as a .npy file of numbers"),
        (["query", "{c}", "--text=cat", "-k=0"], "argument -k: must be at least 1, got 0"),
        (["query", "{c}", "--text=cat", "--candidates=20"], "candidates need a vector index"),
        (["query", "nowhere", "--text=cat"], "nowhere is no collection"),
        (["query", "{c}/image", "--picture=x.png", "--gallery=text"], "x.png cannot be read"),
        (["query", "{c}/image", "--item=cat", "--gallery=text"], "has no texts, only images; see --gallery"),
        (["recall", "{c}/image"], "has no texts to ask by; give --features"),
        (["build"], "give --workdir, or --model, --features and --modality"),
        (["build", "--workdir=nowhere"], "nowhere holds no model.safetensors: it is not the workdir of a finished run"),
        (["build", "--workdir=nowhere", "--modality=text"], "--workdir goes without --modality"),
        (["build", "--workdir=nowhere", "--texts=x.txt"], "--workdir goes without --texts"),
        (["build", "--model=m", "--features=f", "--modality=text"], "--out is missing: the folder of the collection"),
        (["build", "--model=m", "--features=f", "--modality=sound"], "invalid choice: 'sound'"),
        (["ask"], "invalid choice: 'ask'"),
        (["query", "{c}", "--txt=cat"], "unrecognized arguments: --txt=cat"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(flags, message, collection, call):
    status, out, error = call(*(flag.replace("{c}", str(collection)) for flag in flags))
    assert status == 2 and out == ""
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_missing_faiss_is_said_before_anything_is_built(workdir, tmp_path, call, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, error = call("build", f"--workdir={workdir}", f"--out={tmp_path / 'c'}", "--candidates")
    assert (status, error) == (2, "error: --candidates needs faiss: pip install 'gpldan_jax[ann]'\n")
    assert not (tmp_path / "c").exists()


def test_a_model_without_extractors_cannot_be_asked_by_words(tmp_path, call):
    Index.build(galleries.model(), galleries.features(3), ["a", "b", "c"], "image").save(tmp_path / "image")
    status, _, error = call("query", tmp_path, "--text=cat")
    assert status == 2 and "it was trained on features from elsewhere; give features" in error


def test_a_source_is_asked_for_by_its_flag(tmp_path, call):
    made = {"image": {"extractor": "vgg19", "weights": {"sha256": "0" * 64}}, "text": {"extractor": "mine:encode"}}
    index = Index.build(galleries.model(features=made), galleries.features(3), ["a", "b", "c"], "image")
    index.save(tmp_path / "image")
    status, _, error = call("query", tmp_path, "--picture=a.png")
    assert status == 2 and "give the file of its weights (SHA-256 0000000000000000...) with --image_weights" in error
    status, _, error = call("query", tmp_path, "--text=cat")
    assert status == 2 and "'mine:encode', a function that is not of this package; give features" in error


# Where tests run in the background of a shell, SIGINT is ignored, and so it would be by what they start.
_INTERRUPTED = """
import runpy, signal, sys
from gpldan_jax.retrieval import storage

signal.signal(signal.SIGINT, signal.default_int_handler)
write, writes = storage.ArrayWriter.write, 0

def interrupted(self, data):
    global writes
    write(self, data)
    writes += 1
    if writes == 12:  # some files have content, none has its name
        print(*sorted(path.name for path in self._temporary.parent.glob(".tmp-*")), flush=True)
        signal.raise_signal(signal.SIGINT)

storage.ArrayWriter.write = interrupted
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_ctrl_c_leaves_the_collection_there_was(tmp_path, quick_environment):
    models.save_model(tmp_path / "model.safetensors", galleries.model())
    np.save(tmp_path / "images.npy", galleries.features(40_000))
    out = tmp_path / "mine"
    before = Index.build(galleries.model(), galleries.features(5), range(5), "image", folder=out / "image")
    command = [
        sys.executable,
        "-c",
        _INTERRUPTED,
        ROOT / "experiments/search.py",
        "build",
        f"--model={tmp_path / 'model.safetensors'}",
    ]
    command += [f"--features={tmp_path / 'images.npy'}", "--modality=image", f"--out={out}"]
    done = subprocess.run(command, env=os.environ | quick_environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and done.stderr == "stopped; what was there before is as it was\n"
    assert ".tmp-" in done.stdout
    assert Index.load(out / "image").ids.tolist() == before.ids.tolist()
    assert not list(out.glob("image/.tmp-*"))
