"""`gpldan`: its help, its version, and how it finds a command."""

import subprocess
import sys
import warnings

import pytest

import gpldan_jax
from gpldan_jax.cli import main


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


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["swep"]])
def test_help_and_mistakes_import_nothing_slow(arguments):
    code = "import sys; from gpldan_jax.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print({'jax', 'flax', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_the_package_is_a_program():
    done = subprocess.run([sys.executable, "-m", "gpldan_jax", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("gpldan_jax ")
