"""The pages of the documentation: their commands exist, their code runs, and their tables are those of the files.

`make docs` builds the site and runs its notebooks. These tests need none of its libraries.
"""

import contextlib
import functools
import io
import re
import shlex
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax import GPLDAN
from gpldan_jax.cli.main import COMMANDS, main
from gpldan_jax.config import SETTINGS
from gpldan_jax.exporting import export_model

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = (DOCS / "reference" / "api", DOCS / "reference" / "commands", DOCS / "reference" / "settings.md")
PAGES = [
    path
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts and not any(path == made or made in path.parents for made in GENERATED)
]
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
README = ROOT / "README.md"
sys.path.insert(0, str(DOCS / "_ext"))

import kept_notebooks  # noqa: E402
import tables  # noqa: E402


def fences(text, kind):
    """The blocks of a kind, such as `sh` or `{code-cell} ipython3`."""
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def commands_of(text):
    """The `gpldan` commands in blocks of shell and in cells, each as a list of words."""
    found = []
    for block in [*fences(text, "sh"), *(cell for cell in fences(text, "{code-cell} ipython3"))]:
        for line in map(str.strip, block.replace("\\\n", " ").splitlines()):
            line = re.sub(r"python experiments/(\w+)\.py", lambda script: f"gpldan {script[1]}", line)
            command = re.search(r"(?:^|[!;&] *|do |srun .*?)(gpldan .*)", line.partition(" #")[0])
            if command:
                words = re.split(r" \| |;|&&", command[1])[0]
                found.append(shlex.split(words.replace("(", " ").replace(")", " ")))
    return found


