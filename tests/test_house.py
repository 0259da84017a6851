"""The order of the house: which part may import which, how long a module may be, and what the package may not need."""

import ast
import configparser
import os
import pkgutil
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import gpldan_jax
from tests.commands import SMALL

PACKAGE = Path(gpldan_jax.__file__).parent
# A room is a folder of the package, or a module beside the folders. A room imports only rooms of a lower rank: never
# one above, and never another one of its own rank.
RANKS = {
    room: rank
    for rank, rooms in enumerate(
        [
            ["_console", "_extras", "_files", "config"],
            ["_checksums", "_decoding", "_deprecated", "_figure_style", "_locks"],
            ["losses"],
            ["models"],
            ["data", "features"],
            ["retrieval"],
            ["training"],
            ["baselines", "estimator", "index", "runs"],
            ["exporting", "extraction", "hub", "studies"],
            ["reports", "serving"],
            ["benchmarking"],
            ["cli"],
            ["__main__"],
        ]
    )
    for room in rooms
}
LONGEST, SHORTEST_MEDIAN = 450, 160  # lines of a module
# Libraries of the extras: a module that needs one of them may fail to be imported where the library is missing.
OPTIONAL = {
    "PIL",
    "faiss",
    "h5py",
    "hypercorn",
    "jinja2",
    "huggingface_hub",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "skimage",
    "sklearn",
    "starlette",
    "tensorboardX",
}
OPTIONAL |= {"torch", "transformers"}


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imports(name):
    """The modules that a module imports, anywhere in it, `[(line, module)]`; those of the package in full."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            home = ".".join([*parents, *filter(None, [node.module])])
            # `from room import module` imports the module, `from room import name` the room.
            members = [f"{home}.{alias.name}" for alias in node.names]
            found += [(node.lineno, member if member in MODULES else home) for member in members]
        elif is_call_of(node, "import_module") and isinstance(node.args[0], ast.Constant):
            found.append((node.lineno, node.args[0].value))
    return found


def is_call_of(node, name):
    if not isinstance(node, ast.Call):
        return False
    return name == (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None))


def inner_imports():
    """`(importing module, line, imported module)` for every import of one module of the package by another.

    The list of public names in `gpldan_jax/__init__.py` is for type checkers: each name is imported at its first use.
    """
    for name in MODULES:
        if name != "gpldan_jax":
            yield from ((name, line, other) for line, other in imports(name) if other.split(".")[0] == "gpldan_jax")


def room(name):
    return name.split(".")[1]


def test_every_room_has_a_rank():
    assert {room(name) for name in MODULES if name != "gpldan_jax"} == set(RANKS)


def test_imports_follow_the_order_of_the_rooms():
    against = []
    for name, line, other in inner_imports():
        if other == "gpldan_jax":  # for `__version__`
            continue
        if room(other) != room(name) and RANKS[room(other)] >= RANKS[room(name)]:
            against.append(f"{MODULES[name].relative_to(PACKAGE)}:{line} imports {other}")
    assert not against, "\n".join(against)


def test_no_imports_run_in_a_circle():
    remaining = {name: set() for name in MODULES}
    for name, _, other in inner_imports():
        if other != name:
            remaining[name].add(other)
    while free := [name for name, others in remaining.items() if not others & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert not remaining, {name: sorted(others & remaining.keys()) for name, others in remaining.items()}


def test_losses_import_only_jax_and_the_standard_library():
    allowed = {"jax", *sys.stdlib_module_names}
    for name in MODULES:
        if name.startswith("gpldan_jax.losses"):
            for line, other in imports(name):
                if not other.startswith("gpldan_jax.losses"):
                    assert other.split(".")[0] in allowed, f"{MODULES[name]}:{line} imports {other}"


def test_no_two_modules_have_the_same_file_name():
    counts = Counter(path.name for path in MODULES.values() if path.name != "__init__.py")
    assert not [name for name, count in counts.items() if count > 1]


def test_modules_are_neither_crumbs_nor_too_long():
    paths = [path for path in MODULES.values() if path.name not in ("__init__.py", "__main__.py")]
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in paths}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}
    assert statistics.median(lengths.values()) >= SHORTEST_MEDIAN, sorted(lengths.items(), key=lambda item: item[1])


@pytest.mark.parametrize("words", ["../shared", "experiments/"])
def test_no_file_of_the_package_names_a_folder_of_ours(words):
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".md", ".jinja", ".html", ".js", ".css")]
    assert not [str(path.relative_to(PACKAGE)) for path in files if words in path.read_text()]


def test_no_module_changes_where_python_looks_for_modules():
    changes = [
        f"{MODULES[name].relative_to(PACKAGE)}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
    ]
    # `gpldan extract --text_model=my_clip:encode_texts` imports a module of the user from the working directory.
    assert {change.partition(":")[0] for change in changes} <= {"cli/extract.py"}, changes


def test_no_module_imports_fcntl():
    assert not [name for name in MODULES if any(other == "fcntl" for _, other in imports(name))]


# A finder that hides `fcntl`, as on Windows. `subprocess` and other modules of the standard library that were imported
# before Python runs a line of ours do not need it.
HIDE_FCNTL = """
import importlib.abc, sys
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "fcntl":
            raise ModuleNotFoundError("No module named 'fcntl'", name="fcntl")
