"""Collections by models that nobody has trained, the port of a server of a page, and a browser."""

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


@pytest.fixture(scope="module")
def site(port):
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")  # a longer one would leave its event loop to the tests of other modules
def browser():
    from tests.serving import browsing

    with browsing.playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browsing.CHROMIUM, args=browsing.FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, site):
    """Opens a page of the site; at the end none may have had an error or asked anyone else for anything."""
    from tests.serving import browsing

    errors, contexts = [], []

    def open_page(path="/", at=site, **settings):
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}} | settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: "Content Security" in message.text and errors.append(message.text))
        page.on("request", lambda request: request.url.startswith((at, "data:")) or errors.append(request.url))
        page.goto(at + path)
        browsing.settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
