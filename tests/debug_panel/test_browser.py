"""The panel in a real browser: in the toolbar's shadow root, under a strict Content Security Policy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser import ToolbarPage, chromium, chromium_unavailable, lasting_chromium

from .conftest import Site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(chromium_unavailable()), reason=chromium_unavailable() or "none"),
    pytest.mark.timeout(900),
]


class Page(ToolbarPage):
    """The made-up site's page with its panel."""

    def __init__(self, driver: webdriver.Chrome, site: Site) -> None:
        super().__init__(driver)
        self.site = site

    def open(self, path: str = "") -> None:
        self.driver.get(self.site.url + path)
        self.open_panel()

    def statements(self) -> list[str]:
        """The ids of the statements that are shown, in order."""
        shown: list[str] = self.script(
            "return all('[data-mssql-statement]').filter((item) => item.checkVisibility())"
            ".map((item) => item.dataset.mssqlStatement)"
        )
        return shown

    def open_plan(self, statement: int = 1) -> None:
        self.click(f'[data-mssql-statement="{statement}"] form[data-mssql-plan] button')
        self.wait(lambda: self.shown("[data-mssql-plan-view], [data-mssql-failure]"), "a plan")

    def chosen(self) -> list[str]:
        """The operators that are chosen, by their numbers."""
        numbers: list[str] = self.script(
            "return all('[data-mssql-operator][aria-pressed]').map((item) => item.dataset.mssqlOperator)"
        )
        return numbers

    def operator_titles(self) -> list[str]:
        """What the browser shows beside the pointer, for each operator."""
        titles: list[str] = self.script(
            "return all('[data-mssql-operator]').map((item) => item.querySelector('title').textContent)"
        )
        return titles


@pytest.fixture(scope="module")
def answering() -> Iterator[Callable[[], webdriver.Chrome]]:
    with lasting_chromium(1500, 950) as answering:
        yield answering


@pytest.fixture
def page(answering: Callable[[], webdriver.Chrome], site: Site) -> Iterator[Page]:
    """The page of orders with its panel open, in a browser that knows nothing of earlier tests."""
    driver = answering()
    driver.get("about:blank")
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": site.origin, "storageTypes": "all"})
    page = Page(driver, site)
    page.complaints()
    page.open()
    yield page
    assert page.complaints() == []


def test_the_list_sorts_filters_and_jumps(page: Page) -> None:
    everything = [str(number) for number in range(1, 18)]
    page.becomes(page.statements, everything)
    page.choose("[data-mssql-sort]", "duration")
    page.becomes(lambda: page.statements()[:3], ["8", "1", "3"])
    page.choose("[data-mssql-sort]", "execution")
    page.becomes(page.statements, everything)
    page.type("[data-mssql-filter]", "shop_stock")
    page.becomes(page.statements, ["5"])
    page.becomes(lambda: page.text("[data-mssql-count]"), "1 of 17 shown")
    page.type("[data-mssql-filter]", Keys.BACKSPACE * 10)
    page.becomes(page.statements, everything)
    page.click("[data-mssql-only]")
    page.becomes(lambda: len(page.statements()), 8)
    page.click("[data-mssql-only]")
    page.becomes(page.statements, everything)
    page.click("[data-mssql-jump]")
    page.wait(lambda: page.shown('[data-mssql-statement="10"] .mp-details'), "the first of the group")


def test_a_statement_opens_with_the_keyboard(page: Page) -> None:
    page.type('[data-mssql-statement="3"] summary', Keys.ENTER)
    details = '[data-mssql-statement="3"] .mp-details'
    page.wait(lambda: page.shown(details), details)
    page.says(details, "UPDATE [shop_order]")
    page.says(details, "N'O''Brien'")


def test_the_plan_is_drawn_and_explains_itself(page: Page) -> None:
    page.open_plan()
    page.becomes(lambda: page.count("[data-mssql-operator]"), 6)
    # As much smaller as the window demands, but never too small to read.
    scale = page.script(
        "const svg = one('[data-mssql-canvas] svg');"
        "return svg.getBoundingClientRect().width / svg.viewBox.baseVal.width"
    )
    assert 0.75 <= scale < 1
    # It opens with the operator that takes most.
    shares = page.script("return all('[data-mssql-operator] .sp-share').map((share) => share.textContent)")
    greatest = max(range(6), key=lambda number: float(shares[number].strip("<%")))
    page.becomes(page.chosen, [str(greatest)])
    page.click('[data-mssql-operator="1"]')
    page.wait(lambda: page.text("[data-mssql-aside] h4").startswith("Sort"), "the facts of the sort")
    page.click('[data-mssql-operator="3"]')
    for words in ("Clustered Index Scan", "Rows read", "17.1M"):
        page.says("[data-mssql-aside]", words)
    page.becomes(page.chosen, ["3"])
    assert "Rows read: 17.1M" in page.operator_titles()[3]


