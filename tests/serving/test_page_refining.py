"""Flows beyond a single query: several sides, filters, a picture of one's own, more results on scrolling."""

import re

import numpy as np

from gpldan_jax import features
from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.serving.collection import encode_png
from tests.serving import browsing
from tests.serving.browsing import expected, playwright, search, settled, shown

pytestmark = browsing.MARKS
HEADING = "main h1"
ROW = 500
SCROLL = "document.scrollingElement.scrollTop"


def encoded(emoji, words):
    index = emoji.indexes["image"]
    return index.encode(features.extractor(index.model.metadata, "text")([words]))


def ranking(emoji, sides, weights, k, without=()):
    """What `shown` finds of several sides, by a plain loop."""
    index = emoji.indexes["image"]
    distances = [index.distances(side)[0].astype(np.float64) for side in sides]
    scores = sum(weight * of for weight, of in zip(weights, distances, strict=True)).astype(np.float32)
    order = [row for row in np.argsort(scores, kind="stable") if index.ids[row] not in without][:k]
    return [(index.ids[row], f"score {scores[row]:.3f}".replace("-", "\N{MINUS SIGN}")) for row in order]


def choose_picture(page):
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": encode_png(load_emoji_pictures()[ROW])}
    page.get_by_label("Search by a picture").set_input_files(file)
    playwright.expect(page.locator(HEADING)).to_have_text("Your picture")


def place_kept(page):
    """Where the page is scrolled to, once the history keeps it."""
    for _ in range(100):
        place, kept = page.evaluate("[document.scrollingElement.scrollTop, history.state?.scroll]")
        if place > 0 and place == kept:
            return place
        page.wait_for_timeout(50)
    raise AssertionError("the history does not keep the place")


def test_words_are_added_and_taken_away_with_the_keyboard(visit, emoji):
    page = visit("/?words=red")
    page.get_by_label("Add words").focus()
    page.keyboard.type("heart")
    page.keyboard.press("Enter")
    playwright.expect(page.locator(HEADING)).to_have_text("Nearest pictures to “red” and “heart”")
    assert page.url.endswith("/?words=red&and_words=heart")
    playwright.expect(page.get_by_label("Add words")).to_be_focused()
    red, heart, face = (encoded(emoji, words) for words in ("red", "heart", "face"))
    assert shown(page, "Nearest pictures") == ranking(emoji, [red, heart], [0.5, 0.5], 24)

    page.keyboard.type("face")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    playwright.expect(page.locator(HEADING)).to_have_text("Nearest pictures to “red” and “heart”, not “face”")
    assert shown(page, "Nearest pictures") == ranking(emoji, [red, heart, face], [0.5, 0.5, -0.5], 24)
    assert "minus half its mean distance to what you do not want" in page.inner_text("main")

    page.get_by_role("link", name="Remove “red”").press("Enter")
    playwright.expect(page.locator(HEADING)).to_have_text("Nearest pictures to “heart”, not “face”")
    assert page.url.endswith("/?words=heart&not_words=face")
    assert page.get_by_role("link", name=re.compile("^Remove")).count() == 1  # one side at least is wanted
    page.go_back()
    playwright.expect(page.locator(HEADING)).to_have_text("Nearest pictures to “red” and “heart”, not “face”")


def test_a_result_is_added_as_wanted_or_not(visit, emoji):
    page = visit("/?words=red+heart")
    query, image = encoded(emoji, "red heart"), emoji.indexes["image"]
    name = shown(page, "Nearest pictures")[2][0]
    page.get_by_role("link", name=f"Not this {name}", exact=True).click()
    playwright.expect(page.locator(HEADING)).to_have_text(f"Nearest pictures to “red heart”, not “{name}”")
    sides = [query, image.entry(name).encoded]
    assert shown(page, "Nearest pictures") == ranking(emoji, sides, [1, -0.5], 24, [name])
    other = shown(page, "Nearest pictures")[0][0]
    page.get_by_role("link", name=f"And this {other}", exact=True).click()
    playwright.expect(page.locator(HEADING)).to_have_text(
        f"Nearest pictures to “red heart” and “{other}”, not “{name}”"
    )
    sides = [query, image.entry(other).encoded, sides[1]]
    assert shown(page, "Nearest pictures") == ranking(emoji, sides, [0.5, 0.5, -0.5], 24, [name, other])


def test_an_item_is_refined_too_and_at_most_eight_sides_are_offered(visit):
    page = visit("/?image=ogre")
    page.get_by_role("link", name=re.compile("^Not this")).first.click()
    playwright.expect(page.locator(HEADING)).to_have_text(re.compile("^Nearest pictures to “ogre”, not “"))
    assert re.search(r"/\?image=ogre&not_(text|image)=", page.url)
    full = visit("/?words=red" + "&and_words=heart" * 7)
    assert full.get_by_label("Add words").count() == 0 and full.get_by_text("Not this").count() == 0
    assert full.get_by_role("link", name=re.compile("^Remove")).count() == 8


def test_what_users_type_is_text_in_every_side(visit):
    page = visit("/?words=red&and_words=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E&not_words=%3Cb%3Exyzzy")
    assert "“<img src=x onerror=alert(1)>”" in page.get_by_role("list", name="The sides of this search").inner_text()
    assert page.locator("main b").count() == 0 and page.locator("main img[src=x]").count() == 0
    assert "Not in the vocabulary" in page.inner_text("main .warning")


