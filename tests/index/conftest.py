"""Programs of these tests compile quickly."""

import pytest


@pytest.fixture(autouse=True)
def quick(quick_compilation):
    pass