sys.modules.pop("fcntl", None)
sys.meta_path.insert(0, Hidden())
"""


def run_python(code, *arguments, environment=()):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | dict(environment), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_all_modules_can_be_imported_without_fcntl():
    names = [
        module.name
        for module in pkgutil.walk_packages([str(PACKAGE)], "gpldan_jax.")
        if not module.name.endswith("__main__")
    ]
    assert set(names) | {"gpldan_jax", "gpldan_jax.__main__"} == set(MODULES)
    code = f"""{HIDE_FCNTL}
import importlib
for name in {names}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").split(".")[0] not in {OPTIONAL}:
            raise
        print(name, error.name)
"""
    missing = dict(line.split() for line in run_python(code).splitlines())
    needed = {name: library for name, library in missing.items() if name not in NEED_A_LIBRARY}
    assert not needed, f"import optional libraries where they are used: {needed}"


# Modules that are only about an optional library, and are imported where that library is used.
NEED_A_LIBRARY = {f"gpldan_jax.benchmarking.torch_{name}" for name in ("device", "losses", "train")}


@pytest.mark.slow
def test_a_run_needs_no_fcntl(tmp_path, features, quick_environment):
    flags = ["--dataset=npz", f"--config.dataset.path={features}", f"--workdir={tmp_path / 'run'}", *SMALL]
    code = f"{HIDE_FCNTL}\nfrom gpldan_jax.cli.main import main\nsys.exit(main(['run', *sys.argv[1:]]))"
    shown = run_python(code, *flags, "--config.train.epochs=1", environment=quick_environment)
    assert "recall@10" in shown and (tmp_path / "run" / "model.safetensors").exists()


def test_help_imports_no_large_library():
    code = "import sys\nfrom gpldan_jax.cli.main import main\nmain(['--help'])\nprint(*sorted(sys.modules))"
    text, _, modules = run_python(code).rstrip().rpartition("\n")
    assert "usage: gpldan" in text
    assert not {"flax", "jax", "matplotlib", "numpy", "optax", "orbax", "rich"} & set(modules.split())


def test_the_import_of_the_package_imports_no_large_library():
    modules = run_python("import sys, gpldan_jax\nprint(*sys.modules)").split()
    assert not {"flax", "jax", "numpy"} & set(modules)


def test_versions_agree():
    root = PACKAGE.parent
    citation = (root / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1].strip('"') == gpldan_jax.__version__
    assert f"\n## {gpldan_jax.__version__}" in (root / "CHANGELOG.md").read_text()


def test_the_lowest_versions_are_those_of_setup_cfg():
    root = PACKAGE.parent
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    lists = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    bounds = dict(re.findall(r"^\s*([\w-]+)>=([\d.]+)$", "\n".join(lists), re.MULTILINE))
    lowest = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (root / ".ci" / "lowest.txt").read_text(), re.MULTILINE))
    assert lowest.pop("jaxlib") == lowest["jax"]
    del lowest["pyparsing"]  # of what others need
    # Tools, those that build the documentation, and libraries that need PyTorch, which is too large for a second
    # environment.
    tools = ["mypy", "pre-commit", "ruff"]
    tools += ["equinox", "furo", "latex2mathml", "myst-nb", "sphinx", "sphinx-copybutton"]
    for name in (*tools, "open_clip_torch", "timm", "torch", "transformers"):
        del bounds[name]
    assert bounds.keys() == lowest.keys()
    assert not {name: bound for name, bound in bounds.items() if not f"{lowest[name]}.".startswith(f"{bound}.")}
