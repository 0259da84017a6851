"""The code of the README, and the longer commands of the documentation, run as they stand."""

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax import load_model
from gpldan_jax.cli import extract
from gpldan_jax.cli.main import COMMANDS
from gpldan_jax.index import Index

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {name: (ROOT / "docs" / name).read_text() for name in ("howto/encoders.md", "howto/own-index.md")}


def blocks(text):
    """The fenced blocks, `(language, code)`."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


WAYS = blocks(README.partition("\n## Three ways to use it\n")[2].partition("\n## ")[0])


def way(language, words):
    """The one block of the README or of these pages that has these words."""
    of_all = [block for text in (README, *PAGES.values()) for block in blocks(text)]
    (code,) = (code for found, code in of_all if found == language and words in code)
    return code


@pytest.fixture(scope="module")
def data():
    """The arrays that the blocks name: 140 pairs to train on and 60 to test with."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(200, 4))
    images, texts = latent @ rng.normal(size=(4, 10)), latent @ rng.normal(size=(4, 6))
    names = {"images": images.astype(np.float32), "texts": texts.astype(np.float32)}
    parts = {"train": slice(140), "test": slice(140, 200)}
    return {f"{part}_{name}": array[rows] for part, rows in parts.items() for name, array in names.items()}


def ran(code, names):
    namespace = dict(names)
    exec(compile(code, "README.md", "exec"), namespace)
    return namespace


def test_the_section_has_three_ways():
    assert [language for language, _ in WAYS] == ["sh", "python", "python"]


@pytest.mark.slow
def test_the_command_the_estimator_and_the_index(data, tmp_path, monkeypatch, quick_environment):
    monkeypatch.chdir(tmp_path)
    for folder in ("configs", "experiments"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    images, texts = (
        np.concatenate([data[f"{part}_{name}"] for part in ("train", "test")]) for name in ("images", "texts")
    )
    np.savez("mine.npz", image=images, text=texts)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | quick_environment | {"PATH": path}
    command = ["bash", "-euc", way("sh", "--config.dataset.path=mine.npz --config.train.epochs")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "epoch 10/10" in done.stdout and "recall@10" in done.stdout

    names = ran(way("python", "GPLDAN("), data)
    assert names["nearest"].shape == (60, 5)
    partners = (names["nearest"] == np.arange(60)[:, None]).any(axis=1).mean()
    assert partners > 4 * 5 / 60  # four times chance
    assert load_model("gpldan.safetensors").metadata["estimator"]["parameters"]["epochs"] == 10
    assert names["model"].epochs == 10 and names["model"].distances(images[:2], texts).shape == (2, 200)

    names = ran(way("python", "Index.build("), data)
    assert names["ids"].shape == (2, 5)
    found = Index.load("collection").search(data["test_texts"][:2], 5)
    assert found.ids.tolist() == names["ids"].tolist()


@pytest.mark.slow
def test_a_folder_becomes_a_page(tmp_path, monkeypatch, quick_environment):
    Image = pytest.importorskip("PIL.Image", reason="images need Pillow")
    pytest.importorskip("skimage", reason="these features need scikit-image")
    pytest.importorskip("sklearn", reason="a bag of words needs scikit-learn")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "photos").mkdir()
    lines = ["file_name,caption"]
    for row, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (30, 9, 7, 3), np.uint8)):
        Image.fromarray(pixels).save(f"photos/{row}.png")
        lines.append(f"{row}.png,a {('red', 'green', 'blue')[row % 3]} chair of kind {row % 5}")
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    install, _, code = way("sh", "experiments/demo.py").partition("\n")
    assert install == "pip install -e '.[serve]'"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | quick_environment | {"PATH": path}
    small = " --no-serve --config.train.epochs=1 --config.model.hidden=8 --config.model.width=8"
    done = subprocess.run(["bash", "-euc", code.strip() + small], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(Index.load("mine/collection/text")) == 30 and Path("mine/collection/pictures.sqlite").exists()
    # The commands that it prints can be repeated.
    steps = [line[2:] for line in done.stdout.splitlines() if line.startswith("$ gpldan ")]
    again = subprocess.run(["bash", "-euc", "\n".join(steps)], env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and "finished" in again.stdout, again.stderr


@pytest.mark.slow
def test_a_folder_becomes_a_model(tmp_path, monkeypatch, quick_environment):
    """The commands as they stand, with encoders that need no weights."""
    Image = pytest.importorskip("PIL.Image", reason="images need Pillow")
    monkeypatch.chdir(tmp_path)
    for folder in ("configs", "experiments"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "photos").mkdir()
    lines = ["image,text,label"]
    for row, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (200, 9, 7, 3), np.uint8)):
        Image.fromarray(pixels).save(f"photos/{row}.png")
        lines.append(f"{row}.png,picture {row % 7} of colours {row % 11}{row % 3},class {row % 3}")
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    code = way("sh", "--config.train.selection=map --workdir=runs/photos")
    models = "--image_model=vgg19 --image_weights=vgg19-dcbb9e9d.pth --text_model=bert --text_path=bert-large-uncased"
    install, _, code = code.partition("\n")
    assert install == "pip install 'gpldan_jax[bert,features]'" and models in code
    options = extract._parser("gpldan extract").parse_args(shlex.split(f"--images=a --texts=b --out=c {models}"))
    assert options.text_model == "bert"
    code = code.replace(models, "--image_model=hog_hsv --text_model=bag_of_words")
    code = code.replace("--workdir", "--config.train.epochs=1 --config.train.batch_size=50 --workdir")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | quick_environment | {"PATH": path}
    done = subprocess.run(["bash", "-euc", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "photos.npz: 200 pairs (160 train, 20 validation, 20 test)" in done.stdout and "map@50" in done.stdout
    assert load_model("runs/photos/model.safetensors").metadata["features"]["image"]["extractor"] == "hog_hsv"


@pytest.mark.slow
def test_features_of_a_model_in_a_folder_become_a_search(tmp_path, monkeypatch, quick_environment):
    Image = pytest.importorskip("PIL.Image", reason="images need Pillow")
    pytest.importorskip("skimage", reason="these features need scikit-image")
    pytest.importorskip("sklearn", reason="a bag of words needs scikit-learn")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "photos").mkdir()
    lines = ["file_name,caption"]
    for row, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (100, 9, 7, 3), np.uint8)):
        Image.fromarray(pixels).save(f"photos/{row}.png")
        lines.append(f"{row}.png,a red chair {row % 7} of kind {row % 11}")
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    code = way("sh", "--workdir=runs/clip")
    install, _, code = code.partition("\n")
    assert install == "pip install 'gpldan_jax[features,transformers]'"
    path = "clip-vit-base-patch32"
    for kind, other in (("image", "hog_hsv"), ("text", "bag_of_words")):
        assert f"--{kind}_model=transformers --{kind}_path={path}" in code
        code = code.replace(f"--{kind}_model=transformers --{kind}_path={path}", f"--{kind}_model={other}")
    code = code.replace(f" --text_path={path}", "")
    code = code.replace(
        "--workdir=runs/clip\n", "--config.train.epochs=1 --config.train.batch_size=50 --workdir=runs/clip\n", 1
    )
    environment = os.environ | quick_environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-euc", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "recall@10" in done.stdout and "a red chair: nearest of 100 images" in done.stdout


