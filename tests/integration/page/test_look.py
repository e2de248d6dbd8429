"""How the page looks in dark mode, on a phone and to keyboard users."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway
from tests.integration.page.test_timeline_tab import STORY, choose, open_tab, rows, start
from tests.integration.page.visits import PHONE, WIDE, Browsing, Visit

READABLE = 4.5
"""WCAG's minimum contrast for text."""

COLOURS = """element => {
    const style = getComputedStyle(element);
    let back = element;
    while (getComputedStyle(back).backgroundColor === "rgba(0, 0, 0, 0)") back = back.parentElement;
    return [style.color, getComputedStyle(back).backgroundColor];
}"""

STEP = """() => {
    const focused = document.activeElement;
    if (focused === document.body || window.e2vSeen.has(focused)) return null;
    window.e2vSeen.add(focused);
    const ring = [focused, focused.closest("label")].filter(Boolean).some((element) => {
        const style = getComputedStyle(element);
        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    });
    return [focused.outerHTML.slice(0, 120), ring];
}"""
"""The element with the focus, if it is new, and whether its focus ring is visible."""


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
    with browsing.visit(gateway, scheme=request.param) as visiting:
        dark = "dark" in str(visiting.page.locator("body").get_attribute("class"))
        assert dark == (request.param == "dark")
        yield visiting


def test_what_can_be_chosen_can_be_read(visitor: Visit) -> None:
    visitor.choose(SAMPLES / "happy.wav")
    visitor.page.get_by_label("Frame:", exact=False).check()
    result = visitor.recognise()
    assert contrast(result.locator("select")) >= READABLE
    assert contrast(result.locator("option").first) >= READABLE
    tab = open_tab(visitor)
    tab.locator("select[name=segmentation]").select_option("fixed")
    tab.locator("select[name=speakers]").select_option("separate")
    for field in tab.locator(
        "select, option, input[type=number], input[type=text], button, .e2v-drop strong"
    ).all():
        if field.is_visible():
            assert contrast(field) >= READABLE, field.evaluate("field => field.outerHTML")


def walk(page: Page) -> list[str]:
    """Goes through the page with the Tab key; returns the elements, all with a visible focus."""
    page.locator("h1").click()
    page.evaluate("window.e2vSeen = new Set()")
    elements: list[tuple[str, bool]] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        step = page.evaluate(STEP)
        if step is None:
            break
        elements.append(step)
    assert [html for html, ring in elements if not ring] == []
    return [html for html, _ in elements]


def test_the_focus_can_be_seen_wherever_it_is(visit: Visit) -> None:
    visit.choose(SAMPLES / "happy.wav")
    visit.page.get_by_label("Frame:", exact=False).check()
    visit.recognise()
    assert len(walk(visit.page)) > 10
    open_tab(visit)
    tags = {html.partition(" ")[0] for html in walk(visit.page)}
    assert {"<a", "<button", "<input", "<select"} <= tags
    # The arrow keys move between radio buttons.
    visit.page.get_by_role("tab").first.click()
    expect(visit.page.get_by_label("Frame:", exact=False)).to_be_visible()
    visit.page.get_by_label("Frame:", exact=False).focus()
    visit.page.evaluate("window.e2vSeen = new Set()")
    visit.page.keyboard.press("ArrowUp")
    expect(visit.page.get_by_label("Utterance:", exact=False)).to_be_focused()
    assert visit.page.evaluate(STEP)[1]


@pytest.fixture(scope="module")
def drawn(browsing: Browsing, gateway: Gateway) -> Iterator[Visit]:
    with browsing.visit(gateway, size=PHONE) as visiting:
        tab = open_tab(visiting)
        choose(tab, STORY, window=1)
        start(tab)
        expect(rows(tab)).to_have_count(13)
        yield visiting


@pytest.fixture
def timeline(drawn: Visit) -> Visit:
    """A visitor who has a timeline of thirteen segments."""
    drawn.come_to_front()
    return drawn


def test_segments_are_whole_on_a_phone(timeline: Visit) -> None:
    timeline.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    box = timeline.page.locator("emotion-timeline .e2v-table")
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    edges = box.bounding_box()
    assert edges
    assert edges["x"] >= 0
    assert edges["x"] + edges["width"] <= PHONE["width"]
    assert timeline.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_axis_has_round_steps(timeline: Visit) -> None:
    timeline.page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    steps = timeline.page.locator("emotion-timeline .e2v-axis span")
    expect(steps.nth(1)).to_have_text("0:01")
    ticks = steps.all_inner_texts()
    assert ticks[:3] == ["0:00", "0:01", "0:02"]
    assert ticks[-1] == "0:11"


def test_the_last_label_of_the_axis_is_whole(timeline: Visit) -> None:
    """Tests lengths that leave the last label less and less room."""
    timeline.page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    tab = timeline.page.locator("emotion-timeline")
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
    # The label is shown if there is room.
    assert len({count for *_, count in edges}) > 1


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_all_tabs_are_seen_on_a_phone(browsing: Browsing, gateway: Gateway, locale: str) -> None:
    with browsing.visit(gateway, locale, PHONE) as visit:
        expect(visit.page.get_by_role("tab")).to_have_count(4)
        for tab in visit.page.get_by_role("tab").all():
            expect(tab).to_be_visible()