def test_an_operator_answers_to_the_pointer(page: Page) -> None:
    page.open_plan()

    def outline() -> str:
        colour: str = page.script(
            "return getComputedStyle(one('[data-mssql-operator=\"1\"] .sp-card')).stroke"
        )
        return colour

    page.hover(".mp-origin")
    page.wait(
        lambda: not page.script("return one('[data-mssql-operator=\"1\"]').matches(':hover')"), "no hover"
    )
    before = outline()
    page.hover('[data-mssql-operator="1"]')
    page.wait(lambda: outline() != before, "another outline")
    # The browser shows an SVG's title beside the pointer.
    title = page.operator_titles()[1]
    assert title.startswith("Sort — node 1")
    assert "Actual rows:" in title


def test_the_plan_is_walked_with_the_keyboard(page: Page) -> None:
    page.open_plan()
    page.script("one('[data-mssql-operator=\"0\"]').focus()")
    page.type('[data-mssql-operator="0"]', Keys.ARROW_RIGHT)
    page.says("[data-mssql-aside]", "Sort")
    page.type('[data-mssql-operator="1"]', Keys.ARROW_LEFT)
    page.says("[data-mssql-aside]", "Parallelism")
    ActionChains(page.driver).send_keys(Keys.ESCAPE).perform()
    page.wait(lambda: not page.shown("#djDebugWindow"), "the window is closed")
    assert page.shown("[data-mssql-panel]")


def test_zoom_and_search(page: Page) -> None:
    page.open_plan()

    def width() -> float:
        return float(page.attribute("[data-mssql-canvas] svg", "width") or 0)

    first = width()
    page.click('[data-mssql-zoom="full"]')
    page.wait(lambda: width() > first, "the full size")
    full = width()
    page.click('[data-mssql-zoom="in"]')
    page.wait(lambda: width() > full, "larger")
    page.click('[data-mssql-zoom="out"]')
    page.click('[data-mssql-zoom="out"]')
    page.wait(lambda: width() < full, "smaller")
    page.type("[data-mssql-find]", "posts")
    page.becomes(lambda: page.count(".sp-found"), 1)


def test_a_large_plan_is_moved_by_dragging(page: Page) -> None:
    page.open_plan()
    page.click('[data-mssql-zoom="full"]')
    canvas = page.element("[data-mssql-canvas]")
    page.script("one('[data-mssql-canvas]').scrollLeft = 100")

    def dragged() -> bool:
        # By the lower left corner, where no operator is.
        ActionChains(page.driver).move_to_element_with_offset(
            canvas, 30 - canvas.size["width"] // 2, canvas.size["height"] // 2 - 30
        ).click_and_hold().move_by_offset(60, 0).release().perform()
        return True

    page.wait(dragged, "drag")
    page.becomes(lambda: page.script("return one('[data-mssql-canvas]').scrollLeft"), 40)


def test_tabs_lead_to_findings_indexes_and_xml(page: Page) -> None:
    page.open_plan()

    def panels() -> list[str]:
        """The ids of the tabs' panels that are shown."""
        shown: list[str] = page.script(
            "return all('.mp-tabpanel').filter((item) => item.checkVisibility()).map((item) => item.id)"
        )
        return shown

    for tab, expected in (
        ("findings", "Parallel threads are unevenly loaded"),
        ("indexes", "CREATE NONCLUSTERED INDEX [IX_Posts_PostTypeId_CreationDate]"),
        ("operators", "Clustered Index Scan"),
        ("parameters", "The statement has no parameters."),
        ("waits", "CXPACKET"),
        ("xml", "<ShowPlanXML"),
    ):
        page.click(f'label[for="mp-tab-{tab}"]')
        page.becomes(panels, [f"mp-panel-{tab}"])
        page.says(f"#mp-panel-{tab}", expected)
    page.click('label[for="mp-tab-findings"]')
    page.becomes(panels, ["mp-panel-findings"])
    page.click("[data-mssql-goto]")
    page.becomes(panels, ["mp-panel-plan"])
    assert page.chosen() == [page.attribute("[data-mssql-goto]", "data-mssql-goto")]