@pytest.mark.slow
def test_the_loss_in_a_loop(data, capsys):
    ran(way("python", "graph_pattern_loss("), data)
    losses = [float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 10 and losses[-1] < 0.7 * losses[0]


def test_there_is_no_python_that_is_not_run():
    assert [language for language, _ in blocks(README)].count("python") == 2


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/results/README.md", "tools/README.md"])
def test_every_path_that_a_page_names_exists(page):
    text = (ROOT / page).read_text()
    folders = "benchmarks|configs|docs|experiments|gpldan_jax|tests|tools"
    names = set(re.findall(rf"(?<![\w./-])(?:{folders})/(?:[\w./-]*\w/?)?", text))
    assert len(names) > 2
    names = {name for name in names if "NAME" not in name and "_build" not in name}
    assert not [name for name in names if not (ROOT / name).exists()]
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert not [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]


def test_every_script_is_a_command():
    scripts = {path.stem for path in (ROOT / "experiments").glob("*.py")}
    assert scripts == {command.replace("-", "_") for command in COMMANDS}
    commands = {name.replace("-", "_") for name in re.findall(r"\bgpldan ([a-z][\w-]*)", README)}
    named = set(re.findall(r"\bexperiments/(\w+)\.py", README)) | commands
    assert named <= scripts and len(named) > 6


def test_every_extra_that_is_named_can_be_installed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    pages = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    sources = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *pages, *(ROOT / "gpldan_jax").rglob("*.py")]
    named = set()
    for path in sources:
        for listed in re.findall(r"(?:gpldan_jax|'\.)\[([a-z,]+)\]", path.read_text()):
            named |= set(listed.split(","))
    assert named <= extras and {"ann", "bert", "features", "plots", "report", "serve", "test", "torch"} <= named
