"""The outputs of notebooks that take long: kept in `docs/_kept`, and refused where the code has changed since.

A page `NAME.kept.md` is a notebook in MyST Markdown, as the others, but the build does not run it: its outputs come
from `_kept/NAME.json`. `python docs/_ext/kept_notebooks.py` runs all such pages and writes these files; with names,
only those.
"""

import atexit
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nbformat

DOCS = Path(__file__).parents[1]
KEPT = DOCS / "_kept"
ENDING = ".kept.md"
_STARTUP = """
import os, subprocess
os.environ.pop("FORCE_COLOR", None)

def bash(line, cell):  # IPython's own prints in pieces of 100 bytes
    done = subprocess.run(["bash", "-c", cell], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="")
    if "--no-raise-error" not in line:
        done.check_returncode()

get_ipython().register_magic_function(bash, "cell")
"""


def setup(app):
    """Registers the pages."""
    plain_kernels()
    app.config.nb_custom_formats = {ENDING: ["kept_notebooks.read", {}]}
    app.config.nb_execution_excludepatterns = [f"*{ENDING}"]
    app.connect("env-get-outdated", lambda *_: [str(path.relative_to(DOCS))[: -len(ENDING)] for path in kept_pages()])
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def kept_pages() -> list[Path]:
    """The pages whose outputs are kept; each build reads them, since their outputs may be new."""
    return sorted(path for path in DOCS.rglob(f"*{ENDING}") if "_build" not in path.parts)


def plain_kernels() -> None:
    """Lets commands in a cell print as into a file: ipykernel asks them for colours and progress bars of a terminal.

    The kernels that start later read the folder of this profile.
    """
    folder = tempfile.mkdtemp(prefix="ipython-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    startup = Path(folder) / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "plain.py").write_text(_STARTUP)
    os.environ["IPYTHONDIR"] = folder


def parsed(text: str) -> "nbformat.NotebookNode":
    """A page as a notebook without outputs."""
    from myst_nb.core.read import read_myst_markdown_notebook
    from myst_parser.config.main import MdParserConfig

    return read_myst_markdown_notebook(text, config=MdParserConfig(), add_source_map=True)


def code_hash(text: str) -> str:
    """The SHA-256 of the code of a page."""
    code = re.findall(r"^```\{code-cell\}.*?^```$", text, flags=re.DOTALL | re.MULTILINE)
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


def kept_outputs(text: str) -> list:
    """The outputs of each code cell of a page; the page is found by its code, so that old outputs are never shown.

    Raises:
        ValueError: there are none for this code.
    """
    wanted = code_hash(text)
    for path in KEPT.glob("*.json"):
        kept = json.loads(path.read_text())
        if kept["code"] == wanted:
            return kept["outputs"]
    title = re.search(r"^# (.*)", text, flags=re.MULTILINE)[1]
    raise ValueError(f"no kept outputs of the page {title!r}: run `make notebooks`, which runs it and keeps them")


def read(text: str) -> "nbformat.NotebookNode":
    """A page with its kept outputs."""
    import nbformat

    notebook = parsed(text)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}  # as a run sets it
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, (cell, outputs) in enumerate(zip(cells, kept_outputs(text), strict=True), 1):
        cell.outputs = [nbformat.from_dict(output) for output in outputs]
        cell.execution_count = count
    return notebook


def execute(page: Path) -> None:
    """Runs a page in an empty folder and keeps its outputs."""
    from nbclient import NotebookClient

    notebook = parsed(text := page.read_text())
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}})
        client.execute()
    outputs = [_joined(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    kept = json.dumps({"code": code_hash(text), "outputs": outputs}, indent=1, ensure_ascii=False)
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{page.name.removesuffix(ENDING)}.json").write_text(kept.replace(folder, "FOLDER") + "\n")


def _joined(outputs):
    """Outputs in which what was printed in pieces is one."""
    found: list = []
    for output in outputs:
        if output.output_type == "stream" and found and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


if __name__ == "__main__":
    plain_kernels()
    for found in kept_pages():
        if not sys.argv[1:] or found.name.removesuffix(ENDING) in sys.argv[1:]:
            print(f"running {found.name}", flush=True)
            execute(found)
