"""The public names of the package, each with the room that documents it."""

import ast
import functools
import importlib
import itertools
from pathlib import Path

import gpldan_jax

_PACKAGE = Path(gpldan_jax.__file__).parent


@functools.cache
def rooms() -> dict[str, tuple[str, ...]]:
    """The public names of each room: its `__all__`, or what its `__init__.py` imports as itself."""
    names = ["gpldan_jax", *sorted(f"gpldan_jax.{path.parent.name}" for path in _PACKAGE.glob("*/__init__.py"))]
    found = {name: _names(name) for name in names}
    return {name: listed for name, listed in found.items() if listed}


def _names(room):
    module = importlib.import_module(room)
    if hasattr(module, "__all__"):
        return tuple(name for name in module.__all__ if name != "__version__")
    imported = [
        node for node in ast.walk(ast.parse(Path(module.__file__).read_text())) if isinstance(node, ast.ImportFrom)
    ]
    return tuple(sorted({alias.name for node in imported for alias in node.names if alias.asname == alias.name}))


@functools.cache
def homes() -> dict[str, str]:
    """Of each public name the full name under which it is documented: the first of the rooms that list it.

    The names of `gpldan_jax` itself are documented in the rooms that they come from, as far as these list them.
    """
    found = {}
    for room, names in sorted(rooms().items(), key=lambda item: item[0] == "gpldan_jax"):
        for name in names:
            found.setdefault(name, f"{room}.{name}")
    return found


def home_of(text: str) -> str | None:
    """The full name of a public name, which may be written with the rooms before it, or `None`."""
    *before, name = text.split(".")
    home = homes().get(name)
    if home is None:
        return None
    written = ".".join(before)
    return home if not written or written in ("gpldan_jax", *_ways(home)) else None


def _ways(home):
    full = home.rpartition(".")[0]
    return full, full.removeprefix("gpldan_jax.")


def words_about(room: str, name: str) -> list[str]:
    """The lines of the string below the assignment of a constant, which Python itself does not keep."""
    for path in sorted(_PACKAGE.joinpath(*room.split(".")[1:]).rglob("*.py")):
        body = ast.parse(path.read_text()).body
        for statement, after in itertools.pairwise(body):
            if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(after, ast.Expr):
                continue
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            assigned = {of.id for target in targets for of in ast.walk(target) if isinstance(of, ast.Name)}
            if name in assigned and isinstance(after.value, ast.Constant):
                return str(after.value.value).splitlines()
    raise ValueError(f"{room}.{name} needs a string below it that says what it is")
