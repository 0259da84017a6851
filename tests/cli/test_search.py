"""`gpldan search` as a user calls it: what it prints, and what it says where something is wrong."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from gpldan_jax import models
from gpldan_jax.cli.main import run_command
from gpldan_jax.index import Index
from gpldan_jax.serving.collection import encode_png
from tests.commands import ROOT
from tests.index import galleries
from tests.reports.workdirs import features_file, untrained_run
from tests.serving import served


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the command changes


@pytest.fixture
def call(capsys):
    def run(*argv):
        capsys.readouterr()
        status = run_command("search", [str(argument) for argument in argv], "gpldan search")
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "emoji"
    folder.mkdir()
    served.finished_run(folder)
    return folder


@pytest.fixture(scope="module")
def collection(workdir):
    assert run_command("search", ["build", f"--workdir={workdir}"], "gpldan search") == 0
    return workdir / "collection"


@pytest.mark.slow
def test_answers_are_json(collection, call):
    status, out, error = call("query", collection, "--text", "Red heart xyzzy", "-k", 3, "--json")
    assert status == 0 and error == "not in the vocabulary: xyzzy\n"
    answer = json.loads(out)
    assert answer["query"] == "Red heart xyzzy" and answer["gallery"] == "image" and len(answer["results"]) == 3
    assert answer["results"][0].keys() == {"id", "distance", "group", "split", "picture"}


@pytest.mark.slow
def test_a_picture_is_asked_by(collection, tmp_path, call):
    (tmp_path / "mine.png").write_bytes(encode_png(np.zeros((9, 9, 3), np.uint8)))
    status, out, _ = call("query", collection, "--picture", tmp_path / "mine.png", "--json", "-k", 2)
    assert status == 0 and json.loads(out)["gallery"] == "text" and len(json.loads(out)["results"]) == 2


def test_the_table_has_a_row_for_each_result(collection, call):
    status, out, error = call("query", collection, "--item", "woman farmer", "-k", 4)
    assert status == 0 and error == "" and "woman farmer: nearest of 1,870 images" in out
    expected = Index.load(collection / "image").search(Index.load(collection / "text").entry("woman farmer").encoded, 4)
    rows = [line for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert len(rows) == 4 and "group" in out and "picture" not in out
    for rank, (row, id, distance) in enumerate(zip(rows, expected.ids[0], expected.distances[0], strict=True), start=1):
        assert row.split()[0] == str(rank) and id in row and f"{distance:.4f}" in row


@pytest.mark.slow
def test_own_features_are_built_asked_and_measured(tmp_path, call):
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    models.save_model(tmp_path / "model.safetensors", galleries.model())
    np.save(tmp_path / "images.npy", galleries.features(20))
    np.save(tmp_path / "texts.npy", galleries.features(2, galleries.TEXT_DIM, seed=1))
    (tmp_path / "ids.txt").write_text("\n".join(f"picture {i}" for i in range(20)) + "\n")
    files = (f"--model={tmp_path / 'model.safetensors'}", f"--features={tmp_path / 'images.npy'}")
    files += ("--modality=image", f"--ids={tmp_path / 'ids.txt'}", f"--out={tmp_path / 'mine'}")
    status, out, _ = call("build", *files, "--candidates")
    assert status == 0 and f"\n{tmp_path / 'mine/image'}: 20 images, H = 8, " in out
    asked = f"--features={tmp_path / 'texts.npy'}"
    exact, staged = (
        call("query", tmp_path / "mine", asked, "--json", "-k=5", *flags)[1] for flags in ((), ("--candidates=20",))
    )
    answers = [json.loads(line) for line in exact.splitlines()]
    expected = Index.load(tmp_path / "mine/image").search(np.load(tmp_path / "texts.npy"), 5)
    assert [[of["id"] for of in answer["results"]] for answer in answers] == expected.ids.tolist()
    assert staged == exact
    status, out, _ = call("recall", tmp_path / "mine", asked, "--candidates", 20, "-k=5")
    line = "20 candidates of 20 images: recall@5 1.0000 (2 queries, features)"
    assert (status, out) == (0, f"{line}\nnext: gpldan search serve {tmp_path / 'mine'} --candidates=20\n")
    status, out, _ = call("recall", tmp_path / "mine", asked, "--candidates", 20, "-k=5", "--json")
    assert json.loads(out) == {"gallery": "image", "k": 5, "candidates": 20, "queries": 2, "recall": 1.0}


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
        (["query", "{c}", "--text=cat", "--candidates=20"], "make one with `search build --candidates`"),
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
        (["query", "{c}", "--txt=cat"], "unknown flag --txt; did you mean --text?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(flags, message, collection, call):
    status, out, error = call(*(flag.replace("{c}", str(collection)) for flag in flags))
    assert status == 2 and out == ""
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_an_output_that_is_not_utf_8_loses_no_answer(tmp_path, environment, quick_environment):
    ids, texts = ["naïve", "a → b", "नमस्ते"], ["caf\u00e9", "\U0001f600 smile", "ok"]
    fields = {"text": texts}
    Index.build(galleries.model(), galleries.features(3), ids, "image", fields=fields, folder=tmp_path / "image")
    np.save(tmp_path / "asked.npy", galleries.features(1, galleries.TEXT_DIM, seed=1))
    command = [sys.executable, "-m", "gpldan_jax", "search", "query", tmp_path, f"--features={tmp_path / 'asked.npy'}"]
    environment = os.environ | quick_environment | {"PYTHONPATH": str(ROOT)} | environment
    table, lines = (
        subprocess.run([*command, *flags], env=environment, capture_output=True, timeout=120)
        for flags in ([], ["--json"])
    )
    assert table.returncode == lines.returncode == 0, table.stderr + lines.stderr
    results = json.loads(lines.stdout.decode(environment.get("PYTHONIOENCODING", "ascii")))["results"]
    assert {of["id"]: of["text"] for of in results} == dict(zip(ids, texts, strict=True))
    assert b"\\u2192" in table.stdout and b"ok" in table.stdout and not table.stderr


@pytest.mark.slow
def test_a_collection_of_a_run_whose_data_moved(tmp_path, call, monkeypatch):
    made, other = tmp_path / "made", tmp_path / "other"
    features_file(made.with_suffix(".npz"))
    features_file(other.with_suffix(".npz"), names=("cat", "dog"), seed=1)
    monkeypatch.chdir(tmp_path)
    untrained_run(tmp_path / "made", name="npz", path="made.npz")
    status, expected, _ = call("build", "--workdir=made", f"--out={tmp_path / 'c'}", "--splits", "test")
    assert status == 0 and "40 images" in expected
    (tmp_path / "far").mkdir()
    monkeypatch.chdir(tmp_path / "far")  # another folder, and then also a moved workdir
    (tmp_path / "made").rename(tmp_path / "far/run")
    assert call("build", "--workdir=run", "--splits", "test")[0] == 0
    found, before = (Index.load(folder / "image") for folder in (tmp_path / "far/run/collection", tmp_path / "c"))
    assert found.ids.tolist() == before.ids.tolist()
    (tmp_path / "made.npz").rename(tmp_path / "far/new.npz")
    status, out, error = call("build", "--workdir=run")
    assert status == 2 and not out and error.startswith("error: the data of run are not there (")
    assert error.endswith("; say where they are now with --data=PATH\n") and error.count("\n") == 1
    assert f"{tmp_path / 'made.npz'} does not exist" in error
    assert call("build", "--workdir=run", "--data=new.npz")[0] == 0
    status, out, error = call("build", "--workdir=run", f"--data={other.with_suffix('.npz')}")
    assert status == 2 and not out and error.count("\n") == 1
    assert error.startswith(f"error: other data: {other.with_suffix('.npz')} has SHA-256 ")
    assert call("build", "--data=new.npz")[2] == "error: --data goes with --workdir; your own features are --features\n"


def test_a_missing_faiss_is_said_before_anything_is_built(workdir, tmp_path, call, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, error = call("build", f"--workdir={workdir}", f"--out={tmp_path / 'c'}", "--candidates")
    assert (status, error) == (2, "error: --candidates needs faiss: pip install 'gpldan_jax[ann]'\n")
    assert not (tmp_path / "c").exists()


def test_a_source_is_asked_for_by_its_flag(tmp_path, call):
    made = {"image": {"extractor": "vgg19", "weights": {"sha256": "0" * 64}}, "text": {"extractor": "mine:encode"}}
    index = Index.build(galleries.model(features=made), galleries.features(3), ["a", "b", "c"], "image")
    index.save(tmp_path / "image")
    status, _, error = call("query", tmp_path, "--picture=a.png")
    assert status == 2 and "give the file of its weights (SHA-256 0000000000000000...) with --image_weights" in error
    status, _, error = call("query", tmp_path, "--text=cat")
    assert status == 2 and "'mine:encode', a function that is not of this package; give features" in error
    clip = {
        "extractor": "transformers",
        "model_type": "clip",
        "feature": "image_features",
        "files": {"config.json": "0"},
    }
    made = {"image": clip, "text": clip | {"feature": "text_features"}}
    index = Index.build(galleries.model(features=made), galleries.features(3), ["a", "b", "c"], "image")
    index.save(tmp_path / "folders/image")
    for asked, flag in (("--picture=a.png", "--image_path"), ("--text=cat", "--text_path")):
        status, _, error = call("query", tmp_path / "folders", asked)
        assert status == 2 and f"an encoder of transformers, 'clip': give its directory with {flag}\n" in error


# Where tests run in the background of a shell, SIGINT is ignored, and so it would be by what they start.
_INTERRUPTED = """
import runpy, signal, sys
from gpldan_jax.index import storage

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


@pytest.mark.slow
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


def test_the_help_of_serve_says_the_limits_that_hold(capsys):
    from gpldan_jax.serving.limits import Limits

    with pytest.raises(SystemExit):
        run_command("search", ["serve", "--help"], "gpldan search")
    text, limits = " ".join(capsys.readouterr().out.split()), Limits()
    for words in (
        f"{limits.connections} connections, {limits.waiting_of_one} searches that wait",
        f"{limits.uploads_of_one} pictures that it sends",
        f"{limits.rate:g} requests each second ({limits.burst} at once)",
        f"{limits.body_bytes:,} bytes and {limits.pixels:,} pixels (a JPEG {limits.jpeg_pixels:,})",
        f"{limits.decoding_seconds:g} seconds and {limits.decoding_bytes:,} bytes of memory",
        "--proxy ADDRESS",
    ):
        assert words in text


def test_a_proxy_that_is_no_address_is_refused(tmp_path, capsys):
    assert (
        run_command("search", ["serve", str(tmp_path), "--port=0", "--proxy", "10.0.0.1", "nginx"], "gpldan search")
        == 2
    )
    assert "--proxy must be IP addresses or networks, such as 10.0.0.0/8; got 'nginx'" in capsys.readouterr().err
