"""The tables and figures of the paper: comparison (Table 2), ablation (Table 3) and parameter grids (Figure 2).

The names below are imported when they are first used: a command can check its flags with `Grid` before jax is imported.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpldan_jax.studies.grid_points import Grid as Grid
    from gpldan_jax.studies.grid_search import sweep as sweep
    from gpldan_jax.studies.overview import overview_tables as overview_tables
    from gpldan_jax.studies.table2 import compare as compare
    from gpldan_jax.studies.table3 import ablate as ablate

_HOMES = {
    "Grid": "grid_points",
    "ablate": "table3",
    "compare": "table2",
    "overview_tables": "overview",
    "sweep": "grid_search",
}
__all__ = ["Grid", "ablate", "compare", "overview_tables", "sweep"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
