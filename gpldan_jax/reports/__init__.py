"""One HTML page about finished workdirs: tables, curves and examples of retrieval."""

from gpldan_jax.reports.page import report as report
