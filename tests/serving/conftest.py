"""A collection of all emoji by a model that nobody has trained, and the port of a server of its page."""

import pytest

from tests.serving import served


@pytest.fixture(scope="session")
def emoji():
    return served.collection()


@pytest.fixture(scope="module")
def port(emoji):
    with served.serving(emoji) as port:
        yield port
