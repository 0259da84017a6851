"""Where the real files are: GPLDAN_DATA_DIR, or ../shared/data beside the repository."""

import pytest

from gpldan_jax.data import data_directory


@pytest.fixture
def real_data():
    folder = data_directory()
    if folder is None or not (folder / "wikipedia").is_dir() or not (folder / "cub").is_dir():
        pytest.skip("no real data: GPLDAN_DATA_DIR is not set and ../shared/data does not exist")
    return folder
