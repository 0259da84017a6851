"""The page in Chromium, for tests: what is in lists of results, and a search as a user makes it."""

import re
import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKS = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def settled(page):
    """Waits until the view is shown."""
    page.wait_for_selector("main[aria-busy=false]")


def search(page, words):
    """Searches by words."""
    page.get_by_label("Describe what you are looking for").fill(words)
    page.get_by_role("button", name="Search", exact=True).click()
    playwright.expect(page).to_have_url(re.compile(r"\?words="))
    settled(page)


def shown(page, name):
    """Names and distances in a list of results."""
    items = page.get_by_role("list", name=name).get_by_role("listitem")
    return list(zip(items.locator(".name").all_inner_texts(), items.locator("data").all_text_contents(), strict=True))


def expected(found):
    """What `shown` finds of a search in an index."""
    return [(id, f"distance {distance:.3f}") for id, distance in zip(found.ids[0], found.distances[0], strict=True)]
