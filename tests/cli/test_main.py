"""`gpldan`: its help, its version, and how it finds a command."""

import io
import os
import subprocess
import sys
import warnings

import pytest

import gpldan_jax
from gpldan_jax.cli import arguments, main
from tests.commands import ROOT, SMALL


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which commands change


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"], []])
def test_help_lists_every_command(argv, capsys):
    assert main.main(argv) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: gpldan COMMAND [FLAGS]") and "gpldan run --dataset=emoji" in shown
    for name, about in main.COMMANDS.items():
        assert f"  {name} " in shown and about in shown


def test_the_version_is_that_of_the_package(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpldan_jax {gpldan_jax.__version__}\n"


@pytest.mark.parametrize(
    "name, hint",
    [("swep", ", did you mean 'sweep'?"), ("frobnicate", "; `gpldan --help` lists all"), ("--config=x", "; `gpldan")],
)
def test_an_unknown_command_is_one_line_with_a_hint(name, hint, capsys):
    assert main.main([name]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: unknown command {name!r}{hint}") and error.count("\n") == 1


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        main.main([name, "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and shown.startswith(f"usage: gpldan {name}") and f"    gpldan {name} " in shown


def test_help_lists_the_methods_and_the_datasets(capsys):
    with pytest.raises(SystemExit):
        main.main(["compare", "--help"])
    shown = capsys.readouterr().out
    assert "\n  infonce         InfoNCE\n" in shown and "\n  dscmr           DSCMR (supervised)\n" in shown
    for command in (["run"], ["benchmark", "train"]):
        with pytest.raises(SystemExit):
            main.main([*command, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert "emoji, openclipart, wikipedia[:cnn128_text100|raw|vgg19_bert], pascal, nuswide[:multilabel]" in shown


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["swep"]])
def test_help_and_mistakes_import_nothing_slow(arguments):
    code = "import sys; from gpldan_jax.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print({'jax', 'flax', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_the_package_is_a_program():
    done = subprocess.run([sys.executable, "-m", "gpldan_jax", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("gpldan_jax ")


def test_an_output_of_another_encoding_is_restored(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    status = arguments.call(lambda argv, program: print("\u00e9 \u2192") or 0, [], "gpldan run", stopped="")
    assert status == 0 and stream.errors == "strict"
    assert stream.buffer.getvalue() == b"\xe9 \\u2192\n"


def test_warnings_of_a_notebook_look_as_before(monkeypatch):
    before = warnings.formatwarning
    arguments.call(lambda argv, program: 0, [], "gpldan run", stopped="")
    assert warnings.formatwarning is before


_TWICE = """
import runpy, sys
for argv in COMMANDS:
    for _ in range(2):
        sys.argv = argv
        try:
            runpy.run_path(argv[0], run_name="__main__")
        except SystemExit as end:
            if end.code:
                sys.exit(f"{argv} ended with {end.code}")
"""


@pytest.mark.slow
def test_each_command_runs_twice_in_one_interpreter(features, tmp_path, quick_environment):
    # As `%run experiments/run.py` in a notebook does.
    pytest.importorskip("jinja2", reason="a report needs jinja2: pip install 'gpldan_jax[report]'")
    pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install 'gpldan_jax[report]'")
    pytest.importorskip("skimage", reason="hog_hsv needs scikit-image: pip install 'gpldan_jax[features]'")
    image = pytest.importorskip("PIL.Image", reason="pictures need pillow: pip install 'gpldan_jax[features]'")
    (tmp_path / "pictures").mkdir()
    for name, color in (("a", "red"), ("b", "blue"), ("c", "green"), ("d", "white"), ("e", "black")):
        image.new("RGB", (80, 80), color).save(tmp_path / "pictures" / f"{name}.png")
    texts = ("one two", "two three", "one three", "one", "two")  # no word is in all texts of training
    splits = ("train", "train", "train", "validation", "test")
    rows = [f"{name}.png,{text},{split}" for name, text, split in zip("abcde", texts, splits, strict=True)]
    (tmp_path / "texts.csv").write_text("\n".join(["image,text,split", *rows]))
    config = f"--config={ROOT / 'configs/npz.py'}"
    small = [*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=1", "--config.train.selection=map"]
    commands = [
        ["run.py", config, *small, "--workdir=run"],
        ["sweep.py", config, *small, "--beta=0,0.1", "--nofigure", "--workdir=sweep"],
        ["compare.py", config, *small, "--methods=chance,cca-ridge", "--workdir=compare"],
        ["ablate.py", config, *small, "--workdir=ablate"],
        [
            "extract.py",
            "--images=pictures",
            "--texts=texts.csv",
            "--image_model=hog_hsv",
            "--text_model=bag_of_words",
            "--out=f.npz",
        ],
        [
            "demo.py",
            "pictures",
            "--texts=texts.csv",
            "--no-serve",
            "--workdir=demo",
            *SMALL[:2],
            "--config.train.epochs=1",
        ],
        ["search.py", "build", "--workdir=run"],
        ["search.py", "query", "run/collection", "--item=test 1"],
        ["export.py", "run", "--to=numpy", "--out=encoders"],
        ["report.py", "run", "--out=report.html"],
        ["summarize.py", "run"],
        ["compare_runs.py", "run", "run"],
        ["verify.py", "run"],
        ["benchmark.py", "loss", "--help"],
    ]
    assert {argv[0] for argv in commands} == {path.name for path in (ROOT / "experiments").glob("*.py")}
    commands = [[str(ROOT / "experiments" / argv[0]), *argv[1:]] for argv in commands]
    environment = os.environ | quick_environment | {"PYTHONPATH": str(ROOT)}
    code = _TWICE.replace("COMMANDS", repr(commands))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "run is finished" in done.stdout and done.stdout.count("written to report.html") == 2
