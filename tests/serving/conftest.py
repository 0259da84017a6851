"""Collections by models that nobody has trained, and the port of a server of a page."""

import pytest

from gpldan_jax.serving.building import build_from_run
from tests.serving import served


@pytest.fixture(scope="session")
def emoji(tmp_path_factory):
    return served.collection(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def port(emoji):
    with served.serving(emoji) as port:
        yield port


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emoji")
    served.finished_run(folder)
    return folder


@pytest.fixture(scope="session")
def built(workdir):
    """The folder of a collection of all pairs of a run."""
    build_from_run(workdir, workdir / "collection")
    return workdir / "collection"
