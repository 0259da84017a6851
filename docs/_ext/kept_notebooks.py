"""The outputs of notebooks that take long: kept in `docs/_kept`, and refused where the code has changed since.

A page `NAME.kept.md` is a notebook in MyST Markdown, as the others, but the build does not run it: its outputs come
from `_kept/NAME.json`. `python docs/_ext/kept_notebooks.py` runs all such pages and writes these files; with names,
only those.
"""

import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat

DOCS = Path(__file__).parents[1]
KEPT = DOCS / "_kept"
ENDING = ".kept.md"


def setup(app):
    """Registers the pages."""
    app.config.nb_custom_formats = {ENDING: ["kept_notebooks.read", {}]}
    app.config.nb_execution_excludepatterns = [f"*{ENDING}"]
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def parsed(text: str) -> nbformat.NotebookNode:
    """A page as a notebook without outputs."""
    from myst_nb.core.config import NbParserConfig
    from myst_nb.core.read import read_myst_markdown_notebook

    return read_myst_markdown_notebook(text, config=NbParserConfig(), add_source_map=True)


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """The SHA-256 of the code of a notebook."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def read(text: str) -> nbformat.NotebookNode:
    """A page with its kept outputs; the page is found by its code."""
    notebook = parsed(text)
    wanted = code_hash(notebook)
    for path in KEPT.glob("*.json"):
        kept = json.loads(path.read_text())
        if kept["code"] == wanted:
            break
    else:
        title = re.search(r"^# (.*)", text, flags=re.MULTILINE)[1]
        raise ValueError(f"no kept outputs of the page {title!r}: run `make notebooks`, which runs it and keeps them")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, (cell, outputs) in enumerate(zip(cells, kept["outputs"], strict=True), 1):
        cell.outputs = [nbformat.from_dict(output) for output in outputs]
        cell.execution_count = count
    return notebook


def execute(page: Path) -> None:
    """Runs a page in an empty folder and keeps its outputs."""
    from nbclient import NotebookClient

    notebook = parsed(page.read_text())
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}})
        client.execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    text = json.dumps({"code": code_hash(notebook), "outputs": outputs}, indent=1, ensure_ascii=False)
    text = text.replace(folder, "/tmp/tutorial").replace(os.path.expanduser("~"), "~")
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{page.name.removesuffix(ENDING)}.json").write_text(text + "\n")


if __name__ == "__main__":
    for found in sorted((DOCS / "tutorials").glob(f"*{ENDING}")):
        if not sys.argv[1:] or found.name.removesuffix(ENDING) in sys.argv[1:]:
            print(f"running {found.name}", flush=True)
            execute(found)
