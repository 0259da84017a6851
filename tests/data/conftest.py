"""Where the real files are: GPLDAN_DATA_DIR."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data():
    """The folder of the real data; skips where there is none."""
    folder = Path(os.environ.get("GPLDAN_DATA_DIR", ""))
    if not (folder / "wikipedia").is_dir() or not (folder / "cub").is_dir():
        pytest.skip("no real data: GPLDAN_DATA_DIR does not name a folder with wikipedia and cub")
    return folder