@functools.cache
def flags_of(*command):
    """The flags that the help of a command names."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return set(re.findall(r"(?<![\w-])--[\w.-]*\w", text.getvalue()))


WRONG_ON_PURPOSE = {"docs/reference/errors.md"}  # a page of messages


@pytest.mark.parametrize("name", [name for name in [*NAMES, "README.md"] if name not in WRONG_ON_PURPOSE])
def test_the_flags_of_a_page_exist(name):
    for _, command, *words in commands_of((ROOT / name).read_text()):
        command = command.replace("_", "-")
        assert command in COMMANDS, command
        inner = (words[0],) if command in ("search", "benchmark") and words else ()
        known = flags_of(command, *inner) | {f"--config.{key}" for key in SETTINGS}
        if command == "demo":  # other flags go to extract
            known |= flags_of("extract")
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert not given - known, (command, given - known)


def test_the_pages_have_commands_to_check():
    assert sum(len(commands_of(path.read_text())) for path in PAGES) > 80


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with what the pages name, and the arrays that they use."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(60, 4))
    images, texts = (latent @ rng.normal(size=(4, width)) for width in (10, 6))
    names = {"images": images, "texts": texts, "test_images": images[40:], "test_texts": texts[40:]}
    model = GPLDAN(hidden=8, width=8, parts=2, epochs=1, batch_size=16, selection="last", random_state=0)
    (folder / "runs" / "mine").mkdir(parents=True)
    model.fit(images, texts).save(folder / "runs" / "mine" / "model.safetensors")
    export_model(folder / "runs" / "mine" / "model.safetensors", "numpy", folder / "emoji-encoders")
    return folder, names


PYTHON = [name for name in NAMES if fences((ROOT / name).read_text(), "python")]


@pytest.mark.slow
@pytest.mark.parametrize("name", PYTHON)
def test_the_python_of_a_page_runs(name, made, monkeypatch):
    folder, names = made
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    namespace = dict(names)
    if "labels" in name:  # it has three labels
        namespace |= {key: names[key][:3] for key in ("images", "texts")}
    for block in fences((ROOT / name).read_text(), "python"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # there are few pairs
            exec(compile(block, name, "exec"), namespace)


def test_there_are_pages_with_python():
    assert len(PYTHON) >= 3


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(kept_notebooks.ENDING)])
def test_kept_outputs_are_of_the_code_of_the_page(name):
    text, cell = (ROOT / name).read_text(), "```{code-cell} ipython3\n"
    assert len(kept_notebooks.kept_outputs(text)) == len(fences(text, "{code-cell} ipython3"))
    with pytest.raises(ValueError, match="run `make notebooks`"):
        kept_notebooks.kept_outputs(text.replace(cell, f"{cell}changed = 1\n", 1))


def test_there_are_no_outputs_of_a_page_that_is_gone():
    pages = {path.name.removesuffix(kept_notebooks.ENDING) for path in PAGES}
    assert {path.stem for path in kept_notebooks.KEPT.glob("*.json")} <= pages


def test_kept_outputs_name_no_folder_of_a_machine():
    for path in kept_notebooks.KEPT.glob("*.json"):
        assert not re.findall(r"/(?:tmp|home|root|work)/\w+", path.read_text()), path.name


@pytest.mark.parametrize("name", NAMES)
def test_the_files_that_a_page_names_exist(name):
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        target = ((ROOT / name).parent / link).resolve()
        assert target.exists() or any(target == made or made in target.parents for made in GENERATED), link
    for test in re.findall(r"`((?:\w+/)*test_\w+\.py)`", text):
        assert (ROOT / "tests" / test).exists(), test
    for path in re.findall(r"`((?:benchmarks|docs|gpldan_jax|tools)/[\w./-]*\w)`", text):
        assert (ROOT / path).exists(), path


def test_a_table_of_scores_is_read_from_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    for name, values in {"emoji": ("0.5 ± 0.1", "**0.6 ± 0.1**"), "cub": ("0.3 ± 0.0", "")}.items():
        (tmp_path / name).mkdir()
        rows = [f"| {method} | {value} |" for method, value in zip(("CCA", "GPLDAN"), values, strict=True)]
        lines = ["| method | average |", "|---|---:|", *rows, "", "more | text"]
        (tmp_path / name / "table2.md").write_text("\n".join(lines))
    assert tables.scores_table(["emoji", "cub"], ["CCA", "GPLDAN"], "average", mean=True).splitlines()[2:] == [
        "| CCA | 0.5 ± 0.1 | 0.3 ± 0.0 | 0.400 |",
        "| GPLDAN | 0.6 ± 0.1 |  |  |",
    ]
    with pytest.raises(ValueError, match="no average of 'DCCA'"):
        tables.scores_table(["emoji", "cub"], ["DCCA"], "average")
    with pytest.raises(ValueError, match="no results of 'pascal'"):
        tables.scores_table(["pascal"], ["CCA"], "average")


@pytest.mark.parametrize("path", sorted(tables.BENCHMARKS.glob("*.json")), ids=lambda path: path.stem)
def test_a_table_of_a_benchmark_says_what_made_it(path):
    part = "loss-4096" if path.name.startswith("all-") else ""
    table, made = tables.benchmark_table(path.name, [], ["n", "median_s", "compile_s"], part)
    assert table.count("\n") > 1 and f"benchmarks/results/{path.name}" in made
    assert re.search(r"Made by `gpldan benchmark (loss|train|quality|search|features|compile|all)[ `]", made), made
    assert "/tmp" not in made


def test_the_tables_of_soaks_have_the_counts_of_the_files():
    names = [path.name for path in sorted(tables.SOAKS.glob("*.json"))]
    found = tables.soak_tables(names)
    assert "| damaged files | 1,000 |" in found and "| mutated inputs | 520,000 |" in found and "/tmp" not in found
    assert all(f"`{name}`" in found for name in names)


def test_the_table_of_the_readme_is_that_of_the_files():
    names = ["ours/emoji", "openclipart", "ours/wikipedia", "ours/wikipedia-raw", "ours/cub", "ours/ikea"]
    expected = [
        *tables.scores_table(names, ["Chance", "GPLDAN"], "average").splitlines(),
        *tables.scores_table(
            names, ["Ridge CCA", "InfoNCE", "sigmoid loss", "GPLDAN", "ours"], "average with a bank"
        ).splitlines()[2:],
    ]
    section = README.read_text().partition("\n## What it reaches\n")[2].partition("\n## ")[0]
    found = [line for line in section.splitlines() if line.startswith("|")]
    figures = [[cell.strip(" *") for cell in line.split("|")[2:-1]] for line in found[2:]]
    assert figures == [[cell.strip() for cell in line.split("|")[2:-1]] for line in expected[2:]]
    titles = [tables.DATASETS[name.split("/")[-1]] for name in names]
    assert [cell.strip() for cell in found[0].split("|")[2:-1]] == titles


def test_the_readme_is_one_screen_after_another_but_not_many():
    assert len(README.read_text().splitlines()) <= 150


def test_every_command_has_a_place_in_the_list_of_commands():
    listed = re.findall(r"^commands/([\w-]+)$", (DOCS / "reference" / "commands.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