def test_only_a_class_and_a_split_are_searched(visit, emoji):
    data = load_emoji_arrays()
    page = visit("/?words=red+heart")
    group = data.groups[1]
    number = (np.array(data.label) == 1).sum()
    page.get_by_label("Class").select_option(label=f"{group} ({number:,})")
    playwright.expect(page).to_have_url(re.compile(r"\?words=red\+heart&group="))
    settled(page)
    playwright.expect(page.get_by_label("Class")).to_be_focused()
    among = np.array(data.label) == 1
    found = emoji.indexes["image"].search(encoded(emoji, "red heart"), 24, among=among)
    assert shown(page, "Nearest pictures") == expected(found)
    page.get_by_label("Split").select_option("test")
    playwright.expect(page).to_have_url(re.compile("&split=test$"))
    settled(page)
    search(page, "music")  # the filters stay
    assert f"group={group.split()[0]}" in page.url and page.get_by_label("Split").input_value() == "test"
    assert all(group in text for text in page.locator("main ol .more").all_inner_texts())
    page.get_by_label("Split").select_option("")
    playwright.expect(page).not_to_have_url(re.compile("split="))
    page.go_back()
    playwright.expect(page).to_have_url(re.compile("split=test"))


def test_a_picture_stays_in_its_tab_and_not_in_the_address(visit, site, emoji):
    page = visit()
    choose_picture(page)
    assert page.url == f"{site}/?picture"
    inputs = load_emoji_arrays().image[ROW : ROW + 1]
    nearest = expected(emoji.indexes["text"].search(inputs, 12, modality="image"))
    assert shown(page, "Nearest texts") == nearest
    assert page.get_by_role("img", name="Your picture").evaluate("picture => picture.naturalWidth") == 64
    page.reload()
    settled(page)
    assert shown(page, "Nearest texts") == nearest
    page.go_back()
    playwright.expect(page.locator(HEADING)).to_have_text("1,870 pictures and 1,870 texts to search")
    page.go_forward()
    playwright.expect(page.locator(HEADING)).to_have_text("Your picture")
    assert shown(page, "Nearest texts") == nearest

    elsewhere = visit("/?picture")
    playwright.expect(elsewhere.get_by_role("alert")).to_have_text(
        "A picture is kept only in the tab where it was chosen. Choose the picture again."
    )
    choose_picture(elsewhere)


def test_a_picture_and_words_are_one_query(visit, emoji):
    page = visit()
    choose_picture(page)
    page.get_by_label("Add words").fill("red heart")
    page.get_by_role("button", name="And", exact=True).click()
    playwright.expect(page.locator(HEADING)).to_have_text("Nearest pictures to your picture and “red heart”")
    assert page.url.endswith("/?picture&and_words=red+heart")
    seen = emoji.indexes["image"].encode(load_emoji_arrays().image[ROW : ROW + 1], "image")
    both = ranking(emoji, [seen, encoded(emoji, "red heart")], [0.5, 0.5], 24)
    assert shown(page, "Nearest pictures") == both
    page.reload()
    settled(page)
    assert shown(page, "Nearest pictures") == both


def test_an_address_of_before_that_holds_a_picture_still_works(visit, site, emoji):
    page = visit()
    choose_picture(page)
    png = page.evaluate("history.state.picture")
    old = visit(f"/?picture=#png={png}")
    playwright.expect(old.locator(HEADING)).to_have_text("Your picture")
    assert old.url == f"{site}/?picture="


def test_scrolling_to_the_end_shows_more_and_back_leaves_the_view(visit):
    page = visit()
    search(page, "red heart")
    items = page.locator("main > ol > li")
    assert items.count() == 24
    page.mouse.wheel(0, 20_000)
    playwright.expect(items).to_have_count(48)
    playwright.expect(page).to_have_url(re.compile("words=red.heart&k=48$"))
    playwright.expect(page.get_by_role("link", name="Show 48 more")).to_be_visible()
    place = place_kept(page)

    page.go_back()
    playwright.expect(page.locator(HEADING)).to_have_text("1,870 pictures and 1,870 texts to search")
    page.go_forward()
    playwright.expect(page.locator(HEADING)).to_have_text("Nearest pictures to “red heart”")
    assert items.count() >= 48 and abs(page.evaluate(SCROLL) - place) < 2

    items.nth(40).locator("a.tile").click()
    playwright.expect(page.locator(HEADING)).not_to_have_text("Nearest pictures to “red heart”")
    page.go_back()
    playwright.expect(page.locator(HEADING)).to_have_text("Nearest pictures to “red heart”")
    assert items.count() >= 48 and page.evaluate(SCROLL) > 300


def test_a_link_that_has_the_focus_is_not_taken_away(visit):
    name = "Show 24 more"
    page = visit("/?words=red+heart", viewport={"width": 1100, "height": 400})
    asked = []
    page.on("request", lambda request: "/api/search" in request.url and asked.append(request.url))
    page.get_by_role("link", name=name).focus()  # which scrolls to it
    assert place_kept(page) > 0
    assert asked == []
    playwright.expect(page.get_by_role("link", name=name)).to_be_focused()
