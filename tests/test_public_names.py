"""The names that users import exist, and their docstrings have the sections that a reader needs."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import gpldan_jax

PACKAGE = Path(gpldan_jax.__file__).parent
ROOMS = ["gpldan_jax", *sorted(f"gpldan_jax.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py"))]
SECTIONS = ("Args", "Returns", "Yields", "Raises", "Example", "References")  # in this order
# Public functions without an Example, and why.
NO_EXAMPLE = {
    "gpldan_jax.extraction.encoders.text_encoder": "needs PyTorch and the weights of an encoder",
    "gpldan_jax.extraction.pipeline.extract": "needs Pillow and image files",
    "gpldan_jax.extraction.releases.read_nuswide": "needs the files of the release",
    "gpldan_jax.extraction.releases.read_pascal": "needs the files of the release",
    "gpldan_jax.extraction.releases.read_wikipedia": "needs the files of the release",
    "gpldan_jax.reports.page.report": "needs jinja2, matplotlib and a finished workdir",
    "gpldan_jax.serving.building.build_from_features": "needs a model file",
    "gpldan_jax.serving.building.build_from_run": "needs a finished workdir",
    "gpldan_jax.serving.queries.ask": "needs a collection",
    "gpldan_jax.serving.queries.measure_recall": "needs a collection and faiss",
    "gpldan_jax.serving.server.serve": "serves until it is stopped",
    "gpldan_jax.studies.grid_search.sweep": "trains for minutes",
    "gpldan_jax.studies.overview.overview_tables": "needs finished workdirs",
    "gpldan_jax.studies.table2.compare": "trains for minutes",
    "gpldan_jax.studies.table3.ablate": "trains for minutes",
}


def public_names(room):
    """The names that a room lists: `__all__`, or what its `__init__.py` imports as itself."""
    module = importlib.import_module(room)
    if hasattr(module, "__all__"):
        return module.__all__
    imported = [
        node for node in ast.walk(ast.parse(Path(module.__file__).read_text())) if isinstance(node, ast.ImportFrom)
    ]
    return sorted({alias.name for node in imported for alias in node.names if alias.asname == alias.name})


def public_functions():
    """`{"module.name": function}` of every function that a room lists."""
    found = {}
    for room in ROOMS:
        for name in public_names(room):
            value = getattr(importlib.import_module(room), name)
            if callable(value) and not inspect.isclass(value):
                found[f"{value.__module__}.{value.__name__}"] = value
    return found


FUNCTIONS = public_functions()


def sections(docstring):
    """The sections of a docstring in the google style, `{title: text}`, in their order."""
    parts = re.split(r"^([A-Z][a-z]+):\n", inspect.cleandoc(docstring) + "\n", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_arguments(text):
    """The names that an Args section explains; a line may explain several, `alpha, beta: the weights.`."""
    heads = re.findall(r"^    ([*\w, ]+?)(?: \([^)]*\))?:", text, flags=re.MULTILINE)
    return {name.strip(" *") for head in heads for name in head.split(",")}


def has_code(name):
    """Whether a function of this name has an example that the tests run."""
    of_name = [function for key, function in FUNCTIONS.items() if key.rpartition(".")[2] == name]
    return any(">>> " in sections(function.__doc__).get("Example", "") for function in of_name)


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_exist_and_are_documented(room):
    assert importlib.import_module(room).__doc__
    for name in public_names(room):
        value = getattr(importlib.import_module(room), name)
        assert value.__doc__, name


def test_the_rooms_list_their_names():
    named = {room.removeprefix("gpldan_jax.") for room in ROOMS if public_names(room)}
    assert {"baselines", "data", "index", "losses", "models", "retrieval", "studies", "training"} <= named


def test_one_import_brings_the_names_of_the_loss_the_model_and_the_measures():
    expected = {"GPLDAN", "co_attention_distances", "graph_pattern_loss", "load_model", "mean_average_precision"}
    assert expected <= set(gpldan_jax.__all__) <= set(dir(gpldan_jax))
    with pytest.raises(AttributeError, match="no attribute 'graph_patern_loss'"):
        gpldan_jax.graph_patern_loss  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_have_the_sections_that_a_reader_needs(name):
    function = FUNCTIONS[name]
    found = sections(function.__doc__)
    signature = inspect.signature(function)
    assert re.fullmatch(r"[^\n]+\.", function.__doc__.split("\n\n")[0].strip()), "the summary is one line"
    assert [title for title in SECTIONS if title in found] == [title for title in found if title in SECTIONS]
    assert documented_arguments(found.get("Args", "")) == set(signature.parameters)
    returns = signature.return_annotation not in (None, "None")
    assert returns == bool({"Returns", "Yields"} & found.keys())
    assert ("Example" in found) != (name in NO_EXAMPLE)
    if "Example" in found and ">>> " not in found["Example"]:
        other = re.match(r" *See `(\w+)`", found["Example"])
        assert other and has_code(other[1]), "an example is code that the tests run, or points to such an example"


MOVED = {
    "retrieval": ["DamagedIndexError", "Entry", "Found", "Index", "Items", "Recall"],
    "training": ["agreed", "interruption"],
}


@pytest.mark.parametrize("room, name", [(room, name) for room, names in MOVED.items() for name in names])
def test_an_old_name_works_and_warns(room, name):
    module = importlib.import_module(f"gpldan_jax.{room}")
    with pytest.warns(DeprecationWarning, match=rf"gpldan_jax.{room}.{name} is now gpldan_jax\."):
        assert getattr(module, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018
