"""The page: one HTML file that needs nothing else."""

import datetime
import importlib.metadata
import itertools
import platform
from collections.abc import Sequence
from pathlib import Path

import jinja2
import markupsafe

from experiments.benchmarking import machine
from experiments.reporting.blocks import Section

_VERSIONS = ("gpldan_jax", "jax", "numpy", "matplotlib", "jinja2")


def render(sections: Sequence[Section], command: str, date: datetime.date) -> str:
    """The page with its contents, its sections and how it was made.

    Args:
        sections: in the order of the page.
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
        sections=sections,
        command=command,
        date=date.isoformat(),
        versions=f"{versions}, python {platform.python_version()}",
        commit=machine.commit(),
    )
