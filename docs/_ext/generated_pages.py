"""Writes the pages that come from the code: public names, settings and commands. It fails where a name has no page.

The pages are made anew by each build, in `reference/api` and `reference/commands`, which git ignores.
"""

import contextlib
import importlib
import inspect
import io
import os
import re
from pathlib import Path

import public
from sphinx.errors import ExtensionError

from gpldan_jax import config
from gpldan_jax.cli.main import COMMANDS, main

DOCS = Path(__file__).parents[1]
_INHERITED = "set_fit_request, set_score_request, set_transform_request, get_metadata_routing"  # scikit-learn's


def setup(app):
    """Writes the pages before they are read."""
    app.connect("builder-inited", lambda app: write_pages(DOCS / "reference"))
    app.connect("env-updated", _check_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(folder: Path) -> None:
    """Writes all generated pages below a folder; files that stay the same keep their time."""
    pages = {f"api/{room}.rst": _room_page(room, names) for room, names in public.rooms().items()}
    pages |= {f"commands/{name}.md": _command_page(name, about) for name, about in COMMANDS.items()}
    pages["settings.md"] = _settings_page()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for path in [*(folder / "api").glob("*"), *(folder / "commands").glob("*")]:
        if str(path.relative_to(folder)) not in pages:
            path.unlink()  # of a room or a command that is gone


def _check_names(app, env):
    """Every public name must be on a page."""
    documented = set(env.get_domain("py").objects)
    missing = sorted(set(public.homes().values()) - documented)
    if missing:
        raise ExtensionError(f"public names without a page: {', '.join(missing)}")


def _room_page(room, names):
    module = importlib.import_module(room)
    homes = public.homes()
    lines = [room, "=" * len(room), "", f".. automodule:: {room}", "   :no-members:", "   :no-index:", ""]
    lines += [".. py:module:: " + room, "", ".. py:currentmodule:: None", ""]
    lines += [".. list-table::", "   :widths: 35 65", ""]
    for name in names:
        lines += [f"   * - :py:obj:`~{homes[name]}`", f"     - {_summary(room, name)}"]
    lines += [""]
    for name in names:
        if homes[name] != f"{room}.{name}":
            continue
        value = getattr(module, name)
        kind = "exception" if inspect.isclass(value) and issubclass(value, Exception) else "class"
        if not inspect.isclass(value):
            kind = "function" if inspect.isroutine(value) or hasattr(value, "__wrapped__") else "data"
        if kind == "data" and not _has_docstring(room, name):
            lines += [f".. py:data:: {room}.{name}", "", *(f"   {line}" for line in public.words_about(room, name)), ""]
            continue
        lines += [f".. auto{kind}:: {room}.{name}"]
        if kind == "class":
            fields = ", ".join(getattr(value, "_fields", ()))  # of a named tuple, described with the class
            lines += ["   :members:", f"   :exclude-members: {_INHERITED}{fields and f', {fields}'}"]
        lines += [""]
    return "\n".join(lines)


def _summary(room, name):
    """The first paragraph of the docstring."""
    if not _has_docstring(room, name):
        return " ".join(public.words_about(public.homes()[name].rpartition(".")[0], name))
    text = inspect.getdoc(getattr(importlib.import_module(room), name)) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _has_docstring(room, name):
    value = getattr(importlib.import_module(room), name)
    return inspect.isclass(value) or value.__doc__ != type(value).__doc__


def _help(*arguments):
    """What `--help` prints, 100 columns wide and without the list of settings, which has a page."""
    text = io.StringIO()
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "100"
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            main([*arguments, "--help"])
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    return text.getvalue().partition("\nsettings, with their defaults")[0].rstrip()


def _command_page(name, about):
    text = _help(name)
    parts = [f"# gpldan {name}", f"{about[0].upper()}{about[1:]}."]
    parts += ["What `--help` prints:", f"```text\n{text}\n```"]
    if "--config.GROUP.NAME" in text:
        parts.append("The settings behind `--config.GROUP.NAME` are on the page [Settings](../settings.md).")
    inner = re.search(r"^  \{([\w,-]+)\}$", text, flags=re.MULTILINE)
    for command in inner[1].split(",") if inner else ():
        parts += [f"## gpldan {name} {command}", f"```text\n{_help(name, command)}\n```"]
    return "\n\n".join(parts) + "\n"


def _settings_page():
    parts = [
        "# Settings",
        "Every setting of a run, from `gpldan_jax/config.py`. Change one with `--config.GROUP.NAME=VALUE`, for example "
        "`--config.loss.alpha=0.5`. A dataset and a recipe change some defaults; "
        '[the last two tables](#what-a-dataset-changes) list them. "Unpublished" marks what the paper does not say, '
        'and "ours" a choice of this package.',
    ]
    groups: dict[str, list[config.Setting]] = {}
    for setting in config.SETTINGS.values():
        groups.setdefault(setting.key.partition(".")[0], []).append(setting)
    for group, settings in groups.items():
        rows = [
            (f"`{of.key}`", f"`{of.default!r}`", of.rule.expected, _cell(f"{of.origin[0].upper()}{of.origin[1:]}"))
            for of in settings
        ]
        head = ("setting", "default", "allowed values", "what it is, and where it comes from")
        parts += [f"## {group}", _table(head, rows)]
    base = config.flat(config.default_config())
    rows = []
    for title in config.dataset_names():
        name, _, variants = title.rstrip("]").partition("[:")
        for variant in variants.split("|"):
            changed = config.flat(config.dataset_config(name, variant))
            changes = [f"`{key}={value}`" for key, value in changed.items() if value != base[key]]
            changes = [change for change in changes if not change.startswith(("`dataset.name", "`dataset.variant"))]
            rows.append((f"`{name}:{variant}`" if variant else f"`{name}`", ", ".join(changes) or "nothing"))
    parts += ["## What a dataset changes", _table(("`--dataset`", "settings"), rows)]
    rows = [
        (f"`{name}`", ", ".join(f"`{key}={value}`" for key, value in changes.items()) or "nothing")
        for name, changes in config.RECIPES.items()
    ]
    parts += ["## What a recipe changes", _table(("`--recipe`", "settings"), rows)]
    return "\n\n".join(parts) + "\n"


def _cell(text):
    return text.replace("|", "\\|")


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