def test_tabs_change_with_the_arrow_keys(page: Page) -> None:
    page.open_plan()
    page.type("#mp-tab-plan", Keys.ARROW_RIGHT)
    page.wait(lambda: page.shown("#mp-panel-findings"), "the next tab")


def test_the_ddl_is_copied(page: Page) -> None:
    page.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"origin": page.site.origin, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    page.open_plan()
    page.click('label[for="mp-tab-indexes"]')
    button = "#mp-panel-indexes [data-mssql-copy]"
    # The button says it for a moment only.
    page.script(
        "window.labels = [];"
        "const button = one(arguments[0]);"
        "new MutationObserver(() => window.labels.push(button.textContent)).observe(button, {childList: true})",
        button,
    )
    page.click(button)
    page.wait(lambda: "Copied" in page.script("return window.labels"), "the button says so")
    # A second click while the button still says it: each of the two takes its word back.
    page.click(button)
    page.wait(lambda: len(page.script("return window.labels")) == 4, "both words are taken back")
    assert page.text(button) == "Copy"
    copied = page.driver.execute_async_script(
        "const [done] = arguments; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    )
    assert copied.startswith("CREATE NONCLUSTERED INDEX [IX_Posts_PostTypeId_CreationDate]")


def test_the_plan_is_downloaded(page: Page, tmp_path: Path) -> None:
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    page.open_plan()
    page.click("[data-mssql-download]")

    def downloaded() -> str:
        # Chromium holds the name with an empty file until the download is whole, and then moves it there.
        with contextlib.suppress(FileNotFoundError):
            return (tmp_path / "statement-1.sqlplan").read_bytes().decode("utf-16", "replace")
        return ""

    page.wait(lambda: downloaded().rstrip().endswith("</ShowPlanXML>"), "the whole file")
    assert downloaded().startswith("<ShowPlanXML")
    assert page.shown("[data-mssql-plan-view]")


def test_two_plans_are_compared(page: Page) -> None:
    page.open_plan()
    page.choose('select[name="other"]', "8:")
    page.click("form[data-mssql-window] button")
    page.says("[data-mssql-comparison]", "The plans differ in shape")
    assert page.count("[data-mssql-comparison] svg.sp-plan") == 2
    # Each row has the colour of its change: the toolbar's stripes show through none.
    better, worse = page.script(
        "const paint = (selector) => all(selector).map((cell) => getComputedStyle(cell).backgroundColor);"
        "return [paint('.mp-better > td'), paint('.mp-worse > td')]"
    )
    assert len(set(better)) == len(set(worse)) == 1
    assert better[0] != worse[0]


def test_a_refusal_says_what_to_grant(page: Page) -> None:
    page.open_plan(3)
    page.says("[data-mssql-failure]", "GRANT SHOWPLAN")


HELD = """
const real = window.fetch;
window.fetch = (...request) => {
    window.fetch = real;
    return new Promise((answer) => { window.release = () => answer(real(...request)); });
};
"""


def test_a_late_answer_does_not_cover_a_newer_one(page: Page) -> None:
    page.script(HELD)
    first = '[data-mssql-statement="1"] form[data-mssql-plan]'
    page.click(f"{first} button")
    page.wait(lambda: page.script("return Boolean(window.release)"), "the first request")
    page.open_plan(8)
    page.script("window.release()")
    page.wait(lambda: page.attribute(first, "aria-busy") is None, "the first answer")
    assert page.text("#djDebugWindow h3") == "Plan of statement 8"


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (400, "Invalid signature", "Invalid signature"),
        (500, "Traceback (most recent call last): …", "500 Server on fire"),
    ],
)
def test_a_failure_is_told_in_one_line(page: Page, status: int, body: str, shown: str) -> None:
    page.script(
        "const [body, status] = arguments;"
        "window.fetch = async () => new Response(body, {status, statusText: 'Server on fire'})",
        body,
        status,
    )
    page.click('[data-mssql-statement="1"] form[data-mssql-plan] button')
    page.becomes(lambda: page.text("#djDebugWindow h3"), shown)


def test_the_switch_lasts_for_the_next_requests(page: Page) -> None:
    page.click("[data-mssql-actual]")
    page.wait(lambda: page.script("return document.cookie.includes('djdtMSSQLActualPlans=on')"), "the cookie")
    page.open()
    page.says('[data-mssql-statement="1"]', "Actual plan")
    page.open_plan()
    page.says(".mp-origin", "actual plan")


