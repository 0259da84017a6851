import contextlib

import numpy as np
import pytest

from gpldan_jax import features
from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.index import Index
from gpldan_jax.serving.collection import Collection, encode_png
from tests.serving import browsing
from tests.serving.browsing import expected, playwright, search, settled, shown
from tests.serving.served import model, serving

pytestmark = browsing.MARKS
RED = (
    "main > ol > li:nth-child(1) a.tile"  # the nearest to "red heart"; the picture called so is in a section before it
)
VIEWS = [
    "/",
    "/?words=red+heart",
    "/?words=xyzzy",
    "/?words=red+heart&image=ogre",
    "/?text=ogre",
    "/?image=no",
    "/?picture",
    "/?words=red&and_words=heart&and_image=woman+farmer&not_text=ogre",
    "/?words=red&not_image=ogre&group=Flags&split=test",
]
OVERLAPPING = """() => {
    const all = [...document.querySelectorAll("main :is(a, button, input, select), h1, header :is(button, label)")]
        .filter(one => one.checkVisibility())
        .flatMap(one => [...one.getClientRects()].filter(box => Math.min(box.width, box.height) > 1)
            .map(box => [one, box]));
    const meet = (a, b, from, to) => a[from] < b[to] - 1 && b[from] < a[to] - 1;
    const over = ([one, a], [other, b]) => !one.contains(other) && !other.contains(one)
        && meet(a, b, "left", "right") && meet(a, b, "top", "bottom");
    return all.flatMap((one, i) => all.slice(i + 1).filter(other => over(one, other))
        .map(other => one[0].outerHTML + " over " + other[0].outerHTML));
}"""


def test_words_show_pictures_in_the_order_of_the_index(visit, emoji):
    page = visit()
    playwright.expect(page.get_by_text("Synthetic")).to_be_hidden()
    search(page, "red heart")
    inputs = features.extractor(emoji.indexes["image"].model.metadata, "text")(["red heart"])
    assert shown(page, "Nearest pictures") == expected(emoji.indexes["image"].search(inputs, 24))
    assert page.title() == "red heart \N{EN DASH} Search emoji"
    nearest = emoji.indexes["image"].search(inputs, 1).ids[0, 0]
    playwright.expect(page.get_by_role("status")).to_have_text(f"24 pictures, the nearest: {nearest}.")
    sources = page.locator("main img")
    assert (
        sources.count() == 1 + 24  # red heart itself is called so
        and page.locator("main img:first-of-type").first.evaluate("picture => picture.naturalWidth") == 64
    )
    groups = dict(zip(load_emoji_arrays().names, load_emoji_arrays().label, strict=True))
    assert load_emoji_arrays().groups[groups[nearest]] in page.locator(RED).inner_text()


def test_more_results_are_added_and_the_first_of_them_focused(visit):
    page = visit("/?words=red+heart")
    first = shown(page, "Nearest pictures")
    page.get_by_role("link", name="Show 24 more").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("main > ol > li")).to_have_count(48)
    assert shown(page, "Nearest pictures")[:24] == first
    playwright.expect(page.locator("main > ol > li").nth(24).locator("a.tile")).to_be_focused()
    assert "k=48" in page.url


def test_a_picture_shows_what_is_nearest_to_it_and_how_it_is_compared(visit, emoji):
    page = visit("/?words=red+heart")
    name = page.locator(RED).locator(".name").inner_text()
    page.locator(RED).click()
    heading = page.get_by_role("heading", level=1)
    playwright.expect(heading).to_have_text(name)
    playwright.expect(heading).to_be_focused()

    entry = emoji.indexes["image"].entry(name)
    assert shown(page, "Nearest texts") == expected(emoji.indexes["text"].search(entry.encoded, 12))
    others = [one for one in expected(emoji.indexes["image"].search(entry.encoded, 13)) if one[0] != name]
    assert shown(page, "Nearest pictures") == others[:12]
    words = emoji.by_words("red heart")
    pair = emoji.pair(words, emoji.by_item("image", name))
    rows = page.get_by_role("table").locator("tbody tr").all()
    cells = [[float(cell) for cell in row.locator("td:not(.bar)").all_inner_texts()] for row in rows]
    both = np.array([words.encoded.attention[0], entry.attention, pair["weights"]]).T
    np.testing.assert_allclose(cells, both, atol=6e-4)
    playwright.expect(page.get_by_role("heading", name="How it is compared with “red heart”")).to_be_visible()
    assert f"Distance to “red heart”: {pair['distance']:.3f}" in page.inner_text("main")

    page.go_back()
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("Nearest pictures to “red heart”")
    playwright.expect(page.locator(RED)).to_be_focused()
    page.go_forward()
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text(name)


