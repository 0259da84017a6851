"""The page: one HTML file that needs nothing else."""

import datetime
import importlib.metadata
import itertools
import platform
from collections.abc import Sequence
from pathlib import Path

import jinja2
import markupsafe

from gpldan_jax.benchmarking import machine
from gpldan_jax.reports import folders as reading
from gpldan_jax.reports import sections
from gpldan_jax.reports.blocks import Section

_VERSIONS = ("gpldan_jax", "jax", "numpy", "matplotlib", "jinja2")


def render(shown: Sequence[Section], command: str, date: datetime.date) -> str:
    """The page with its contents, its sections and how it was made.

    Args:
        shown: in the order of the page.
        command: what was called.
        date: of today.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Of all that is shown only the plots are markup already; `plots` escapes what stands in them.
    environment.filters["plot"] = markupsafe.Markup
    environment.filters["runs"] = lambda blocks: [list(run) for _, run in itertools.groupby(blocks, lambda of: of.kind)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _VERSIONS)
    return environment.get_template("report.html.jinja").render(
        sections=shown,
        command=command,
        date=date.isoformat(),
        versions=f"{versions}, python {platform.python_version()}",
        commit=machine.commit(),
    )


def report(folders: list[Path], command: str, date: datetime.date | None = None) -> str:
    """The page as text.

    Args:
        folders: workdirs, in the order of the page.
        command: what was called.
        date: of the page; today unless given.

    Raises:
        ValueError: a folder that cannot be reported on; nothing slow was done before.
    """
    found = [reading.read(folder) for folder in folders]
    made = [sections.section(one, f"s{place}") for place, one in enumerate(found, start=1)]
    return render(made, command, date or datetime.date.today())
