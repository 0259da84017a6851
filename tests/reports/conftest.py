"""Workdirs that several tests read."""

import pytest

from tests.reports import workdirs


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A run on features of one's own; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("made")
    workdirs.features_file(folder / "mine.npz")
    return workdirs.untrained_run(folder / "run", name="npz", path=str(folder / "mine.npz"))


@pytest.fixture(scope="session")
def emoji(tmp_path_factory):
    """A run on the emoji, and its page as text and parsed."""
    folder = workdirs.untrained_run(tmp_path_factory.mktemp("emoji"), name="emoji", text_scaling="raw")
    return folder, *workdirs.page_of(folder)