@pytest.mark.parametrize(
    ("words", "heading", "text", "results"),
    [
        (
            "red xyzzy",
            "Nearest pictures to “red xyzzy”",
            "Not in the vocabulary: xyzzy; the model has never seen it",
            24,
        ),
        (
            "xyzzy plugh",
            "Nothing to search by",
            "Not in the vocabulary: xyzzy, plugh; the model has never seen them",
            0,
        ),
        ("?!", "Nothing to search by", "A word has two or more letters or digits", 0),
        ("<b>red</b>", "Nearest pictures to “<b>red</b>”", "", 24),
    ],
)
def test_what_the_model_does_not_know_is_said(visit, words, heading, text, results):
    page = visit()
    search(page, words)
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    assert text in page.inner_text("main") and page.locator("main ol li").count() == results
    if not results:
        assert page.get_by_role("status").inner_text().startswith("No results.")


def test_a_narrow_window_needs_no_scrolling_to_the_side(visit):
    page = visit(viewport={"width": 640, "height": 700}, device_scale_factor=2)
    for path in VIEWS:
        page.goto(page.url.split("?")[0] + path[1:])
        settled(page)
        for width in (640, 390, 320):  # 640 is a window of 1280 pixels at a zoom of 200 %
            page.set_viewport_size({"width": width, "height": 700})
            fits = "document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth"
            outside = "all => all.filter(one => one.getBoundingClientRect().right > innerWidth + 1).length"
            assert page.evaluate(fits), (path, width)
            assert page.locator("main *, header *").evaluate_all(outside) == 0, (path, width)
            assert page.evaluate(OVERLAPPING) == [], (path, width)


def test_everything_is_reached_with_the_keyboard(visit):
    page = visit()
    page.keyboard.press("Tab")
    playwright.expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("main")).to_be_focused()
    page.get_by_label("Describe what you are looking for").focus()
    page.keyboard.type("red heart")
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("heading", level=1)).to_contain_text("red heart")
    playwright.expect(page.get_by_label("Describe what you are looking for")).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.locator(RED).evaluate("link => link === document.activeElement"):
            break
    playwright.expect(page.locator(RED)).to_be_focused()
    assert page.locator(RED).evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_all_that_is_operated_or_seen_has_a_name(visit):
    page = visit("/?words=red+heart&image=ogre")
    unnamed = """all => all.filter(one => !(one.labels?.length || one.textContent.trim() || one.ariaLabel || one.alt)
        && one.alt !== "").map(one => one.outerHTML)"""
    assert page.locator("a, button, input, img").evaluate_all(unnamed) == []
    assert page.locator("h1").count() == 1 and page.locator("html").get_attribute("lang") == "en"


def test_a_checker_of_accessibility_finds_nothing_on_any_view(visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page = visit(reduced_motion="reduce")
    for path in VIEWS:
        page.goto(page.url.split("?")[0] + path[1:])
        settled(page)
        for details in page.locator("details").all():
            details.evaluate("one => one.open = true")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page).response["violations"]
            assert [(of["id"], [node["html"] for node in of["nodes"]]) for of in found] == [], (path, scheme)


def test_dark_mode_is_dark_and_can_be_read(visit):
    page = visit("/?words=red+heart", color_scheme="dark")
    for selector in ("h1", ".name", ".more", "footer", "summary", "#by-words label"):
        assert contrast(page.locator(selector).first) > 4.5
    brightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(brightness) < 60


