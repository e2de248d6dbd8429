"""What the page looks like in the dark, on a phone and to those who use the keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway
from tests.integration.test_page_timeline import STORY, choose, open_tab, rows, start
from tests.integration.visits import PATIENCE, PHONE, WIDE, Browsing, Visit

READABLE = 4.5
"""WCAG's least contrast of text."""

COLOURS = """element => {
    const style = getComputedStyle(element);
    let back = element;
    while (getComputedStyle(back).backgroundColor === "rgba(0, 0, 0, 0)") back = back.parentElement;
    return [style.color, getComputedStyle(back).backgroundColor];
}"""

RING = """() => {
    const focused = document.activeElement;
    return [focused, focused.closest("label")].filter(Boolean).some((element) => {
        const style = getComputedStyle(element);
        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    });
}"""


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(element: Locator) -> float:
    light, dark = sorted(map(luminance, element.evaluate(COLOURS)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture(params=["light", "dark"])
def visitor(
    request: pytest.FixtureRequest, browsing: Browsing, gateway: Gateway
) -> Iterator[Visit]:
    visiting = Visit(browsing, gateway, "en-US", WIDE, scheme=request.param)
    dark = "dark" in str(visiting.page.locator("body").get_attribute("class"))
    assert dark == (request.param == "dark")
    yield visiting
    visiting.close()


def test_what_can_be_chosen_can_be_read(visitor: Visit) -> None:
    visitor.choose(SAMPLES / "happy.wav")
    visitor.page.get_by_label("Frame:", exact=False).check()
    result = visitor.recognise()
    assert contrast(result.locator("select")) >= READABLE
    assert contrast(result.locator("option").first) >= READABLE
    tab = open_tab(visitor)
    tab.locator("select").select_option("fixed")
    for field in tab.locator("select, option, input[type=number], button, .e2v-drop strong").all():
        if field.is_visible():
            assert contrast(field) >= READABLE, field.evaluate("field => field.outerHTML")


def walk(page: Page) -> Iterator[str]:
    """Goes through the page with the Tab key, once; says what had the focus."""
    page.locator("h1").click()
    seen = "element => window.e2vSeen.has(element) || !window.e2vSeen.add(element)"
    page.evaluate("window.e2vSeen = new Set()")
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.evaluate_handle("document.activeElement")
        if page.evaluate("document.activeElement === document.body") or focused.evaluate(seen):
            return
        yield str(focused.evaluate("element => element.outerHTML.slice(0, 120)"))


def test_the_focus_can_be_seen_wherever_it_is(visit: Visit) -> None:
    visit.choose(SAMPLES / "happy.wav")
    visit.page.get_by_label("Frame:", exact=False).check()
    visit.recognise()
    without = [what for what in walk(visit.page) if not visit.page.evaluate(RING)]
    assert not without
    open_tab(visit)
    tags = []
    for what in walk(visit.page):
        assert visit.page.evaluate(RING), what
        tags.append(what.partition(" ")[0])
    assert {"<a", "<button", "<input", "<select"} <= set(tags)
    # The arrow keys go from one radio button to the next.
    visit.page.get_by_role("tab").first.click()
    expect(visit.page.get_by_label("Frame:", exact=False)).to_be_visible()
    visit.page.get_by_label("Frame:", exact=False).focus()
    visit.page.keyboard.press("ArrowUp")
    expect(visit.page.get_by_label("Utterance:", exact=False)).to_be_focused()
    assert visit.page.evaluate(RING)


def test_the_axis_has_round_steps(visit: Visit) -> None:
    tab = open_tab(visit)
    choose(tab, STORY, window=1)
    start(tab)
    expect(rows(tab)).to_have_count(13, timeout=PATIENCE)
    ticks = tab.locator(".e2v-axis span").all_inner_texts()
    assert ticks[:3] == ["0:00", "0:01", "0:02"]
    assert ticks[-1] == "0:11"


def test_the_last_label_of_the_axis_is_whole(visit: Visit) -> None:
    """Lengths of which the last step would leave its label less and less room."""
    tab = open_tab(visit)
    edges = tab.evaluate(
        """async (tab) => {
            const { player } = await import("/page/player.js");
            const { node, picture } = await import("/page/common.js");
            const words = JSON.parse(tab.getAttribute("words"));
            const edges = [];
            for (let duration = 4800; duration < 5100; duration += 10) {
                const box = node("div", {}, tab);
                const { waves } = player(box, {
                    duration, words, peaks: [[0, 0]], picture: picture(1, 1, 1, ""),
                    description: "", at: () => "", height: 1,
                });
                const axis = waves.getWrapper().querySelector(".e2v-axis");
                const right = (element) => element.getBoundingClientRect().right;
                edges.push([right(axis.lastChild), right(axis), axis.children.length]);
                waves.destroy();
                box.remove();
            }
            return edges;
        }"""
    )
    assert all(last <= end + 0.5 for last, end, _ in edges), edges
    # Where there is room, it is there.
    assert len({count for *_, count in edges}) > 1


def test_segments_are_whole_on_a_phone(browsing: Browsing, gateway: Gateway) -> None:
    visitor = Visit(browsing, gateway, "en-US", PHONE)
    tab = open_tab(visitor)
    choose(tab, STORY, window=1)
    start(tab)
    expect(rows(tab)).to_have_count(13, timeout=PATIENCE)
    box = tab.locator(".e2v-table")
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    edges = box.bounding_box()
    assert edges
    assert edges["x"] >= 0
    assert edges["x"] + edges["width"] <= PHONE["width"]
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    visitor.close()


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_all_tabs_are_seen_on_a_phone(browsing: Browsing, gateway: Gateway, locale: str) -> None:
    visitor = Visit(browsing, gateway, locale, PHONE)
    expect(visitor.page.get_by_role("tab")).to_have_count(3)
    for tab in visitor.page.get_by_role("tab").all():
        expect(tab).to_be_visible()
    visitor.close()