def test_an_earlier_request_is_seen_through_the_history(page: Page) -> None:
    request = page.attribute("#djDebug", "data-request-id")
    page.driver.get(page.site.url + "quiet/")
    page.wait(lambda: page.shown("a.HistoryPanel"), "the toolbar")
    page.click("a.HistoryPanel")
    switch = f'button.switchHistory[data-request-id="{request}"]'
    row = f'tr[data-request-id="{request}"]'

    def switched() -> bool:
        """Whether the toolbar took the click: its script marks the row at once, but comes some time after the row."""
        page.click(switch)
        return "djdt-highlighted" in str(page.attribute(row, "class"))

    page.wait(switched, "the earlier request")
    page.says("#djdt-SQLServerPanel", "13 queries")
    page.click("a.SQLServerPanel")
    page.wait(page.panel_is_ready, "the panel")
    page.becomes(lambda: len(page.statements()), 17)
    page.open_plan()
    page.becomes(lambda: page.count("[data-mssql-operator]"), 6)


def test_hostile_text_does_nothing(page: Page) -> None:
    page.click('[data-mssql-statement="9"] summary')
    page.says('[data-mssql-statement="9"] .mp-details', "alert(1)")
    assert page.count("[data-mssql-panel] img, [data-mssql-panel] script") == 0


@pytest.mark.parametrize(("width", "dark"), [(1500, False), (1500, True), (700, False)])
def test_it_fits_and_can_be_read(site: Site, width: int, dark: bool) -> None:
    name = f"panel-{width}{'-dark' if dark else ''}"
    with chromium(width, 950, dark=dark) as driver:
        page = Page(driver, site)
        page.open()
        page.shoot(name)
        page.wait(lambda: overflow(page, "[data-mssql-panel]") <= 0, "the panel fits")
        page.open_plan()
        page.click('[data-mssql-operator="3"]')
        page.says("[data-mssql-aside]", "Clustered Index Scan")
        page.shoot(f"{name}-plan")
        page.wait(lambda: overflow(page, "[data-mssql-plan-view]") <= 0, "the plan fits")
        for selector in (".mp-origin", ".mp-tabpanel h4", ".mp-toolbar", ".mp-facts dd"):
            assert contrast(page, selector) >= 4.5, selector
        page.choose('select[name="other"]', "8:")
        page.click("form[data-mssql-window] button")
        page.wait(lambda: page.shown("[data-mssql-comparison]"), "the comparison")
        page.shoot(f"{name}-comparison")
        assert overflow(page, "[data-mssql-comparison]") <= 0
        assert page.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_deadlock_can_be_read(site: Site, dark: bool) -> None:
    with chromium(1500, 950, dark=dark) as driver:
        page = Page(driver, site)
        page.open("deadlock/")
        page.click('[data-mssql-statement="3"] summary')
        page.click("form[action$='/deadlock/'] button")
        page.wait(lambda: page.shown("[data-mssql-deadlock] svg"), "the drawing")
        page.shoot(f"deadlock-1500{'-dark' if dark else ''}")
        for selector, behind in (
            (".dl-heading", ".dl-paper"),
            (".dl-label", ".dl-paper"),
            (".dl-lock text", ".dl-lock rect"),
            (".dl-session text[font-size]", ".dl-session rect"),
        ):
            assert contrast(page, selector, behind) >= (4.5 if dark else 3), selector
        assert page.complaints() == []


def overflow(page: Page, selector: str) -> int:
    """By how many pixels the element's content is wider than the element."""
    width: int = page.script(
        "const {scrollWidth, clientWidth} = one(arguments[0]); return scrollWidth - clientWidth", selector
    )
    return width


CONTRAST = """
const [selector, behind] = arguments;
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = (colour) => {
    const [red, green, blue] = channels(colour).map((value) => {
        const share = value / 255;
        return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const colours = (element) => {
    if (behind) {
        return [getComputedStyle(element).fill, getComputedStyle(one(behind)).fill];
    }
    let background = element;
    while (background && /, 0\\)$|transparent/.test(getComputedStyle(background).backgroundColor)) {
        background = background.parentElement;
    }
    return [getComputedStyle(element).color, getComputedStyle(background).backgroundColor];
};
return Math.min(...all(selector).map((element) => {
    const [text, other] = colours(element).map(luminance);
    return (Math.max(text, other) + 0.05) / (Math.min(text, other) + 0.05);
}));
"""


def contrast(page: Page, selector: str, behind: str = "") -> float:
    """WCAG's contrast of the elements' text to what stands behind it: in a drawing, the shape ``behind``."""
    page.element(selector)
    ratio: float = page.script(CONTRAST, selector, behind)
    return ratio