def contrast(locator):
    """Of a text with the nearest background that is painted, as WCAG defines it."""
    colours = locator.evaluate("""one => {
        const text = getComputedStyle(one).color;
        while (one && /, 0\\)$|transparent/.test(getComputedStyle(one).backgroundColor)) one = one.parentElement;
        return [text, getComputedStyle(one ?? document.body).backgroundColor].map(c => c.match(/[\\d.]+/g).slice(0, 3));
    }""")
    channels = np.array(colours, float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_or_pasted(visit, way):
    page = visit()
    page.evaluate(
        """([way, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "mine.png", { type: "image/png" }));
            const common = { bubbles: true, cancelable: true };
            const event = way === "drop" ? new DragEvent("drop", { dataTransfer: data, ...common })
                : new ClipboardEvent("paste", { clipboardData: data, ...common });
            document.body.dispatchEvent(event);
        }""",
        [way, list(encode_png(load_emoji_pictures()[3]))],
    )
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("Your picture")


def test_what_is_no_picture_is_said(visit):
    page = visit()
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.get_by_label("Search by a picture").set_input_files(file)
    playwright.expect(page.get_by_role("alert")).to_contain_text("The picture cannot be read")
    file["buffer"] = b"x" * 10_000_001
    page.get_by_label("Search by a picture").set_input_files(file)
    playwright.expect(page.get_by_role("alert")).to_have_text("The picture is too large: 11 MB, at most 10 MB.")


def test_an_item_is_chosen_among_suggestions(visit):
    page = visit()
    page.get_by_text("Search by an item of the collection").click()
    page.get_by_role("radio", name="text").check()
    page.get_by_label("Name").press_sequentially("woman far")
    playwright.expect(page.locator("#ids option")).to_have_count(1)
    assert page.locator("#ids option").get_attribute("value") == "woman farmer"
    page.get_by_label("Name").fill("woman farmer")
    page.get_by_label("Name").press("Enter")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("woman farmer")
    assert page.url.endswith("/?text=woman+farmer")


def test_an_answer_that_comes_late_does_not_replace_a_later_one(visit):
    page, held = visit(), []
    page.route("**/api/search?words=rain*", lambda route: held.append(route))
    with page.expect_request("**/api/search?words=rain*"):
        page.get_by_label("Describe what you are looking for").fill("rain")
        page.get_by_role("button", name="Search", exact=True).click()
    search(page, "red heart")
    for route in held:
        with contextlib.suppress(playwright.Error):  # the page does not wait for it any more
            route.continue_()
    page.wait_for_load_state("networkidle")
    assert held and page.get_by_role("heading", level=1).inner_text() == "Nearest pictures to “red heart”"


def test_only_the_last_of_many_quick_searches_is_shown(visit):
    page = visit()
    page.evaluate("""() => { for (const words of ["rain", "music", "red heart"]) {
        document.getElementById("words").value = words;
        document.getElementById("by-words").requestSubmit();
    } }""")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("Nearest pictures to “red heart”")
    page.go_back()
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("Nearest pictures to “music”")


def test_what_the_server_refuses_is_shown_in_its_words(visit):
    page = visit("/?image=nobody")
    playwright.expect(page.get_by_role("alert")).to_have_text("The collection has no image 'nobody'.")
    page.get_by_role("link", name="Back to the start").click()
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("1,870 pictures and 1,870 texts to search")


def test_a_server_that_is_gone_is_said_and_can_be_tried_again(visit, emoji):
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(serving(emoji))
        page = visit(at=f"http://127.0.0.1:{port}")
        stack.close()
        search(page, "red heart")
        playwright.expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    with serving(emoji, port):
        page.get_by_role("button", name="Try again").click()
        playwright.expect(page.get_by_role("heading", level=1)).to_have_text("Nearest pictures to “red heart”")


def test_a_collection_without_words_or_pictures_is_asked_by_its_items(visit):
    names = [f"test {row}" for row in range(30)]
    texts = [f"What the text number {row} says." for row in range(30)]
    of = model(dataset="mine", features=None, config={"dataset": {"synthetic": True}})
    inputs = np.random.default_rng(0).random((30, 1952), np.float32)
    index = Index.build(of, inputs, names, "image")
    other = Index.build(of, inputs[:, :952], names, "text", fields={"text": texts})
    with serving(Collection({"image": index, "text": other})) as port:
        page = visit(at=f"http://127.0.0.1:{port}")
        playwright.expect(page.get_by_text("Synthetic: the features were generated.")).to_be_visible()
        assert page.title() == "Search mine" and not page.locator("#by-words").is_visible()
        assert not page.locator("#by-picture").is_visible()
        page.get_by_label("Name").fill("test 17")
        page.get_by_label("Name").press("Enter")
        playwright.expect(page.get_by_role("heading", level=1)).to_have_text("test 17")
        found = other.search(index.entry("test 17").encoded, 12)
        assert [name for name, _ in shown(page, "Nearest texts")] == [texts[names.index(id)] for id in found.ids[0]]
        playwright.expect(page.get_by_role("heading", name="How it is compared with the nearest text")).to_be_visible()
        page.get_by_role("list", name="Nearest texts").get_by_role("link").first.click()
        playwright.expect(page.get_by_role("heading", level=1)).to_have_text(found.ids[0, 0])
        playwright.expect(page.get_by_role("main")).to_contain_text(texts[names.index(found.ids[0, 0])])
